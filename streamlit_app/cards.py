"""Readings as HTML: pure functions from what was read to what is shown.

File names come from strangers, so whatever is not ours is escaped.
"""

from __future__ import annotations

from html import escape

from digits import explain
from digits.results import Digit, Result
from streamlit_app import preview, words
from streamlit_app.engine import Reading


def card(reading: Reading) -> str:
    """One picture's card: its answer, or in words why there is none."""
    if reading.result is None:
        return _error_card(reading)
    result = reading.result
    read_as = f"read as {result.text}" if result.text else "no digit found"
    info = result.image
    return (
        f'<article class="card" aria-label="{escape(reading.name)}: {escape(read_as)}">'
        f'<header><span class="name">{escape(reading.name)}</span>'
        f"<span>{info.width} × {info.height} {escape(info.format)}</span></header>"
        f'<div class="body">{_photo(reading, result)}'
        f'<div class="answer">{_answer(result)}{_note(result)}</div>'
        f"{_evidence(result)}</div></article>"
    )


def why(reading: Reading) -> str:
    """Why one picture was read so: what mattered in each digit, what the layers made of it."""
    digits = reading.result.digits if reading.result else ()
    rows = "".join(_reasons(digit) for digit in digits)
    return (
        '<section class="why" aria-label="Why">'
        "<p>The brighter a place glows, the more the answer hangs on it: a small black square is"
        " laid over each place in turn, and the network asked again. Beside it, what its first two"
        " layers made of the digit: each small picture is one filter’s answer, white where it found"
        f" what it looks for.</p>{rows}</section>"
    )


def _reasons(digit: Digit) -> str:
    explanation = digit.explanation
    if explanation is None or explanation.occlusion is None:
        return ""
    heat = preview.png_uri(explain.overlay(explanation, zoom=8))
    figures = [(f"What mattered for the {digit.digit}", heat)]
    figures += [
        (f"What layer {number} made of it", f"data:image/png;base64,{maps.png}")
        for number, maps in enumerate(explanation.feature_maps or (), start=1)
    ]
    return '<div class="reasons">' + "".join(
        f'<figure><img src="{uri}" alt="{text}"><figcaption>{text}</figcaption></figure>'
        for text, uri in figures
    ) + "</div>"  # fmt: skip


def _error_card(reading: Reading) -> str:
    return (
        f'<article class="card failed" aria-label="{escape(reading.name)}: could not be read">'
        f'<header><span class="name">{escape(reading.name)}</span></header>'
        f'<div class="note" role="alert"><b>This file could not be read</b>'
        f"<span>{escape(reading.error)}</span></div></article>"
    )


def _photo(reading: Reading, result: Result) -> str:
    boxes = "".join(_box(digit, result) for digit in result.digits)
    alt = f"Your picture {reading.name}" + (", each digit in a box" if boxes else "")
    many = " many" if len(result.digits) > 1 else ""
    return (
        f'<div class="photo"><div class="canvas{many}">'
        f'<img src="{reading.picture}" alt="{escape(alt)}">{boxes}</div></div>'
    )


def _box(digit: Digit, result: Result) -> str:
    x, y, width, height = digit.box
    across, down = 100 / result.image.width, 100 / result.image.height
    doubt = " doubt" if digit.needs_review else ""
    return (
        f'<i class="box{doubt}" style="left:{x * across:.2f}%;top:{y * down:.2f}%;'
        f'width:{width * across:.2f}%;height:{height * down:.2f}%"></i>'
    )


def _answer(result: Result) -> str:
    if result.text is None:
        return '<p class="text none">–</p>'
    longest = max(len(line) for line in result.text.split("\n"))
    probability = words.confidence(result)
    doubt = " doubt" if result.needs_review else ""
    second = words.runner_up(result.digits[0]) if len(result.digits) == 1 else ""
    return (
        f'<p class="text" style="--length:{longest}">{escape(result.text)}</p>'
        f'<p class="sure{doubt}"><span>{words.certainty(result)}</span>'
        f" <b>{words.percent(probability)}</b></p>"
        + (f'<p class="second">{second}</p>' if second else "")
    )


def _note(result: Result) -> str:
    advice = words.advice(result)
    if advice is None:
        return ""
    return f'<div class="note"><b>{advice.headline}</b><span>{advice.hint}</span></div>'


def _evidence(result: Result) -> str:
    """What the network saw and thought of each digit: one large, or many small."""
    if not result.digits:
        return ""
    if len(result.digits) == 1:
        digit = result.digits[0]
        return (
            f'<div class="evidence"><div><h4>How likely each digit is</h4>{_bars(digit)}</div>'
            f"<div><h4>What the network saw</h4>{_frame(digit)}</div></div>"
        )
    tiles = "".join(_tile(digit) for digit in result.digits)
    return f'<div class="tiles"><h4>Digit by digit, as the network saw them</h4>{tiles}</div>'


def _tile(digit: Digit) -> str:
    doubt = " doubt" if digit.needs_review else ""
    symbol = "?" if digit.reason == "not_a_digit" else digit.digit
    return (
        f'<div class="tile{doubt}">{_frame(digit)}<p><b>{symbol}</b>'
        f" {words.percent(digit.confidence)}</p>{_bars(digit)}</div>"
    )


def _frame(digit: Digit) -> str:
    if digit.explanation is None:
        return ""
    return (
        f'<img class="frame" src="data:image/png;base64,{digit.explanation.frame}"'
        ' alt="The digit in white on black, 28 by 28 pixels">'
    )


def _bars(digit: Digit) -> str:
    """The ten probabilities as a bar chart; a screen reader says the numbers."""
    spoken = ", ".join(f"{d}: {words.percent(p)}" for d, p in enumerate(digit.probabilities))
    columns = "".join(
        f'<div class="bar{" best" if d == digit.digit else ""}"><em>{_short(p)}</em>'
        f'<i style="height:{100 * p:.1f}%"></i><span>{d}</span></div>'
        for d, p in enumerate(digit.probabilities)
    )
    return f'<div class="bars" role="img" aria-label="Probabilities. {spoken}">{columns}</div>'


def _short(probability: float) -> str:
    """What stands above a bar, where there is enough of one."""
    if probability < 0.05:
        return ""
    return "&gt;99%" if probability > 0.99 else f"{probability:.0%}"
