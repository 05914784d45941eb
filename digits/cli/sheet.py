"""The picture that `--explain` writes: what the network was shown for each digit."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from PIL import Image, ImageDraw

from digits.results import Result

_ZOOM = 5
_TILE = 28 * _ZOOM
_CAPTION = 16
_GAP = 8
_COLUMNS = 8


def contact_sheet(results: Sequence[tuple[str, Result]]) -> bytes:
    """Draw the frame of every digit of `results`, each with the digit and its confidence below it.

    Parameters
    ----------
    results
        Names and results, the latter made with ``explain=True``.

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
        frame = Image.open(io.BytesIO(base64.b64decode(digit.explanation.frame)))
        x = _GAP + index % _COLUMNS * (_TILE + _GAP)
        y = _GAP + index // _COLUMNS * (_TILE + _CAPTION + _GAP)
        sheet.paste(frame.resize((_TILE, _TILE), Image.Resampling.NEAREST), (x, y))
        caption = f"{digit.digit}  {digit.confidence:.1%}" + ("  ?" if digit.needs_review else "")
        draw.text((x, y + _TILE + 2), caption, fill=0)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
