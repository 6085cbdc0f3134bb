"""`audiolm train`: a folder of audio to a model that `-m` reads, stopped or not; and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from small_model import SMALL_MODEL

from audiolm_cli.checkpoints.catalogue import resolve
from audiolm_cli.checkpoints.folder import MODEL_TENSORS, FolderFacts, load_tensors
from audiolm_cli.cli.render import Renderer
from audiolm_cli.cli.trained import show_training
from audiolm_cli.config.shapes import PRESETS, ModelConfig
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.manifest import COPIES, is_store, read_store
from audiolm_cli.errors import DataError, ModelError, OutputError, UsageError
from audiolm_cli.events import Event, Note, Progress, TrainStep
from audiolm_cli.training.loop import Trainer
from audiolm_cli.training.preflight.preparing import NAR_PASSES
from audiolm_cli.training.preflight.request import TrainRequest
from audiolm_cli.workflows.train import Trained, train

Piano = Callable[..., np.ndarray]
SHAPE = ModelConfig(d_model=32, nhead=2, num_layers=2, max_frames=60)
STEPS = TrainConfig(
    steps=8, batch_frames=120, shortest_window=20, validate_every=3, validation_windows=4, seed=5, dtype="fp32"
)


class Killed(BaseException):
    """What stands for a signal in the middle of a step."""


@pytest.fixture(autouse=True, scope="module")
def small_and_plain() -> Iterator[None]:
    """The smallest preset is smaller, and no pictures are drawn, which `test_watch.py` looks at: to save time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audiolm_cli.training.watch.draw_curves", lambda *_, **__: None)
        patch.setitem(PRESETS, "tiny", SHAPE)
        yield


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, piano: Piano) -> Path:
    """Six short recordings."""
    folder = tmp_path_factory.mktemp("recordings")
    for i in range(6):
        soundfile.write(folder / f"{i}.wav", piano(2.0, 16000, seed=i), 16000)
    return folder


