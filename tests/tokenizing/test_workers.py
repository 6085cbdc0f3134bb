"""Worker processes: tasks get done, whatever becomes of one worker, and nobody is left behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from audiolm_cli.errors import DataError, UsageError
from audiolm_cli.tokenizing import workers
from audiolm_cli.tokenizing.workers import run_workers


def square(offset: int) -> Callable[[int, Callable[[float], None]], tuple[int, int]]:
    """A worker that squares numbers, dies over 13, and fails over 666."""

    def do(number: int, on_share: Callable[[float], None]) -> tuple[int, int]:
        on_share(0.5)
        if number == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 666:
            raise DataError("the number of the beast")
        return number * number + offset, os.getpid()

    return do


def refuse() -> Any:
    """A worker that cannot be prepared."""
    raise DataError("not today")


def die() -> Any:
    """A worker that dies before it is ready."""
    os.kill(os.getpid(), signal.SIGKILL)


def silent(task: int, share: float) -> None:
    """No news."""


@pytest.mark.parametrize("count", [1, 2])
def test_every_task_is_done_once(count: int) -> None:
    """By as many processes as were asked for, none of them this one unless that is enough; with news on the way."""
    news: list[tuple[int, float]] = []
    reports = list(run_workers(square, (1,), range(6), count, lambda task, share: news.append((task, share))))
    assert sorted((report.task, report.result[0]) for report in reports) == [(i, i * i + 1) for i in range(6)]
    assert sorted(news) == [(i, 0.5) for i in range(6)]
    processes = {report.result[1] for report in reports}
    assert (processes == {os.getpid()}) == (count == 1) and len(processes) <= count


def test_a_worker_that_dies_loses_its_task_alone() -> None:
    reports = list(run_workers(square, (0,), [13, 2, 13, 4, 5], 2, silent))
    assert {report.task: report.died for report in reports if report.died} == {0: -9, 2: -9}
    assert sorted(report.result[0] for report in reports if report.died is None) == [4, 16, 25]


def test_a_worker_that_dies_while_idle_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next task goes to another one, whichever end of the pipe notices first."""
    begun: list[workers._Worker] = []
    init = workers._Worker.__init__

    def started(self: workers._Worker, *args: Any) -> None:
        init(self, *args)
        begun.append(self)
        if len(begun) == 1:
            assert self.pipe.poll(60)  # it is ready
            self.process.kill()
            self.process.join()

    monkeypatch.setattr(workers._Worker, "__init__", started)
    reports = list(run_workers(square, (0,), [1, 2, 3], 2, silent))
    assert sorted(report.result[0] for report in reports) == [1, 4, 9] and len(begun) == 3


def test_processes_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", full)
    with pytest.raises(UsageError, match=r"cannot be started \(Resource temporarily unavailable\); use fewer workers"):
        list(run_workers(square, (0,), [1, 2], 2, silent))


def test_errors_come_back() -> None:
    """Of a task, and of the preparation; the type and the text survive."""
    with pytest.raises(DataError, match="beast"), closing(run_workers(square, (0,), [1, 666, 3], 2, silent)) as reports:
        list(reports)
    with pytest.raises(DataError, match="not today"), closing(run_workers(refuse, (), [1, 2], 2, silent)) as reports:
        list(reports)
    with pytest.raises(UsageError, match="cannot be started"), closing(run_workers(die, (), [1, 2], 2, silent)) as r:
        list(r)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    """Also when that is killed without warning in the middle of the work."""
    script = tmp_path / "parent.py"
    script.write_text(
        f"import sys, time\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from audiolm_cli.tokenizing.workers import run_workers\n"
        "def slow():\n    def do(task, on_share):\n        print('working', flush=True)\n"
        "        while True:\n            time.sleep(0.05)\n            on_share(0.1)\n    return do\n"
        "if __name__ == '__main__':\n    list(run_workers(slow, (), [1, 2], 2, lambda task, share: None))\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert [parent.stdout.readline() for _ in range(2)] == ["working\n"] * 2
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        parent.kill()
    deadline = time.monotonic() + 10
    while any(_alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(children) >= 2 and not any(_alive(child) for child in children)


def _alive(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
