"""Many pictures, loose or in zips, one after the other: never more than one of them unpacked.

Archives come from strangers: what is counted is what is unpacked, not what a header claims, nothing
is written anywhere, and names are only names.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from digits import image
from digits.clutter import is_clutter
from digits.errors import ImageError, TooLarge, UnreadableImage

MOST = 1_000  # pictures at once
MOST_BYTES = 256 * 1024 * 1024  # of them together, unpacked

# Python reads a zip's whole directory before it gives the first name: some 1 KB for each entry.
_MOST_ENTRIES = 40_000
# What starts a member, an entry of the directory, and its end (APPNOTE.TXT 4.3.7, 4.3.12, 4.3.16).
_ZIP_MARK, _ENTRY_MARK, _END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_ENCRYPTED, _UTF8 = 0x1, 0x800  # flags of a member
_LABELS = "labels.csv"  # what our own zips of corrections hold beside the pictures
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
    # Whatever its end records say of its directory, ZIP64's among them, each entry has its mark.
    if data.count(_ENTRY_MARK) > _MOST_ENTRIES:
        yield Item(name, None, TooLarge("This zip lists far too many files; pack fewer."))
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as folder:
            for info in folder.infolist():
                path = _path(info)
                is_ours = path.rpartition("/")[2] == _LABELS
                if not (path.endswith("/") or is_ours or is_clutter(path)):
                    yield _member(folder, info, f"{name}/{path}")
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


def _path(info: zipfile.ZipInfo) -> str:
    """A member's path with slashes, for PowerShell writes backslashes; UTF-8 that is not declared.

    macOS packs names in UTF-8 and does not say so; Python takes such a name for one in cp437.
    """
    path = info.filename
    if not info.flag_bits & _UTF8:
        with suppress(UnicodeError):
            path = path.encode("cp437").decode("utf-8")
    return path.replace("\\", "/")
