"""Output of commands: files that are replaced atomically, and standard output."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import typer
from rich.console import Console
from rich.table import Table

from digits.errors import BadRequest

_CLOSED_PIPE = 128 + 13  # 128 + SIGPIPE, as shells report a program that this signal ended


@contextlib.contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name only once everything is written.

    A device or a pipe is written to directly.

    Raises
    ------
    BadRequest
        If the file cannot be created (raised at once) or the disk becomes full.
    """
    target = path.resolve()  # a symbolic link is kept: its target is replaced
    if target.is_dir():
        raise BadRequest(f"{path} is a folder: name a file in it.")
    direct = target.exists() and not target.is_file()
    draft = target if direct else target.with_name(f".{target.name}.{os.getpid()}.draft")
    try:
        with draft.open("wb") as stream:
            yield stream
        if not direct:
            draft.replace(target)
    except OSError as error:
        raise BadRequest(f"Cannot write {path} ({error.strerror}): choose another file.") from error
    finally:
        if not direct:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_text(path: Path) -> Iterator[IO[str]]:
    """The same for text, in UTF-8 with its line ends as they are written."""
    with whole(path) as stream, io.TextIOWrapper(stream, "utf-8", newline="") as text:
        yield text


def spell_out_what_cannot_be_encoded() -> None:
    r"""Let standard output write any text, as standard error does.

    A Windows console may be limited to cp1252, while a file name may hold any character: others
    are written as `\u65e5`.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def visible(text: str) -> str:
    """Escape control characters, which could move a terminal's cursor or change its colours."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def is_utf8(stream: IO[str]) -> bool:
    """Whether a stream writes UTF-8, so that it can write any text as it is."""
    return (getattr(stream, "encoding", None) or "").lower().replace("_", "-") in {"utf-8", "utf8"}


@contextlib.contextmanager
def standard_output() -> Iterator[IO[str]]:
    """Return standard output; a closed pipe ends the command with the exit code of SIGPIPE.

    Raises
    ------
    BadRequest
        If it cannot be written to, for example because the disk is full.
    """
    try:
        yield sys.stdout
        sys.stdout.flush()
    except OSError as error:
        # The rest of the buffer would fail again at exit, with a stack trace.
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        # Windows reports a closed pipe as an invalid argument.
        if isinstance(error, BrokenPipeError) or (os.name, error.errno) == ("nt", errno.EINVAL):
            raise typer.Exit(_CLOSED_PIPE) from error
        raise BadRequest(f"Cannot write to standard output ({error.strerror}).") from error


def draw(table: Table, stream: IO[str]) -> None:
    """Write a table; its lines are wrapped only for a terminal."""
    console = Console(file=stream, width=None if stream.isatty() else 10_000, highlight=False)
    # Not printed by rich, which handles a closed pipe in its own way.
    with console.capture() as drawn:
        console.print(table)
    stream.write(drawn.get())
