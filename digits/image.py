"""Decode an image file to an upright greyscale picture, or raise one of three typed errors.

The bytes are untrusted: the limits are checked on the header before anything is decoded, and every
exception of Pillow becomes one of those errors.
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

# Limits, chosen so that decoding any file takes less than 400 MB of memory, as tests measure.
MAX_BYTES = 20 * 1024 * 1024  # of a file
MAX_PIXELS_JPEG = 50_000_000  # of a JPEG, which can be decoded at 1/2, 1/4 or 1/8 scale
MAX_PIXELS = 16_000_000  # of the other formats, which can only be decoded at full size
MAX_SCANS = 100  # of a JPEG: each costs a pass over the whole image, and encoders write a dozen
MIN_SIDE = 8  # pixels, shortest side of an image
# Pixels, least longer side of a decoded picture. A digit of a fifteenth of it is 20 pixels tall, as
# tall as a digit is in the classifier's frame.
WORKING_SIDE = 300
# Detection of enlarged pictures. The limits undo the enlargement of UCI's 8x8 digits; photos differ
# by at least four times `ENLARGEMENT`.
COARSE = 32  # pixels, longer side to which a picture is reduced to find out whether it was enlarged
ENLARGEMENT = 0.11  # largest difference to that picture, enlarged again; share of the contrast
NEARBY = 0.55  # the same at each pixel, as a share of the contrast around the pixel
ROUNDING = 3  # grey levels that are added to the limit of `NEARBY`
# Range along the first principal component of the colours, in grey levels, from which colour can
# show ink. Chosen by eye on development pictures.
COLOURED = 40

_TURNS = {  # Exif's orientation: the operation that turns the image upright
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
# White of greyscale images with deep pixels: floats of 0 to 1, and 8, 10, 12, 14 and 16 bits.
_WHITES = (1.0, 255.0, 1_023.0, 4_095.0, 16_383.0, 65_535.0)
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # tags of a TIFF
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9  # JPEG markers
# A JPEG marker that is followed by a length, or the end of the image. FF00, FF01 and FFD0 to FFD8
# have no length.
_SEGMENT = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
_END = b"\xff\xd9"
_FILL = b"\x55" * 1024  # alternating bits, which every Huffman code decodes to changing pixels


@dataclass(frozen=True)
class Picture:
    """A decoded image.

    Attributes
    ----------
    grey : uint8 (h, w)
        Luminance of the upright image, 0 black to 255 white; reduced if the image is large.
    width, height : int
        Pixels of the upright image at full size.
    format : str
        Name of the file's format in `digits.formats`, such as ``"PNG"``.
    data : bytes or None
        The file, from which `finer` decodes more detail; None if `grey` has all of it.
    """

    grey: Grey
    width: int
    height: int
    format: str
    data: bytes | None = field(default=None, repr=False, compare=False)

    def finer(self, side: int) -> Grey:
        """Decode the image again with more detail, uint8 (h, w) as `grey`.

        Its longer side has at least `side` and less than twice as many pixels, or the image's full
        resolution if that is less.
        """
        if self.data is None or max(self.grey.shape) >= min(side, max(self.width, self.height)):
            return self.grey
        return np.asarray(_decoded(self.data, self.format, side)[0])

    def by_colour(self) -> Picture | None:
        """Project the colours on their first principal component, for ink as light as the paper.

        Returns a picture whose `grey` is that component, in grey levels. Returns None if its range
        is below `COLOURED`, if the image has no colours, or if there is no file to decode.
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
    """Decode the first frame of an image file to greyscale, upright, at a reduced size.

    Transparency is composited on a background. For any bytes, it returns a picture or raises one of
    the errors below. It is safe to call from several threads.

    Parameters
    ----------
    data
        The file's bytes.
    max_bytes
        The largest file that is decoded.

    Raises
    ------
    TooLarge
        If the file has more than `max_bytes`, or more pixels than allowed for its format.
    UnsupportedFormat
        If the format is not one of `digits.formats`, or this installation cannot decode it.
    UnreadableImage
        If the file is empty, corrupt or truncated, or a side has fewer than 8 pixels.
    """
    name = _checked_format(data, max_bytes)
    reduced, (width, height) = _decoded(data, name, WORKING_SIDE)
    return Picture(np.asarray(reduced), width, height, name, data)


def in_colour(data: bytes, side: int) -> Image.Image:
    """Decode an image file for display, upright.

    The longer side has at least `side` and less than twice as many pixels, or the full resolution
    if that is less. The result is RGB, or greyscale if the image has no colours or is transparent.
    Raises as `decode`.
    """
    return _decoded(data, _checked_format(data, MAX_BYTES), side, "RGB")[0]


