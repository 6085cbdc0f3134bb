"""The bundled model's card: its trainings with their commands, on how many recordings of how many pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle import card, read_evaluation

from audiolm_cli.checkpoints.folder import MODEL_TENSORS, Folder, FolderFacts, write_folder
from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.manifest import write_store
from audiolm_cli.data.tokens import CodecFacts, TokenClip

FACTS = CodecFacts(name="tiny", sha256="0" * 64, sample_rate_hz=8000, hop_samples=320, num_codebooks=9, codebook_size=8)
CODEC = {"family": "spectral", "name": "tiny", "config": {}, "sha256": "0" * 64}
SHAPE = ModelConfig(d_model=16, nhead=2, num_layers=6, num_quantizers=9, ar_codebooks=9, max_frames=500)


def training(steps: int, **given: Any) -> dict[str, Any]:
    """Facts of a training of an hour."""
    facts = {"hours": 1.25, "minutes": 7.0, "held_out": {"total_bits": 40 + steps / 100}, "init": None}
    return {"config": TrainConfig(steps=steps).to_dict(), **facts, **given}


@pytest.fixture
def model(tmp_path: Path) -> Folder:
    """A model that was trained twice; its weights are not looked at."""
    told = training(5, init="piano", started_from=training(4))
    facts = FolderFacts(kind="model", name="mine", model=SHAPE.to_dict(), codec=CODEC, training=told)
    return write_folder(tmp_path / "model", facts, tensors={MODEL_TENSORS: {"a": torch.zeros(1)}}, texts={})


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Ten renderings, of 90 s each, and a copy of each that sounds recorded."""
    names = [f"piece {i}{ending}" for i in range(10) for ending in ("", "_recorded")]
    codes = np.zeros((90 * 25, 9), np.int16)
    write_store(tmp_path / "tokens", FACTS, [("train", TokenClip(id=name, codes=codes)) for name in names])
    return tmp_path / "tokens"


def test_the_card_tells_every_training_in_order(model: Folder, tokens: Path) -> None:
    told = card(model, tokens, {"Elsewhere": "| a table |"}, "Somewhere.", [])
    size = "--batch-frames 2500"
    assert f"TOKENS1 -o RUN1 --preset tiny --num-decoder-layers 6 --ar-codebooks 9 --steps 4 {size}\n" in told
    assert told.index("--steps 4 ") < told.index(f"-o RUN2 --init RUN1 --steps 5 {size}\n")
    assert told.index("40.04 bits per frame") < told.index("40.05 bits per frame")
    assert "25 frames per second of 9 codes" in told and "The model hears 20 s." in told
    assert "20 recordings of 10 pieces" in told and "### Elsewhere\n\n| a table |" in told

    rows = [line.split("|") for line in told.splitlines() if "salamander" in line or "fluidr3" in line]
    assert rows and all(float(row[2]) > 0 and float(row[3]) == float(row[4]) == 0 for row in rows)
    hours = {row[1].strip(): row[2] for row in rows}
    assert hours["salamander"] == hours["salamander, recorded"]  # a copy has the piano of its render


def test_an_evaluation_of_another_model_is_refused(model: Folder, tmp_path: Path) -> None:
    (tmp_path / "table.md").write_text("| a |\n")
    assert read_evaluation(tmp_path / "table.md", model) == "| a |"
    (tmp_path / "other.json").write_text(json.dumps({"model": {"sha256": "1" * 64}}))
    with pytest.raises(SystemExit, match="of another model"):
        read_evaluation(tmp_path / "other.json", model)
