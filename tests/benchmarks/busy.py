"""What generating takes on a computer that does something else: beside one busy process per core, and idle.

python tests/benchmarks/busy.py [REPEATS] prints one Markdown table. Each command runs as a user runs it, idle and busy
by turns. Processor time counts all that a command used, its own helpers included.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measuring import machine

from audiolm_cli.devices import available_cores
from audiolm_cli.reports.tables import table

DEMO = Path(__file__).parents[2] / "audiolm_cli" / "assets" / "demo" / "prelude.flac"
COMMANDS = {
    "continue, 10 s": ("continue", str(DEMO), "-d", "10"),
    "continue, 10 s, --stream": ("continue", str(DEMO), "-d", "10", "--stream"),
    "continue, 10 s, --takes 4": ("continue", str(DEMO), "-d", "10", "--takes", "4"),
    "infill, 1 s": ("infill", str(DEMO), "--gap", "1:2"),
    "loop, 2 s": ("loop", str(DEMO), "--bridge", "2"),
    "restyle": ("restyle", str(DEMO), "--style", str(DEMO)),
}
MOST_WALL, MOST_PROCESSOR = 2.2, 1.2
"""How many times an idle computer's time and processor time a command may take on a busy one."""


@contextmanager
def busy_cores() -> Iterator[None]:
    """One process per core that does nothing but compute."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(available_cores())]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def time_command(arguments: tuple[str, ...]) -> tuple[float, float]:
    """Seconds that one run of the program took, and seconds of processor time."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "take.wav"
        command = [sys.executable, "-m", "audiolm_cli", *arguments, "--seed", "4", "-o", str(output)]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=os.environ)
        wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(arguments: tuple[str, ...], repeats: int) -> list[str]:
    """A row: medians of both times idle and busy, and how many times the idle ones the busy ones are."""
    idle, busy = [], []
    for _ in range(repeats):
        idle.append(time_command(arguments))
        with busy_cores():
            time.sleep(0.5)  # until they compute
            busy.append(time_command(arguments))

    (idle_s, idle_cpu_s), (busy_s, busy_cpu_s) = (
        [statistics.median(times) for times in zip(*found, strict=True)] for found in (idle, busy)
    )
    return [
        *(f"{seconds:.1f}" for seconds in (idle_s, busy_s, idle_cpu_s, busy_cpu_s)),
        f"{busy_s / idle_s:.2f}",
        f"{busy_cpu_s / idle_cpu_s:.2f}",
    ]


def main(repeats: str = "5") -> None:
    """Print the table."""
    print(f"On {machine()}. Allowed: {MOST_WALL} times the wall time, {MOST_PROCESSOR} times the processor time.\n")
    columns = ["command", "idle, s", "busy, s", "idle, processor s", "busy, processor s", "time", "processor time"]
    print(table(columns, [[name, *measure(given, int(repeats))] for name, given in COMMANDS.items()]))


if __name__ == "__main__":
    main(*sys.argv[1:])
