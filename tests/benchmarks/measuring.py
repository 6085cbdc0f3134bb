"""What the benchmarks share: means and times with their spread, and how fast this machine reads and multiplies."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch


def clock() -> float:
    """Seconds; with one thread those of the processor, so that other programs change them less."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def spread(
    work: Callable[[], object], repeats: int, *, warm_up: int = 3, now: Callable[[], float] = clock
) -> tuple[float, float]:
    """Median milliseconds of one call, after some that warm up, and half the distance between the quartiles."""
    times = []
    for _ in range(repeats + warm_up):
        started = now()
        work()
        times.append(1000 * (now() - started))
    low, middle, high = statistics.quantiles(times[warm_up:], n=4)
    return middle, (high - low) / 2


def read_rate(large: torch.Tensor) -> float:
    """Bytes per second at which a large tensor is summed: what any pass over as many weights is held against."""
    return large.numel() * large.element_size() / (spread(large.sum, 7)[0] / 1000)


def product_rate(rows: int, width: int, dtype: torch.dtype) -> float:
    """Operations per second of products [rows, width] by [width, 4 width]."""
    a, b = torch.randn(rows, width).to(dtype), torch.randn(width, 4 * width).to(dtype)
    return 2 * a.numel() * b.shape[1] / (spread(lambda: a @ b, 7)[0] / 1000)


def with_error(values: Sequence[float], *, signed: bool = False) -> str:
    """Mean and, of several, standard error."""
    mean = f"{statistics.mean(values):{'+' if signed else ''}.3f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values) / len(values) ** 0.5:.3f}"


def machine() -> str:
    """This machine and its torch, in a line."""
    named = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = named[0].partition(":")[2].strip() if named else platform.processor()
    return f"{len(named)} cores of an {name}, {torch.get_num_threads()} threads, torch {torch.__version__}"
