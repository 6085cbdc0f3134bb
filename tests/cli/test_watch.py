"""What a training leaves to see and hear: curves, TensorBoard, samples, checks and a verdict; none of it changes it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiolm_cli.checkpoints.catalogue import resolve
from audiolm_cli.config.shapes import PRESETS, ModelConfig
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.tokens import Corpus, TokenClip
from audiolm_cli.events import Event, Note, TrainStep, Validation
from audiolm_cli.reports.board import BOARD
from audiolm_cli.reports.card import count_steps
from audiolm_cli.reports.curves import CURVES
from audiolm_cli.training import watch
from audiolm_cli.training.preflight.preparing import prepare
from audiolm_cli.training.preflight.request import TrainRequest
from audiolm_cli.workflows.train import Trained, train

Piano = Callable[..., np.ndarray]
SHAPE = ModelConfig(d_model=32, nhead=2, num_layers=1, max_frames=40)
STEPS = TrainConfig(
    steps=6, batch_frames=80, shortest_window=20, validate_every=3, validation_windows=2, sample_every=3, log_every=2
)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory, piano: Piano, tiny_codec: Path) -> Path:
    """A token store of six short recordings."""
    from audiolm_cli.workflows.tokenize import tokenize

    folder = tmp_path_factory.mktemp("recordings")
    for i in range(6):
        soundfile.write(folder / f"{i}.wav", piano(2.0, 16000, seed=i), 16000)
    return tokenize([folder], folder / "tokens", str(tiny_codec), device="cpu", workers=1).path


@pytest.fixture(scope="module")
def watched(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, list[Event]]:
    """A run with samples, and what it reported."""
    events: list[Event] = []
    return train(
        TrainRequest(tokens, tmp_path_factory.mktemp("runs") / "run", shape=SHAPE, config=STEPS, on_event=events.append)
    ), events


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take most of the time; the run above draws them."""
    monkeypatch.setattr(watch, "draw_curves", lambda *_, **__: None)


def weights(trained: Trained) -> str:
    """Hash of the model's weights."""
    return trained.folder.files["model.safetensors"].sha256


def journal(run: Path) -> list[dict[str, Any]]:
    """The entries of `metrics.jsonl`, but for the speed."""
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in entry.items() if key != "frames_per_s"} for entry in entries]


def test_watching_changes_nothing(
    watched: tuple[Trained, list[Event]], tokens: Path, tmp_path: Path, no_pictures: None
) -> None:
    """The same weights and the same losses with samples and without."""
    config = dataclasses.replace(STEPS, sample_every=0)
    plain = train(TrainRequest(tokens, tmp_path / "run", shape=SHAPE, config=config))
    assert weights(plain) == weights(watched[0]) and journal(plain.run) == journal(watched[0].run)
    assert not (plain.run / "samples").exists()


def test_what_lies_there(watched: tuple[Trained, list[Event]]) -> None:
    """Curves, samples of both steps, and a note for each."""
    run, events = watched[0].run, watched[1]
    assert (run / CURVES).read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (run / "samples").iterdir()) == ["original", "step-0000003", "step-0000006"]
    notes = [event.message for event in events if isinstance(event, Note)]
    assert f"step 3: continuation and infill in {run / 'samples' / 'step-0000003'}" in notes
    first, second = (run / "samples" / f"step-000000{step}" / "continuation.wav" for step in (3, 6))
    assert first.read_bytes() != second.read_bytes()


