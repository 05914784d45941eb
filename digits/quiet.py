"""Keep libraries in C++ from talking to people: LiteRT and TensorFlow greet on standard error."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Two blocks that overlap would each restore what the other had put in place.
_LOCK = threading.RLock()


@contextmanager
def nothing_on_stderr() -> Iterator[None]:
    """Send what is written to standard error meanwhile nowhere, also what passes Python by.

    For libraries that write to the descriptor itself and have no setting for it; what is wrong they
    raise. The descriptor is the whole process's, so the block should be short.
    """
    with _LOCK:
        try:
            kept = os.dup(2)
        except OSError:  # closed, as in a program without a console: there is nothing to keep out
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
