"""Downloads by the thousand from a hostile server: random faults, many processes at once, SIGKILL at random moments.

    python tests/benchmarks/downloads.py --scenarios 1000 --kills 100 --processes 20

Prints one Markdown table. Everything stays on the loopback interface.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from download_scenarios import QUICK, Result, run_scenario
from hostile_server import Fault, HostileServer

from audiolm_cli.checkpoints.download import fetch
from audiolm_cli.checkpoints.source import Wanted
from audiolm_cli.config.fetching import FetchConfig

FORK = multiprocessing.get_context("fork")
PATIENT = FetchConfig(spare_bytes=0, backoff_s=0.001)


def _child(wanted: Wanted, target: Path) -> None:
    fetch(wanted, target, PATIENT)


def _wanted(server: HostileServer) -> Wanted:
    return Wanted(label="file", urls=(server.url,), bytes=len(server.data), sha256=server.sha256)


def scenarios(count: int) -> list[tuple[str, str]]:
    """`count` random scenarios."""
    results: list[Result] = []
    for seed in range(count):
        with tempfile.TemporaryDirectory() as folder:
            results.append(run_scenario(seed, Path(folder)))
    kinds = collections.Counter(fault.kind for result in results for fault in result.faults)
    return [
        ("scenarios", str(count)),
        ("faults in them", ", ".join(f"{kind} {number}" for kind, number in kinds.most_common())),
        ("wrong file under the final name", str(sum(result.wrong for result in results))),
        ("whole in the end", str(sum(result.whole for result in results))),
        ("calls needed, mean and most", f"{sum(r.runs for r in results) / count:.2f}, {max(r.runs for r in results)}"),
    ]


def drops(count: int) -> list[tuple[str, str]]:
    """One drop at a random byte of 4 MiB each time: how much is sent again."""
    again = []
    for seed in range(count):
        rng = random.Random(seed)
        data = rng.randbytes(4 << 20)
        drop = Fault(kind="drop", at=rng.randint(0, len(data)), text=rng.choice(("", "rudely")))
        with tempfile.TemporaryDirectory() as folder, HostileServer(data, [drop]) as server:
            fetch(_wanted(server), Path(folder) / "file.bin", QUICK)
            again.append(server.sent - len(data))
    return [
        (f"sent again after a drop ({count} drops), mean and most", f"{sum(again) / count:.0f}, {max(again)} bytes")
    ]


def crowd(processes: int) -> list[tuple[str, str]]:
    """Processes that want the same file at once."""
    data = random.Random(0).randbytes(4 << 20)
    with tempfile.TemporaryDirectory() as folder, HostileServer(data, pause_s=0.01) as server:
        children = [FORK.Process(target=_child, args=(_wanted(server), Path(folder) / "f")) for _ in range(processes)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        failed = sum(child.exitcode != 0 for child in children)
        return [(f"{processes} processes at once: transfers, failures", f"{len(server.seen)}, {failed}")]


def kills(count: int) -> list[tuple[str, str]]:
    """SIGKILL at a random moment of a download of about 0.3 s, then another call."""
    data = random.Random(1).randbytes(2 << 20)
    right, resumed, wrong = 0, 0, 0
    for seed in range(count):
        rng = random.Random(seed)
        with tempfile.TemporaryDirectory() as name, HostileServer(data, pause_s=0.01) as server:
            target = Path(name) / "file.bin"
            child = FORK.Process(target=_child, args=(_wanted(server), target))
            child.start()
            time.sleep(rng.uniform(0.0, 0.4))
            os.kill(child.pid or 0, signal.SIGKILL)
            child.join()
            wrong += target.exists() and target.read_bytes() != data
            server.pause_s = 0.0
            before = len(server.seen)
            fetch(_wanted(server), target, PATIENT)
            right += target.read_bytes() == data
            resumed += any("Range" in request.headers for request in server.seen[before:])
    return [
        (f"{count} SIGKILLs: whole after the next call", str(right)),
        ("of them, gone on with in the middle", str(resumed)),
        ("wrong file under the final name", str(wrong)),
    ]


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenarios", type=int, default=1000)
    parser.add_argument("--drops", type=int, default=100)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--processes", type=int, default=20)
    given = parser.parse_args()
    rows = [*scenarios(given.scenarios), *drops(given.drops), *crowd(given.processes), *kills(given.kills)]
    print("| what | result |\n|---|---|")
    for what, result in rows:
        print(f"| {what} | {result} |")


if __name__ == "__main__":
    main()
