"""Limit the server's memory."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return free memory to the system, which glibc otherwise keeps for each thread.

    Streamlit runs a page in a new thread at each change; for ten visitors glibc would keep twice as
    much (`benchmarks/app.py`). See malloc_trim(3), which other C libraries lack.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
