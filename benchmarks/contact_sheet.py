"""Draw contact sheets: many pictures on one, each with lines of text below it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from PIL import Image, ImageDraw

from digits import image
from digits.errors import ImageError

_LINE = 13  # pixels of a line of text


@dataclass(frozen=True)
class Tile:
    """One picture: the bytes of its file, and the lines of text below it."""

    data: bytes
    lines: tuple[str, ...]


def drawn(tiles: Sequence[Tile], side: int = 180, columns: int = 8) -> bytes:
    """Draw the decoded pictures, reduced to `side` pixels, in rows; return a PNG file."""
    most = max((len(tile.lines) for tile in tiles), default=1)
    high = side + most * _LINE + 4
    rows = -(-len(tiles) // columns) or 1
    sheet = Image.new("L", (columns * side, rows * high), 255)
    draw = ImageDraw.Draw(sheet)
    for number, tile in enumerate(tiles):
        x, y = number % columns * side, number // columns * high
        with suppress(ImageError):  # an unreadable picture has only its lines
            picture = Image.fromarray(image.decode(tile.data).grey)
            picture.thumbnail((side - 6, side - 6))
            sheet.paste(picture, (x, y))
        for line, text in enumerate(tile.lines):
            draw.text((x, y + side - 4 + line * _LINE), text, fill=0)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
