"""A picture that was read, made small enough to show: upright, in colour, as a data URI.

Only for bytes that `digits` has read: it has checked their format and size.
"""

from __future__ import annotations

import base64
import io
from typing import Literal

from PIL import Image, ImageOps

from digits import image
from digits.results import ImageInfo

SIDE = 640  # pixels of the longer side, enough for a card on a sharp screen
# Other modes (alpha, 16 bits, …) have no one right look; they are shown as the recogniser saw them.
_PLAIN_MODES = frozenset({"1", "L", "P", "RGB", "YCbCr", "CMYK"})


def data_uri(data: bytes, info: ImageInfo, side: int = SIDE) -> str:
    """The picture as a small JPEG in a ``data:`` URI, its longer side at most `side` pixels."""
    small = _in_colour(data, info, side) or Image.fromarray(image.decode(data).grey)
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return uri(buffer.getvalue(), "jpeg")


def png_uri(picture: Image.Image) -> str:
    """A picture of ours in a ``data:`` URI, every pixel as it is."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return uri(buffer.getvalue(), "png")


def uri(data: bytes, kind: Literal["png", "jpeg"]) -> str:
    """An image file's bytes as a ``data:`` URI."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _in_colour(data: bytes, info: ImageInfo, side: int) -> Image.Image | None:
    """The upright picture in colour, or None where only its grey form is certain."""
    if info.format == "HEIC":
        return None
    # Files that the recogniser can read may still upset Pillow's orientation and colour handling.
    try:
        with Image.open(io.BytesIO(data), formats=(info.format,)) as picture:
            if picture.mode not in _PLAIN_MODES or "transparency" in picture.info:
                return None
            picture.draft("RGB", (side, side))
            upright = ImageOps.exif_transpose(picture)
            same_way_up = (upright.width > upright.height) == (info.width > info.height)
            return upright.convert("RGB") if same_way_up else None
    except Exception:
        return None
