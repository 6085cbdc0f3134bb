"""Worker processes that do tasks one after the other. Knows nothing about what the tasks are.

Each worker has a pipe of its own to the process that started it. When that process is killed, the pipe closes and the
worker ends; when a worker dies, by a crash in native code or for want of memory, only its task is lost.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import signal
import tempfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from audiolm_cli.errors import UsageError
from audiolm_cli.packages import explain_import
from audiolm_cli.stopping import SIGNALS, StopSignals, accept, starting_apart

Do = Callable[[Any, Callable[[float], None]], Any]
"""Does a task; is given the task and what to call with the share that is done."""
Setup = Callable[..., Do]
"""Prepares a worker; a function of a module, because another process calls it."""
OnShare = Callable[[int, float], None]
"""Gets a task's place among the tasks and the share of it that is done, 0..1."""
GRACE_S = 2.0
"""How long a worker that is to end may take to remove what it was writing."""


@dataclass(frozen=True, kw_only=True)
class EndedTask:
    """The end of a task."""

    task: int
    """Its place among the tasks."""
    result: Any = None
    """What came out."""
    died: int | None = None
    """The exit code of the worker that died over it, minus the signal's number where a signal ended it."""


def run_workers(
    setup: Setup, args: tuple[Any, ...], tasks: Sequence[Any], count: int, on_share: OnShare
) -> Generator[EndedTask, None, None]:
    """Do the tasks in `count` processes, in their order as workers become free.

    Args:
        setup: prepares each worker, called with `args` in it.
        args: what it is called with; picklable.
        tasks: picklable.
        count: how many processes, at most one per task; with one, this process does them itself.
        on_share: gets the news of tasks that are not done yet.

    Yields:
        A report of each task, in the order in which they end.

    Raises:
        Exception: what a task raised, or the setup.
        UsageError: processes cannot be started from this program.
    """
    if min(count, len(tasks)) <= 1:
        yield from _run_here(setup, args, tasks, on_share)
        return

    pool = _Pool(setup, args, tasks, on_share)
    try:
        for _ in range(min(count, len(tasks))):
            pool.start_worker()

        while pool.workers:
            for pipe in wait(list(pool.workers)):
                assert isinstance(pipe, Connection)
                ended = pool.receive(pipe)
                if ended is not None:
                    yield ended
    finally:
        pool.terminate()


def _run_here(
    setup: Setup, args: tuple[Any, ...], tasks: Sequence[Any], on_share: OnShare
) -> Generator[EndedTask, None, None]:
    """Do the tasks in this process."""
    if tasks:
        do = setup(*args)
        for task, content in enumerate(tasks):
            yield EndedTask(task=task, result=do(content, functools.partial(on_share, task)))


class _Pool:
    """Several processes, and the tasks that none of them has."""

    def __init__(self, setup: Setup, args: tuple[Any, ...], tasks: Sequence[Any], on_share: OnShare) -> None:
        self._setup, self._args, self._tasks, self._on_share = setup, args, tasks, on_share
        self._pending = list(range(len(tasks)))[::-1]  # the next one is the last
        self.workers: dict[Connection, _Worker] = {}

    def start_worker(self) -> None:
        """One process more."""
        worker = _Worker(self._setup, self._args)
        self.workers[worker.pipe] = worker

    def receive(self, pipe: Connection) -> EndedTask | None:
        """Hear what a worker says, and give it something to do; returns the task that has ended with it.

        Raises:
            Exception: what a task raised, or the setup.
            UsageError: processes cannot be started from this program.
        """
        worker = self.workers[pipe]
        try:
            kind, value = pipe.recv()
        except (EOFError, OSError):
            return self._replace_dead(worker)

        if kind == "error":
            raise value
        if kind == "share" and worker.task is not None:
            self._on_share(worker.task, value)
            return None

        # It is ready, or done with a task: it gets another one, or ends.
        done, worker.task, worker.ready = worker.task, None, True
        if self._pending:
            self._give_task(worker)
        else:
            del self.workers[pipe]
            worker.end()
        return None if done is None else EndedTask(task=done, result=value)

    def terminate(self) -> None:
        """End all processes, whatever they do."""
        for worker in self.workers.values():
            worker.process.terminate()

        for worker in self.workers.values():
            worker.process.join(GRACE_S)
            worker.process.kill()  # where it computes something long, or has not begun
            worker.end()

    def _give_task(self, worker: _Worker) -> None:
        """Send a worker the next task."""
        worker.task = self._pending.pop()
        try:
            worker.pipe.send(self._tasks[worker.task])
        except OSError:  # it died while it had nothing to do; its pipe ends, and another one takes over
            self._pending.append(worker.task)
            worker.task = None

    def _replace_dead(self, worker: _Worker) -> EndedTask | None:
        """Start a process in place of one that died; returns the task that it died over."""
        del self.workers[worker.pipe]
        code = worker.end()
        if not worker.ready:  # as all others will die
            raise UsageError(
                f"a worker process cannot be started (exit code {code}); use one worker, and in a program "
                'of your own, call this below `if __name__ == "__main__":`'
            ) from None

        if self._pending:
            self.start_worker()
        return None if worker.task is None else EndedTask(task=worker.task, died=code)


class _Worker:
    """One process, and what it is doing."""

    def __init__(self, setup: Setup, args: tuple[Any, ...]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy the locks of torch's threads
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_serve, args=(theirs, tempfile.tempdir, setup, args), daemon=True
        )

        try:
            with starting_apart():
                self.process.start()
        except OSError as error:
            raise UsageError(
                f"a worker process cannot be started ({error.strerror or error}); use fewer workers"
            ) from error
        theirs.close()  # so that the pipe ends when the worker does

        self.task: int | None = None
        self.ready = False

    def end(self) -> int:
        """Let it end, and return its exit code."""
        self.pipe.close()
        self.process.join()
        return self.process.exitcode or 0


class _ToldToEnd(BaseException):
    """The process that started this worker ends it."""


def _serve(pipe: Connection, temporary: str | None, setup: Setup, args: tuple[Any, ...]) -> None:
    """The life of a worker, which only the process that started it ends."""
    tempfile.tempdir = temporary
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)

    # The pipe is closed: the parent is done, or dead.
    with contextlib.suppress(EOFError, OSError, _ToldToEnd), StopSignals(_end_worker):
        accept(signal.SIGTERM)
        try:
            do = setup(*args)
            pipe.send(("ready", None))
            while True:
                pipe.send(("done", do(pipe.recv(), lambda share: pipe.send(("share", share)))))
        except (EOFError, BrokenPipeError, ConnectionError):
            return
        except Exception as error:  # its traceback does not travel, and with it goes what an import failed over
            pipe.send(("error", explain_import(error) or error))


def _end_worker(number: int) -> None:
    raise _ToldToEnd
