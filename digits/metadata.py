"""Remove the metadata of an image file before it is decoded, and read the orientation from it.

Comments, profiles, thumbnails and Exif do not change a pixel, but a broken or malicious one can
make Pillow fail or take very long. Each file is therefore reduced to the parts that its decoder
needs. This module does not decode pixels.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from digits.errors import UnreadableImage

# Limits on untrusted files, well above what valid files have.
MOST_PARTS = 50_000  # chunks, segments, blocks and markers of a file; valid files have thousands
_MOST_EXIF = 1 << 20  # bytes of a compressed Exif block, unpacked
_MOST_DIRECTORY = 1 << 22  # bytes of all fields that describe a TIFF's pixels

_ORIENTATION = 274  # tag of Exif and TIFF
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")


@dataclass(frozen=True)
class Bare:
    """A file without its metadata.

    Attributes
    ----------
    data : bytes
        The file, reduced to the parts that its decoder needs.
    orientation : int or None
        Exif's orientation, 1 to 8; None if the metadata has no valid one.
    """

    data: bytes
    orientation: int | None = None


def without_metadata(data: bytes, name: str) -> Bare:
    """Reduce a file of the format `name` to the parts that its decoder needs.

    A file whose structure cannot be parsed is returned unchanged; the decoder reports the error.

    Raises
    ------
    UnreadableImage
        If the file has more than `MOST_PARTS` parts, or describes a TIFF's pixels at excessive
        length.
    """
    try:
        return _STRIPPED[name](data) if name in _STRIPPED else Bare(data)
    except (struct.error, IndexError):
        return Bare(data)


class _Parts:
    """Counts the parts of a file and raises `UnreadableImage` above `MOST_PARTS`."""

    def __init__(self) -> None:
        self._count = 0

    def another(self) -> bool:
        """Count one part and return True, for use in the condition of a loop."""
        self._count += 1
        if self._count > MOST_PARTS:
            raise too_many_parts()
        return True


def too_many_parts() -> UnreadableImage:
    """Return the error for a file with more than `MOST_PARTS` parts."""
    return UnreadableImage(
        f"The file has more than {MOST_PARTS:,} parts; save it again and send the new file."
    )


# PNG, https://www.w3.org/TR/png-3/#5Chunk-layout

_PNG_KEPT = frozenset({b"IHDR", b"PLTE"})
_PNG_NEXT = re.compile(rb"IDAT|PLTE|tRNS")  # chunks to resume at after a chunk of a wrong length
_PNG_TRANSPARENCY = {0: range(2, 3), 2: range(6, 7), 3: range(1, 257)}  # bytes, by colour type
_RAW_EXIF = re.compile(rb"Raw profile type (?:exif|APP1)\0\0")


def _png(data: bytes) -> Bare:
    kept, at, parts = [data[:8]], 8, _Parts()
    exif, xmp = b"", b""
    while at + 8 <= len(data) and parts.another():
        length, kind = struct.unpack_from(">I4s", data, at)
        start, end = at + 8, at + 12 + length
        if kind == b"IEND":
            break
        if kind == b"IDAT":
            # A truncated chunk is kept; the decoder finds out whether pixels are missing.
            whole = end <= len(data)
            kept.append(data[at:end] if whole else _chunk(kind, data[start:]))
        elif kind in _PNG_KEPT:
            kept.append(data[at:end])
        elif not _is_chunk(data, end):
            end = _next_chunk(data, start)
        elif kind == b"tRNS":
            if length in _PNG_TRANSPARENCY.get(data[25], ()):
                kept.append(_chunk(kind, data[start : end - 4]))
        elif kind == b"eXIf":
            exif = exif or data[start : end - 4]
        elif kind == b"zTXt" and (raw := _RAW_EXIF.match(data, start)):
            exif = exif or _raw_exif(data[raw.end() : end - 4])
        elif kind == b"iTXt" and data.startswith(b"XML:com.adobe.xmp\0\0", start):
            xmp = xmp or data[start : end - 4]
        at = end
    kept.append(_chunk(b"IEND", b""))
    return Bare(b"".join(kept), _orientation(exif, xmp))


def _chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def _is_chunk(data: bytes, at: int) -> bool:
    """Whether a chunk can begin at the offset `at`, or the file ends there."""
    if at + 8 > len(data):
        return at == len(data)
    length: int
    kind: bytes
    length, kind = struct.unpack_from(">I4s", data, at)
    return kind.isalpha() and (kind == b"IDAT" or at + 12 + length <= len(data))


def _next_chunk(data: bytes, at: int) -> int:
    """Return the offset of the next chunk that decoding needs, or the file's length."""
    for found in _PNG_NEXT.finditer(data, at + 4):
        begin: int = found.start() - 4
        (length,) = struct.unpack_from(">I", data, begin)
        if found[0] == b"IDAT" or _is_chunk(data, begin + 12 + length):
            return begin
    return len(data)