@pytest.fixture(scope="module")
def run(recordings: Path, tiny_codec: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run that was never stopped."""
    return train(
        TrainRequest(
            recordings, tmp_path_factory.mktemp("runs") / "run", codec=str(tiny_codec), shape=SHAPE, config=STEPS
        )
    )


def weights(trained: Trained) -> str:
    """Hash of the model's weights."""
    return trained.folder.files["model.safetensors"].sha256


def test_the_command(audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """One command from a folder of audio to a model, one more to new audio; the codec's book sizes are taken over."""
    run, source = tmp_path / "mine", recordings / "0.wav"
    options = ["--codec", tiny_codec, "--steps", 2, "--batch-frames", 80, "--validate-every", 1, "--seed", 3, "--json"]
    shown = audiolm("train", recordings, "-o", run, *options)
    assert shown.exit_code == 0, shown.stderr
    result = json.loads(shown.stdout)
    assert result["run"] == str(run) and result["model"]["name"] == "mine"
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries if "validation" in entry] == [1, 2]
    shown = audiolm("continue", source, "-m", run, "-d", 0.2, "-o", tmp_path / "new.wav", "--json")
    assert shown.exit_code == 0, shown.stderr
    assert json.loads(shown.stdout)["model"] == result["model"]
    assert soundfile.info(tmp_path / "new.wav").frames == 32000 + 3200
    moved = tmp_path / "elsewhere"
    run.rename(moved)
    assert audiolm("continue", source, "-m", moved, "-d", 0.2, "-o", tmp_path / "again.wav").exit_code == 0


@pytest.mark.parametrize("as_json", [False, True])
def test_one_of_several_processes_speaks(run: Trained, capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    """The result is on standard output once, and so still JSON."""
    for rank in range(3):
        show_training(Renderer(json=as_json), dataclasses.replace(run, main=rank == 0))
    assert capsys.readouterr().out.count(f"{run.run}") == 1 + (not as_json)


def test_a_run_describes_itself(run: Trained) -> None:
    """What was trained, on how much, with what, and how good it is, in the model's folder."""
    started = json.loads((run.run / "train.json").read_text())
    assert (started["init"], started["dropout"], started["shape"]["d_model"]) == (None, None, SHAPE.d_model)
    assert started["config"] == STEPS.to_dict() and started["codec"].endswith("tiny-codec")
    facts = run.folder.training
    assert (facts["command"], facts["init"]) == ("train", None)
    assert facts["config"]["steps"] == 8 and facts["frames"] > 0 and facts["held_out"]["total_bits"] > 0
    assert run.folder.model is not None and run.folder.model["codebook_size"] == 32
    assert run.folder == resolve(str(run.run))


@pytest.mark.parametrize("at", [1, 4, 8])
def test_a_killed_run_ends_with_the_same_weights(
    run: Trained, recordings: Path, tiny_codec: Path, tmp_path: Path, at: int
) -> None:
    """Before the first state, between two, and after the last step but before its state."""

    def kill(event: Event) -> None:
        if isinstance(event, TrainStep) and event.step == at:
            raise Killed

    def again(on_event: Callable[[Event], None]) -> Trained:
        place = tmp_path / "run"
        return train(
            TrainRequest(recordings, place, codec=str(tiny_codec), shape=SHAPE, config=STEPS, on_event=on_event)
        )

    with pytest.raises(Killed):
        again(kill)
    notes: list[Event] = []
    assert weights(again(notes.append)) == weights(run)
    said = [event.message for event in notes if isinstance(event, Note)]
    assert (f"resumed at step {at // 3 * 3 if at > 3 else 0}" in said) == (at > 3)
    notes.clear()
    assert weights(again(notes.append)) == weights(run)  # once more, when there is nothing left to do
    assert not any(isinstance(event, (Progress, TrainStep)) for event in notes)


def test_a_run_killed_while_tokenizing_goes_on(recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """No half a store is taken for a whole one."""

    def kill(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "tokenize":
            raise Killed

    place = tmp_path / "run"
    with pytest.raises(Killed):
        train(TrainRequest(recordings, place, codec=str(tiny_codec), shape=SHAPE, config=STEPS, on_event=kill))
    assert not is_store(place / "tokens")
    short = dataclasses.replace(STEPS, steps=1)
    assert (
        train(TrainRequest(recordings, place, codec=str(tiny_codec), shape=SHAPE, config=short)).folder.training[
            "frames"
        ]
        > 0
    )


def test_a_folder_is_for_one_training_at_a_time(recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """The second is refused, and the first goes on undisturbed."""
    one = dataclasses.replace(STEPS, steps=1)
    refused: list[str] = []

    def also(event: Event) -> None:
        if isinstance(event, TrainStep):
            with pytest.raises(OutputError) as caught:
                train(TrainRequest(recordings, tmp_path / "run", codec=str(tiny_codec), shape=SHAPE, config=one))
            refused.append(str(caught.value))

    train(TrainRequest(recordings, tmp_path / "run", codec=str(tiny_codec), shape=SHAPE, config=one, on_event=also))
    assert len(refused) == 1 and f"process {os.getpid()}" in refused[0] and "another folder" in refused[0]
    assert (
        train(TrainRequest(recordings, tmp_path / "run", codec=str(tiny_codec), shape=SHAPE, config=one)).folder.kind
        == "model"
    )


def test_a_token_store_trains(audiolm: Any, run: Trained, recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """What `tokenize` wrote gives the same weights as the recordings themselves, and knows its codec."""
    assert audiolm("tokenize", recordings, "-o", tmp_path / "t", "--codec", tiny_codec).exit_code == 0
    assert weights(train(TrainRequest(tmp_path / "t", tmp_path / "run", shape=SHAPE, config=STEPS))) == weights(run)
    assert not (tmp_path / "run" / "tokens").exists()


def test_init(audiolm: Any, run: Trained, recordings: Path, tmp_path: Path) -> None:
    """Training goes on from a model, with its shape and its codec; where it starts it is that model."""
    options = ["--steps", 1, "--batch-frames", 80, "--json"]
    shown = audiolm("train", recordings, "-o", tmp_path / "fine", "--init", run.run, *options)
    assert shown.exit_code == 0, shown.stderr
    fine = resolve(str(tmp_path / "fine"))
    assert (fine.model, fine.training["init"]) == (run.folder.model, "run")
    assert fine.files["codec.safetensors"] == run.folder.files["codec.safetensors"]
    config = fine.training["config"]
    assert (config["patience"], config["validate_every"]) == (3, 5)
    assert (tmp_path / "fine" / "samples" / "step-0000001" / "continuation.wav").is_file()
    assert 0 < config["learning_rate"] < 0.3 * 0.02, "seconds of audio are learned slowly"
    assert "run as it was" in json.loads(shown.stdout)["verdict"]["findings"][0]
    still = dataclasses.replace(STEPS, steps=1, learning_rate=1e-30, adam_learning_rate=1e-30)
    trained = train(TrainRequest(recordings, tmp_path / "still", init=str(run.run), config=still))
    now, before = (load_tensors(folder, MODEL_TENSORS) for folder in (trained.folder, run.folder))
    assert all((now[name] == before[name]).all() for name in before)  # but for the signs of zeros


def test_recordings_are_transposed_for_a_model_to_start_from(
    audiolm: Any, run: Trained, recordings: Path, tmp_path: Path
) -> None:
    """Little audio is learned from in other keys, too, unless --transpose says otherwise; hours and baselines stay."""
    options = ["--init", run.run, "--steps", 1, "--batch-frames", 80, "--sample-every", 0]
    shown = audiolm("train", recordings, "-o", tmp_path / "fine", *options)
    assert shown.exit_code == 0 and "5 clips and 40 transposed ones" in shown.stderr
    plain = audiolm("train", recordings, "-o", tmp_path / "plain", *options, "--transpose", 0)
    assert plain.exit_code == 0 and "transposed ones" not in plain.stderr
    fine, same = resolve(str(tmp_path / "fine")), resolve(str(tmp_path / "plain"))
    assert (fine.training["hours"], fine.training["frames"]) == (same.training["hours"], same.training["frames"])
    for name in ("fine", "plain"):
        started = json.loads((tmp_path / name / "train.json").read_text())
        assert started["transpose"] == (0 if name == "plain" else None)
    unigrams = [json.loads((tmp_path / name / "baselines.json").read_text()) for name in ("fine", "plain")]
    assert unigrams[0] == unigrams[1]
    again = audiolm("train", recordings, "-o", tmp_path / "fine", *options, "--transpose", 1)
    assert (
        again.exit_code == 2 and "--transpose 1: " in again.stderr and "copies transposed by up to 4; " in again.stderr
    )
    tried = audiolm("train", recordings, "-o", tmp_path / "fine", *options, "--transpose", 1, "--dry-run")
    assert tried.exit_code == 2 and "copies transposed by up to 4; " in tried.stderr
    tried = audiolm("train", recordings, "-o", tmp_path / "new", *options, "--dry-run")
    assert tried.exit_code == 0 and "learn the recordings transposed, up to 4 semitones" in tried.stderr
    assert audiolm("train", recordings, "-o", tmp_path / "fine", *options).exit_code == 0


def test_a_store_has_its_copies_or_none(
    audiolm: Any, run: Trained, recordings: Path, tiny_codec: Path, tmp_path: Path
) -> None:
    """What `tokenize --transpose` wrote trains as the recordings do; --transpose comes too late for a store."""
    assert audiolm("tokenize", recordings, "-o", tmp_path / "t", "--codec", tiny_codec, "--transpose", 2).exit_code == 0
    config = dataclasses.replace(STEPS, steps=2)
    request = {"shape": SHAPE, "config": config}
    stored = train(TrainRequest(tmp_path / "t", tmp_path / "stored", **request))
    direct = train(TrainRequest(recordings, tmp_path / "direct", codec=str(tiny_codec), transpose=2, **request))
    without = train(TrainRequest(recordings, tmp_path / "without", codec=str(tiny_codec), **request))
    assert weights(stored) == weights(direct) != weights(without)
    shown = audiolm("train", tmp_path / "t", "-o", tmp_path / "x", "--transpose", 3)
    assert shown.exit_code == 2 and "make the codes anew with audiolm tokenize" in shown.stderr
    left_out = train(TrainRequest(tmp_path / "t", tmp_path / "left-out", transpose=0, **request))
    assert weights(left_out) == weights(without)


def test_nothing_of_the_end_laid_aside_is_learned_from_a_copy(run: Trained, piano: Piano, tmp_path: Path) -> None:
    """Of a single recording, the end is held out, and so is that of every copy."""
    (tmp_path / "one").mkdir()
    soundfile.write(tmp_path / "one" / "take.wav", piano(20.0, 16000, seed=4), 16000)
    request = TrainRequest(tmp_path / "one", tmp_path / "run", init=str(run.run), config=STEPS)
    from audiolm_cli.training.preflight.preparing import prepare, transposing
    from audiolm_cli.workflows.tokenize import tokenize

    tokenize([request.source], tmp_path / "t", str(run.run), transpose=transposing(request))
    corpus = prepare(request, tmp_path / "t").corpus
    (kept,), (end,) = corpus.train, corpus.dev
    share = len(kept.codes) / (len(kept.codes) + len(end.codes))
    whole = {clip.id: clip for clip in read_store(tmp_path / "t", COPIES)}
    assert len(corpus.copies) == 8 and share < 1
    for copy in corpus.copies:
        assert len(copy.codes) <= share * len(whole[copy.id].codes) and not copy.ends


@pytest.mark.parametrize("made", [1, 2])
def test_a_model_with_a_causal_context_is_one_like_any_other(
    audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path, made: int
) -> None:
    """Its folder says so, and every command takes it: at exact lengths, the same bytes for the same seed.

    Also with more than one codebook by the AR decoder.
    """
    run, source = tmp_path / "causal", recordings / "0.wav"
    options = ["--codec", tiny_codec, "--steps", 2, "--batch-frames", 80, "--context-attention", "causal"]
    options += ["--context-codebooks", "own", "--ar-codebooks", made]
    options += SMALL_MODEL
    assert audiolm("train", recordings, "-o", run, *options).exit_code == 0
    config = json.loads((run / "best" / "config.json").read_text())
    assert (config["model"]["context_attention"], config["model"]["context_codebooks"]) == ("causal", "own")
    assert config["model"]["ar_codebooks"] == made
    assert "causal" in audiolm("models", "info", run).stdout

    gap = ["--gap", "0.5:0.8"]
    for name, line, seconds in (
        ("windows", ["continue", source, "-d", 3], 5.0),  # the model's window has 1.2 s
        ("guided", ["continue", source, "-d", 0.5, "--guidance", 2, "-n", 1, "--dtype", "int8"], 2.5),
        ("before", ["continue", source, "-d", 0.5, "--before"], 2.5),
        ("stream", ["continue", source, "-d", 3, "--stream"], 5.0),
        ("best", ["infill", source, *gap, "--best-of", 2], 2.0),
        ("longer", ["infill", source, *gap, "--length", 1.5], 3.2),
        ("loop", ["loop", source, "--bridge", 0.4], 2.4),
        ("restyle", ["restyle", source, "--style", recordings / "1.wav"], 2.0),
    ):
        outputs = []
        for again in ("a", "b"):
            outputs.append(tmp_path / f"{name}-{again}.wav")
            shown = audiolm(*line, "-m", run, "--seed", 7, "-o", outputs[-1])
            assert shown.exit_code == 0, shown.stderr
        assert soundfile.info(outputs[0]).frames == round(16000 * seconds), name
        assert (soundfile.read(outputs[0])[0] == soundfile.read(outputs[1])[0]).all(), name

    fine = tmp_path / "fine"
    assert audiolm("train", recordings, "-o", fine, "--init", run, "--steps", 1, "--batch-frames", 80).exit_code == 0
    assert (resolve(str(fine)).model or {})["context_attention"] == "causal"
    assert (resolve(str(fine)).model or {})["ar_codebooks"] == made


def test_ar_codebooks_are_at_most_those_there_are(
    audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path
) -> None:
    """All of them leave the NAR decoder nothing to do."""
    options = ["--codec", tiny_codec, "--steps", 10, "--batch-frames", 80, *SMALL_MODEL]
    shown = audiolm("train", recordings, "-o", tmp_path / "five", *options, "--ar-codebooks", 5)
    assert shown.exit_code == 2 and "--ar-codebooks 5: " in shown.stderr and "have 4 codebooks" in shown.stderr

    assert audiolm("train", recordings, "-o", tmp_path / "all", *options, "--ar-codebooks", 4).exit_code == 0
    shown = audiolm("models", "info", tmp_path / "all").stdout
    assert "an AR decoder of 1 layer" in shown and "makes codebooks 1 to 4; hears" in shown and "passes" not in shown
    entries = map(json.loads, (tmp_path / "all" / "metrics.jsonl").read_text().splitlines())
    entry = next(entry for entry in entries if "loss" in entry)
    assert len(entry["ar_further_bits"]) == 3 and entry["nar_bits"] is entry["nar_codebook"] is None
    made = tmp_path / "made.wav"
    line = [recordings / "0.wav", "-m", tmp_path / "all", "-o", made]
    assert audiolm("continue", *line, "-d", 0.5).exit_code == 0
    assert audiolm("restyle", *line, "-f", "--style", recordings / "1.wav").exit_code == 0

    shown = audiolm("train", recordings, "-o", tmp_path / "fine", "--init", tmp_path / "all", "--ar-codebooks", 2)
    assert shown.exit_code == 2 and "--ar-codebooks" in shown.stderr


def test_a_forgotten_init_is_named(
    audiolm: Any, run: Trained, recordings: Path, tiny_codec: Path, tmp_path: Path
) -> None:
    """Not every field of the shape that came with it."""
    fine, options = tmp_path / "fine", ["--codec", tiny_codec, "--steps", 1, "--batch-frames", 80]
    assert audiolm("train", recordings, "-o", fine, "--init", run.run, *options).exit_code == 0
    shown = audiolm("train", recordings, "-o", fine, "--num-decoder-layers", 3, *options)
    assert shown.exit_code == 2 and f"was started with --init {run.run} (now none);" in shown.stderr


def test_folders_that_do_not_tell_their_attention_have_full_contexts(
    audiolm: Any, run: Trained, recordings: Path, tiny_codec: Path, tmp_path: Path
) -> None:
    """Those of earlier versions: the model generates as it did, and a run goes on as it began.

    They do not tell either what the AR decoder hears of a context, which is all codebooks, nor that it holds no code,
    nor where prompts came from, nor that there are no styles.
    """
    old = tmp_path / "old"
    new = ("context_attention", "context_codebooks", "ar_holding", "ar_codebooks", "prompt_from", "styles")
    shutil.copytree(run.run, old)
    config = json.loads((old / "best" / "config.json").read_text())
    assert [config["model"].pop(name) for name in new[:3]] == ["full", "all", False]
    del config["model"]["prompt_from"], config["model"]["styles"]
    (old / "best" / "config.json").write_text(json.dumps(config))
    for folder in (run.run, old):
        outputs = ["-d", 0.5, "--seed", 7, "-o", tmp_path / f"{folder.name}.wav"]
        assert audiolm("continue", recordings / "0.wav", "-m", folder, *outputs).exit_code == 0
    assert (soundfile.read(tmp_path / "old.wav")[0] == soundfile.read(tmp_path / f"{run.run.name}.wav")[0]).all()

    started = json.loads((old / "train.json").read_text())
    started["shape"] = {name: value for name, value in started["shape"].items() if name not in new}
    (old / "train.json").write_text(json.dumps(started))
    again = TrainRequest(recordings, old, codec=str(tiny_codec), shape=SHAPE, config=STEPS)
    assert weights(train(again)) == weights(run)
    causal = dataclasses.replace(SHAPE, context_attention="causal")
    with pytest.raises(UsageError, match=r"--context-attention full \(now causal\)"):
        train(dataclasses.replace(again, shape=causal))


def test_a_run_goes_on_as_it_began_when_the_preset_has_changed(
    audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless an option asks for something else, which the run then cannot become."""
    command = ["train", recordings, "-o", tmp_path / "run", "--codec", tiny_codec, "--batch-frames", 80]
    assert audiolm(*command, "--steps", 1).exit_code == 0
    better = {"context_attention": "causal", "context_codebooks": "own", "ar_holding": True}
    monkeypatch.setitem(PRESETS, "tiny", dataclasses.replace(SHAPE, **better))

    shown = audiolm(*command, "--steps", 2)
    assert shown.exit_code == 0, shown.stderr
    shape = resolve(str(tmp_path / "run")).model or {}
    assert [shape[name] for name in better] == ["full", "all", False]
    shown = audiolm(*command, "--steps", 2, "--context-attention", "causal")
    assert shown.exit_code == 2 and "--context-attention full (now causal)" in shown.stderr
    assert audiolm(*command[:2], "-o", tmp_path / "new", *command[4:], "--steps", 1).exit_code == 0
    shape = resolve(str(tmp_path / "new")).model or {}
    assert {name: shape[name] for name in better} == better


def test_models_take_the_passes_they_were_trained_for(run: Trained, recordings: Path, tmp_path: Path) -> None:
    """Several where the NAR decoder is trained with some frames known, otherwise those of the model it was before."""

    def passes(name: str, init: Path | None = None, **settings: Any) -> int:
        config = dataclasses.replace(STEPS, steps=1, **settings)
        start: dict[str, Any] = {"shape": SHAPE} if init is None else {"init": str(init)}
        model = train(TrainRequest(run.run / "tokens", tmp_path / name, config=config, **start)).folder.model
        return ModelConfig.from_dict(model or {}).nar_passes

    assert passes("several") == NAR_PASSES > 1
    assert passes("one", nar_known=0.0) == passes("ar", train_stage=1) == 1
    assert passes("later", init=tmp_path / "one", train_stage=2) == NAR_PASSES
    assert passes("kept", init=tmp_path / "several", train_stage=1) == NAR_PASSES


@pytest.fixture
def other_codec(tiny_codec: Path, tmp_path: Path) -> Path:
    """The tiny codec with its codebooks upside down."""
    from audiolm_cli.checkpoints.folder import CODEC_TENSORS, load_tensors, read_folder, write_folder

    folder = read_folder(tiny_codec)
    tensors = load_tensors(folder, CODEC_TENSORS)
    tensors["network.quantizer.codebooks"] = tensors["network.quantizer.codebooks"].flip(1)
    return write_folder(
        tmp_path / "other",
        FolderFacts(kind="codec", name="other", model=None, codec=folder.codec, training={}),
        tensors={CODEC_TENSORS: tensors},
        texts={},
    ).path


def test_the_wrong_codec_is_refused(
    audiolm: Any, run: Trained, recordings: Path, tiny_codec: Path, other_codec: Path, tmp_path: Path
) -> None:
    """For a store, and for a model to start from, be it from a store or from recordings; before any work."""
    assert audiolm("tokenize", recordings, "-o", tmp_path / "t", "--codec", tiny_codec).exit_code == 0
    assert audiolm("tokenize", recordings / "0.wav", "-o", tmp_path / "o", "--codec", other_codec).exit_code == 0
    listing = sorted(os.listdir(tmp_path))
    with pytest.raises(ModelError, match="is not the codec that made the codes"):
        train(TrainRequest(tmp_path / "t", tmp_path / "run", codec=str(other_codec), shape=SHAPE, config=STEPS))
    with pytest.raises(ModelError, match="another codec"):
        train(TrainRequest(tmp_path / "o", tmp_path / "run", init=str(run.run), config=STEPS))
    with pytest.raises(ModelError, match="another codec"):
        train(TrainRequest(recordings, tmp_path / "run", init=str(run.run), codec=str(other_codec), config=STEPS))
    assert sorted(os.listdir(tmp_path)) == listing


def test_the_codec_of_a_store_is_gone(audiolm: Any, recordings: Path, other_codec: Path, tmp_path: Path) -> None:
    """Its codes are trained on all the same; --codec says where it is now, and then the model carries it."""
    assert audiolm("tokenize", recordings, "-o", tmp_path / "t", "--codec", other_codec).exit_code == 0
    moved = other_codec.rename(tmp_path / "moved")
    one = dataclasses.replace(STEPS, steps=1)
    assert not train(TrainRequest(tmp_path / "t", tmp_path / "without", shape=SHAPE, config=one)).folder.carries_codec
    shown = audiolm("continue", recordings / "0.wav", "-m", tmp_path / "without", "-o", tmp_path / "new.wav")
    assert shown.exit_code == 4 and "the codec tiny-codec, which is not here" in shown.stderr
    assert train(
        TrainRequest(tmp_path / "t", tmp_path / "run", codec=str(moved), shape=SHAPE, config=one)
    ).folder.carries_codec


def test_another_shape_or_source_in_the_same_run(
    run: Trained, recordings: Path, tiny_codec: Path, tmp_path: Path, piano: Piano
) -> None:
    """Another shape is refused, saying what it was; other recordings bring a warning."""
    place = tmp_path / "run"
    shutil.copytree(run.run, place)
    with pytest.raises(UsageError, match=r"--num-decoder-layers 2 \(now 1\)"):
        train(
            TrainRequest(
                recordings, place, codec=str(tiny_codec), shape=dataclasses.replace(SHAPE, num_layers=1), config=STEPS
            )
        )
    (tmp_path / "others").mkdir()
    soundfile.write(tmp_path / "others" / "a.wav", piano(1.0, 16000), 16000)
    events: list[Event] = []
    train(
        TrainRequest(
            tmp_path / "others", place, codec=str(tiny_codec), shape=SHAPE, config=STEPS, on_event=events.append
        )
    )
    assert any(isinstance(e, Note) and e.warning and str(recordings) in e.message for e in events)


def test_little_data_brings_a_warning(recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """With the numbers, and what would suit it better."""
    events: list[Event] = []
    one = dataclasses.replace(STEPS, steps=1)
    train(
        TrainRequest(
            recordings, tmp_path / "run", codec=str(tiny_codec), shape=SHAPE, config=one, on_event=events.append
        )
    )
    warned = [e.message for e in events if isinstance(e, Note) and e.warning]
    assert any("is little for 0.1 M parameters" in message and "--init" in message for message in warned)


def test_one_recording_is_enough(tiny_codec: Path, tmp_path: Path, piano: Piano) -> None:
    """It is trained and validated on."""
    soundfile.write(tmp_path / "a.wav", piano(2.0, 16000), 16000)
    one = dataclasses.replace(STEPS, steps=1)
    trained = train(TrainRequest(tmp_path / "a.wav", tmp_path / "run", codec=str(tiny_codec), shape=SHAPE, config=one))
    assert trained.folder.training["frames"] == 100


def test_unusable_sources(audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """Missing, without audio, on an unknown codec or model: exit code, one line, no run folder left behind."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.wav").write_text("Dear Sir or Madam")
    run = ["-o", tmp_path / "run"]
    for source, options, code, word in (
        (tmp_path / "missing", ["--codec", tiny_codec], 3, "no such file"),
        (tmp_path / "empty", ["--codec", tiny_codec], 3, "no audio files"),
        (tmp_path / "letters", ["--codec", tiny_codec], 3, "no file, of 1 given, could be read as audio"),
        (recordings, ["--codec", "nothing"], 4, "nothing"),
        (recordings, ["--init", "nothing"], 4, "nothing"),
        (recordings, ["--codec", "encodec-32khz"], 5, "encodec-32khz"),
        (recordings, ["--init", "encodec-24khz"], 4, "is a codec, not a model; models: piano"),
        (recordings, ["--init", tiny_codec], 4, "is a codec, not a model; models: piano"),
        (recordings, ["--steps", 0], 2, "steps"),
        (recordings, ["--preset", "huge"], 2, "preset"),
        (recordings, ["--train-stage", 3], 2, "train-stage"),
    ):
        shown = audiolm("train", source, *run, *options)
        assert (shown.exit_code, shown.stdout) == (code, ""), shown.stderr
        assert word in shown.stderr and "Traceback" not in shown.stderr
    assert sorted(os.listdir(tmp_path)) == ["empty", "letters"]
    (tmp_path / "file").touch()
    shown = audiolm("train", recordings, "-o", tmp_path / "file", "--codec", tiny_codec)
    assert shown.exit_code == 7 and "cannot be created" in shown.stderr


def test_a_damaged_store(tmp_path: Path) -> None:
    """A manifest without content is named."""
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "cuts_train.jsonl.gz").touch()
    with pytest.raises(DataError, match=r"cuts_train\.jsonl\.gz: cannot be read"):
        train(TrainRequest(tmp_path / "t", tmp_path / "run", shape=SHAPE, config=STEPS))


def test_another_number_of_codebooks_is_refused(audiolm: Any, run: Trained, tmp_path: Path) -> None:
    shown = audiolm("train", run.run / "tokens", "-o", tmp_path / "run", "--num-quantizers", 8, "--steps", 1)
    assert shown.exit_code == 2 and "--num-quantizers 8" in shown.stderr and "have 4 codebooks" in shown.stderr
    assert not (tmp_path / "run").exists()


def test_a_model_without_its_state_is_not_replaced(
    audiolm: Any, run: Trained, recordings: Path, tiny_codec: Path, tmp_path: Path
) -> None:
    """`state/` may be deleted or damaged: the command then says what to do, and `best/` stays, with more steps, too."""
    mine = tmp_path / "mine"
    options = ["--codec", tiny_codec, "--steps", 4, "--batch-frames", 80, "--validate-every", 2, "--sample-every", 0]
    assert audiolm("train", recordings, "-o", mine, *options).exit_code == 0
    before = resolve(str(mine)).sha256
    (tensors,) = (mine / "state").glob("*/state.safetensors")
    for break_state in (lambda: os.truncate(tensors, 1000), lambda: shutil.rmtree(mine / "state")):
        break_state()
        for more in ([], ["--steps", 6]):
            shown = audiolm("train", recordings, "-o", mine, *options, *more)
            assert shown.exit_code == 7 and f"--init {mine}" in shown.stderr and "no whole state" in shown.stderr
            assert resolve(str(mine)).sha256 == before
    assert audiolm("train", recordings, "-o", tmp_path / "next", "--init", mine, *options[2:]).exit_code == 0

    # Killed before its first state, a training begins anew
    shutil.rmtree(mine / "best")
    assert audiolm("train", recordings, "-o", mine, *options).exit_code == 0


def test_a_training_killed_between_its_first_validation_and_its_first_state_begins_anew(
    run: Trained, recordings: Path, tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a model then, which is none of a finished run; also when it is killed once more at its first step."""

    def start(on_event: Callable[[Event], None] = lambda event: None) -> Trained:
        place = tmp_path / "run"
        return train(
            TrainRequest(recordings, place, codec=str(tiny_codec), shape=SHAPE, config=STEPS, on_event=on_event)
        )

    def kill(at: object) -> None:
        if isinstance(at, (Trainer, TrainStep)):
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save", kill)
        with pytest.raises(Killed):
            start()
    with pytest.raises(Killed):
        start(kill)
    assert (tmp_path / "run" / "best").is_dir() and not (tmp_path / "run" / "state").exists()
    assert weights(start()) == weights(run)


def test_a_run_that_was_to_be_longer_keeps_its_model(recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """Started for many steps, killed, finished with few: it is a finished run."""

    def start(steps: int, on_event: Callable[[Event], None] = lambda event: None) -> Trained:
        config = dataclasses.replace(STEPS, steps=steps, validate_every=500)
        return train(
            TrainRequest(
                recordings, tmp_path / "run", codec=str(tiny_codec), shape=SHAPE, config=config, on_event=on_event
            )
        )

    def kill(event: Event) -> None:
        if isinstance(event, TrainStep) and event.step == 2:
            raise Killed

    with pytest.raises(Killed):
        start(1000, kill)
    before = weights(start(4))
    shutil.rmtree(tmp_path / "run" / "state")
    for steps in (2, 4, 6):
        with pytest.raises(OutputError, match="holds a model of 4 steps, but no whole state"):
            start(steps)
    assert resolve(str(tmp_path / "run")).files["model.safetensors"].sha256 == before


def test_a_damaged_best_model_is_told_before_hours_of_training(
    recordings: Path, tiny_codec: Path, tmp_path: Path
) -> None:
    """It used to be told at the end, when the better one was to replace it."""
    request = TrainRequest(recordings, tmp_path / "run", codec=str(tiny_codec), shape=SHAPE, config=STEPS)
    train(request)
    (tmp_path / "run" / "best" / "config.json").write_text("{")
    told: list[Event] = []
    for more in (0, 2):
        config = dataclasses.replace(STEPS, steps=STEPS.steps + more)
        with pytest.raises(OutputError, match=r"best/config\.json is not valid JSON.*choose another folder with -o"):
            train(dataclasses.replace(request, config=config, on_event=told.append))
    assert not any(isinstance(event, TrainStep) for event in told)
