"""How many threads to compute with: as many as this computer has cores free at the time.

Threads that share a computation wait for one another. One whose core another program uses keeps the others waiting, so
that two threads on a busy computer take several times as long as one. Knows nothing about what is computed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import torch

LOOK_EVERY_S = 0.2
"""The cores are looked at no more often: the system counts their time in hundredths of a second."""
NEARLY_FREE = 0.25
"""A core counts as free when others use no more of it than this."""
TRIED_STEPS = 6
"""How many small steps are timed with more threads, and then with one, before the faster number stays."""
WORTH = 1.15
"""How many times as fast small steps must be with more threads: for less, the other cores are left alone."""


class Cores:
    """The cores that other programs leave free, looked at again and again while something is computed.

    The results do not depend on it: torch computes the same numbers with any number of threads (`reproducing.py`).
    """

    def __init__(
        self,
        unused: Callable[[], float] | None = None,
        used: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Look for the first time.

        Args:
            unused: seconds that all cores together had nothing more urgent to do; None asks the system.
            used: seconds of all cores that this process has used.
            clock: seconds since any moment.
        """
        self._unused, self._used, self._clock = unused or _unused_seconds, used, clock
        self._seen = self._look()
        self._free: float | None = None

        self._one: list[float] = []
        self._more: list[float] = []
        self._pays: bool | None = None  # whether small steps are faster with more threads; None while unknown

    def count_free(self, most: int) -> int:
        """How many of `most` threads have a core of their own now; one at least, and all before that can be known."""
        if self._clock() - self._seen[0] >= LOOK_EVERY_S:
            now = self._look()
            passed, unused, used = (new - old for new, old in zip(now, self._seen, strict=True))
            self._seen, self._free = now, (unused + used) / passed

        return most if self._free is None else max(1, min(most, int(self._free + NEARLY_FREE)))

    @contextmanager
    def share(self) -> Iterator[Callable[[], None]]:
        """Compute large products inside: on every free core. Call what comes with it between them, to look again."""
        most = torch.get_num_threads()

        def fit() -> None:
            _set_threads(self.count_free(most))

        try:
            fit()
            yield fit
        finally:
            _set_threads(most)

    @contextmanager
    def step(self) -> Iterator[Callable[[], None]]:
        """Compute small steps inside; call what comes with it before each.

        They stay on one thread, unless cores are free and the first steps are faster with a thread on each.
        """
        most = torch.get_num_threads()
        running: list[float] | None = None
        began = 0.0

        def begin() -> None:
            nonlocal running, began
            if running is not None:
                running.append(self._clock() - began)
            threads, running = self._threads_of_step(most)
            _set_threads(threads)
            began = self._clock()

        try:
            yield begin
        finally:
            _set_threads(most)

    def _threads_of_step(self, most: int) -> tuple[int, list[float] | None]:
        """How many threads the next step gets, and the list that its time goes to while both numbers are tried."""
        free = self.count_free(most)
        if free == 1 or self._pays is False:
            return 1, None
        if self._pays:
            return free, None

        # The first steps are slower than those that follow: more threads are not to seem faster than they are.
        if len(self._more) < TRIED_STEPS:
            return free, self._more
        if len(self._one) < TRIED_STEPS:
            return 1, self._one
        self._pays = min(self._more) * WORTH < min(self._one)
        return self._threads_of_step(most)

    def _look(self) -> tuple[float, float, float]:
        return self._clock(), self._unused(), self._used()


@contextmanager
def one_thread() -> Iterator[int]:
    """Compute with one thread inside; gives the number of threads that there were, and that there will be again."""
    most = torch.get_num_threads()
    try:
        _set_threads(1)
        yield most
    finally:
        _set_threads(most)


def _set_threads(count: int) -> None:
    if count != torch.get_num_threads():
        torch.set_num_threads(count)


def _unused_seconds() -> float:
    """Seconds, since the computer started, in which the cores of this process had nothing more urgent to do.

    That is idle time, and the time of programs that the system has make way for this one. Where it does not say, all
    of its time counts.
    """
    try:
        cores = psutil.cpu_times(percpu=True)
    except (OSError, psutil.Error):
        return time.perf_counter() * (os.cpu_count() or 1)

    if hasattr(os, "sched_getaffinity") and max(own := os.sched_getaffinity(0)) < len(cores):
        cores = [cores[number] for number in own]

    kinds = ["idle", "iowait"]
    if hasattr(os, "getpriority") and os.getpriority(os.PRIO_PROCESS, 0) <= 0:
        kinds.append("nice")  # a process that is nice itself has its own time counted there
    return sum(getattr(core, kind, 0.0) for core in cores for kind in kinds)
