"""Many pictures, loose or in zips, one after the other: never more than one of them unpacked.

Archives come from strangers: what is counted is what is unpacked, not what a header claims, nothing
is written anywhere, and names are only names.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from digits import image
from digits.errors import ImageError, TooLarge, UnreadableImage

MOST = 1_000  # pictures at once
MOST_BYTES = 256 * 1024 * 1024  # of them together, unpacked

# Python reads a zip's whole directory before it gives the first name; a picture takes about 100.
_MOST_DIRECTORY = 4 * 1024 * 1024
_END = struct.Struct("<4s4H2LH")  # the end record, APPNOTE.TXT 4.3.16
_END_MARK, _ZIP64_MARK, _ZIP_MARK = b"PK\x05\x06", b"PK\x06\x07", b"PK\x03\x04"
_LONGEST_END = _END.size + 0xFFFF  # a comment may follow it
_ENCRYPTED = 1
# The others may ask for as much memory as they like.
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


class Item(NamedTuple):
    """One picture's name and bytes; or, with no bytes, why there are none."""

    name: str
    data: bytes | None
    problem: ImageError | None = None


def pictures(files: Iterable[tuple[str, bytes]]) -> Iterator[Item]:
    """Unpack files, loose pictures and zips of them, one picture at a time.

    What can't be unpacked is one item that says so, and the others go on; at the limits the last
    item says that they are reached.
    """
    spent = 0
    for count, item in enumerate(_unpacked(files)):
        spent += len(item.data or b"")
        if count >= MOST or spent > MOST_BYTES:
            yield Item(
                item.name,
                None,
                TooLarge(
                    f"Not read, nor what follows: {MOST:,} pictures and {MOST_BYTES // 2**20} MB"
                    " together is the most at once."
                ),
            )
            return
        yield item


def _unpacked(files: Iterable[tuple[str, bytes]]) -> Iterator[Item]:
    for name, data in files:
        if data.startswith((_ZIP_MARK, _END_MARK)):
            yield from _in_zip(name, data)
        else:
            yield Item(name, data)


def _in_zip(name: str, data: bytes) -> Iterator[Item]:
    if not _has_small_directory(data):
        yield Item(name, None, UnreadableImage("This zip is broken, or lists far too many files."))
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as folder:
            for info in folder.infolist():
                if not (info.is_dir() or _is_hidden(info.filename)):
                    yield _member(folder, info, f"{name}/{info.filename}")
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        yield Item(name, None, UnreadableImage("This zip is broken; pack it again."))


def _member(folder: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Item:
    if info.flag_bits & _ENCRYPTED:
        return Item(
            name, None, UnreadableImage("It is locked with a password; pack it without one.")
        )
    if info.compress_type not in _METHODS:
        return Item(
            name, None, UnreadableImage("It is packed in a rare way; pack it as a plain zip.")
        )
    try:
        with folder.open(info) as stream:
            data = stream.read(image.MAX_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, NotImplementedError):
        return Item(name, None, UnreadableImage("It is broken in the zip; pack it again."))
    if len(data) > image.MAX_BYTES:
        limit = image.MAX_BYTES // 2**20
        return Item(name, None, TooLarge(f"It has more than {limit} MB; send a smaller picture."))
    if data.startswith(_ZIP_MARK):
        return Item(name, None, UnreadableImage("A zip in a zip is not opened; unpack it first."))
    return Item(name, data)


def _has_small_directory(data: bytes) -> bool:
    """Whether a zip's directory is of a size that may be read."""
    at = data.rfind(_END_MARK, max(0, len(data) - _LONGEST_END))
    if at < 0 or len(data) - at < _END.size or _ZIP64_MARK in data[max(0, at - 20) : at]:
        return False
    size: int = _END.unpack_from(data, at)[5]
    return size <= _MOST_DIRECTORY


def _is_hidden(name: str) -> bool:
    """Whether it is what a system puts beside the files of a person."""
    return any(part.startswith((".", "__MACOSX")) and part != ".." for part in name.split("/"))