def test_tensorboard(watched: tuple[Trained, list[Event]]) -> None:
    """TensorBoard reads every validation, the training steps that are logged, and the sounds."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, events = watched[0].run, watched[1]
    board = EventAccumulator(str(run / BOARD))
    board.Reload()
    held_out = [(entry.step, entry.value) for entry in board.Scalars("held-out/bits per frame")]
    told = [(event.step, event.scores["total_bits"]) for event in events if isinstance(event, Validation)]
    assert [step for step, _ in held_out] == [3, 6]
    np.testing.assert_allclose(np.array(held_out), np.array(told), rtol=1e-6)
    losses = {event.step: event.loss for event in events if isinstance(event, TrainStep)}
    for entry in board.Scalars("train/loss"):
        np.testing.assert_allclose(entry.value, losses[entry.step], rtol=1e-6)
    assert [entry.step for entry in board.Scalars("train/loss")] == [2, 4, 6]
    assert [entry.step for entry in board.Audio("samples/continuation")] == [3, 6]
    assert len(board.Scalars("held-out top-10/codebook 4")) == 2


def test_a_resumed_board_counts_each_step_once(tokens: Path, tmp_path: Path, no_pictures: None) -> None:
    """What was done after the last saved state, and is done again, replaces what was there."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Killed(BaseException):
        """What stands for a signal."""

    def kill(event: Event) -> None:
        if isinstance(event, TrainStep) and event.step == 5:
            raise Killed

    config = dataclasses.replace(STEPS, log_every=1, sample_every=0)
    with pytest.raises(Killed):
        train(TrainRequest(tokens, tmp_path / "run", shape=SHAPE, config=config, on_event=kill))
    train(TrainRequest(tokens, tmp_path / "run", shape=SHAPE, config=config))
    board = EventAccumulator(str(tmp_path / "run" / BOARD))
    board.Reload()
    assert [entry.step for entry in board.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]
    assert [entry.step for entry in board.Scalars("held-out/bits per frame")] == [3, 6]


