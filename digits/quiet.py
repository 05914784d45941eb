"""Keep libraries in C++ from talking to people: LiteRT and TensorFlow greet on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def nothing_on_stderr() -> Iterator[None]:
    """Send what is written to standard error meanwhile nowhere, also what passes Python by.

    For libraries that write to the descriptor itself and have no setting for it; what is wrong they
    raise. The descriptor is the whole process's, so this is for a program that does one thing.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
