"""The inputs of `Classifier.classify`: bytes, a path, a file, a Pillow image or a NumPy array.

Pixels in memory are encoded as a lossless PNG and then decoded as any other file, so that the same
limits and the same conversion to greyscale apply.
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
# Pillow's modes that PNG can store; images of other modes are converted.
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


class WrongInput(BadRequest, TypeError):
    """The input's type, dtype, shape or range is not supported. Also a `TypeError`."""


def picture_of(given: Input, *, max_bytes: int = image.MAX_BYTES) -> Picture:
    """Decode an input of `Classifier.classify`, which documents the types.

    Raises
    ------
    ImageError
        As `image.decode`.
    WrongInput
        If the input has an unsupported type, or an array an unsupported dtype, range or shape.
    OSError
        If the file does not exist or cannot be read.
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
        raise WrongInput(f"No image can be read from {what}; {_TYPES}.")
    return data


def _of_pixels(pixels: Image.Image) -> Picture:
    """Encode pixels as a PNG, which is lossless, and decode that."""
    from PIL import ImageOps  # noqa: PLC0415 - not needed for bytes, and slow to import

    width, height = pixels.size
    if width * height > image.MAX_PIXELS:  # checked before the encoding, which takes long
        raise TooLarge(
            f"The image has more than {image.MAX_PIXELS // 1_000_000} megapixels, the limit for"
            " pixels in memory; make it smaller."
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
    except Exception as error:  # Pillow decodes lazily, and a malformed file raises anything
        raise UnreadableImage(
            "The Pillow image cannot be loaded: its file is broken or closed; call its load() while"
            " the file is open."
        ) from error
    data = packed.getvalue()
    return image.decode(data, max_bytes=len(data))


def _scaled(values: NDArray[Any]) -> NDArray[np.float64]:
    """Scale deep grey levels to 0..1 by the smallest usual white level, as `image.decode` does."""
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0).clip(min=0)
    largest = float(values.max(initial=0.0))
    return values / next((white for white in (1.0, 255.0, 65_535.0) if largest <= white), largest)


def _from_array(array: NDArray[Any]) -> Image.Image:
    is_colour = array.ndim == 3 and array.shape[2] in (3, 4)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or is_colour) or array.size == 0:
        raise WrongInput(f"An array of shape {array.shape} is not an image; {_ARRAYS}.")
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
        raise WrongInput(f"An array of dtype {array.dtype} is not supported; {_ARRAYS}.")
    return Image.fromarray(np.round(values).astype(np.uint8))
