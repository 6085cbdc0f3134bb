"""Training: interrupted runs end where uninterrupted ones do, losses fall, and stages leave each other alone."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import os
import resource
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.config.shapes import ModelConfig, SpectralConfig
from audiolm_cli.config.training import CodecTrainConfig, TrainConfig
from audiolm_cli.data.files import AudioFile, open_audio
from audiolm_cli.data.tokens import Corpus, TokenClip
from audiolm_cli.errors import DataError, OutputError, UsageError
from audiolm_cli.evaluation.model import ModelScores, score_windows
from audiolm_cli.events import Activity, Event, Note, OnEvent, Progress, TrainStep, Validation, ignore
from audiolm_cli.model.decoders import Decoders, build
from audiolm_cli.training.batches import draw_known
from audiolm_cli.training.codec.loop import CodecTrainer
from audiolm_cli.training.codec.spectral import SpectralTrainee, bin_weights
from audiolm_cli.training.endings import WAITS
from audiolm_cli.training.loop import OnSample, Trainer
from audiolm_cli.training.steps import Stepper, StepReport

V, K = 16, 3


class StoppedError(Exception):
    """Stands for a run that was killed."""


def clips_with_a_rule(clips: int, frames: int, seed: int = 0) -> list[TokenClip]:
    """Recordings with a rule: codebook 1 is a walk of few steps, and the others follow from it."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([3, 3, 3, 3, 3, 3, 3, 5], size=(clips, frames))
    first = (np.cumsum(steps, axis=1) + rng.integers(V, size=(clips, 1))) % V
    codes = np.stack([first, (first + 1) % V, first * 7 % V], axis=-1).astype(np.int16)
    return [TokenClip(id=str(i), codes=own) for i, own in enumerate(codes)]


CORPUS = Corpus(train=clips_with_a_rule(6, 60), dev=clips_with_a_rule(2, 40, seed=1))


def tiny(**fields: int | float) -> Decoders:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"d_model": 32, "nhead": 2, "num_layers": 1, "max_frames": 32}
    return build(ModelConfig(**{**shape, "num_quantizers": K, "codebook_size": V, **fields}))


def test_known_frames_are_a_random_number_of_some_items_and_leave_something() -> None:
    rng = np.random.default_rng(0)
    drawn = (
        torch.from_numpy(np.stack([draw_known((8, 40), 0.5, rng) for _ in range(200)])).float().mean(-1)
    )  # shares [200, 8]
    assert 0.42 < (drawn > 0).float().mean() < 0.52, "half, less those whose share rounds to no frame"
    assert 0.30 < drawn[drawn > 0].mean() < 0.42, "1 - 2 / pi is 0.36"
    assert not draw_known((3, 40), 0.0, rng).any()
    assert not any(draw_known((1, 1), 1.0, rng).any() for _ in range(100))


CONFIG = TrainConfig(
    steps=25,
    batch_frames=96,
    shortest_window=8,
    warmup_steps=3,
    validate_every=5,
    validation_windows=4,
    seed=7,
    nar_known=0.6,
    dtype="fp32",
)


class Run:
    """Training of a tiny model in one folder, as a person starts it again and again."""

    def __init__(self, folder: Path, config: TrainConfig = CONFIG, **shape: int | float) -> None:
        self.folder, self.config, self.shape = folder, config, shape
        self.best: list[dict[str, Tensor]] = []
        folder.mkdir(exist_ok=True)

    def start(
        self, on_event: OnEvent = ignore, model: Decoders | None = None, on_sample: OnSample | None = None
    ) -> Trainer:
        model = model or tiny(**self.shape)
        trainer = Trainer(model, self.config, CORPUS, self.folder, score_windows, on_event)
        trainer.run(lambda weights, scores: self.best.append({n: t.clone() for n, t in weights.items()}), on_sample)
        return trainer

    def metrics(self) -> list[dict[str, Any]]:
        """What was logged, without what depends on the clock."""

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        entries = [json.loads(line, parse_constant=refuse) for line in lines]
        return [{key: value for key, value in entry.items() if key != "frames_per_s"} for entry in entries]


