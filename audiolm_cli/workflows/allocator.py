"""Memory kept from one step of a computation for the next. Knows nothing about what is computed."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
SETTINGS = ((M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**28))


def keep_freed_memory() -> bool:
    """Tell glibc not to give large freed blocks back to the system; True where that is possible.

    Without it, a third of the time on a CPU, and at times most of it, goes into page faults for tensors of the same
    size as before.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(option, size) for option, size in SETTINGS)
