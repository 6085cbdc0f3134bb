"""A training whose weights have become useless: what is kept, what is written, and how it ends."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.tokens import Corpus, TokenClip
from audiolm_cli.errors import UsageError
from audiolm_cli.evaluation.model import score_windows
from audiolm_cli.events import Event, Note, TrainStep, Validation
from audiolm_cli.model.decoders import Decoders, build
from audiolm_cli.reports.curves import read_history
from audiolm_cli.training.journal import Journal
from audiolm_cli.training.loop import Scores, Trainer

CONFIG = TrainConfig(
    steps=12,
    batch_frames=64,
    shortest_window=8,
    validate_every=3,
    validation_windows=2,
    dtype="fp32",
    unusable_steps=50,
)


def trainer(folder: Path, events: list[Event], bad: range, config: TrainConfig = CONFIG) -> Trainer:
    """Of a small model, some of whose validations, counted as they are made, find weights that are no numbers."""
    torch.manual_seed(0)
    model = build(ModelConfig(d_model=32, nhead=2, num_layers=1, num_quantizers=2, codebook_size=16, max_frames=32))
    rng = np.random.default_rng(0)
    clips = [TokenClip(id=str(i), codes=rng.integers(16, size=(60, 2)).astype(np.int16)) for i in range(3)]
    made: list[int] = []

    def score(model: Decoders, codes: Tensor) -> Scores:
        found = score_windows(model, codes)
        made.append(len(made))
        return dataclasses.replace(found, bits=[math.nan] * 2) if made[-1] in bad else found

    return Trainer(model, config, Corpus(train=clips, dev=clips[:1]), folder, score, events.append)


def strict(path: Path) -> list[dict[str, Any]]:
    """The entries of a journal, each of which is JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def test_what_is_no_number_is_null_at_any_depth(tmp_path: Path) -> None:
    Journal(tmp_path / "j").write({"step": 1, "validation": {"bits": [math.nan, 1.0], "deep": ({"x": math.inf},)}})
    assert strict(tmp_path / "j") == [{"step": 1, "validation": {"bits": [None, 1.0], "deep": [{"x": None}]}}]


def test_a_training_that_diverges_goes_back(tmp_path: Path) -> None:
    """To the last state with good weights, on other batches; nothing of the bad ones is saved, shown or kept."""
    events: list[Event] = []
    best: list[int] = []
    run = trainer(tmp_path, events, range(2, 3))
    run.run(lambda weights, scores: best.append(run.step))

    warned = [event.message for event in events if isinstance(event, Note) and event.warning]
    assert len(warned) == 1 and "at step 9 the held-out loss is no number: training has diverged" in warned[0]
    assert "going on from step 6 on other batches" in warned[0]

    assert (run.step, run.attempt, run.saved) == (12, 1, 12)
    assert [event.step for event in events if isinstance(event, Validation)] == [3, 6, 9, 12]

    entries = strict(tmp_path / "metrics.jsonl")
    assert [entry["step"] for entry in entries if "validation" in entry] == [3, 6, 9, 12]
    assert set(best) <= {3, 6, 9, 12}


@pytest.mark.parametrize("first", [0, 2])
def test_a_training_that_diverges_again_and_again(tmp_path: Path, first: int) -> None:
    """Ends with what to do, and with the last good state and the best weights where they were."""
    kept: list[int] = []
    run = trainer(tmp_path, [], range(first, 100))
    with pytest.raises(UsageError, match=r"training has diverged; .* lower --base-lr") as caught:
        run.run(lambda weights, scores: kept.append(run.step))

    states = sorted(path.name for path in (tmp_path / "state").glob("step-*"))
    assert states == ([] if first == 0 else ["step-0000003", "step-0000006"])
    assert bool(kept) == ("the best weights so far are kept in" in str(caught.value)) == (first > 0)
    strict(tmp_path / "metrics.jsonl")
    assert [step for step, _ in read_history(tmp_path / "metrics.jsonl").held_out] == ([] if first == 0 else [3, 6])


@pytest.mark.parametrize("at", [0, 2])
def test_a_signal_says_what_was_saved(tmp_path: Path, at: int) -> None:
    """Before the first step there is nothing to save."""
    events: list[Event] = []
    run = trainer(tmp_path, events, range(0))
    listener = run.on_event

    def on_event(event: Event) -> None:
        listener(event)
        if isinstance(event, TrainStep) and event.step == at:
            os.kill(os.getpid(), signal.SIGINT)

    run.on_event = on_event
    if at == 0:
        run._validation_due = lambda: signal.raise_signal(signal.SIGINT) or False  # type: ignore[method-assign,func-returns-value]
    with pytest.raises(KeyboardInterrupt):
        run.run(lambda weights, scores: None)

    said = [event.message for event in events if isinstance(event, Note)]
    assert any("nothing to save" in text for text in said) == (at == 0)
    assert any(text.startswith("saved at step 2") for text in said) == (at == 2)
    assert (tmp_path / "state").exists() == (at == 2)
