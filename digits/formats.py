"""The formats of image files: what each is called, how it is told, whether it can be decoded here.

What can be decoded is asked of Pillow when it is needed and never configured, because installations
differ: the Lambda functions leave out large decoders, and pillow-heif is optional.
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
class Format:
    """One format of image files.

    Attributes
    ----------
    name : str
        As ``image.format`` of a result says it.
    label : str
        As people write it.
    suffixes : tuple of str
        What its files' names end in, in lower case.
    plugin : str
        The module and the class that decode it.
    feature : str or None
        The part of Pillow that it needs, where Pillow can be built without.
    """

    name: str
    label: str
    suffixes: tuple[str, ...]
    plugin: str
    feature: str | None = None


_FORMATS = (
    Format("PNG", "PNG", (".png", ".apng"), "PIL.PngImagePlugin:PngImageFile"),
    # With the names that browsers, Windows, stereo cameras and telephones give to JPEG files.
    Format(
        "JPEG",
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp", ".mpo", ".jps"),
        "PIL.JpegImagePlugin:JpegImageFile",
        "jpg",
    ),
    Format("WEBP", "WebP", (".webp",), "PIL.WebPImagePlugin:WebPImageFile", "webp"),
    Format("GIF", "GIF", (".gif",), "PIL.GifImagePlugin:GifImageFile"),
    Format("BMP", "BMP", (".bmp", ".dib"), "PIL.BmpImagePlugin:BmpImageFile"),
    Format("TIFF", "TIFF", (".tif", ".tiff"), "PIL.TiffImagePlugin:TiffImageFile"),
    Format("PNM", "PNM", (".pnm", ".pbm", ".pgm", ".ppm"), "PIL.PpmImagePlugin:PpmImageFile"),
    Format("AVIF", "AVIF", (".avif", ".avifs"), "PIL.AvifImagePlugin:AvifImageFile", "avif"),
    Format(
        "JPEG2000",
        "JPEG 2000",
        (".jp2", ".j2k", ".jpf", ".jpx", ".jpm", ".j2c", ".jpc"),
        "PIL.Jpeg2KImagePlugin:Jpeg2KImageFile",
        "jpg_2000",
    ),
    Format(
        "HEIC",
        "HEIC",
        (".heic", ".heif", ".hif", ".heics", ".heifs"),
        "pillow_heif:HeifImageFile",
    ),
)
_BY_NAME = {it.name: it for it in _FORMATS}

# What files of the formats read here are called; what counts is what is in them.
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
# Of ISO base media files, https://www.iana.org/assignments/media-types/image/heif and .../avif.
_CODED_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIC"
    ),
}
_CONTAINER_BRANDS = frozenset({b"mif1", b"mif2", b"mif3", b"msf1", b"miaf"})
_MOST_BRANDS = 64
# Formats that are only named, so that whoever sends one knows what was understood.
_OTHERS = (
    ("PDF", re.compile(rb"%PDF-")),
    ("JPEG XL", re.compile(rb"\xff\x0a|\0\0\0\x0cJXL ")),
    ("SVG", re.compile(rb"\s*(<\?xml[^>]*>\s*)?<svg", re.IGNORECASE)),
    ("Photoshop", re.compile(rb"8BPS")),
    ("PAM", re.compile(rb"P7\n")),
)


def format_of(data: bytes) -> str | None:
    """Name the format by a file's first bytes; file names and declared types are not trusted."""
    for name, magic in _MAGIC:
        if magic.match(data):
            return name
    if data[4:8] == b"ftyp":
        return _format_of_iso(data)
    return None


def opener(name: str) -> Opener:
    """What reads the header of a file of that format.

    Raises
    ------
    UnsupportedFormat
        If it cannot be decoded in this process. The message advises formats that can be.
    """
    found = _opener(name)
    if found is None:
        needs = ", which needs pillow-heif," if name == "HEIC" else ""
        raise UnsupportedFormat(
            f"{label(name)}{needs} cannot be decoded here; send a PNG or a JPEG."
        )
    return found


def label(name: str) -> str:
    """A format's name as people write it."""
    return _BY_NAME[name].label


def readable() -> str:
    """The formats that can be decoded in this process, as a list for people."""
    *labels, last = [it.label for it in _FORMATS if _opener(it.name) is not None]
    return f"{', '.join(labels)} or {last}"


def refused(data: bytes) -> UnsupportedFormat:
    """The error for bytes of no format of `format_of`, with the formats that are read."""
    known = next((name for name, magic in _OTHERS if magic.match(data)), None)
    what = f"{known} is not" if known else "This is not an image in a format that is"
    return UnsupportedFormat(f"{what} read here; convert it to {readable()}.")


@cache
def _opener(name: str) -> Opener | None:
    # Not by Image.open: it would import all of Pillow's forty plugins, accept an ISO file by its
    # major brand alone, and need pillow-heif registered for the whole process.
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
    """AVIF or HEIC, by the first brand that says so, or by the coding where none does."""
    end = min(int.from_bytes(data[:4], "big") or len(data), 16 + 4 * _MOST_BRANDS)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))]
    for brand in brands:
        if brand in _CODED_BRANDS:
            return _CODED_BRANDS[brand]
    if _CONTAINER_BRANDS.isdisjoint(brands):
        return None
    return "AVIF" if b"av01" in data and b"hvc1" not in data else "HEIC"
