"""Two processes under torchrun train as one does: the same batches, the same losses, one folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from audiolm_cli.checkpoints.catalogue import resolve
from audiolm_cli.data.manifest import write_store
from audiolm_cli.data.tokens import CodecFacts, TokenClip
from audiolm_cli.training.state import load_state

pytestmark = pytest.mark.slow

SCRIPT = """
import dataclasses, sys
from pathlib import Path
from audiolm_cli.cli.torchrun import torchrun_ranks
from audiolm_cli.config.base import ModelConfig, TrainConfig
from audiolm_cli.workflows.train import train
config = TrainConfig(steps=int(sys.argv[3]), batch_frames=280, shortest_window=20, warmup_steps=5, validate_every=25,
                     validation_windows=2, log_every=1, dtype="fp32", device="cpu", threads=1, seed=11,
                     micro_frames=int(sys.argv[4]))
shape = ModelConfig(d_model=32, nhead=2, num_layers=2, max_frames=40)
train(Path(sys.argv[1]), Path(sys.argv[2]), shape=shape, config=config, ranks=torchrun_ranks())
"""
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    facts = CodecFacts(
        name="nowhere", sha256="", sample_rate_hz=32_000, hop_samples=640, num_codebooks=3, codebook_size=16
    )
    clips = [TokenClip(id=f"c{i}", codes=rng.integers(16, size=(50, 3)).astype(np.int16)) for i in range(6)]
    write_store(tmp_path / "store", facts, [("dev" if i == 0 else "train", clip) for i, clip in enumerate(clips)])
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path / "store"


def entries(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("micro_frames", [0, 40])
def test_two_processes_have_the_losses_of_one(store: Path, tmp_path: Path, micro_frames: int) -> None:
    """Within 1e-4 nat over fifty steps, batches of uneven shares included; accumulating or not."""
    args = [str(tmp_path / "script.py"), str(store)]
    for command, run in (((sys.executable,), "one"), (TORCHRUN, "two")):
        subprocess.run([*command, *args, str(tmp_path / run), "50", str(micro_frames)], check=True, timeout=600)
    one, two = entries(tmp_path / "one"), entries(tmp_path / "two")
    assert [entry["step"] for entry in one] == [entry["step"] for entry in two]
    losses = [[entry["loss"] for entry in log if "loss" in entry] for log in (one, two)]
    assert len(losses[0]) == 50 and losses[1] == pytest.approx(losses[0], abs=1e-4)
    bits = [[entry["validation"]["total_bits"] for entry in log if "validation" in entry] for log in (one, two)]  # type: ignore[index]
    assert len(bits[0]) == 2 and bits[1] == pytest.approx(bits[0], abs=1e-3)
    assert resolve(str(tmp_path / "two")).kind == "model"


def test_all_processes_stop_together(store: Path, tmp_path: Path) -> None:
    """SIGTERM to torchrun leaves one whole state, from which the same command goes on."""
    run, command = tmp_path / "run", [*TORCHRUN, str(tmp_path / "script.py"), str(store), str(tmp_path / "run")]
    child = subprocess.Popen([*command, "100000", "0"])
    while not (run / "state").exists():
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    child.wait(timeout=120)
    found = load_state(run / "state")
    assert found is not None
    steps = found[0] + 5
    subprocess.run([*command, str(steps), "0"], check=True, timeout=600, env={**os.environ})
    assert [entry["step"] for entry in entries(run) if "loss" in entry] == list(range(1, steps + 1))
