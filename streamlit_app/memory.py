"""What keeps the server small."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Give the system what memory is free, which glibc else keeps for each thread that had it.

    Streamlit runs a page in a new thread each time that it changes: of ten visitors it would keep
    twice as much (`benchmarks/app.py`). See malloc_trim(3); other C libraries do without.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