def _raw_exif(compressed: bytes) -> bytes:
    """Unpack Exif as ImageMagick writes it: deflated text of a name, a length and hex digits."""
    try:
        text = zlib.decompressobj().decompress(compressed, _MOST_EXIF)
        return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except (zlib.error, ValueError):
        return b""


# JPEG, ITU-T T.81 annex B

_MARKER = re.compile(rb"\xff([^\0\xff])")
_START_OF_SCAN, _END_OF_IMAGE, _COMMENT = 0xDA, 0xD9, 0xFE
_LONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_APPLICATION = range(0xE0, 0xF0)
_APP0, _APP14 = 0xE0, 0xEE  # segments of JFIF and Adobe, which define the colour coding
_JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"  # version 1.1, square pixels, no thumbnail
_ADOBE_BYTES = 12
# Start of a table or a frame, or of an embedded thumbnail.
_JPEG_NEXT = re.compile(rb"\xff(?:([\xc0-\xcf\xda\xdb\xdd])|(\xd8\xff))")


def _jpeg(data: bytes) -> Bare:
    kept, at, parts = [data[:2]], 2, _Parts()
    exif, xmp = b"", b""
    while (found := _MARKER.search(data, at)) and parts.another():
        marker, start = found[1][0], found.end()
        if marker in _LONE_MARKERS:
            at = start
            continue
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            kept.append(data[start - 2 :])
            break
        (length,) = struct.unpack_from(">H", data, start)
        end, content = start + length, data[start + 2 : start + length]
        if marker not in _APPLICATION and marker != _COMMENT:
            kept.append(data[start - 2 : end])
        elif length < 2 or data[end : end + 1] != b"\xff":
            end = _next_segment(data, start)
        elif marker == _APP0 and content.startswith(b"JFIF\0"):
            kept.append(_JFIF)
        elif marker == _APP14 and content.startswith(b"Adobe") and len(content) >= _ADOBE_BYTES:
            kept.append(data[start - 2 : end])
        elif content.startswith(b"Exif\0"):
            exif = exif or content
        elif content.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            xmp = xmp or content
        at = end
    return Bare(b"".join(kept), _orientation(exif, xmp))


def _next_segment(data: bytes, at: int) -> int:
    """Return where the image's own tables begin, after a segment of a wrong length."""
    last_end = data.rfind(b"\xff\xd9")
    while found := _JPEG_NEXT.search(data, at):
        begin = found.start()
        if found[2]:
            at = data.find(b"\xff\xd9", begin) + 2 if begin < last_end else begin + 2
            continue
        (length,) = struct.unpack_from(">H", data, begin + 2)
        if (
            found[1][0] == _START_OF_SCAN
            or data[begin + 2 + length : begin + 3 + length] == b"\xff"
        ):
            return begin
        at = begin + 2
    return len(data)


# WebP, https://developers.google.com/speed/webp/docs/riff_container

_WEBP_KEPT = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"})
_WEBP_ALPHA_AND_ANIMATION = 0x12


def _webp(data: bytes) -> Bare:
    kept, at, parts = [], 12, _Parts()
    exif, xmp = b"", b""
    while at + 8 <= len(data) and parts.another():
        kind, length = struct.unpack_from("<4sI", data, at)
        start, end = at + 8, at + 8 + length
        content = data[start:end]
        if kind == b"VP8X" and content:
            content = bytes([content[0] & _WEBP_ALPHA_AND_ANIMATION]) + content[1:]
        if kind in _WEBP_KEPT or kind == b"VP8X":
            kept.append(struct.pack("<4sI", kind, length) + content + bytes(length % 2))
        elif kind == b"EXIF":
            exif = exif or content
        elif kind == b"XMP ":
            xmp = xmp or content
        at = end + length % 2
    body = b"WEBP" + b"".join(kept)
    return Bare(struct.pack("<4sI", b"RIFF", len(body)) + body, _orientation(exif, xmp))


