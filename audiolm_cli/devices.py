"""What this machine computes on: devices, cores, and memory that is kept or given back between computations.

Knows nothing about what is computed.
"""

from __future__ import annotations

import ctypes
import os
import sys

import torch

from audiolm_cli.errors import UsageError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
KEEP = ((M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**28))
GIVE_BACK = ((M_MMAP_THRESHOLD, 2**22), (M_TRIM_THRESHOLD, 2**24))


def pick_device(name: str) -> torch.device:
    """The device that "auto", "cpu", "cuda" or "cuda:N" means here.

    Raises:
        UsageError: it is not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices that torch can use; "
            "use --device cpu, or see audiolm doctor"
        )
    return device


def prepare_cpu(threads: int | None) -> None:
    """Let torch use this many CPU threads (None leaves its choice) and keep the memory it frees."""
    keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)


def available_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def total_memory(device: torch.device) -> int:
    """All memory of the device, or of this machine, in bytes; 0 where unknown."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 0


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