def stop_at(step: int) -> OnEvent:
    """Ends a run after this step, before the step's state is saved."""

    def on_event(event: Event) -> None:
        done = event.step if isinstance(event, TrainStep) else event.done if isinstance(event, Progress) else 0
        if done == step:
            raise StoppedError

    return on_event


def stop_in_validation(step: int) -> OnEvent:
    """Ends a run between a validation and the state it belongs to."""

    def on_event(event: Event) -> None:
        if isinstance(event, Note) and event.message.startswith(f"step {step}: held-out"):
            raise StoppedError

    return on_event


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("optimizer", "dropout", "dtype"),
    [("muon", 0.0, "fp32"), ("muon", 0.2, "bf16"), ("adamw", 0.0, "fp32"), ("scaled-adam", 0.2, "fp32")],
)
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    tmp_path: Path, optimizer: str, dropout: float, dtype: str
) -> None:
    """Bit for bit: weights, averages, best weights and metrics; stopped before the first state and after."""
    config = TrainConfig(**{**CONFIG.to_dict(), "optimizer": optimizer, "dtype": dtype})
    whole, broken = Run(tmp_path / "whole", config, dropout=dropout), Run(tmp_path / "broken", config, dropout=dropout)

    expected = whole.start()
    for stop in (stop_at(3), stop_at(11), stop_in_validation(15), stop_at(20)):
        with pytest.raises(StoppedError):
            broken.start(stop)
        torch.manual_seed(99)  # a new process has another random state

    ended = broken.start()
    assert same(ended.model.state_dict(), expected.model.state_dict())
    assert same(ended.average, expected.average)
    assert same(broken.best[-1], whole.best[-1])
    assert ended.best == expected.best
    assert broken.metrics() == whole.metrics()


def test_a_line_cut_short_is_dropped_from_the_metrics(tmp_path: Path) -> None:
    whole, broken = Run(tmp_path / "whole"), Run(tmp_path / "broken")
    whole.start()
    with pytest.raises(StoppedError):
        broken.start(stop_at(12))
    log = tmp_path / "broken" / "metrics.jsonl"
    log.write_text(log.read_text() + '{"step": 1')
    broken.start()
    assert broken.metrics() == whole.metrics()


def test_a_finished_run_stays_as_it_is(tmp_path: Path) -> None:
    run = Run(tmp_path)
    first = run.start()
    metrics, bests = run.metrics(), len(run.best)
    again = run.start()
    assert same(again.model.state_dict(), first.model.state_dict()) and again.step == CONFIG.steps
    assert run.metrics() == metrics and len(run.best) == bests


def test_a_seed_fixes_the_run(tmp_path: Path) -> None:
    other = TrainConfig(**{**CONFIG.to_dict(), "seed": 8})
    ends = [Run(tmp_path / name, config).start() for name, config in (("a", CONFIG), ("b", CONFIG), ("c", other))]
    assert same(ends[0].model.state_dict(), ends[1].model.state_dict())
    assert not same(ends[0].model.state_dict(), ends[2].model.state_dict())


def test_the_best_weights_are_those_of_the_best_validation(tmp_path: Path) -> None:
    """They are the averaged ones, and score what the log says."""
    run = Run(tmp_path)
    trainer = run.start()
    scores = [entry["validation"]["total_bits"] for entry in run.metrics() if "validation" in entry]
    assert len(scores) == 5 and trainer.best == min(scores)
    assert len(run.best) == sum(score < min(scores[:i], default=math.inf) for i, score in enumerate(scores))

    model = tiny()
    model.load_state_dict(run.best[-1])
    assert score_windows(model, trainer.held_out).total_bits == min(scores)


