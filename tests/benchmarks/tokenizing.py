"""What tokenizing costs: memory by length, and how busy it keeps the cores. Prints Markdown tables.

    python tests/benchmarks/tokenizing.py [CODEC] [HOURS]

Run with the name or path of a codec (piano) and the length of the long recording (3). Recordings are synthetic: notes
with overtones, and silences of some seconds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 44_100
PERIOD_S = 60
ALLOWED_MB = 100.0
LIMIT_MB = 1500.0
FILES, FILE_S = 24, 150


def minute(seed: int) -> np.ndarray:
    """float32 [N, 2]: 48 s of notes, 12 s of silence."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    wav = np.zeros((PERIOD_S * RATE_HZ, 2), np.float32)
    for onset in np.arange(0, 46, 0.5):
        pitch_hz = 110 * 2 ** (int(rng.integers(0, 40)) / 12)
        note = sum(np.exp(-(2 + k) * time_s) * np.sin(2 * np.pi * k * pitch_hz * time_s) / k for k in range(1, 5))
        start = int(onset * RATE_HZ)
        wav[start : start + len(note)] += 0.15 * note[:, None] * rng.uniform(0.5, 1, 2)
    return wav


def write(path: Path, seconds: float, seed: int) -> None:
    """A recording of minutes that differ from each other."""
    blocks = [minute(seed * 10 + i) for i in range(4)]
    left = round(seconds * RATE_HZ)
    with soundfile.SoundFile(path, "w", RATE_HZ, 2, "PCM_16", format="FLAC") as file:
        count = 0
        while left > 0:
            block = blocks[count % 4] * np.float32(0.3 + 0.7 * ((count * 0.618) % 1))
            file.write(block[:left])
            left -= len(block)
            count += 1


def run(*args: object) -> tuple[float, float, float]:
    """(peak resident memory in MB of the largest process, CPU seconds, wall seconds) of one tokenize."""
    start = time.monotonic()
    command = [sys.executable, "-m", "audiolm_cli", "tokenize", *map(str, args), "-q"]
    program = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(program.pid, 0)
    program.returncode = os.waitstatus_to_exitcode(status)
    if program.returncode:
        sys.exit(f"tokenize ended with {program.returncode}")
    return usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime, time.monotonic() - start


class Watch(threading.Thread):
    """How long tokenize and its workers have run, and waited for a core that others had."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: dict[int, tuple[float, float]] = {}
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.2):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if os.getpid() in _ancestors(process):
                        ran, waited, _ = (process / "schedstat").read_text().split()
                        self.seen[int(process.name)] = int(ran) / 1e9, int(waited) / 1e9
                except (OSError, ValueError):
                    continue


def _ancestors(process: Path) -> tuple[int, int]:
    """The parent and the grandparent of a process."""
    parent = (process / "stat").read_text().rsplit(")", 1)[1].split()[1]
    return int(parent), int(Path(f"/proc/{parent}/stat").read_text().rsplit(")", 1)[1].split()[1])


def main(codec: str = "piano", hours: str = "3") -> None:
    """Measure and print."""
    folder = Path(tempfile.mkdtemp(prefix="tokenizing-"))
    try:
        long_s = float(hours) * 3600
        write(folder / "short.flac", 300, 1)
        write(folder / "long.flac", long_s, 2)
        rows = [
            (seconds, *run(folder / f"{name}.flac", "-o", folder / name, "--codec", codec))
            for name, seconds in (("short", 300.0), ("long", long_s))
        ]
        print(f"| one recording ({codec}) | peak memory | CPU time | times real time, per core |\n|---|---|---|---|")
        for seconds, memory, cpu, _ in rows:
            print(f"| {seconds / 60:.0f} min | {memory:.0f} MB | {cpu:.0f} s | {seconds / cpu:.0f} |")
        more = rows[1][1] - rows[0][1]
        verdict = "within" if more <= ALLOWED_MB and rows[1][1] <= LIMIT_MB else "NOT within"
        print(f"\n{more:+.0f} MB for the long one: {verdict} {ALLOWED_MB:.0f} MB more and {LIMIT_MB:.0f} MB in all.\n")
        (folder / "many").mkdir()
        for i in range(FILES):
            write(folder / "many" / f"{i}.flac", FILE_S, 10 + i)
        print(f"| {FILES} recordings of {FILE_S} s | wall | CPU time | cores in use | cores wanted |")
        print("|---|---|---|---|---|")
        for workers in (1, len(os.sched_getaffinity(0))):
            watch = Watch()
            watch.start()
            _, cpu, wall = run(folder / "many", "-o", folder / f"w{workers}", "--codec", codec, "--workers", workers)
            watch.over.set()
            wanted = sum(ran + waited for ran, waited in watch.seen.values()) / wall
            print(f"| {workers} worker(s) | {wall:.0f} s | {cpu:.0f} s | {cpu / wall:.2f} | {wanted:.2f} |")
        same = (folder / "w1" / "codes.h5").read_bytes() == (folder / f"w{workers}" / "codes.h5").read_bytes()
        print(f"\nThe codes are {'the same' if same else 'NOT the same'} in both.")
        print(f"Load of the machine meanwhile: {os.getloadavg()[2]:.1f} (of {os.cpu_count()} cores).")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
