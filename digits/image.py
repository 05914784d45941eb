"""Bytes of an image file to an upright grey picture, or a typed error that says what to do.

The bytes come from strangers: the limits are checked on the header, before anything is decoded,
and whatever Pillow raises becomes one of three errors. Finding digits is `digits.preprocess`'s
business.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from digits import formats
from digits.errors import TooLarge, UnreadableImage, UnsupportedFormat
from digits.metadata import MOST_PARTS, too_many_parts, without_metadata
from digits.morphology import extreme
from digits.order import percentile

Grey = NDArray[np.uint8]

MAX_BYTES = 20 * 1024 * 1024
MAX_PIXELS_JPEG = 50_000_000  # decoded at 1/2, 1/4 or 1/8 scale, so it never fills the memory
MAX_PIXELS = 16_000_000  # of the formats that can only be decoded at full size
MAX_SCANS = 100  # of a JPEG; encoders write a dozen, and each costs a pass over the whole picture
MIN_SIDE = 8
# A picture's long side stays at least this many pixels, so that a digit a fifteenth of it is still
# as tall as the network's frame wants it.
WORKING_SIDE = 300
COARSE = 32  # pixels of the longer side; a larger picture that shows no more is an enlargement
ENLARGEMENT = 0.11  # of the contrast: how far one is anywhere from the coarse picture, enlarged
NEARBY = 0.55  # of the contrast around each pixel: how far it is at most
ROUNDING = 3  # grey levels beyond that
COLOURED = 40  # grey levels along the colours' first principal component, from which it shows ink

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTER_TURNS = frozenset(_TURNS[orientation] for orientation in (5, 6, 7, 8))
_PLAIN_MODES = {"1": "L", "La": "LA", "P": "RGB", "PA": "RGBA", "RGBa": "RGBA"}
# Full scale of deeper greys: unit floats, 8 bits, and the 10, 12, 14 and 16 of cameras.
_WHITES = (1.0, 255.0, 1_023.0, 4_095.0, 16_383.0, 65_535.0)
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # tags of a TIFF
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# A JPEG marker that a length follows, or the end; FF00, FF01 and FFD0 to FFD8 stand alone.
_SEGMENT = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
_END = b"\xff\xd9"
_FILL = b"\x55" * 1024  # bits of both kinds, of which any code makes something but what was there


@dataclass(frozen=True)
class Picture:
    """An image as the recogniser sees it.

    Attributes
    ----------
    grey : uint8 (h, w)
        Luminance, upright, 0 black to 255 white; smaller than the image where that was large.
    width, height : int
        Pixels of the upright image at full size.
    format : str
        The name of one of `digits.formats`, such as ``"PNG"``.
    data : bytes or None
        The file, of which finer pictures can be decoded; None where `grey` is all there is.
    """

    grey: Grey
    width: int
    height: int
    format: str
    data: bytes | None = field(default=None, repr=False, compare=False)

    def finer(self, side: int) -> Grey:
        """The luminance with more detail, as `grey`: uint8 (h, w).

        Its longer side has `side` to twice as many pixels, or all that the image has if those are
        fewer.
        """
        if self.data is None or max(self.grey.shape) >= min(side, max(self.width, self.height)):
            return self.grey
        return np.asarray(_decoded(self.data, self.format, side)[0])

    def by_colour(self) -> Picture | None:
        """The picture in the shades in which its colours differ most, for ink as light as paper.

        `grey` is the first principal component of the colours, in grey levels; None where that
        differs too little to show ink, or where there is no file to decode.
        """
        if self.data is None:
            return None
        colours = np.asarray(_decoded(self.data, self.format, WORKING_SIDE, "RGB")[0], np.float32)
        if colours.ndim != 3:
            return None
        colours -= colours.mean(axis=(0, 1))
        _, axes = np.linalg.eigh(np.cov(colours.reshape(-1, 3), rowvar=False))
        shades = colours @ axes[:, -1].astype(np.float32)
        if np.ptp(shades) < COLOURED:
            return None
        grey = np.round(shades - shades.min()).clip(0, 255).astype(np.uint8)
        return replace(self, grey=grey, data=None)


def decode(data: bytes, *, max_bytes: int = MAX_BYTES) -> Picture:
    """Decode an image file: first frame, upright, alpha composited, grey, at a working size.

    Any bytes whatever give a picture or one of the errors below. Safe to call from many threads.

    Parameters
    ----------
    data
        The file's bytes.
    max_bytes
        The most bytes that are looked at.

    Raises
    ------
    TooLarge
        More than `max_bytes`, or more pixels than its format may have.
    UnsupportedFormat
        Not one of `digits.formats`, or one that this installation cannot decode.
    UnreadableImage
        Empty, broken, truncated, or smaller than 8 pixels on a side.
    """
    name = _checked_format(data, max_bytes)
    reduced, (width, height) = _decoded(data, name, WORKING_SIDE)
    return Picture(np.asarray(reduced), width, height, name, data)


def in_colour(data: bytes, side: int) -> Image.Image:
    """The upright picture for people, its longer side `side` to twice as many pixels.

    In RGB, or in grey where it has no opaque colours. Raises what `decode` does.
    """
    return _decoded(data, _checked_format(data, MAX_BYTES), side, "RGB")[0]


def _checked_format(data: bytes, max_bytes: int) -> str:
    """The name of the file's format, once its length is found to be right."""
    if not data:
        raise UnreadableImage("The file is empty; send the bytes of an image.")
    if len(data) > max_bytes:
        raise TooLarge(
            f"The file has {len(data):,} bytes, more than the {max_bytes:,} that are read here;"
            " make the image smaller."
        )
    name = formats.format_of(data)
    if name is None:
        raise formats.refused(data)
    return name


