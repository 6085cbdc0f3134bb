"""Memory freed in a step of a computation: kept for the next, or given back. Knows nothing about what is computed."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
KEEP = ((M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**28))
GIVE_BACK = ((M_MMAP_THRESHOLD, 2**22), (M_TRIM_THRESHOLD, 2**24))


def keep_freed_memory() -> bool:
    """Tell glibc not to give large freed blocks back to the system; True where that is possible.

    Without it, a third of the time on a CPU, and at times most of it, goes into page faults for tensors of the same
    size as before.
    """
    return _set(KEEP)


def give_back_freed_memory() -> bool:
    """Tell glibc to give large freed blocks back to the system at once; True where that is possible.

    For work on pieces of many different sizes, whose freed blocks hardly ever fit again: without it, a process that
    encodes one long recording grows with its length. Takes a tenth more time.
    """
    return _set(GIVE_BACK)


def _set(settings: tuple[tuple[int, int], ...]) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(option, size) for option, size in settings)
