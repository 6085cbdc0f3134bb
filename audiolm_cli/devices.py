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
"""Options of `mallopt`, as `malloc.h` numbers them."""
KEEP = ((M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**28))
GIVE_BACK = ((M_MMAP_THRESHOLD, 2**22), (M_TRIM_THRESHOLD, 2**24))


def pick_device(name: str) -> torch.device:
    """The device that "auto", "cpu", "cuda", "cuda:N" or "mps" means here; "auto" is never a GPU of Apple.

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
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError(
            f"--device {name}: torch sees no GPU of Apple on this machine; use --device cpu, or see audiolm doctor"
        )

    return device


def codec_device(device: torch.device) -> torch.device:
    """Where the codec computes beside a model on `device`: there, but on the CPU beside a GPU of Apple.

    Codecs compute with complex numbers and float64, which such a GPU does not have, and take little of the time.
    """
    return torch.device("cpu") if device.type == "mps" else device


def float64_device(device: torch.device) -> torch.device:
    """Where float64 is computed for tensors on `device`: GPUs of Apple have none, so the CPU does it for them."""
    return torch.device("cpu") if device.type == "mps" else device


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


def keep_freed_memory() -> None:
    """Tell glibc not to give large freed blocks back to the system.

    Tensors of one size follow each other. Without this, a third of the time on a CPU, and at times most of it, goes
    into page faults for memory that was there before.
    """
    _set_allocator(KEEP)


def give_back_freed_memory() -> None:
    """Tell glibc to give large freed blocks back to the system at once.

    For work on pieces of many different sizes, whose freed blocks hardly ever fit again: without this, a process that
    encodes one long recording grows with its length. It takes a tenth more time.
    """
    _set_allocator(GIVE_BACK)


def _set_allocator(settings: tuple[tuple[int, int], ...]) -> None:
    """Set options of glibc's malloc; does nothing where there is no glibc."""
    if not sys.platform.startswith("linux"):
        return

    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return

    for option, size in settings:
        if not mallopt(option, size):  # refused: the options that follow make no sense alone
            return
