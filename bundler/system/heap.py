"""Memory that C libraries have freed and malloc keeps."""

from __future__ import annotations

import ctypes


def trim_heap() -> None:
    """Give free pages inside of the heap back to the system, where the C library has a function for it (glibc's
    malloc_trim).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(ctypes.c_size_t(0))
