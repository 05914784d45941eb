"""The folder that a run writes to: it takes the place of the one asked for once it is whole.

Nothing is ever seen there but the old folder or the new one, whenever the run is stopped; what a
killed run leaves beside it, the next one puts right.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from digits.registry.bundle import MANIFEST
from training_job.errors import TrainingError

_DRAFT, _OLD = ".draft", ".old"


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write to; at the end of the block it becomes `out`, unless something was raised.

    Raises
    ------
    TrainingError
        If it cannot be made or filled there, or `out` holds what is no bundle.
    """
    out = out.resolve()
    try:
        with ExitStack() as undo:
            _check(out)
            for parent in [path for path in reversed(out.parents) if not path.exists()]:
                parent.mkdir()
                undo.callback(_remove_if_empty, parent)
            _mend(out)
            draft = out.with_name(f".{out.name}.{secrets.token_hex(4)}{_DRAFT}")
            undo.callback(shutil.rmtree, draft, ignore_errors=True)
            draft.mkdir()
            with _locked(draft):
                yield draft
                _take_place(draft, out)
    except OSError as error:
        why = error.strerror or " ".join(str(error).split())
        raise TrainingError(f"Cannot write to {out} ({why}); choose another --out.") from error


def _check(out: Path) -> None:
    """Refuse what must not, or cannot, be replaced by a bundle."""
    if not out.exists():
        return
    if not out.is_dir() or not ((out / MANIFEST).exists() or _is_empty(out)):
        raise TrainingError(f"{out} is there and no bundle; choose another --out, or remove it.")
    if os.path.ismount(out):
        raise TrainingError(f"{out} is mounted and cannot be replaced; choose a folder in it.")


def _is_empty(folder: Path) -> bool:
    return next(folder.iterdir(), None) is None


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _mend(out: Path) -> None:
    """Put right what killed runs left: their drafts, and an old folder that lost its name."""
    with _locked(out.parent):
        for path in _beside(out, _OLD):
            if out.exists():
                shutil.rmtree(path)
            else:
                path.rename(out)
        for path in _beside(out, _DRAFT):
            with suppress(BlockingIOError), _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(path)


def _beside(out: Path, suffix: str) -> list[Path]:
    start = f".{out.name}."
    paths = out.parent.iterdir()
    return [path for path in paths if path.name.startswith(start) and path.name.endswith(suffix)]


def _take_place(draft: Path, out: Path) -> None:
    """Rename `draft` to `out`, whatever interrupts it: the old folder is kept until it is done."""
    old = draft.with_suffix(_OLD)
    with _locked(out.parent):
        try:
            if out.exists():
                out.rename(old)
            draft.rename(out)
        finally:
            if old.exists() and not out.exists():
                old.rename(out)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _locked(folder: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold the folder's lock, which ends with this process, however that ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)
