"""The checks before a training: all pass on a sound one, and each fault is found by the check that is for it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.tokens import CodecFacts, Corpus, TokenClip
from audiolm_cli.errors import DataError, MemoryLimitError, ModelError, OutputError
from audiolm_cli.events import Event, Note, ignore
from audiolm_cli.library.store_codec import StoreCodec
from audiolm_cli.model.decoders import Decoders, build
from audiolm_cli.training.preflight import checks
from audiolm_cli.training.preflight.checks import Expected, Finding, run_checks
from audiolm_cli.training.preflight.outlook import expected_seconds, forecast, go_through, look_ahead, too_little
from audiolm_cli.training.preflight.preparing import Prepared
from audiolm_cli.training.preflight.request import TrainRequest
from audiolm_cli.wording import length_of

SHAPE = ModelConfig(d_model=32, nhead=2, num_layers=1, codebook_size=32, max_frames=40)
CONFIG = TrainConfig(steps=10, batch_frames=80, shortest_window=20, validate_every=5, validation_windows=2)
FACTS = CodecFacts(name="c", sha256="", sample_rate_hz=32000, hop_samples=640, num_codebooks=4, codebook_size=32)
NAMES = ["data", "codes", "a real step", "memory", "disk"]


def clips(count: int = 4, frames: int = 300, high: int = 32) -> list[TokenClip]:
    """Recordings of random codes."""
    rng = np.random.default_rng(count)
    shape = (count, frames, 4)
    return [TokenClip(id=str(i), codes=own) for i, own in enumerate(rng.integers(high, size=shape).astype(np.int16))]


@pytest.fixture
def model() -> Decoders:
    """An untrained model."""
    torch.manual_seed(0)
    return build(SHAPE)


Listed = Callable[..., list[Finding]]


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., Prepared]:
    """A training with something changed."""

    def make(config: TrainConfig = CONFIG, *, fine_tunes: bool = False, **changed: Any) -> Prepared:
        request = TrainRequest(tmp_path, tmp_path / "run", on_event=changed.pop("on_event", ignore))
        if fine_tunes:
            request.__dict__["origin"] = SimpleNamespace(name="origin")  # where a cached property is kept
        corpus = Corpus(**{"train": clips(), "dev": clips(1), **changed})
        owner = StoreCodec(facts=FACTS, name=None, folder=None)
        return Prepared(request=request, config=config, shape=SHAPE, owner=owner, corpus=corpus)

    return make


@pytest.fixture
def listed(model: Decoders, prepared: Callable[..., Prepared]) -> Listed:
    """Run the checks with something changed; what they found."""

    def run(config: TrainConfig = CONFIG, **changed: Any) -> list[Finding]:
        own = changed.pop("model", model)
        return run_checks(prepared(config, **changed), own, lambda finding: None).findings

    return run


def test_a_sound_training(listed: Listed, model: Decoders, tmp_path: Path) -> None:
    """Every check passes, with its numbers; model, random state and disk are as before."""
    before, state = {n: t.clone() for n, t in model.state_dict().items()}, torch.get_rng_state()
    done = listed()
    assert [finding.name for finding in done] == NAMES
    assert [(finding.status, finding.remedy) for finding in done] == [("ok", "")] * len(NAMES), done
    assert done[0].found == "0.01 h in 4 clips of 6.0 to 6.0 s, 1 clip held out (0)"
    assert done[1].found == "4 codebooks, codes 0..31 of 0..31, 50 frames per second"
    assert torch.equal(torch.get_rng_state(), state) and list(tmp_path.iterdir()) == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def damaged(value: float) -> Decoders:
    """A model with one weight of this value."""
    torch.manual_seed(0)
    model = build(SHAPE)
    with torch.no_grad():
        model.ar_head.weight[0, 0] = value
    return model


def certain() -> Decoders:
    """A model that is sure of the wrong thing."""
    torch.manual_seed(0)
    model = build(SHAPE)
    with torch.no_grad():
        model.ar_head.weight.mul_(200)
    return model


@pytest.mark.parametrize(
    ("changed", "name", "error", "words"),
    [
        ({"train": clips(high=40)}, "codes", DataError, "codes 0..39 of 0..31"),
        (
            {"dev": [TokenClip(id="odd", codes=np.zeros((9, 3), np.int16))]},
            "codes",
            DataError,
            "odd has the shape (9, 3)",
        ),
        ({"model": damaged(float("nan")), "fine_tunes": True}, "loss at the start", ModelError, "nan"),
    ],
)
def test_a_fault_is_found(
    listed: Listed, changed: dict[str, Any], name: str, error: type[Exception], words: str
) -> None:
    """By the check that is for it, which is the last one done, with the error that fits and something to do."""
    last = listed(**changed)[-1]
    assert (last.name, last.status, last.error) == (name, "failed", error)
    assert words in last.found and last.remedy


def test_what_only_brings_a_warning(listed: Listed) -> None:
    """Short clips, nothing held out, and a model to start from that knows nothing of this sound."""
    assert "join short recordings" in listed(train=clips(frames=100))[0].remedy
    few = clips()
    assert "over-fitting" in listed(train=few, dev=few)[0].remedy
    start = listed(model=certain(), fine_tunes=True)[2]
    assert (start.name, start.status) == ("loss at the start", "warning") and "--init" in start.remedy
    assert "a blind guess has 3.47" in start.found


def test_codes_that_hardly_vary(listed: Listed) -> None:
    """A codec that does not hear a sound gives it one code: that is said, with what to do, and is no failure."""
    same = clips()
    for clip in same:
        clip.codes[:280, 0] = 7
    done = listed(train=same)
    assert [finding.name for finding in done] == NAMES
    assert done[1].status == "warning" and done[1].found == "93 % of all frames have the same first code"
    assert "audiolm codec train" in done[1].remedy and "bug" not in done[1].remedy


def test_memory_and_disk(listed: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little of either is told before hours are spent."""

    class Full(checks.Stepper):
        """A step that does not fit."""

        def step(self, step: int, attempt: int = 0) -> Any:
            """Out of memory, as a `Stepper` says it."""
            raise MemoryLimitError("no")

    with monkeypatch.context() as patch:
        patch.setattr(checks, "total_memory", lambda device: 1)
        memory = listed()[-2]
        assert (memory.name, memory.status) == ("memory", "warning") and "--batch-frames" in memory.remedy
    with monkeypatch.context() as patch:
        patch.setattr(checks, "STATES_ON_DISK", 1e18)
        disk = listed()[-1]
        assert (disk.name, disk.status, disk.error) == ("disk", "failed", OutputError)
    monkeypatch.setattr(checks, "Stepper", Full)
    step = listed()[-1]
    assert (step.name, step.status, step.error) == ("a real step", "failed", MemoryLimitError)


