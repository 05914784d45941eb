"""Render readings as HTML cards; pure functions.

File names are untrusted and reasons come from the API, so everything from outside is escaped.
"""

from __future__ import annotations

from html import escape

from digits.results import Digit, ImageInfo, Result
from streamlit_app import words
from streamlit_app.engine import Reading


def card(reading: Reading) -> str:
    """Render one picture's card: its answer, or its error."""
    if reading.result is None:
        return _error_card(reading)
    result = reading.result
    read_as = f"read as {result.text}" if result.text else "nothing read"
    info = result.image
    return (
        f'<article class="card" aria-label="{escape(reading.name)}: {escape(read_as)}">'
        f'<header><span class="name">{escape(reading.name)}</span>'
        f"<span>{info.width} × {info.height} {escape(info.format)}</span></header>"
        f'<div class="body">{_photo(reading, result)}'
        f'<div class="answer">{_answer(result)}{_note(result)}</div>'
        f"{_evidence(result)}</div></article>"
    )


def _error_card(reading: Reading) -> str:
    message = reading.error.message if reading.error else ""
    return (
        f'<article class="card failed" aria-label="{escape(reading.name)}: could not be read">'
        f'<header><span class="name">{escape(reading.name)}</span></header>'
        f'<div class="note" role="alert"><b>This file could not be read</b>'
        f"<span>{escape(message)}</span></div></article>"
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
    doubt = " doubt" if digit.needs_review else ""
    return f'<i class="box{doubt}" style="{placed(digit.box, result.image)}"></i>'


def placed(box: tuple[float, float, float, float], info: ImageInfo) -> str:
    """Return the CSS that places an element over a box of the picture, at any display size."""
    x, y, width, height = box
    across, down = 100 / info.width, 100 / info.height
    return (
        f"left:{x * across:.2f}%;top:{y * down:.2f}%;"
        f"width:{width * across:.2f}%;height:{height * down:.2f}%"
    )


def _answer(result: Result) -> str:
    if result.text is None:
        return '<p class="text none">–</p>'
    longest = max(len(line) for line in result.text.split("\n"))
    text = f'<p class="text" style="--length:{longest}">{escape(result.text)}</p>'
    if not result.digits:
        return text
    doubt = " doubt" if result.needs_review else ""
    second = words.runner_up(result.digits[0]) if len(result.digits) == 1 else ""
    return (
        f'{text}<p class="sure{doubt}"><span>{words.certainty(result)}</span>'
        f" <b>{words.percent(words.confidence(result))}</b></p>"
        + (f'<p class="second">{second}</p>' if second else "")
    )


def _note(result: Result) -> str:
    advice = words.advice(result)
    if advice is None:
        return ""
    return f'<div class="note"><b>{escape(advice.headline)}</b><span>{advice.hint}</span></div>'


def _evidence(result: Result) -> str:
    """Render each digit's frame and probabilities: a single digit large, several small."""
    if not result.digits:
        return ""
    if len(result.digits) == 1:
        digit = result.digits[0]
        return (
            f'<div class="evidence"><div><h4>Probability of each digit</h4>{bars(digit)}</div>'
            f"<div><h4>The classifier’s input</h4>{_frame(digit)}</div></div>"
        )
    tiles = "".join(_tile(digit) for digit in result.digits)
    return f'<div class="tiles"><h4>Digit by digit, as the classifier’s input</h4>{tiles}</div>'


def _tile(digit: Digit) -> str:
    doubt = " doubt" if digit.needs_review else ""
    symbol = "?" if digit.reason == "not_a_digit" else digit.digit
    return (
        f'<div class="tile{doubt}">{_frame(digit)}<p><b>{symbol}</b>'
        f" {words.percent(digit.confidence)}</p>{bars(digit)}</div>"
    )


def _frame(digit: Digit) -> str:
    if digit.explanation is None:
        return ""
    return (
        f'<img class="frame" src="data:image/png;base64,{escape(digit.explanation.frame)}"'
        ' alt="The digit in white on black, 28 by 28 pixels">'
    )


def bars(digit: Digit) -> str:
    """Render the ten probabilities as a bar chart, with the numbers for screen readers."""
    spoken = ", ".join(f"{d}: {words.percent(p)}" for d, p in enumerate(digit.probabilities))
    columns = "".join(
        f'<div class="bar{" best" if d == digit.digit else ""}"><em>{_short(p)}</em>'
        f'<i style="height:{100 * p:.1f}%"></i><span>{d}</span></div>'
        for d, p in enumerate(digit.probabilities)
    )
    return f'<div class="bars" role="img" aria-label="Probabilities. {spoken}">{columns}</div>'


def _short(probability: float) -> str:
    """Return the label above a bar; empty for a small probability."""
    if probability < 0.05:
        return ""
    return "&gt;99%" if probability > 0.99 else f"{probability:.0%}"
