"""Ten minutes of continuation against one: time, memory, and whether it begins to repeat itself.

python tests/benchmarks/long_continuation.py RECORDING [MODEL] [MINUTES] prints one Markdown table. Each length is one
run of the command in a process of its own, with one thread. Seconds are those of the processor, without loading: other
programs do not count. Repetition is that of the first codebook of what was written, encoded again, within each
minute; that of the recording's own minutes stands beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from audiolm_cli.audio import mid, read_audio, resample
from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.chunked import encode_chunked
from audiolm_cli.evaluation.metrics import repetition_rate
from audiolm_cli.library.loading import load_codec
from audiolm_cli.reports.tables import table

MINUTE_S = 60
NOTHING_S = 0.1
"""A continuation of this length costs about what loading does."""


def run(recording: str, model: str, seconds: float, output: Path) -> tuple[float, float]:
    """Processor seconds and peak memory in MB of one continuation."""
    flags = [
        "-m",
        model,
        "-d",
        str(seconds),
        "--seed",
        "1",
        "--only-new",
        "--threads",
        "1",
        "--no-progress",
        "-q",
        "-f",
    ]
    command = [sys.executable, "-m", "audiolm_cli", "continue", recording, *flags, "-o", str(output)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} left with {process.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def repetitions(path: str | Path, codec: Codec) -> list[float]:
    """Repetition rate of each whole minute of a file."""
    heard = read_audio(path)
    wav = resample(mid(heard.wav())[None], heard.sample_rate_hz, codec.sample_rate_hz)
    codes = encode_chunked(codec, torch.from_numpy(np.ascontiguousarray(wav))[None])[0, :, 0].numpy()
    minute = round(MINUTE_S * codec.frame_rate_hz)
    return [repetition_rate(codes[at : at + minute]) for at in range(0, len(codes) - minute + 1, minute)]


def main(recording: str, model: str = "piano", minutes: str = "10") -> None:
    """Print the table."""
    torch.set_num_threads(1)
    codec, count = load_codec(model), int(minutes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.wav"
        loading_s, _ = run(recording, model, NOTHING_S, path)
        short_s, short_mb = run(recording, model, MINUTE_S, path)
        long_s, long_mb = run(recording, model, MINUTE_S * count, path)
        made = repetitions(path, codec)
    short_s, long_s = short_s - loading_s, long_s - loading_s
    own = repetitions(recording, codec)
    halves = [float(np.mean(part)) for part in (made[: count // 2], made[count // 2 :])]
    rows = [
        ["processor seconds without loading", f"{short_s:.1f}", f"{long_s:.1f}", f"{long_s / (count * short_s):.3f}"],
        ["peak resident memory, MB", f"{short_mb:.0f}", f"{long_mb:.0f}", f"{long_mb / short_mb:.3f}"],
        ["repetition, first and second half", f"{halves[0]:.4f}", f"{halves[1]:.4f}", f"{halves[1] - halves[0]:+.4f}"],
    ]
    print(table(["", "1 minute", f"{count} minutes", "long over short, per minute"], rows))
    print("\nRepetition in each minute: " + ", ".join(f"{rate:.4f}" for rate in made))
    print("In the recording's own minutes: " + (", ".join(f"{rate:.4f}" for rate in own) or "it has none"))
    print(json.dumps({"minutes": count, "repetition": made}))


if __name__ == "__main__":
    main(*sys.argv[1:])