def test_a_model_learns_the_rule_of_its_corpus(tmp_path: Path) -> None:
    """Codebook 1 has an entropy of 0.54 bits per frame and the others none; chance is 4 bits each."""
    config = TrainConfig(
        steps=120,
        batch_frames=512,
        shortest_window=16,
        warmup_steps=5,
        validate_every=60,
        validation_windows=8,
        ema_decay=0.95,
    )
    corpus = Corpus(train=clips_with_a_rule(40, 60), dev=clips_with_a_rule(4, 60, seed=1))
    trainer = Trainer(tiny(), config, corpus, tmp_path, score_windows, ignore)
    trainer.run(lambda weights, scores: None)

    validations = [
        json.loads(line)["validation"]
        for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
        if "validation" in line
    ]
    last = validations[-1]
    assert last["bits"][0] < 1.2 and max(last["bits"][1:]) < 0.5, validations
    assert last["top1"][0] > 0.8 and min(last["top1"][1:]) > 0.95, validations
    assert last["total_bits"] == pytest.approx(sum(last["bits"]))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize(("stage", "trained"), [(1, "ar_"), (2, "nar_")])
def test_a_stage_trains_its_decoder_and_no_other(tmp_path: Path, stage: int, trained: str, optimizer: str) -> None:
    config = TrainConfig(**{**CONFIG.to_dict(), "train_stage": stage, "optimizer": optimizer})
    run = Run(tmp_path, config)
    trainer = run.start()

    before, after = tiny().state_dict(), trainer.model.state_dict()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor) == (not name.startswith(trained)), name
        if not name.startswith(trained):
            assert torch.equal(trainer.average[name], tensor), name

    missing = "nar_bits" if stage == 1 else "ar_bits"
    assert [entry[missing] for entry in run.metrics() if "loss" in entry] == [None, None]


def break_gradients(model: Decoders, steps: range, seen: list[int]) -> None:
    """Let the gradients of the steps with these numbers, counted as they are made, be no numbers."""

    def hook(gradient: Tensor) -> Tensor:
        seen.append(len(seen))
        return gradient * math.nan if seen[-1] in steps else gradient

    model.ar_start.register_hook(hook)


def test_steps_without_finite_gradients_change_nothing_and_are_counted(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=4, log_every=1, unusable_steps=5)
    model = tiny()
    break_gradients(model, range(4), [])
    run = Run(tmp_path, config)
    trainer = run.start(model=model)
    assert same(trainer.model.state_dict(), tiny().state_dict())
    assert [entry["skipped"] for entry in run.metrics() if "loss" in entry] == [1, 2, 3, 4]


def test_several_unusable_steps_in_a_row_bring_the_last_state_back(tmp_path: Path) -> None:
    """On other batches, with what was logged since then cut off; the end is a whole training."""
    config = dataclasses.replace(CONFIG, log_every=1, unusable_steps=3)
    notes: list[Event] = []
    model = tiny()
    break_gradients(model, range(12, 15), [])
    run = Run(tmp_path, config)
    trainer = run.start(notes.append, model=model)

    warned = [note.message for note in notes if isinstance(note, Note) and note.warning]
    assert len(warned) == 1 and "3 steps in a row up to step 15" in warned[0] and "from step 10" in warned[0]
    assert (trainer.step, trainer.skipped, trainer.attempt) == (25, 3, 1)
    logged = [entry["step"] for entry in run.metrics() if "loss" in entry]
    assert logged == list(range(1, 26))
    assert not same(trainer.model.state_dict(), Run(tmp_path / "calm", config).start().model.state_dict())


def test_a_run_that_went_back_can_be_killed_too(tmp_path: Path) -> None:
    """It goes on as the one that was not: with the batches of its second attempt."""
    config = dataclasses.replace(CONFIG, unusable_steps=3)
    seen: list[list[int]] = [[], []]
    ends = []
    for name, own in zip(("whole", "broken"), seen, strict=True):
        model, run = tiny(), Run(tmp_path / name, config)
        break_gradients(model, range(12, 15), own)
        if name == "broken":
            with pytest.raises(StoppedError):
                run.start(stop_at(22), model=model)
            model = tiny()
        ends.append(run.start(model=model))
    assert same(ends[0].model.state_dict(), ends[1].model.state_dict())