# GIF, https://www.w3.org/Graphics/GIF/spec-gif89a.txt

_GIF_EXTENSION, _GIF_IMAGE, _GIF_CONTROL = 0x21, 0x2C, 0xF9


def _gif(data: bytes) -> Bare:
    table = 3 << (data[10] % 8 + 1) if data[10] & 0x80 else 0
    at, parts = 13 + table, _Parts()
    kept = [data[:at]]
    while at < len(data) and data[at] == _GIF_EXTENSION:
        start, kind = at, data[at + 1]
        at += 2
        while data[at] and parts.another():
            at += 1 + data[at]
        at += 1
        if kind == _GIF_CONTROL:
            kept.append(data[start:at])
    return Bare(b"".join(kept) + data[at:])


# TIFF 6.0, section 2, and BigTIFF, https://www.awaresystems.be/imaging/tiff/bigtiff.html

# Tags that define how the pixels are stored.
_TIFF_KEPT = frozenset(
    {
        *(254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, _ORIENTATION, 273, 277, 278, 279),
        *(280, 281, 284, 290, 291, 292, 293, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325),
        *(326, 327, 328, 332, 334, 336, 338, 339, 340, 341, 342, 347, *range(512, 522)),
        *(529, 530, 531, 532, 32995, 32996, 32997, 32998, 34908, 34909, 34910),
    }
)
# Bytes of a value by its type.
_TIFF_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}


def _tiff(data: bytes) -> Bare:
    order = "<" if data[:2] == b"II" else ">"
    big = b"+" in data[2:4]
    where, count_of, entry = ("Q", "Q", "HHQ") if big else ("I", "H", "HHI")
    (at,) = struct.unpack_from(order + where, data, 8 if big else 4)
    (count,) = struct.unpack_from(order + count_of, data, at)
    first = at + struct.calcsize(order + count_of)
    size = struct.calcsize(order + entry + where)
    end = first + count * size
    if end > len(data):
        return Bare(data)
    kept, total, parts = [], 0, _Parts()
    for begin in range(first, end, size):
        tag, kind, values = struct.unpack_from(order + entry, data, begin)
        if tag in _TIFF_KEPT and parts.another():
            kept.append(data[begin : begin + size])
            total += values * _TIFF_BYTES.get(kind, 8)
    if total > _MOST_DIRECTORY:
        raise UnreadableImage(
            f"The TIFF's tags have more than {_MOST_DIRECTORY:,} bytes; save it again and send the"
            " new file."
        )
    directory = struct.pack(order + count_of, len(kept)) + b"".join(kept)
    following = data[end : end + struct.calcsize(order + where)]
    changed = bytearray(data)
    changed[at : at + len(directory) + len(following)] = directory + following
    return Bare(bytes(changed))


# PNM, https://netpbm.sourceforge.net/doc/ppm.html

_PNM_SPACE = re.compile(rb"[ \t\n\v\f\r]*")
_PNM_COMMENT = re.compile(rb"#[^\r\n]*")
_PNM_NUMBER = re.compile(rb"[0-9]+")
_PNM_BITS = b"14"  # bitmaps, P1 and P4, whose header has no largest value


def _pnm(data: bytes) -> Bare:
    """Replace white space and comments in the header by one space between numbers."""
    header, at, parts = [data[:2]], 2, _Parts()
    for _ in range(2 if data[1] in _PNM_BITS else 3):
        at = _end(_PNM_SPACE, data, at)
        while (after := _end(_PNM_COMMENT, data, at)) > at and parts.another():
            at = _end(_PNM_SPACE, data, after)
        after = _end(_PNM_NUMBER, data, at)
        header.append(data[at:after])
        at = after
    return Bare(b" ".join(header) + data[at:])


