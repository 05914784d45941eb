"""Suppress what C++ libraries such as LiteRT and TensorFlow write to standard error on loading."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Overlapping blocks in two threads would restore each other's redirection.
_LOCK = threading.RLock()


@contextmanager
def nothing_on_stderr() -> Iterator[None]:
    """Discard everything written to standard error in the block, including output of C++ code.

    For libraries that write to the file descriptor, cannot be configured otherwise, and report
    errors by raising. The descriptor is shared by the whole process, so the block should be short.
    """
    with _LOCK:
        try:
            kept = os.dup(2)
        except OSError:  # closed, as in a program without a console: there is nothing to discard
            yield
            return
        try:
            with suppress(AttributeError, ValueError):  # None, or closed
                sys.stderr.flush()
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
