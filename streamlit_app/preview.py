"""Make a small copy of a picture for display: upright, in colour, as a data URI.

Only for bytes that `digits` has read and so has checked. A newer version behind the API may read
formats that this one cannot decode: such a picture is shown as an empty sheet.
"""

from __future__ import annotations

import base64
import io
from typing import Literal

from PIL import Image

from digits import image
from digits.errors import ImageError
from digits.results import ImageInfo

SIDE = 640  # pixels of the longer side, enough for a card on a sharp screen
_EMPTY = 235  # grey level of an empty sheet: lighter than ink, darker than the page around it


def data_uri(data: bytes, info: ImageInfo, side: int = SIDE) -> str:
    """Return a JPEG in a ``data:`` URI whose longer side has at most `side` pixels."""
    small = _shown(data, info, side)
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return uri(buffer.getvalue(), "jpeg")


def png_uri(picture: Image.Image) -> str:
    """Return an array as a lossless PNG in a ``data:`` URI."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return uri(buffer.getvalue(), "png")


def uri(data: bytes, kind: Literal["png", "jpeg"]) -> str:
    """Return an image file's bytes as a ``data:`` URI."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _shown(data: bytes, info: ImageInfo, side: int) -> Image.Image:
    """Return the picture in colour, else in grey, else an empty sheet of its shape."""
    try:
        return image.in_colour(data, side)
    except ImageError:
        scale = side / max(info.width, info.height)
        size = max(1, round(info.width * scale)), max(1, round(info.height * scale))
        return Image.new("L", size, _EMPTY)