def _end(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    """Return the end of the match at the offset `at`; `at` if the pattern does not match."""
    found = pattern.match(data, at)
    return found.end() if found else at


# HEIF and AVIF: ISO/IEC 23008-12. Their orientation is a property of the image, not part of Exif.

_EXIF_ITEM = re.compile(rb"(infe[\s\S]{8}|infe[\s\S]{10})Exif")


def _iso(data: bytes) -> Bare:
    """Replace the item type Exif by an unknown one, so that the decoder ignores the item."""
    return Bare(_EXIF_ITEM.sub(rb"\1skip", data))


# JPEG 2000, ITU-T T.800 annexes A and I

_JP2_CODESTREAM, _JP2_HEADER = b"jp2c", b"jp2h"
_JP2_KEPT = (b"ihdr", b"bpcc", b"colr", b"pclr", b"cmap", b"cdef")  # ihdr comes first
_J2K_COMMENT, _J2K_TILE = 0xFF64, 0xFF90


def _jpeg2000(data: bytes) -> Bare:
    if data.startswith(b"\xff\x4f"):
        return Bare(_codestream(data))
    kept, declared, parts = [], b"", _Parts()
    for kind, start, end in _boxes(data, 0, len(data), parts):
        if kind == _JP2_HEADER:
            inner = {it: data[a:b] for it, a, b in _boxes(data, start, end, parts)}
            declared = inner.get(b"ihdr", b"")[:10]
            content = b"".join(_box(it, inner[it]) for it in _JP2_KEPT if it in inner)
            kept.append(_box(kind, content))
        elif kind == _JP2_CODESTREAM:
            stream = _codestream(data[start:end])
            if declared != _size_of_codestream(stream):
                raise UnreadableImage(
                    "The size in the JPEG 2000 file's header is not the size of its image; save it"
                    " again and send the new file."
                )
            kept.append(_box(kind, stream))
            break
        elif kind in (b"jP  ", b"ftyp"):
            kept.append(_box(kind, data[start:end]))
    return Bare(b"".join(kept))


def _size_of_codestream(data: bytes) -> bytes:
    """Return height, width and number of components, encoded as at the start of an ``ihdr`` box."""
    right, low, left, top = struct.unpack_from(">4I", data, 8)
    (components,) = struct.unpack_from(">H", data, 40)
    return struct.pack(">IIH", max(low - top, 0), max(right - left, 0), components)


def _boxes(data: bytes, at: int, end: int, parts: _Parts) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type of each box, and the start and end of its content."""
    while at + 8 <= end and parts.another():
        length, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        following = at + length if length else end
        if following < start:
            return
        yield kind, start, min(following, end)
        at = following


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def _codestream(data: bytes) -> bytes:
    """Return a codestream without the comments of its main header."""
    kept, at, parts = [data[:2]], 2, _Parts()
    while parts.another():
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == _J2K_TILE:
            return b"".join(kept) + data[at:]
        if marker != _J2K_COMMENT:
            kept.append(data[at : at + 2 + length])
        at += 2 + length
    return data


def _orientation(exif: bytes, xmp: bytes) -> int | None:
    """Return the orientation in Exif, or in XMP if Exif has none.

    Pillow's Exif reader is not used: it copies every field, and in a malicious file thousands of
    fields refer to the same megabytes.
    """
    try:
        found = _in_exif(exif.removeprefix(b"Exif\0").lstrip(b"\0"))
    except struct.error:
        found = None
    if found is None and (in_xmp := _XMP_ORIENTATION.search(xmp)):
        found = int(in_xmp[1])
    return found


def _in_exif(tiff: bytes) -> int | None:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return None
    (at,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, at)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", tiff, entry)
        if tag == _ORIENTATION:
            code = {3: "H", 4: "I"}.get(kind)  # a short, as the standard requires, or a long
            if code is None:
                return None
            (value,) = struct.unpack_from(order + code, tiff, entry + 8)
            return value if 1 <= value <= 8 else None
    return None


_STRIPPED: dict[str, Callable[[bytes], Bare]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "WEBP": _webp,
    "GIF": _gif,
    "TIFF": _tiff,
    "PNM": _pnm,
    "AVIF": _iso,
    "HEIC": _iso,
    "JPEG2000": _jpeg2000,
}
