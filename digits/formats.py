"""Formats of image files: names and extensions, detection by magic bytes, and available decoders.

Which formats can be decoded is asked of Pillow at run time and is not configured, because
installations differ: the Lambda functions leave out large decoders, and pillow-heif is optional.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import IO

from PIL import Image, features

from digits.errors import UnsupportedFormat

Opener = Callable[[IO[bytes]], Image.Image]


@dataclass(frozen=True)
class ImageFormat:
    """One format of image files.

    Attributes
    ----------
    name : str
        Name in ``image.format`` of a result.
    label : str
        Name in messages.
    suffixes : tuple of str
        File name extensions, in lower case, with the dot.
    plugin : str
        Module and class of the decoder, as ``"module:class"``.
    feature : str or None
        Name of the optional feature of Pillow that the decoder needs; None if it needs none.
    """

    name: str
    label: str
    suffixes: tuple[str, ...]
    plugin: str
    feature: str | None = None


_FORMATS = (
    ImageFormat("PNG", "PNG", (".png", ".apng"), "PIL.PngImagePlugin:PngImageFile"),
    # Including the extensions that browsers, Windows, stereo cameras and phones use for JPEG.
    ImageFormat(
        "JPEG",
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp", ".mpo", ".jps"),
        "PIL.JpegImagePlugin:JpegImageFile",
        "jpg",
    ),
    ImageFormat("WEBP", "WebP", (".webp",), "PIL.WebPImagePlugin:WebPImageFile", "webp"),
    ImageFormat("GIF", "GIF", (".gif",), "PIL.GifImagePlugin:GifImageFile"),
    ImageFormat("BMP", "BMP", (".bmp", ".dib"), "PIL.BmpImagePlugin:BmpImageFile"),
    ImageFormat("TIFF", "TIFF", (".tif", ".tiff"), "PIL.TiffImagePlugin:TiffImageFile"),
    ImageFormat("PNM", "PNM", (".pnm", ".pbm", ".pgm", ".ppm"), "PIL.PpmImagePlugin:PpmImageFile"),
    ImageFormat("AVIF", "AVIF", (".avif", ".avifs"), "PIL.AvifImagePlugin:AvifImageFile", "avif"),
    ImageFormat(
        "JPEG2000",
        "JPEG 2000",
        (".jp2", ".j2k", ".jpf", ".jpx", ".jpm", ".j2c", ".jpc"),
        "PIL.Jpeg2KImagePlugin:Jpeg2KImageFile",
        "jpg_2000",
    ),
    ImageFormat(
        "HEIC",
        "HEIC",
        (".heic", ".heif", ".hif", ".heics", ".heifs"),
        "pillow_heif:HeifImageFile",
    ),
)
_BY_NAME = {it.name: it for it in _FORMATS}

# Extensions of all supported formats. They select files in folders; the format is then detected by
# the content.
SUFFIXES = tuple(suffix for it in _FORMATS for suffix in it.suffixes)

_MAGIC = (
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]")),
    ("BMP", re.compile(rb"BM")),
    ("WEBP", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    ("PNM", re.compile(rb"P[1-6][\s#]")),
    ("JPEG2000", re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51")),
)
# Brands of ISO base media files that name the coding; registered at
# https://www.iana.org/assignments/media-types/image/heif and .../avif.
_CODED_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIC"
    ),
}
# Brands that do not name the coding.
_CONTAINER_BRANDS = frozenset({b"mif1", b"mif2", b"mif3", b"msf1", b"miaf"})
_MOST_BRANDS = 64  # brands of a file that are compared at most; files list fewer than ten
# Formats that are not supported, but recognised so that the error message can name them.
_OTHERS = (
    ("PDF", re.compile(rb"%PDF-")),
    ("JPEG XL", re.compile(rb"\xff\x0a|\0\0\0\x0cJXL ")),
    ("SVG", re.compile(rb"\s*(<\?xml[^>]*>\s*)?<svg", re.IGNORECASE)),
    ("Photoshop", re.compile(rb"8BPS")),
    ("PAM", re.compile(rb"P7\n")),
)


def format_of(data: bytes) -> str | None:
    """Return the name of the format by a file's first bytes; None if it is not supported.

    File names and declared media types are not used, because they can be wrong.
    """
    for name, magic in _MAGIC:
        if magic.match(data):
            return name
    if data[4:8] == b"ftyp":
        return _format_of_iso(data)
    return None


def opener(name: str) -> Opener:
    """Return the function that opens files of a format and reads their header.

    Raises
    ------
    UnsupportedFormat
        If this installation has no decoder for it. The message recommends other formats.
    """
    found = _opener(name)
    if found is None:
        needs = ", which needs pillow-heif," if name == "HEIC" else ""
        raise UnsupportedFormat(
            f"{label(name)}{needs} cannot be decoded here; send a PNG or a JPEG."
        )
    return found


def label(name: str) -> str:
    """Return a format's name in messages."""
    return _BY_NAME[name].label


def readable() -> str:
    """Return the formats that this installation can decode, as text such as "PNG, JPEG or GIF"."""
    *labels, last = [it.label for it in _FORMATS if _opener(it.name) is not None]
    return f"{', '.join(labels)} or {last}"


def refused(data: bytes) -> UnsupportedFormat:
    """Return the error for bytes that `format_of` does not recognise, with supported formats."""
    known = next((name for name, magic in _OTHERS if magic.match(data)), None)
    what = f"{known} is not supported" if known else "This is not an image in a supported format"
    return UnsupportedFormat(f"{what}; convert it to {readable()}.")


@cache
def _opener(name: str) -> Opener | None:
    # Image.open is not used: it would import all of Pillow's forty plugins, detect ISO files by
    # their major brand only, and need pillow-heif to be registered for the whole process.
    known = _BY_NAME[name]
    module, _, attribute = known.plugin.partition(":")
    try:
        if known.feature is not None and not features.check(known.feature):
            return None
        found: Opener = getattr(import_module(module), attribute)
    except ImportError:
        return None
    return found


def _format_of_iso(data: bytes) -> str | None:
    """Return AVIF or HEIC by the first brand that names the coding, or else by the content."""
    end = min(int.from_bytes(data[:4], "big") or len(data), 16 + 4 * _MOST_BRANDS)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))]
    for brand in brands:
        if brand in _CODED_BRANDS:
            return _CODED_BRANDS[brand]
    if _CONTAINER_BRANDS.isdisjoint(brands):
        return None
    return "AVIF" if b"av01" in data and b"hvc1" not in data else "HEIC"