def test_a_failure_stops_the_training(model: Decoders, prepared: Callable[..., Prepared]) -> None:
    """Checks are reported as they are done, and the first failure is raised as the error that fits."""
    events: list[Event] = []
    with pytest.raises(DataError, match=r"check codes: .*0\.\.39.*tokenize the recordings again"):
        go_through(prepared(train=clips(high=40), on_event=events.append), model)
    assert [event.message.split(":")[0] for event in events if isinstance(event, Note)] == ["check data"]


@pytest.mark.parametrize("stage", [1, 2])
def test_one_decoder_alone(listed: Listed, stage: int) -> None:
    """Only the decoder that will be trained is tried."""
    done = listed(config=dataclasses.replace(CONFIG, train_stage=stage), fine_tunes=True)
    assert [finding.name for finding in done] == [*NAMES[:2], "loss at the start", *NAMES[2:]]
    assert done[2].found.count(",") == (0 if stage == 1 else 2)


def test_expected_time() -> None:
    """Steps and scorings: 10 of 2 s; 2 validations and the verdict of 3 s, and the model to start from."""
    assert expected_seconds(CONFIG, 2.0, 3.0, False) == pytest.approx(20 + 3 * 3)
    assert expected_seconds(CONFIG, 2.0, 3.0, True) == pytest.approx(20 + 4 * 3)