def _decoded(
    data: bytes, name: str, side: int, mode: Literal["L", "RGB"] = "L"
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode a file, upright, its longer side brought to `side` or up to twice that.

    To grey, or to colours where it has some. Gives the size of the upright image, too, and raises
    what `decode` does.
    """
    # Hostile files make Pillow raise nearly anything (OSError, ValueError, SyntaxError, EOFError,
    # struct.error, KeyError, OverflowError, MemoryError, ...), and no list of them is complete.
    try:
        bare = without_metadata(data, name)
        versions = _with_an_end(bare.data) if name == "JPEG" else (bare.data,)
        reduced, (width, height), turn = _upright_later(versions[0], name, side, mode)
        if any(_upright_later(it, name, side, mode)[0] != reduced for it in versions[1:]):
            raise UnreadableImage("The JPEG is cut short; save it again and send the new file.")
        if bare.orientation is not None:
            turn = _TURNS.get(bare.orientation)
    except (TooLarge, UnsupportedFormat, UnreadableImage):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(_max_pixels(name), name) from error
    except Exception as error:
        raise UnreadableImage(
            f"The file starts like {formats.label(name)} but cannot be decoded: it is broken or cut"
            " short; save it again and send the new file."
        ) from error
    if turn is not None:
        reduced = reduced.transpose(turn)
        if turn in _QUARTER_TURNS:
            width, height = height, width
    return reduced, (width, height)


def without_enlargement(picture: Picture) -> Picture:
    """Undo an enlargement: its hard squares would pass for strokes, its blur for shadows.

    Of squares it is undone whatever their size; smoothed, where a picture of `COARSE` pixels, once
    enlarged, looks the same: everywhere, or faint writing beside a deep shadow would be lost.
    """
    grey = _without_squares(picture.grey)
    scale = COARSE / max(grey.shape)
    if scale <= 0.5 and min(grey.shape) * scale >= MIN_SIDE:
        image = Image.fromarray(grey)
        size = (round(image.width * scale), round(image.height * scale))
        coarse = image.resize(size, Image.Resampling.BOX)
        fine = image.reduce(max(1, max(grey.shape) // (4 * COARSE)))  # shows all that matters
        again = np.asarray(coarse.resize(fine.size, Image.Resampling.BICUBIC), np.int16)
        lost = np.abs(again - np.asarray(fine))
        contrast = max(int(np.ptp(grey)), 1)
        if lost.max() < ENLARGEMENT * contrast and (lost <= _spared(coarse, fine.size)).all():
            grey = np.asarray(coarse)
    return picture if grey is picture.grey else replace(picture, grey=grey, data=None)


def _spared(coarse: Image.Image, size: tuple[int, int]) -> NDArray[np.float64]:
    """What an enlargement to `size` may lose at each pixel, by the contrast within 3×3 coarse ones.

    Float64 (h, w), grey levels.
    """
    padded = np.pad(np.asarray(coarse), 1, mode="edge")
    contrast = Image.fromarray(extreme(padded, 3, np.maximum) - extreme(padded, 3, np.minimum))
    return NEARBY * np.asarray(contrast.resize(size, Image.Resampling.NEAREST)) + ROUNDING


def _without_squares(grey: Grey) -> Grey:
    for axis in (0, 1):
        turned = grey.swapaxes(0, axis)
        # Of a photo the first rows differ, and nothing else need be looked at.
        for seen in (turned[:4], turned):
            edges = np.flatnonzero((seen[1:] != seen[:-1]).any(axis=1)) + 1
            times = int(np.gcd.reduce(edges, initial=len(turned)))
            if times == 1:
                break
        if len(edges) and times > 1 and len(turned) // times >= MIN_SIDE:
            grey = turned[times // 2 :: times].swapaxes(0, axis)
    return np.ascontiguousarray(grey)


def _upright_later(
    data: bytes, name: str, side: int, mode: Literal["L", "RGB"]
) -> tuple[Image.Image, tuple[int, int], Image.Transpose | None]:
    """Decode to the size of `_decoded`; with the full size, and how both are to be turned."""
    with formats.opener(name)(io.BytesIO(data)) as image:
        size = image.size
        _check_size(image, name)
        return _reduced(image, name, side, mode), size, _turn(image)


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise UnreadableImage(
            f"The image is {width} by {height} pixels; no digit can be read with fewer than"
            f" {MIN_SIDE} on a side."
        )
    limit = _max_pixels(name, image.mode)
    if max(width * height, _tile_pixels(image)) > limit:
        raise _too_many_pixels(limit, name)


def _max_pixels(name: str, mode: str = "RGB") -> int:
    # A JPEG of several scans keeps two bytes of every pixel and ink until the last, and the decoder
    # of JPEG 2000 four: 300 MB of three inks at the limit, and no more of four.
    four = mode == "CMYK" or (name == "JPEG2000" and mode == "RGBA")
    return (MAX_PIXELS_JPEG if name == "JPEG" else MAX_PIXELS) * (3 if four else 4) // 4


def _tile_pixels(image: Image.Image) -> int:
    """Pixels of a TIFF's tile, which is decoded whole however little of it is in the picture."""
    tags = getattr(image, "tag_v2", {})  # by name: importing the plugin would slow every start
    width, length = (int(tags.get(tag, 0)) for tag in (_TILE_WIDTH, _TILE_LENGTH))
    return width * length


def _too_many_pixels(limit: int, name: str) -> TooLarge:
    return TooLarge(
        f"The image has more than the {limit / 1_000_000:g} megapixels that are read of a"
        f" {formats.label(name)};"
        " make it smaller."
    )


def _with_an_end(data: bytes) -> tuple[bytes, ...]:
    """A JPEG with its end marker; or two that differ in what follows the bytes that are there.

    A decoder takes the end for the rest of pixels that are missing. If none are, what follows
    changes nothing. Refused is a JPEG whose scans would keep the decoder busy for minutes: each
    can be 70 bytes.
    """
    scans, at, parts = 0, 0, 0
    while segment := _SEGMENT.search(data, at):
        marker, parts = segment[1][0], parts + 1
        scans += marker == _START_OF_SCAN
        if marker == _END_OF_IMAGE:
            return (data,)
        if parts > MOST_PARTS:
            raise too_many_parts()
        if scans > MAX_SCANS:
            raise UnreadableImage(
                f"The JPEG is made of more than {MAX_SCANS} scans; save it again and send the new"
                " file."
            )
        at = segment.end() + int.from_bytes(data[segment.end() : segment.end() + 2], "big")
    there = data.rstrip(b"\xff")
    return there + _END, there + _FILL + _END


def _reduced(image: Image.Image, name: str, side: int, mode: Literal["L", "RGB"]) -> Image.Image:
    """Decode to a mode, RGB where there are opaque colours alone, and to the size of `_decoded`.

    A JPEG is decoded at 1/2, 1/4 or 1/8 scale straight from its cosine coefficients, which costs a
    fraction of the whole; what is left to reduce is averaged by boxes.
    """
    width, height = image.size
    factor = max(1, max(width, height) // side)
    if name == "JPEG":
        scale = max(scale for scale in (1, 2, 4, 8) if scale <= factor)
        image.draft(mode, (width // scale, height // scale))
        factor //= scale
    image.load()
    image = _plain_mode(image)
    if image.mode == "RGB" and mode == "L":  # one channel is averaged in a third of the time
        image = image.convert("L")
    if factor > 1:
        image = image.reduce(factor)
    if image.mode == "F":
        return _eight_bits(image)
    if image.mode in {"LA", "RGBA"}:
        return _composite(image)
    return image if image.mode == mode else image.convert("L")


def _plain_mode(image: Image.Image) -> Image.Image:
    """Convert modes that cannot be averaged: palettes, bits, premultiplied and 16-bit ones."""
    if image.mode.startswith("I"):  # before transparency, which Pillow cannot apply to these
        return image.convert("I").convert("F")
    if image.mode == "LAB":
        return image.getchannel("L")
    plain = "RGBA" if "transparency" in image.info else _PLAIN_MODES.get(image.mode, image.mode)
    return image if plain == image.mode else image.convert(plain)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Bring 16-bit, 32-bit or float values to 0..255.

    Full scale is the smallest usual one that holds every value, or else the largest value: these
    files do not say what their white is.
    """
    values = np.nan_to_num(np.asarray(image), posinf=0.0, neginf=0.0).clip(min=0)
    largest = float(values.max())
    full = next((white for white in _WHITES if largest <= white), largest)
    return Image.fromarray(np.round(values * (255 / full)).astype(np.uint8))


def _composite(image: Image.Image) -> Image.Image:
    """Lay a transparent picture on the background that its author saw ink contrast with.

    Opaque pixels of one shade are bare ink, which gets the farther of black and white behind it.
    Where they vary they hold ink and paper, and their median, the paper, is carried on.
    """
    grey, alpha = (np.asarray(image.convert("LA"))[..., band] for band in (0, 1))
    opaque = grey[alpha > alpha.max() // 2]
    if opaque.size == 0:
        return Image.new("L", image.size, 255)
    low, middle, high = (percentile(opaque, share) for share in (2, 50, 98))
    bare_ink = high - low < 64
    background = (255 if middle < 128 else 0) if bare_ink else middle
    weight = alpha / np.float32(255)
    return Image.fromarray(np.round(grey * weight + background * (1 - weight)).astype(np.uint8))


def _turn(image: Image.Image) -> Image.Transpose | None:
    """How the decoder says to turn the picture upright; None where it is.

    Asked after decoding, because Pillow turns TIFF and HEIC itself and then drops the tag. Of
    other formats `digits.metadata` has taken Exif away, but for AVIF's own property.
    """
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        return _TURNS.get(orientation) if isinstance(orientation, int) else None
    except Exception:  # garbage in EXIF raises as freely as garbage in pixels, and matters less
        return None
