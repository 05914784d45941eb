"""Write a run's output folder atomically: to a draft beside it, which replaces it at the end.

Readers see the old folder or the complete new one, whenever the run is stopped. The next run
removes the drafts that killed runs left.
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
    """Yield an empty draft folder, and rename it to `out` if the block ends without an exception.

    Raises
    ------
    TrainingError
        If the draft cannot be created or written to, or if `out` exists and is not a bundle.
    """
    out = out.resolve()
    try:
        with ExitStack() as undo:
            _check_replaceable(out)
            for parent in [path for path in reversed(out.parents) if not path.exists()]:
                parent.mkdir()
                undo.callback(_remove_if_empty, parent)
            _recover(out)
            draft = out.with_name(f".{out.name}.{secrets.token_hex(4)}{_DRAFT}")
            undo.callback(shutil.rmtree, draft, ignore_errors=True)
            draft.mkdir()
            with _locked(draft):
                yield draft
                _replace(draft, out)
    except OSError as error:
        why = error.strerror or " ".join(str(error).split())
        raise TrainingError(f"Cannot write to {out} ({why}); choose another --out.") from error


def _check_replaceable(out: Path) -> None:
    """Raise if `out` exists and is neither a bundle nor empty, or is a mount point."""
    if not out.exists():
        return
    if not out.is_dir() or not ((out / MANIFEST).exists() or _is_empty(out)):
        raise TrainingError(
            f"{out} exists and is not a bundle; choose another --out, or remove it."
        )
    if os.path.ismount(out):
        raise TrainingError(
            f"{out} is a mount point and cannot be replaced; choose a folder in it."
        )


def _is_empty(folder: Path) -> bool:
    return next(folder.iterdir(), None) is None


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _recover(out: Path) -> None:
    """Clean up after killed runs: delete their drafts, and rename an old folder back to `out`."""
    with _locked(out.parent):
        for path in _leftovers(out, _OLD):
            if out.exists():
                shutil.rmtree(path)
            else:
                path.rename(out)
        for path in _leftovers(out, _DRAFT):
            with suppress(BlockingIOError), _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(path)


def _leftovers(out: Path, suffix: str) -> list[Path]:
    start = f".{out.name}."
    paths = out.parent.iterdir()
    return [path for path in paths if path.name.startswith(start) and path.name.endswith(suffix)]


def _replace(draft: Path, out: Path) -> None:
    """Rename `draft` to `out`; an interruption leaves the old folder in place."""
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
    """Hold a lock on the folder; the system releases it when this process ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)