def test_what_cannot_be_drawn_does_not_end_the_training(
    watched: tuple[Trained, list[Event]], tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One warning for each, whatever the error; the same weights. States are there before anything is drawn."""
    states: list[list[str]] = []

    def fail(*arguments: object, **_: object) -> None:
        states.append(sorted(path.name for path in (tmp_path / "run" / "state").glob("step-*")))
        raise OSError(28, "No space left on device") if len(states) % 2 else ValueError("no such font")

    monkeypatch.setattr(watch, "draw_curves", fail)
    monkeypatch.setattr(watch, "DRAW_EVERY_S", 0.0)
    monkeypatch.setattr("audiolm_cli.training.samples.plot_recording", fail)
    monkeypatch.setattr("audiolm_cli.reports.board.Board._writer", fail)
    events: list[Event] = []
    trained = train(TrainRequest(tokens, tmp_path / "run", shape=SHAPE, config=STEPS, on_event=events.append))
    assert weights(trained) == weights(watched[0])
    said = [event.message for event in events if isinstance(event, Note) and event.warning]
    assert [sum(f"{what} cannot be made (" in text for text in said) for what in (CURVES, "samples", "Board")] == [
        1
    ] * 3
    assert ["step-0000003", "step-0000006"] in states and states[-1] == ["step-0000006"]


def test_a_signal_decides_how_a_training_ends(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the last picture, for which there is no room."""
    drawn: list[Path] = []

    def fail(path: Path, *_: object) -> None:
        drawn.append(path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(watch, "draw_curves", fail)

    def stop(event: Event) -> None:
        if isinstance(event, TrainStep) and event.step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(
            TrainRequest(
                tokens, tmp_path / "run", shape=SHAPE, config=dataclasses.replace(STEPS, sample_every=0), on_event=stop
            )
        )
    assert drawn and (tmp_path / "run" / "state" / "step-0000004").is_dir()


def test_a_stopped_training_says_what_it_has(
    audiolm: Any, tokens: Path, tmp_path: Path, no_pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its best weights, with lines that use and measure them, and one state; before a validation, that it has none."""
    monkeypatch.setitem(PRESETS, "tiny", SHAPE)

    def said_when_stopped(run: str, step: int, init: Path | None = None) -> list[str]:
        said: list[str] = []

        def stop(event: Event) -> None:
            if isinstance(event, Note):
                said.append(event.message)
            elif isinstance(event, TrainStep) and event.step == step:
                os.kill(os.getpid(), signal.SIGINT)

        config = dataclasses.replace(STEPS, steps=9, sample_every=0)
        with pytest.raises(KeyboardInterrupt):
            request = TrainRequest(tokens, tmp_path / run, shape=SHAPE, config=config, on_event=stop)
            train(dataclasses.replace(request, init=None if init is None else str(init)))
        return said[next(i for i, message in enumerate(said) if message.startswith("saved at step")) :]

    assert said_when_stopped("early", 2) == [
        "saved at step 2; the same command goes on from there",
        "no model yet: the first validation is at step 3",
    ]

    run = tmp_path / "own"
    _, best, measure = said_when_stopped("own", 7)
    assert [path.name for path in (run / "state").iterdir()] == ["step-0000007"]
    scores = {entry["step"]: entry["validation"]["total_bits"] for entry in journal(run) if "validation" in entry}
    step = min(scores, key=lambda step: scores[step])
    use = f"audiolm continue IN -m {run} uses these weights"
    assert best == f"best so far: step {step}, {scores[step]:.2f} bits per frame; {use}"
    assert shlex.split(measure.removeprefix("how good they are: ")) == (
        ["audiolm", "evaluate", str(tokens), "-m", str(run)]
    )

    _, best, _ = said_when_stopped("fine", 4, run)
    scores = {
        entry["step"]: entry["validation"]["total_bits"]
        for entry in journal(tmp_path / "fine")
        if "validation" in entry
    }
    assert set(scores) == {0, 3}
    better = f"best so far: step 3, {scores[3]:.2f} bits per frame (untouched {scores[0]:.2f}); audiolm continue IN"
    same = f"no step so far is better than own as it was ({scores[0]:.2f} bits per frame); audiolm continue IN"
    assert best.startswith(better if scores[3] < scores[0] else same)

    steps, planned = count_steps(resolve(str(run)).training)
    assert (steps, planned) == (step, 9)
    assert re.search(rf"trained +on .*, {step} of 9 planned steps", audiolm("models", "info", run).stdout)


def test_before_the_start(watched: tuple[Trained, list[Event]]) -> None:
    """How much there is, every check, the baselines, and how long it will take, in this order."""
    said = [event.message for event in watched[1] if isinstance(event, Note)]
    started = next(i for i, message in enumerate(said) if message.startswith("step "))
    lines = "\n".join(said[:started])
    places = [lines.index(word) for word in ("M parameters", "check data", "check codes", "check disk", "expected: ")]
    assert places == sorted(places)
    assert "unigram and a bigram" in lines and " GB of memory" in lines


def test_a_run_that_goes_on_is_not_checked_again(
    watched: tuple[Trained, list[Event]], tokens: Path, no_pictures: None
) -> None:
    """Nor are its baselines measured; the verdict is the same."""
    events: list[Event] = []
    again = train(TrainRequest(tokens, watched[0].run, shape=SHAPE, config=STEPS, on_event=events.append))
    said = " ".join(event.message for event in events if isinstance(event, Note))
    assert "check" not in said and "unigram" not in said
    assert again.verdict == watched[0].verdict


def test_baselines_are_those_of_the_codes(watched: tuple[Trained, list[Event]], tokens: Path, tmp_path: Path) -> None:
    """As many other codes are measured anew, be they to fit on or to measure on; the same ones are not."""
    said: list[Event] = []
    request = TrainRequest(tokens, tmp_path, shape=SHAPE, config=STEPS, on_event=said.append)
    prepared = prepare(request, tokens)
    train_clips, dev_clips = prepared.corpus.train, prepared.corpus.dev
    other = [dataclasses.replace(clip, codes=clip.codes[:, ::-1].copy()) for clip in train_clips]

    def measures(train: list[TokenClip], dev: list[TokenClip]) -> bool:
        said.clear()
        watch.Watch(dataclasses.replace(prepared, corpus=Corpus(train=train, dev=dev)), None)
        return any(isinstance(event, Note) and "unigram" in event.message for event in said)

    assert measures(train_clips, dev_clips) and not measures(train_clips, dev_clips)
    assert measures(other, dev_clips)
    assert measures(other, other[:1]) and not measures(other, other[:1])


def test_the_verdict(
    audiolm: Any, tokens: Path, tmp_path: Path, no_pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command ends with it: in words, and as JSON; against both baselines, and against training windows."""
    shutil.copytree(tokens, tmp_path / "tokens")
    (train_list,) = (tmp_path / "tokens").glob("*train*.jsonl.gz")
    shutil.copy(train_list, str(train_list).replace("train", "dev"))  # so there is nothing to over-fit to
    monkeypatch.setitem(PRESETS, "tiny", SHAPE)
    options = ["--steps", 1, "--batch-frames", 80, "--validate-every", 1, "--sample-every", 0]
    shown = audiolm("train", tmp_path / "tokens", "-o", tmp_path / "run", *options)
    assert shown.exit_code == 0, shown.stderr
    first, *rest = shown.stdout.splitlines()
    assert first.startswith("held-out: ") and "the unigram" in first and "the bigram" in first
    assert any(line.startswith("no over-fitting: ") for line in rest) and rest[-1].endswith(f"-m {tmp_path / 'run'})")
    state = tmp_path / "run" / "state"
    assert re.search(rf"\d MB of disk; {state} \(\d+ MB\) is only for going on with more --steps", shown.stderr)
    assert [path.name for path in state.iterdir()] == ["step-0000001"]
    shown = audiolm("train", tmp_path / "tokens", "-o", tmp_path / "run", *options, "--json")
    verdict = json.loads(shown.stdout)["verdict"]
    assert verdict["findings"][0] == first and verdict["overfits"] is False


def test_without_the_codec(tokens: Path, tmp_path: Path, tiny_codec: Path, no_pictures: None) -> None:
    """Codes are trained on all the same; there are no samples, and a note says why."""
    shutil.copytree(tokens, tmp_path / "tokens")
    facts = json.loads((tmp_path / "tokens" / "codec.json").read_text())
    facts |= {"source": "gone", "name": "gone", "sha256": "0" * 64}
    (tmp_path / "tokens" / "codec.json").write_text(json.dumps(facts))
    events: list[Event] = []
    config = dataclasses.replace(STEPS, steps=3)
    trained = train(
        TrainRequest(tmp_path / "tokens", tmp_path / "run", shape=SHAPE, config=config, on_event=events.append)
    )
    said = [event.message for event in events if isinstance(event, Note)]
    assert any("without audio samples" in message for message in said)
    assert not (trained.run / "samples").exists() and trained.verdict is not None


def test_dry_run(audiolm: Any, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check is listed with what it found; nothing is written, of a folder of audio neither."""
    monkeypatch.setitem(PRESETS, "tiny", SHAPE)
    options = ["-o", tmp_path / "run", "--batch-frames", 80, "--dry-run"]
    shown = audiolm("train", tokens, *options)
    assert shown.exit_code == 0, shown.stderr
    head, *lines = shown.stdout.splitlines()
    assert head.split() == ["CHECK", "STATUS", "FOUND"] and lines[-1].startswith("ready to train: about ")
    assert [line.split("  ")[0] for line in lines[:2]] == ["data", "codes"]
    assert audiolm("train", tokens.parent, *options, "--codec", "nothing").exit_code == 4
    codec = json.loads((tokens / "codec.json").read_text())["source"]
    shown = audiolm("train", tokens.parent, *options, "--codec", codec, "--json")
    assert shown.exit_code == 0, shown.stderr
    result = json.loads(shown.stdout)
    assert [check["name"] for check in result["checks"]][-1] == "disk" and result["expected_s"] > 0
    assert not (tmp_path / "run").exists()


def test_a_dry_run_that_fails(
    audiolm: Any, tokens: Path, tmp_path: Path, no_pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list ends with the check that failed, and the exit code is that of the training, which fails alike."""
    from audiolm_cli.training.preflight import checks

    monkeypatch.setitem(PRESETS, "tiny", SHAPE)
    monkeypatch.setattr(checks, "STATES_ON_DISK", 1e18)
    options = ["-o", tmp_path / "run", "--batch-frames", 80]
    shown = audiolm("train", tokens, *options, "--dry-run")
    assert shown.exit_code == 7 and re.search(r"disk +failed", shown.stdout)
    assert "check disk: " in shown.stderr
    assert not (tmp_path / "run").exists()
    shown = audiolm("train", tokens, *options)
    assert (shown.exit_code, shown.stdout) == (7, "") and "check disk: " in shown.stderr
