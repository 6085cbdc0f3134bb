"""Kill trainings at random instants and see whether they end as the one that was left alone.

python tests/benchmarks/kill_training.py --kills 200 --signals 20

Every run is a process of its own, forked from this one so that torch is loaded once. A run that was killed is started
again, and killed again, until it ends; then its weights and everything it logged are compared, bit for bit, with those
of the run that was never killed. Signals go to the command itself, whose exit code and saved state are looked at.
Exits with 1 when anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.figure  # noqa: F401  here, so that no child spends its life on importing it
import numpy as np
import torch

from audiolm_cli.cli import app
from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.manifest import write_store
from audiolm_cli.data.tokens import CodecFacts, TokenClip
from audiolm_cli.training.preflight.request import TrainRequest
from audiolm_cli.training.state import load_state
from audiolm_cli.workflows.train import train

SHAPE = ModelConfig(d_model=16, nhead=2, num_layers=1, max_frames=40)
CONFIG = TrainConfig(
    steps=40,
    batch_frames=160,
    shortest_window=20,
    warmup_steps=2,
    validate_every=3,
    validation_windows=2,
    log_every=1,
    dtype="fp32",
    device="cpu",
    threads=1,
    seed=11,
)
COMMAND = "--decoder-dim 16 --nhead 2 --num-decoder-layers 1 --batch-frames 160 --validate-every 5 --dtype fp32"


def make_store(folder: Path) -> None:
    """Codes of no codec that is here."""
    rng = np.random.default_rng(0)
    facts = CodecFacts(
        name="nowhere", sha256="", sample_rate_hz=32_000, hop_samples=640, num_codebooks=3, codebook_size=16
    )
    clips = [TokenClip(id=f"c{i}", codes=rng.integers(16, size=(50, 3)).astype(np.int16)) for i in range(6)]
    write_store(folder, facts, [("dev" if i == 0 else "train", clip) for i, clip in enumerate(clips)])


def fork(work: Callable[[], object]) -> int:
    """A child that does the work in silence and leaves with its exit code; returns its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        work()
        code = 0
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    finally:
        os._exit(code)


def ended(child: int) -> int | None:
    """The exit code of a child; None while it runs."""
    done, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def outcome(run: Path) -> tuple[Any, ...]:
    """Everything a run ends with but its clock: what it logged, its last state, its best weights."""
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = [{key: value for key, value in entry.items() if key != "frames_per_s"} for entry in entries]
    found = load_state(run / "state")
    assert found is not None, run
    step, tensors, _ = found
    state = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
    return logged, step, state, (run / "best" / "model.safetensors").read_bytes()


def kill(folder: Path, store: Path, kills: int, rng: random.Random) -> Counter[str]:
    """Kill runs until that many have been killed, and let each of them end."""

    def run(place: Path) -> int:
        return fork(lambda: train(TrainRequest(store, place, shape=SHAPE, config=CONFIG)))

    found: Counter[str] = Counter()
    began = time.monotonic()
    assert os.waitpid(run(folder / "whole"), 0)[1] == 0
    alone_s = time.monotonic() - began
    expected = outcome(folder / "whole")
    place = folder / "run-0"
    while found["kills"] < kills or place.exists():
        child = run(place)
        code = None
        if found["kills"] < kills:
            deadline = time.monotonic() + rng.uniform(0, 0.6 * alone_s)
            while code is None and time.monotonic() < deadline:
                time.sleep(0.001)
                code = ended(child)
            if code is None:
                os.kill(child, signal.SIGKILL)
        if code is None:
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == -signal.SIGKILL:
            found["kills"] += 1
            found["while a state was being saved"] += any((place / "state").glob(".step-*.partial"))
            continue
        found["runs that ended"] += 1
        found["runs that ended otherwise than the one left alone"] += code != 0 or outcome(place) != expected
        place = folder / f"run-{found['runs that ended']}"
    return found


def interrupt(folder: Path, store: Path, signals: int, rng: random.Random) -> Counter[str]:
    """Send the command SIGINT and SIGTERM in turn, each to a training under way."""
    found: Counter[str] = Counter()
    for index in range(signals):
        number, code = (signal.SIGINT, 130) if index % 2 == 0 else (signal.SIGTERM, 143)
        place = folder / f"signal-{index}"
        line = ["train", str(store), "-o", str(place), "--steps", "100000", *COMMAND.split(), "--threads", "1"]
        child = fork(lambda line=line: app.main(line))  # type: ignore[misc]
        while not (place / "state").exists():
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.5))
        os.kill(child, number)
        left = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        state = load_state(place / "state")
        found["signals"] += 1
        found["exit codes other than 130 and 143"] += left != code
        found["without a whole state of the last step"] += state is None or state[0] < last_step(place)
    return found


def last_step(run: Path) -> int:
    """The last step that a run logged."""
    return max(json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines())


def main() -> None:
    """Print what happened as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--signals", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)  # forked processes cannot use the threads of this one
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_store(folder / "store")
        found = kill(folder, folder / "store", given.kills, rng)
        found.update(interrupt(folder, folder / "store", given.signals, rng))
    print("| what | how often |\n|---|---|")
    for what, count in found.items():
        print(f"| {what} | {count} |")
    wrong = [what for what in found if "otherwise" in what or "other than" in what or "without" in what]
    sys.exit(any(found[what] for what in wrong))


if __name__ == "__main__":
    main()
