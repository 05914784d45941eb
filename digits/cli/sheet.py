"""The PNG that `--explain` writes: a card for each digit, or the frames alone for many digits."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from digits import explain
from digits.results import Digit, Result

_ZOOM = 5
_TILE = 28 * _ZOOM
_CAPTION = 16
_GAP = 8
_COLUMNS = 8

# A card: the answer, then four squares and the bars between them, each below its heading.
_CARD_ZOOM = 7
_SQUARE = 28 * _CARD_ZOOM
_SPACE = 28
_ANSWER = 150
_BARS = 210
_HEADING = 30
_CARD = _HEADING + _SQUARE + 2 * _SPACE
_CARD_WIDTH = _ANSWER + _BARS + 4 * _SQUARE + 7 * _SPACE

_PAPER, _INK, _QUIET, _LINE = "#ffffff", "#1c2130", "#5b6072", "#e3dfd2"
_PALE, _SURE, _DOUBT = "#c9ccd4", "#2447c4", "#a84300"
_REASONS = {
    "not_a_digit": "perhaps not a digit",
    "low_confidence": "not sure",
    "several_digits": "one of several",
    "turned": "picture turned?",
}


def contact_sheet(results: Sequence[tuple[str, Result]]) -> bytes:
    """Draw the frame of every digit of `results`, each with the digit and its confidence below it.

    Parameters
    ----------
    results
        Names and results, the latter with explanations.

    Returns
    -------
    bytes
        A PNG: rows of eight frames, five times enlarged, without smoothing.
    """
    digits = [digit for _, result in results for digit in result.digits if digit.explanation]
    rows = -(-len(digits) // _COLUMNS) or 1
    width = min(len(digits) or 1, _COLUMNS) * (_TILE + _GAP) + _GAP
    sheet = Image.new("L", (width, rows * (_TILE + _CAPTION + _GAP) + _GAP), 255)
    draw = ImageDraw.Draw(sheet)
    for index, digit in enumerate(digits):
        assert digit.explanation is not None  # noqa: S101 - chosen so above
        frame = explain.picture(digit.explanation.frame)
        x = _GAP + index % _COLUMNS * (_TILE + _GAP)
        y = _GAP + index // _COLUMNS * (_TILE + _CAPTION + _GAP)
        sheet.paste(frame.resize((_TILE, _TILE), Image.Resampling.NEAREST), (x, y))
        caption = f"{digit.digit}  {digit.confidence:.1%}" + ("  ?" if digit.needs_review else "")
        draw.text((x, y + _TILE + 2), caption, fill=0)
    return _png(sheet)


def cards(results: Sequence[tuple[str, Result]]) -> bytes:
    """Draw a card for every digit of `results`: answer, input, saliency, feature maps.

    Parameters
    ----------
    results
        Names and results, the latter with full explanations; at least one digit among them.

    Returns
    -------
    bytes
        A PNG: one card below the other, all as wide.
    """
    digits = [(name, digit) for name, result in results for digit in result.digits]
    sheet = Image.new("RGB", (_CARD_WIDTH, len(digits) * _CARD), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, (name, digit) in enumerate(digits):
        top = row * _CARD
        if row:
            draw.line((_SPACE, top, _CARD_WIDTH - _SPACE, top), _LINE)
        _draw_answer(draw, _SPACE, top + _SPACE, name, digit)
        x = 2 * _SPACE + _ANSWER
        for panel in _panels(digit):
            _draw_heading(draw, x, top + _SPACE, panel.heading)
            if panel.image is None:
                _draw_bars(draw, x, top + _SPACE + _HEADING, digit)
                x += _BARS + _SPACE
            else:
                sheet.paste(panel.image, (x, top + _SPACE + _HEADING))
                x += _SQUARE + _SPACE
    return _png(sheet)


class _Panel(NamedTuple):
    """One part of a card; a part without an image is the bars."""

    heading: str
    image: Image.Image | None


def _panels(digit: Digit) -> Iterator[_Panel]:
    explanation = digit.explanation
    assert explanation is not None  # noqa: S101 - see `cards`
    frame = explain.picture(explanation.frame)
    yield _Panel(
        "The classifier's input", frame.resize((_SQUARE, _SQUARE), Image.Resampling.NEAREST)
    )
    yield _Panel(f"Pixels that count for {digit.digit}", explain.overlay(explanation, _CARD_ZOOM))
    yield _Panel("Probability of each digit", None)
    for number, maps in enumerate(explanation.feature_maps or (), start=1):
        yield _Panel(f"Feature maps of layer {number}", _fitted(explain.picture(maps.png)))


def _fitted(image: Image.Image) -> Image.Image:
    """Enlarge a map to the square without smoothing, so that its pixels stay visible."""
    large = image.resize((image.width * 8, image.height * 8), Image.Resampling.NEAREST)
    return large.resize((_SQUARE, _SQUARE), Image.Resampling.BOX)


def _draw_answer(draw: ImageDraw.ImageDraw, x: int, y: int, name: str, digit: Digit) -> None:
    colour = _DOUBT if digit.needs_review else _SURE
    draw.text((x, y), _shortened(name, _ANSWER, 14), _QUIET, _font(14))
    symbol = "?" if digit.reason == "not_a_digit" else str(digit.digit)
    draw.text((x, y + _HEADING + 92), symbol, _INK, _font(128), anchor="ls")
    draw.text((x, y + _HEADING + 136), _percent(digit.confidence), colour, _font(26), anchor="ls")
    if digit.reason:
        draw.text(
            (x, y + _HEADING + 162),
            _REASONS.get(digit.reason, digit.reason),
            colour,
            _font(17),
            anchor="ls",
        )


def _draw_heading(draw: ImageDraw.ImageDraw, x: int, y: int, text: str) -> None:
    draw.text((x, y), text, _QUIET, _font(15))


def _draw_bars(draw: ImageDraw.ImageDraw, x: int, y: int, digit: Digit) -> None:
    """Draw ten bars over the height of the squares; the answer's is coloured."""
    left, longest = x + 20, _BARS - 20 - 58
    for number, probability in enumerate(digit.probabilities):
        top = y + number * _SQUARE / 10
        middle = top + _SQUARE / 20
        best = number == digit.digit
        colour = (_DOUBT if digit.needs_review else _SURE) if best else _PALE
        text = colour if best else _QUIET
        draw.text((x, middle), str(number), text, _font(15), anchor="lm")
        right = left + max(1, round(longest * probability))
        draw.rectangle((left, top + 4, right, top + _SQUARE / 10 - 5), colour)
        if probability >= 0.0005:
            draw.text((right + 6, middle), _percent(probability), text, _font(14), anchor="lm")


def _percent(probability: float) -> str:
    """Format a probability in per cent; rounding never yields 0 % or 100 %."""
    return ">99.9%" if probability > 0.9995 else f"{probability:.1%}"


def _shortened(text: str, width: int, size: int) -> str:
    """Shorten `text` to the end that fits, after an ellipsis: a path ends in the file's name."""
    font, start = _font(size), 0
    while start < len(text) and font.getlength("..." + text[start:]) > width:
        start += 1
    return text if font.getlength(text) <= width else "..." + text[start:]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _png(sheet: Image.Image) -> bytes:
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
