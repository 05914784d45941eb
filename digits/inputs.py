"""What a caller in Python may give as a picture: bytes, a path, a file, a Pillow image, an array.

Pixels become a lossless PNG, and from there on they are as any other file: the same limits, the
same way to grey.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits import image
from digits.errors import BadRequest, ImageError, TooLarge, UnreadableImage
from digits.image import Picture

Input: TypeAlias = (
    "bytes | bytearray | memoryview | str | os.PathLike[str] | IO[bytes] | Image.Image"
    " | NDArray[np.generic]"
)

_TYPES = "give bytes, a path, a file opened in binary mode, a Pillow image or a NumPy array"
_ARRAYS = (
    "give (height, width), (height, width, 3) as RGB or (height, width, 4) as RGBA, of uint8 (0 to"
    " 255), uint16 (0 to 65,535), bool or float (0 to 1)"
)
# Of Pillow's modes those that PNG holds; the others are converted to RGB.
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


class WrongInput(BadRequest, TypeError):
    """What was given is nothing that holds a picture; a `TypeError`, too, as callers expect."""


def picture_of(given: Input, *, max_bytes: int = image.MAX_BYTES) -> Picture:
    """Decode whatever holds a picture; see `Classifier.classify`.

    Raises
    ------
    ImageError
        As `image.decode` does.
    WrongInput
        If it is of another type, or an array of another dtype, range or shape.
    OSError
        If there is no such file, or it cannot be read.
    """
    if isinstance(given, Image.Image):
        return _of_pixels(given)
    if isinstance(given, np.ndarray):
        return _of_pixels(_from_array(given))
    return image.decode(_bytes_of(given, max_bytes), max_bytes=max_bytes)


def _bytes_of(given: Any, max_bytes: int) -> bytes:
    if isinstance(given, bytes):
        return given
    if isinstance(given, (bytearray, memoryview)):
        return bytes(given)
    if isinstance(given, (str, os.PathLike)):
        if "://" in str(given):
            raise WrongInput(f"{given} is a web address; download it, and {_TYPES}.")
        with Path(given).open("rb") as file:
            return file.read(max_bytes + 1)
    data = given.read(max_bytes + 1) if hasattr(given, "read") else None
    if not isinstance(data, bytes):
        what = "a file opened as text" if isinstance(data, str) else type(given).__name__
        raise WrongInput(f"No picture can be read from {what}; {_TYPES}.")
    return data


def _of_pixels(pixels: Image.Image) -> Picture:
    """As a PNG, which keeps every pixel."""
    from PIL import ImageOps  # noqa: PLC0415 - a start that is given bytes need not wait for it

    width, height = pixels.size
    if width * height > image.MAX_PIXELS:  # before it is packed
        raise TooLarge(
            f"The picture has more than the {image.MAX_PIXELS // 1_000_000} megapixels that are"
            " read of pixels in memory; make it smaller."
        )
    packed = io.BytesIO()
    try:
        pixels = ImageOps.exif_transpose(pixels)
        if pixels.mode == "F" or (pixels.mode.startswith("I") and pixels.mode != "I;16"):
            pixels = _from_array(_scaled(np.asarray(pixels)))
        elif pixels.mode == "LAB":
            pixels = pixels.getchannel("L")
        elif pixels.mode not in _PNG_MODES:
            plain = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA"}.get(pixels.mode, "RGB")
            pixels = pixels.convert(plain)
        pixels.save(packed, "PNG", compress_level=1)
    except (ImageError, BadRequest):
        raise
    except Exception as error:  # a lazily loaded file breaks in as many ways as any
        raise UnreadableImage(
            "The Pillow image cannot be loaded: its file is broken or closed; load() it first."
        ) from error
    data = packed.getvalue()
    return image.decode(data, max_bytes=len(data))


def _scaled(values: NDArray[Any]) -> NDArray[np.float64]:
    """Deep greys by the smallest usual full scale that holds them, as `image.decode` takes them."""
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0).clip(min=0)
    largest = float(values.max(initial=0.0))
    return values / next((white for white in (1.0, 255.0, 65_535.0) if largest <= white), largest)


def _from_array(array: NDArray[Any]) -> Image.Image:
    is_colour = array.ndim == 3 and array.shape[2] in (3, 4)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or is_colour) or array.size == 0:
        raise WrongInput(f"An array of shape {array.shape} is no picture; {_ARRAYS}.")
    if array.dtype == np.bool_:
        values = array * np.float64(255)
    elif array.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(array))
    elif array.dtype == np.uint16:
        values = array / 257
    elif np.issubdtype(array.dtype, np.floating):
        if not ((array >= 0) & (array <= 1)).all():
            raise WrongInput(f"An array of {array.dtype} has values outside 0 to 1; {_ARRAYS}.")
        values = array * np.float64(255)
    else:
        raise WrongInput(f"An array of dtype {array.dtype} is no picture; {_ARRAYS}.")
    return Image.fromarray(np.round(values).astype(np.uint8))
