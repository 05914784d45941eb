"""Iterate over many pictures, loose or in zips; only one is unpacked at a time.

Archives are untrusted: limits apply to the unpacked bytes, not to the sizes in headers; nothing is
written to disk, and names are never used as paths.
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

MOST = 1_000  # pictures at once, at most
MOST_BYTES = 256 * 1024 * 1024  # of all pictures together, unpacked

# Python reads a zip's whole directory before the first name, about 1 KB of memory an entry.
_MOST_ENTRIES = 40_000
# Signatures of a member, a directory entry and the end (APPNOTE.TXT 4.3.7, 4.3.12, 4.3.16).
_ZIP_MARK, _ENTRY_MARK, _END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_ENCRYPTED, _UTF8 = 0x1, 0x800  # flags of a member
_LABELS = "labels.csv"  # the table in this app's own zips of corrections
# Other methods have no bound on their memory.
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


class Item(NamedTuple):
    """One picture's name and bytes, or the error in place of the bytes."""

    name: str
    data: bytes | None
    problem: ImageError | None = None


def pictures(files: Iterable[tuple[str, bytes]]) -> Iterator[Item]:
    """Yield the pictures of files, loose or in zips, one at a time.

    A member that cannot be unpacked yields an item with the error, and the iteration continues. At
    the limits, the last item holds that error.
    """
    spent = 0
    for count, item in enumerate(_unpacked(files)):
        spent += len(item.data or b"")
        if count >= MOST or spent > MOST_BYTES:
            yield Item(
                item.name,
                None,
                TooLarge(
                    f"From here on nothing is read: the limit is {MOST:,} pictures, together"
                    f" {MOST_BYTES // 2**20} MB."
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
    # Count the entries' signatures: end records, ZIP64's included, may give another number.
    if data.count(_ENTRY_MARK) > _MOST_ENTRIES:
        yield Item(name, None, TooLarge("This zip lists far too many files: pack fewer."))
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as folder:
            for info in folder.infolist():
                path = _path(info)
                is_ours = path.rpartition("/")[2] == _LABELS
                if not (path.endswith("/") or is_ours or is_clutter(path)):
                    yield _member(folder, info, f"{name}/{path}")
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        yield Item(name, None, UnreadableImage("This zip is broken: pack it again."))


def _member(folder: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Item:
    if info.flag_bits & _ENCRYPTED:
        return Item(
            name, None, UnreadableImage("It is encrypted with a password: pack it without one.")
        )
    if info.compress_type not in _METHODS:
        return Item(
            name,
            None,
            UnreadableImage("Its compression method is not supported: pack it as a plain zip."),
        )
    try:
        with folder.open(info) as stream:
            data = stream.read(image.MAX_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, NotImplementedError):
        return Item(name, None, UnreadableImage("It is broken in the zip: pack it again."))
    if len(data) > image.MAX_BYTES:
        limit = image.MAX_BYTES // 2**20
        return Item(name, None, TooLarge(f"It has more than {limit} MB: send a smaller picture."))
    if data.startswith(_ZIP_MARK):
        return Item(name, None, UnreadableImage("A zip in a zip is not opened: unpack it first."))
    return Item(name, data)


def _path(info: zipfile.ZipInfo) -> str:
    """Return a member's path with slashes (PowerShell writes backslashes), decoded as UTF-8.

    macOS writes names in UTF-8 without the flag for it; Python decodes such a name as cp437.
    """
    path = info.filename
    if not info.flag_bits & _UTF8:
        with suppress(UnicodeError):
            path = path.encode("cp437").decode("utf-8")
    return path.replace("\\", "/")
