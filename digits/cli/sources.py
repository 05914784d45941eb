"""Find the images that arguments name: files, folders, S3 and standard input, one at a time."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath

from digits.cli import files
from digits.clutter import is_clutter
from digits.errors import BadRequest, UnreadableImage
from digits.formats import SUFFIXES
from digits.image import MAX_BYTES
from digits.registry.object_store import S3_CLIENT_CONFIG


@dataclass(frozen=True)
class Source:
    """One image: its name for people, and a function that returns its bytes."""

    name: str
    read: Callable[[], bytes]


@dataclass
class Skipped:
    """Files without an image's extension: their number, and the first names."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count one more file."""
        self.count += 1
        if len(self.names) < _NAMED:
            self.names.append(name)

    def clear(self) -> None:
        """Forget all files, before a new search."""
        self.count = 0
        self.names.clear()

    def __str__(self) -> str:
        """Return a sentence for people."""
        found = "1 file" if self.count == 1 else f"{self.count:,} files"
        more = self.count - len(self.names)
        names = ", ".join(map(files.visible, self.names)) + (f" and {more:,} more" if more else "")
        return f"Skipped {found} without an image's extension: {names}."


_NAMED = 10  # names of skipped files that are shown

Sources = Callable[[], Iterator[Source]]
"""An iterable of images that searches anew each time, so that memory use stays constant."""


def named(paths: Sequence[str], skipped: Skipped) -> Sources:
    """Return the images that the command's arguments name, in their order.

    Each search records in `skipped` the other files that it found.

    Raises
    ------
    BadRequest
        If an argument names nothing that can be read.
    """
    every = [_named(path, skipped) for path in paths]
    for path, sources in zip(paths, every, strict=True):
        if next(sources(), None) is None:
            raise BadRequest(
                f"There is no image in {path}: names must end in .png, .jpg or the like."
            )

    def found() -> Iterator[Source]:
        skipped.clear()
        yield from chain.from_iterable(sources() for sources in every)

    return found


def _named(path: str, skipped: Skipped) -> Sources:
    if not path.strip():
        raise BadRequest("An argument is empty: name a file or a folder (. is the current one).")
    if path == "-":
        return lambda: iter([Source("-", _standard_input)])
    if path.startswith("s3://"):
        return _in_s3(path, skipped)
    if Path(path).is_dir():
        return lambda: _in_folder(path, skipped)
    if not os.path.lexists(path):
        raise BadRequest(_missing(path))
    return lambda: iter([_file(path)])


def _missing(path: str) -> str:
    """Return the error message for an argument that names nothing."""
    name = _readable(path)
    # One letter is a drive of Windows.
    scheme = re.match(r"([a-z][a-z0-9+.-]+):/", path, re.IGNORECASE)
    if scheme is None:
        if path.startswith("-"):
            return f"There is no option {name}, and no file of that name: see --help."
        return f"There is no file or folder {name}: check the path."
    if scheme[1].lower() in {"http", "https"}:
        return (
            f"{name} is a web address, which this command does not fetch: download it"
            " and name the file, or pipe it: curl -sSL ADDRESS | digits classify -"
        )
    if scheme[1].lower() == "s3":
        return f"{name} is not an address in S3: write s3://bucket/prefix."
    return f"{name} has an unsupported scheme: name a file, a folder or s3://bucket/prefix."


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise UnreadableImage("Standard input is closed: pipe an image into the command.")
    return sys.stdin.buffer.read(MAX_BYTES + 1)


def _in_folder(folder: str, skipped: Skipped) -> Iterator[Source]:
    """Yield the images below a folder, in the order of their paths; do not follow links to folders.

    A folder that cannot be read yields an error of its own: it must not pass for an empty one.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        yield _failed(folder, f"The folder cannot be read ({error.strerror}).")
        return
    for entry in entries:
        if is_clutter(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _in_folder(entry.path, skipped)
        elif not entry.is_file():
            continue
        elif Path(entry.name).suffix.lower() in SUFFIXES:
            yield _file(entry.path)
        else:
            skipped.add(_readable(entry.name))


def _file(path: str) -> Source:
    def read() -> bytes:
        try:
            with Path(path).open("rb") as file:
                return file.read(MAX_BYTES + 1)
        except OSError as error:
            raise UnreadableImage(f"The file cannot be read ({error.strerror}).") from error

    return Source(_readable(str(Path(path))), read)


def _failed(path: str, message: str) -> Source:
    def read() -> bytes:
        raise UnreadableImage(message)

    return Source(_readable(path), read)


def _readable(path: str) -> str:
    """Return the path as text; bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _in_s3(address: str, skipped: Skipped) -> Sources:
    """Yield the images whose keys start with a prefix, or the one object of that key."""
    try:
        import boto3  # noqa: PLC0415 - only an s3:// address may need it
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    except ImportError as error:
        raise BadRequest("s3:// needs boto3: install it with `pip install boto3`.") from error

    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    if not bucket:
        raise BadRequest(f"{address} names no bucket: give s3://bucket/prefix.")
    s3 = boto3.client("s3", config=Config(**S3_CLIENT_CONFIG))

    def source(key: str) -> Source:
        def read() -> bytes:
            try:
                return s3.get_object(Bucket=bucket, Key=key)["Body"].read(MAX_BYTES + 1)
            except (ClientError, BotoCoreError) as error:
                raise UnreadableImage(f"The object cannot be fetched ({error}).") from error

        return Source(f"s3://{bucket}/{key}", read)

    def found() -> Iterator[Source]:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        try:
            for key in (item["Key"] for page in pages for item in page.get("Contents", ())):
                if key == prefix and not key.endswith("/"):
                    yield source(key)
                    return
                if key.endswith("/") or is_clutter(key.removeprefix(prefix)):
                    continue  # S3's folder markers, operating systems' hidden files
                if PurePosixPath(key).suffix.lower() in SUFFIXES:
                    yield source(key)
                else:
                    skipped.add(PurePosixPath(key).name)
        except (ClientError, BotoCoreError) as error:
            raise BadRequest(
                f"{address} cannot be listed ({error}): check the bucket and your credentials."
            ) from error

    return found