def test_a_validation_is_timed(
    model: Decoders, prepared: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of its windows; what the time of the training is made of."""
    scored: list[int] = []

    def score(model: Decoders, windows: torch.Tensor) -> None:
        scored.append(len(windows))
        time.sleep(0.1)

    monkeypatch.setattr(checks, "score_windows", score)
    given = prepared(config=dataclasses.replace(CONFIG, validation_windows=24))
    _, expected = checks.time_steps(given, model)
    assert scored == [4] and expected is not None and 0.6 <= expected.score_s < 3
    seconds = expected_seconds(given.config, expected.step_s, expected.score_s, False)
    assert look_ahead(given, expected).seconds == seconds


def test_patience_may_end_a_training_sooner(model: Decoders, prepared: Callable[..., Prepared]) -> None:
    """Then what is expected is the most."""
    expected = Expected(step_s=60.0, score_s=60.0, waited=0.0, memory_bytes=0, state_bytes=0)
    assert forecast(prepared(), expected) == "expected: 13 min for 10 steps"
    patient = prepared(config=dataclasses.replace(CONFIG, patience=3))
    assert forecast(patient, expected) == "expected: at most 13 min for up to 10 steps"


class Waiting(checks.Stepper):
    """A step that another program keeps from computing for most of its time."""

    steps: ClassVar[list[int]] = []

    def step(self, step: int, attempt: int = 0) -> Any:
        """Wait, 0.4 s in the first step and 0.1 s in others."""
        time.sleep(0.1 if step else 0.4)
        self.steps.append(step)


def test_what_is_expected_of_a_busy_computer_is_said_to_be(
    model: Decoders, prepared: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten short steps are timed, not the one that warms up; that they waited is said, and what would be without it."""
    monkeypatch.setattr(checks, "Stepper", Waiting)
    monkeypatch.setattr(checks, "state_bytes", lambda stepper: 0)
    Waiting.steps.clear()
    given = prepared()
    finding, expected = checks.time_steps(given, model)

    assert expected is not None and Waiting.steps == list(range(11))
    assert 0.1 <= expected.step_s < 0.4 and expected.waited > 0.9
    assert "% waiting for other programs" in finding.found
    assert "if this computer stays as busy as it is now" in forecast(given, expected)

    half = dataclasses.replace(expected, step_s=3600.0, score_s=600.0, waited=0.5, memory_bytes=0)
    said = forecast(given, half)
    whole_s = look_ahead(given, half).seconds
    assert look_ahead(given, half).free_s == whole_s / 2 and length_of(whole_s / 2) in said
    free = dataclasses.replace(half, waited=0.1)
    assert forecast(given, free) == f"expected: {length_of(whole_s)} for 10 steps"


def test_long_steps_are_timed_thrice_and_very_long_ones_once(
    model: Decoders, prepared: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "Stepper", Waiting)
    monkeypatch.setattr(checks, "state_bytes", lambda stepper: 0)
    for name, value, steps in (("TIMED_S", 0.2, 4), ("PATIENCE_S", 0.3, 1)):
        monkeypatch.setattr(checks, name, value)
        Waiting.steps.clear()
        checks.time_steps(prepared(), model)
        assert len(Waiting.steps) == steps


def test_too_little_data() -> None:
    """15 h are asked of 13.8 M parameters, and 20 minutes of a model that is trained already; the advice fits."""
    shape = ModelConfig(d_model=512, nhead=8)
    hour = 180_000
    said = too_little(shape, 1.0, hour, 13_800_000, fine_tuned=False)
    assert "60 min is little for 13.8 M parameters, which want 15.3 h" in said and "--preset tiny or --init" in said
    assert "1 s is little for 0.0 M parameters, which want 20 s" in too_little(
        shape, 1 / 3600, 50, 5000, fine_tuned=False
    )
    assert "--preset" not in too_little(ModelConfig(d_model=64, nhead=2), 1.0, hour, 13_800_000, fine_tuned=False)
    assert too_little(shape, 16.0, 16 * hour, 13_800_000, fine_tuned=False) == ""
    assert too_little(shape, 0.5, hour // 2, 13_800_000, fine_tuned=True) == ""
    assert too_little(shape, 0.2, hour // 5, 13_800_000, fine_tuned=True).startswith("12 min is little")
