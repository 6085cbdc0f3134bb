"""How long a bounce waits for its continuation: by a command of its own, and in a watched folder.

    python tests/benchmarks/watching.py [--files 5] [--seconds 2]

Prints a Markdown table: seconds from the last byte of the bounce to the finished result, and seconds of the processor,
medians with half the distance between the quartiles; the two take turns. The command is typed at once; of the watch,
the time after which a file counts as finished is a part. The first file warms up and is left out.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from audiolm_cli.workflows.watch import SETTLE_S

PRELUDE = Path(__file__).parents[2] / "audiolm_cli" / "assets" / "demo" / "prelude.flac"
PROGRAM = [sys.executable, "-m", "audiolm_cli"]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    words = ["continue", "-d", f"{given.seconds:g}", "--seed", "5"]

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bounces"
        folder.mkdir()
        command = [*PROGRAM, "watch", str(folder), "--", *words]
        watch = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert watch.stdout is not None and watch.stderr is not None
        next(line for line in watch.stderr if line.startswith("watching"))

        watching, own = psutil.Process(watch.pid), psutil.Process()
        watched: list[tuple[float, float]] = []
        alone: list[tuple[float, float]] = []
        for number in range(given.files + 1):
            bounce = folder / f"{number}.flac"
            shutil.copy(PRELUDE, bounce)
            began = look(watching)
            watch.stdout.readline()
            watched.append(passed(began, look(watching)))

            began = look(own)
            result = str(Path(name) / f"{number}.wav")
            subprocess.run([*PROGRAM, *words, str(bounce), "-o", result, "-q"], check=True, capture_output=True)
            alone.append(passed(began, look(own)))
        watch.send_signal(signal.SIGINT)
        watch.communicate()

    print(f"| {given.seconds:g} s more | seconds to the result | of the processor |\n|---|---|---|")
    print(f"| a command of its own | {describe(alone)} |")
    print(f"| in a watched folder, {SETTLE_S:g} s of waiting included | {describe(watched)} |")


def look(process: psutil.Process) -> tuple[float, float]:
    """Seconds by the clock, and of the processor by a process and those that it has waited for."""
    used = process.cpu_times()
    return time.perf_counter(), used.user + used.system + used.children_user + used.children_system


def passed(began: tuple[float, float], now: tuple[float, float]) -> tuple[float, float]:
    """What went by of both."""
    return now[0] - began[0], now[1] - began[1]


def describe(seconds: list[tuple[float, float]]) -> str:
    """Cells with the median of each, and half the distance between the quartiles, without the first."""
    cells = []
    for own in zip(*seconds[1:], strict=True):
        low, middle, high = statistics.quantiles(own, n=4)
        cells.append(f"{middle:.2f} ± {(high - low) / 2:.2f}")
    return " | ".join(cells)


if __name__ == "__main__":
    main()