def _checked_format(data: bytes, max_bytes: int) -> str:
    """Check the file's size and return the name of its format."""
    if not data:
        raise UnreadableImage("The file is empty; send the bytes of an image.")
    if len(data) > max_bytes:
        raise TooLarge(
            f"The file has {len(data):,} bytes, more than the {max_bytes:,} that are allowed;"
            " make the image smaller."
        )
    name = formats.format_of(data)
    if name is None:
        raise formats.refused(data)
    return name


def _decoded(
    data: bytes, name: str, side: int, mode: Literal["L", "RGB"] = "L"
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode a file, upright, with a longer side of `side` to twice as many pixels.

    Returns the image in `mode`, or in greyscale if it has no opaque colours, and the width and
    height of the upright image at full size. Raises as `decode`.
    """
    # Malformed files make Pillow raise nearly any exception (OSError, ValueError, SyntaxError,
    # EOFError, struct.error, KeyError, OverflowError, MemoryError, ...), so all are caught.
    try:
        bare = without_metadata(data, name)
        versions = _with_end_marker(bare.data) if name == "JPEG" else (bare.data,)
        reduced, (width, height), turn = _decode_unturned(versions[0], name, side, mode)
        if any(_decode_unturned(it, name, side, mode)[0] != reduced for it in versions[1:]):
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
    """Undo an enlargement, whose square pixels look like strokes and whose blur like shadows.

    An enlargement by repeated pixels is undone for every factor. A smooth enlargement is undone if
    the picture, reduced to `COARSE` pixels and enlarged again, hardly changes at any pixel. The
    criterion is the largest change, so that faint writing beside a dark shadow is not lost.
    """
    grey = _without_repeated_pixels(picture.grey)
    scale = COARSE / max(grey.shape)
    if scale <= 0.5 and min(grey.shape) * scale >= MIN_SIDE:
        image = Image.fromarray(grey)
        size = (round(image.width * scale), round(image.height * scale))
        coarse = image.resize(size, Image.Resampling.BOX)
        # Four times the coarse size shows every loss, and takes less time than the full size.
        fine = image.reduce(max(1, max(grey.shape) // (4 * COARSE)))
        again = np.asarray(coarse.resize(fine.size, Image.Resampling.BICUBIC), np.int16)
        lost = np.abs(again - np.asarray(fine))
        contrast = max(int(np.ptp(grey)), 1)
        if lost.max() < ENLARGEMENT * contrast and (lost <= _max_loss(coarse, fine.size)).all():
            grey = np.asarray(coarse)
    return picture if grey is picture.grey else replace(picture, grey=grey, data=None)


def _max_loss(coarse: Image.Image, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the change that an enlargement to `size` may show at each pixel.

    Float64 (h, w), grey levels; proportional to the contrast within 3×3 coarse pixels.
    """
    padded = np.pad(np.asarray(coarse), 1, mode="edge")
    contrast = Image.fromarray(extreme(padded, 3, np.maximum) - extreme(padded, 3, np.minimum))
    return NEARBY * np.asarray(contrast.resize(size, Image.Resampling.NEAREST)) + ROUNDING


def _without_repeated_pixels(grey: Grey) -> Grey:
    """Undo an enlargement by an integer factor that repeats pixels, along each axis."""
    for axis in (0, 1):
        turned = grey.swapaxes(0, axis)
        # In a photo the first four rows already differ, and the whole need not be compared.
        for seen in (turned[:4], turned):
            edges = np.flatnonzero((seen[1:] != seen[:-1]).any(axis=1)) + 1
            times = int(np.gcd.reduce(edges, initial=len(turned)))
            if times == 1:
                break
        if len(edges) and times > 1 and len(turned) // times >= MIN_SIDE:
            grey = turned[times // 2 :: times].swapaxes(0, axis)
    return np.ascontiguousarray(grey)


def _decode_unturned(
    data: bytes, name: str, side: int, mode: Literal["L", "RGB"]
) -> tuple[Image.Image, tuple[int, int], Image.Transpose | None]:
    """Decode as `_decoded`, but do not turn the image upright.

    Returns the image, its full width and height, and the operation that turns both upright.
    """
    with formats.opener(name)(io.BytesIO(data)) as image:
        size = image.size
        _check_size(image, name)
        return _reduced(image, name, side, mode), size, _turn(image)


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise UnreadableImage(
            f"The image has {width} by {height} pixels, and each side needs at least {MIN_SIDE};"
            " send a larger image."
        )
    limit = _max_pixels(name, image.mode)
    if max(width * height, _tile_pixels(image)) > limit:
        raise _too_many_pixels(limit, name)


def _max_pixels(name: str, mode: str = "RGB") -> int:
    # Until the last scan, the decoder of a progressive JPEG holds two bytes of each pixel and
    # channel, and that of JPEG 2000 four: 300 MB for three channels at the limit. Of images with
    # four channels fewer pixels are allowed, so that they do not need more.
    four = mode == "CMYK" or (name == "JPEG2000" and mode == "RGBA")
    return (MAX_PIXELS_JPEG if name == "JPEG" else MAX_PIXELS) * (3 if four else 4) // 4


def _tile_pixels(image: Image.Image) -> int:
    """Return the pixels of a TIFF's tile; a tile is decoded whole, even if it exceeds the image."""
    tags = getattr(image, "tag_v2", {})  # by name: importing the plugin would slow every start
    width, length = (int(tags.get(tag, 0)) for tag in (_TILE_WIDTH, _TILE_LENGTH))
    return width * length


def _too_many_pixels(limit: int, name: str) -> TooLarge:
    return TooLarge(
        f"The image has more than {limit / 1_000_000:g} megapixels, the limit for"
        f" {formats.label(name)}; make it smaller."
    )


def _with_end_marker(data: bytes) -> tuple[bytes, ...]:
    """Return a JPEG that has an end marker, or two completed versions of one that has none.

    The two versions differ in the bytes that are appended. The decoder fills missing pixels from
    those bytes, so the file is truncated if the two decode to different pixels, and complete if
    not. A JPEG with more than `MAX_SCANS` scans is rejected: each scan can have as few as 70 bytes
    and needs a pass over all pixels, which can take minutes.
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
                f"The JPEG has more than {MAX_SCANS} scans; save it again and send the new file."
            )
        at = segment.end() + int.from_bytes(data[segment.end() : segment.end() + 2], "big")
    there = data.rstrip(b"\xff")
    return there + _END, there + _FILL + _END


def _reduced(image: Image.Image, name: str, side: int, mode: Literal["L", "RGB"]) -> Image.Image:
    """Decode the pixels at the size of `_decoded`: to RGB for opaque colour images in that mode.

    A JPEG is decoded at 1/2, 1/4 or 1/8 scale from its DCT coefficients, which takes a fraction of
    the time of a full decoding. The remaining reduction is by box averaging.
    """
    width, height = image.size
    factor = max(1, max(width, height) // side)
    if name == "JPEG":
        scale = max(scale for scale in (1, 2, 4, 8) if scale <= factor)
        image.draft(mode, (width // scale, height // scale))
        factor //= scale
    image.load()
    image = _plain_mode(image)
    if image.mode == "RGB" and mode == "L":  # averaging one channel takes a third of the time
        image = image.convert("L")
    if factor > 1:
        image = image.reduce(factor)
    if image.mode == "F":
        return _eight_bits(image)
    if image.mode in {"LA", "RGBA"}:
        return _composite(image)
    return image if image.mode == mode else image.convert("L")


def _plain_mode(image: Image.Image) -> Image.Image:
    """Convert modes that cannot be averaged: palette, 1-bit, premultiplied and 16-bit modes."""
    if image.mode.startswith("I"):  # first, because Pillow cannot apply transparency to these
        return image.convert("I").convert("F")
    if image.mode == "LAB":
        return image.getchannel("L")
    plain = "RGBA" if "transparency" in image.info else _PLAIN_MODES.get(image.mode, image.mode)
    return image if plain == image.mode else image.convert(plain)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit or float values to 0..255.

    Such files do not state their white level. White is taken to be the smallest of `_WHITES` that
    no value exceeds, or the largest value if all are exceeded.
    """
    values = np.nan_to_num(np.asarray(image), posinf=0.0, neginf=0.0).clip(min=0)
    largest = float(values.max())
    full = next((white for white in _WHITES if largest <= white), largest)
    return Image.fromarray(np.round(values * (255 / full)).astype(np.uint8))


def _composite(image: Image.Image) -> Image.Image:
    """Composite a transparent picture on a background against which its ink has contrast.

    If the opaque pixels have about one shade, they are ink without paper; the background is then
    black or white, whichever is farther from that shade. Otherwise they show ink and paper, and the
    background is their median, the paper's shade.
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
    """Return the operation that turns a decoded image upright; None if it is upright.

    It must be called after decoding: Pillow turns TIFF and HEIC images while decoding and removes
    the tag. From other formats, `digits.metadata` has removed Exif, except AVIF's own property.
    """
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        return _TURNS.get(orientation) if isinstance(orientation, int) else None
    except Exception:  # malformed Exif raises nearly any exception; the pixels are still usable
        return None