@pytest.mark.parametrize(("steps", "word"), [(range(100), "up to step 3"), (range(6, 100), "up to step 8")])
def test_training_that_does_not_recover_is_an_error(tmp_path: Path, steps: range, word: str) -> None:
    model = tiny()
    break_gradients(model, steps, [])
    with pytest.raises(UsageError, match=f"{word} .*lower --base-lr"):
        Run(tmp_path, dataclasses.replace(CONFIG, unusable_steps=3)).start(model=model)


class Worse:
    """Scores that get worse from the third validation on."""

    def __init__(self, number: int) -> None:
        self.total_bits = abs(number - 3) + 1.0

    def to_dict(self) -> dict[str, Any]:
        return {"total_bits": self.total_bits}

    def summary(self) -> str:
        return f"{self.total_bits}"


def train_patiently(folder: Path, on_event: OnEvent) -> tuple[Trainer, list[int]]:
    """A run that loses its patience, and the steps of its best weights."""
    best: list[int] = []
    folder.mkdir(exist_ok=True)
    config = dataclasses.replace(CONFIG, steps=100, patience=3)
    trainer = Trainer(tiny(), config, CORPUS, folder, lambda model, codes: Worse(trainer.step // 5), on_event)
    trainer.run(lambda weights, scores: best.append(trainer.step))
    return trainer, best


@pytest.mark.parametrize("stop", [None, 22])
def test_patience_ends_a_training_that_gets_no_better(tmp_path: Path, stop: int | None) -> None:
    """Stopped and started again in between, too; the best weights are those of the third validation, at step 15."""
    if stop is not None:
        with pytest.raises(StoppedError):
            train_patiently(tmp_path, stop_at(stop))
    notes: list[Event] = []
    trainer, best = train_patiently(tmp_path, notes.append)
    assert trainer.step == 30 and trainer.best == 1.0 and best == ([5, 10, 15] if stop is None else [])
    assert any("3 validations without a better one" in note.message for note in notes if isinstance(note, Note))

    again, best = train_patiently(tmp_path, ignore)
    assert again.step == 30 and best == [], "once ended, it stays so"


def test_a_start_that_is_never_beaten_stays_the_best(tmp_path: Path) -> None:
    """Where a trained model is trained on and gets worse; killed before its first step, too."""
    config = dataclasses.replace(CONFIG, learning_rate=5.0, adam_learning_rate=5.0)
    best: list[int] = []

    def train(on_event: OnEvent) -> None:
        trainer = Trainer(tiny(), config, CORPUS, tmp_path, score_windows, on_event)
        trainer.run(lambda weights, scores: best.append(trainer.step), score_start=True)

    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "validation": {}}\n')  # of a run killed before its state
    with pytest.raises(StoppedError):
        train(stop_at(3))
    train(ignore)
    assert best == [0]

    steps = [entry["step"] for entry in Run(tmp_path).metrics() if "validation" in entry]
    assert steps == [0, 5, 10, 15, 20, 25]


@pytest.mark.parametrize("fields", [{"d_model": 16}, {"num_layers": 2}, {"codebook_size": 8}])
def test_a_state_of_another_shape_is_refused(tmp_path: Path, fields: dict[str, int]) -> None:
    with pytest.raises(StoppedError):
        Run(tmp_path).start(stop_at(7))
    with pytest.raises(UsageError, match="another shape"):
        Run(tmp_path).start(model=tiny(**fields))


def test_a_damaged_state_is_named_and_the_one_before_goes_on(tmp_path: Path) -> None:
    whole, broken = Run(tmp_path / "whole"), Run(tmp_path / "broken")
    expected = whole.start()
    with pytest.raises(StoppedError):
        broken.start(stop_at(17))
    newest = tmp_path / "broken" / "state" / "step-0000015" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")

    notes: list[Event] = []
    ended = broken.start(notes.append)
    said = [note.message for note in notes if isinstance(note, Note)]
    assert "step-0000015: this saved state is damaged" in said[0] and said[1] == "resumed at step 10"
    assert same(ended.model.state_dict(), expected.model.state_dict()) and broken.metrics() == whole.metrics()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_state_and_then_ends_the_program(tmp_path: Path, number: int) -> None:
    """At a step that is no validation, and at one that is: the validation is made up for later."""
    whole, broken = Run(tmp_path / "whole"), Run(tmp_path / "broken")
    expected = whole.start()

    before = signal.signal(number, raise_stopped)
    try:
        for step in (3, 10):
            with pytest.raises(StoppedError):
                broken.start(lambda event, step=step: send(number, event, step))  # type: ignore[misc]
            assert (tmp_path / "broken" / "state" / f"step-{step:07d}").is_dir()
    finally:
        signal.signal(number, before)

    ended = broken.start()
    assert same(ended.model.state_dict(), expected.model.state_dict()) and broken.metrics() == whole.metrics()
    assert same(broken.best[-1], whole.best[-1]) and ended.best == expected.best


def test_a_signal_is_answered_while_the_step_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step is mostly one call of a library, in which no handler of Python's runs."""
    usual, heard, ended = Stepper.step, dict[str, float](), list[float]()

    def compute(stepper: Stepper, step: int, attempt: int = 0) -> StepReport:
        report = usual(stepper, step, attempt)
        if step == 2:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            hashlib.pbkdf2_hmac("sha256", b"", b"", 6_000_000)  # seconds
            ended.append(time.monotonic())
        return report

    def listen(event: Event) -> None:
        if isinstance(event, Note):
            heard.setdefault(event.message, time.monotonic())

    monkeypatch.setattr(Stepper, "step", compute)
    before = signal.signal(signal.SIGINT, raise_stopped)
    try:
        with pytest.raises(StoppedError):
            Run(tmp_path).start(listen)
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard[WAITS] < ended[0] and "saved at step 3; the same command goes on from there" in heard


def test_the_time_left_is_that_of_steps(tmp_path: Path) -> None:
    """A validation before the first step does not come again with every step that is left."""
    seen: list[Event] = []

    def score(model: Decoders, windows: Tensor) -> ModelScores:
        time.sleep(2.0)
        return score_windows(model, windows)

    config = dataclasses.replace(CONFIG, steps=3, validate_every=3)
    trainer = Trainer(tiny(), config, CORPUS, tmp_path, score, seen.append)
    trainer.run(lambda weights, scores: None, score_start=True)
    first = next(event for event in seen if isinstance(event, TrainStep))
    assert (first.step, first.steps) == (1, 3) and first.eta_s < 2 * 2.0


def raise_stopped(number: int, frame: object) -> None:
    raise StoppedError


def send(number: int, event: Event, step: int) -> None:
    """The signal, to this process, when the step is reported."""
    if isinstance(event, TrainStep) and event.step == step:
        os.kill(os.getpid(), number)


def test_a_full_disk_leaves_the_state_before(tmp_path: Path) -> None:
    """Files may not grow over what the second state needs; with room again, the run ends as it would have."""
    whole, broken = Run(tmp_path / "whole"), Run(tmp_path / "broken")
    expected = whole.start()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(event: Event) -> None:
        if isinstance(event, TrainStep) and event.step == 7:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))

    try:
        with pytest.raises(OutputError, match="step 10 cannot be saved"):
            broken.start(fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert [path.name for path in (tmp_path / "broken" / "state").iterdir()] == ["step-0000005"]
    assert same(broken.start().model.state_dict(), expected.model.state_dict()) and broken.metrics() == whole.metrics()


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    stage2 = TrainConfig(train_stage=2)
    with pytest.raises(DataError, match="no clips"):
        Trainer(tiny(), CONFIG, Corpus(train=[], dev=CORPUS.dev), tmp_path, score_windows, ignore)
    with pytest.raises(UsageError, match="train-stage 2"):
        Trainer(tiny(num_quantizers=1), stage2, CORPUS, tmp_path, score_windows, ignore)


def test_events_say_what_the_metrics_say(tmp_path: Path) -> None:
    """One per step, one per validation; accuracies are shares, and the best validations are marked."""
    events: list[Event] = []
    run = Run(tmp_path, dataclasses.replace(CONFIG, log_every=1))
    run.start(events.append)

    steps = [event for event in events if isinstance(event, TrainStep)]
    logged = [entry for entry in run.metrics() if "loss" in entry]
    assert [(e.step, e.loss, e.gradient_norm, e.learning_rate) for e in steps] == [
        (e["step"], e["loss"], e["gradient_norm"], e["learning_rate"]) for e in logged
    ]
    assert steps[0].bits[0] == logged[0]["ar_bits"]
    assert steps[0].bits[logged[0]["nar_codebook"] - 1] == logged[0]["nar_bits"]
    assert 0 < logged[0]["nar_labels"] <= logged[0]["ar_labels"]

    last = steps[-1]
    assert last.steps == 25 and last.eta_s == 0 and last.frames_per_s > 0 and last.memory_bytes > 10_000_000
    assert min(last.bits) > 0 and all(0 <= a <= b <= 1 for a, b in zip(last.top1, last.top10, strict=True))

    validations = [event for event in events if isinstance(event, Validation)]
    assert [{"step": v.step, "validation": v.scores} for v in validations] == [
        entry for entry in run.metrics() if "validation" in entry
    ]
    assert sum(v.best for v in validations) == len(run.best)
    before = [
        one for one, after in itertools.pairwise(events) if isinstance(after, Note) and "held-out" in after.message
    ]
    assert before == [Activity(stage="score held-out recordings")] * len(validations)


def test_accuracies_are_those_of_the_batch(tmp_path: Path) -> None:
    """Of a model that always names codes 0 to 9 first, in this order."""
    model = tiny(codebook_size=64)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(0.0 if "head" not in name else 1.0)
        for norm in (model.ar_decoder.norm.bias, model.nar_decoder.norm.project.bias[32:]):
            norm.fill_(1.0)
        for head in (model.ar_head, *model.nar_heads):
            head.weight.copy_(-torch.arange(len(head.weight))[:, None] / 32.0)  # type: ignore[operator,arg-type]

    codes = np.tile(np.array([[0, 9, 10]], dtype=np.int16), (40, 1))
    codes[::4] = 63
    config = dataclasses.replace(CONFIG, fixed_split=True, full_windows=1.0, batch_frames=32, nar_known=0.0)
    stepper = Stepper(model, config, [TokenClip(id="a", codes=codes, ends=False)])

    expected = {0: (1.0, 1.0), 1: (0.0, 1.0), 2: (0.0, 0.0)}
    batch = stepper.batches.draw(0)
    share = (batch.windows.codes[:, batch.geometry.left :, 0] != 63).mean()

    ar, nar = stepper.step(0).decoders
    assert (ar.top1, ar.top10) == pytest.approx([share * x for x in expected[0]])
    assert (nar.top1, nar.top10) == pytest.approx([share * x for x in expected[nar.codebook]])


def test_samples_are_made_of_the_averaged_weights_and_change_nothing(tmp_path: Path) -> None:
    """The hook may draw as it likes."""
    config = dataclasses.replace(CONFIG, sample_every=10)
    taken: list[tuple[int, bool, dict[str, Tensor]]] = []

    def on_sample(step: int, model: Decoders) -> None:
        torch.rand(7)
        taken.append((step, model.training, {n: t.detach().clone() for n, t in model.named_parameters()}))

    plain = Run(tmp_path / "plain", dropout=0.2).start()
    run = Run(tmp_path / "sampled", config, dropout=0.2)
    sampled = run.start(on_sample=on_sample)
    assert same(plain.model.state_dict(), sampled.model.state_dict()) and same(plain.average, sampled.average)
    assert [(step, training) for step, training, _ in taken] == [(10, False), (20, False)]
    assert same(taken[0][2], run.best[1]), "steps 5 and 10 were the best so far"


SHAPE = SpectralConfig(
    sample_rate_hz=8000,
    hop_samples=160,
    window_samples=512,
    width=16,
    latent=8,
    encoder_blocks=1,
    decoder_blocks=1,
    kernel=3,
    expansion=2,
    num_codebooks=2,
    codebook_size=16,
)
CODEC_CONFIG = CodecTrainConfig(
    steps=14, clips=4, clip_s=0.4, warmup_steps=3, quantize_from=0.25, state_every=3, ema_decay=0.9, seed=3
)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[AudioFile]:
    """Four of three seconds each: gliding tones with a little noise."""
    folder, files = tmp_path_factory.mktemp("recordings"), []
    for i in range(4):
        rng = np.random.default_rng(i)
        frequency_hz = np.repeat(rng.uniform(100, 1500, 12), 2000)
        wav = 0.4 * np.sin(2 * np.pi * np.cumsum(frequency_hz) / 8000) + 0.001 * rng.standard_normal(24_000)
        soundfile.write(folder / f"{i}.wav", wav.astype(np.float32), 8000, subtype="FLOAT")
        files.append(open_audio(folder / f"{i}.wav"))
    return files


def train_codec(
    files: list[AudioFile], folder: Path, on_event: OnEvent = ignore, config: CodecTrainConfig = CODEC_CONFIG
) -> tuple[CodecTrainer, dict[str, float]]:
    torch.manual_seed(0)
    codec = SpectralCodec(SHAPE)
    torch.manual_seed(torch.seed())  # nothing may depend on the process's random state from here on
    trainer = CodecTrainer(SpectralTrainee(codec, config), config, files[:3], files[3:], folder, on_event)
    return trainer, trainer.run()


def test_an_interrupted_codec_ends_as_an_uninterrupted_one(recordings: list[AudioFile], tmp_path: Path) -> None:
    """Bit for bit, stopped before the first state, at the step that brings the quantizer in, and after it."""
    expected, losses = train_codec(recordings, tmp_path / "whole")
    for step in (2, 4, 8, 12):
        with pytest.raises(StoppedError):
            train_codec(recordings, tmp_path / "broken", stop_at(step))
    with pytest.raises(StoppedError):
        train_codec(recordings, tmp_path / "broken", stop_in_validation(14))
    ended, again = train_codec(recordings, tmp_path / "broken")
    assert expected.quantize_from_step == 3
    assert same(ended.network.state_dict(), expected.network.state_dict())
    assert torch.equal(ended.quantizer.counts, expected.quantizer.counts)
    assert again == losses


def test_a_codec_gets_better(recordings: list[AudioFile], tmp_path: Path) -> None:
    """Without its quantizer it beats the principal components it begins with; with it, the codes carry most of that."""
    start = CodecTrainConfig(**{**CODEC_CONFIG.to_dict(), "steps": 1, "quantize_from": 1.0, "learning_rate": 1e-9})
    start = dataclasses.replace(start, consistency=0.0)
    plain = CodecTrainConfig(**{**start.to_dict(), "steps": 100, "learning_rate": 1e-2, "state_every": 100})
    quantized = CodecTrainConfig(**{**plain.to_dict(), "quantize_from": 0.3})
    logs = [
        train_codec(recordings, tmp_path / str(i), config=config)[1]["log"]
        for i, config in enumerate((start, plain, quantized))
    ]
    assert logs[1] < 0.9 * logs[0], logs
    assert logs[1] < logs[2] < 1.4 * logs[1], logs


def test_the_usual_codec_starts_from_sixty_thousand_frames() -> None:
    """A small one from fewer: thirty frames per code, and enough for its principal components."""
    codecs = [SpectralCodec(shape) for shape in (SpectralConfig(), SHAPE)]
    assert [SpectralTrainee(codec, CODEC_CONFIG).start_frames for codec in codecs] == [60_000, 480]


@pytest.mark.parametrize("rate_hz", [4000, 8000, 16_000, 32_000])
def test_weights_of_bins_are_positive_and_average_one(rate_hz: int) -> None:
    codec = SpectralCodec(SpectralConfig(**{**SHAPE.to_dict(), "sample_rate_hz": rate_hz}))
    weights = bin_weights(codec)
    assert weights.mean().item() == pytest.approx(1.0, abs=1e-5) and weights.min() > 0
    assert (weights[: len(weights) // 2].diff() <= 1e-6).all(), "high bins weigh no more than low ones"
