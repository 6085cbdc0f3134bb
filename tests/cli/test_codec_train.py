"""`audiolm codec train`: a folder of audio to a codec that `--codec` reads, stopped or not; and what it refuses."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch

from audiolm_cli.checkpoints.folder import (
    CODEC_TENSORS,
    MODEL_TENSORS,
    FolderFacts,
    load_tensors,
    read_folder,
    write_folder,
)
from audiolm_cli.cli.codec_train import show_codec
from audiolm_cli.cli.render import Renderer
from audiolm_cli.codec import encodec_shape
from audiolm_cli.codec.encodec import EncodecCodec
from audiolm_cli.codec.encodec_shape import EncodecConfig
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.config.shapes import SpectralConfig
from audiolm_cli.config.training import CodecTrainConfig
from audiolm_cli.data.files import open_audio, split_files
from audiolm_cli.data.manifest import read_facts
from audiolm_cli.errors import DataError, ModelError, UsageError
from audiolm_cli.events import Activity, Event, Note, Progress, ignore
from audiolm_cli.library import fetching, loading
from audiolm_cli.library.loading import codec_by_hash, codec_hash, codes_hash, load_codec
from audiolm_cli.library.store_codec import codec_of_store
from audiolm_cli.reports.verdict import Verdict
from audiolm_cli.training.codec.levels import BANDS
from audiolm_cli.training.codec.likeness import LikenessReport
from audiolm_cli.training.codec.loop import CodecTrainer
from audiolm_cli.training.codec.spectral import SpectralTrainee
from audiolm_cli.training.endings import WAITS
from audiolm_cli.workflows import codec_train
from audiolm_cli.workflows.codec_train import CodecTrainRequest, train_codec

Piano = Callable[..., np.ndarray]
SHAPE = SpectralConfig(
    width=16, latent=8, encoder_blocks=1, decoder_blocks=1, codebook_size=16, griffin_lim_iterations=2
)
STEPS = CodecTrainConfig(steps=7, clips=2, clip_s=0.5, quantize_from=0.3, state_every=3, seed=2)


class Killed(BaseException):
    """What stands for a signal in the middle of a step."""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, piano: Piano) -> Path:
    """Four short recordings."""
    folder = tmp_path_factory.mktemp("recordings")
    for i in range(4):
        soundfile.write(folder / f"{i}.flac", piano(2.0, 16000, seed=i), 16000)
    return folder


def test_the_command(
    audiolm: Any, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piano: Piano
) -> None:
    """A folder of audio to a codec (here a small one), which then tokenizes; its facts and losses are told."""
    monkeypatch.setattr(codec_train, "NEW_SPECTRAL", SHAPE)
    output = tmp_path / "mine"
    options = ["--steps", 3, "--clips", 2, "--state-every", 2, "--seed", 1, "--json"]
    shown = audiolm("codec", "train", recordings, "-o", output, *options)
    assert shown.exit_code == 0, shown.stderr
    result = json.loads(shown.stdout)
    assert result["path"] == str(output) and result["held_out"]["log"] > 0
    assert os.listdir(tmp_path) == ["mine"]  # the state went when the codec came
    codec = load_codec(str(output))
    assert (codec.name, codec.codebook_size) == ("mine", 16)
    assert isinstance(codec, SpectralCodec) and len(codec.config.gains_db) == BANDS and any(codec.config.gains_db)
    shown = audiolm("tokenize", recordings, "-o", tmp_path / "tokens", "--codec", output)
    assert shown.exit_code == 0, shown.stderr
    facts = json.loads(audiolm("models", "info", output, "--json").stdout)
    assert (facts["kind"], facts["training"]["config"]["steps"]) == ("codec", 3)


def test_a_killed_training_ends_with_the_same_weights(recordings: Path, tmp_path: Path) -> None:
    """Before the first state, between two, and before the last."""
    whole = train_codec(CodecTrainRequest(recordings, tmp_path / "whole", name="c", config=STEPS, shape=SHAPE))
    for at in (2, 5, 7):

        def kill(event: Event, at: int = at) -> None:
            if isinstance(event, Progress) and event.done == at:
                raise Killed

        output = tmp_path / f"killed-{at}"
        with pytest.raises(Killed):
            train_codec(CodecTrainRequest(recordings, output, name="c", config=STEPS, shape=SHAPE, on_event=kill))
        assert not output.exists()
        notes: list[Event] = []
        again = train_codec(
            CodecTrainRequest(recordings, output, name="c", config=STEPS, shape=SHAPE, on_event=notes.append)
        )
        assert (again.folder.files, again.folder.codec) == (whole.folder.files, whole.folder.codec)
        resumed = [e.message for e in notes if isinstance(e, Note) and "resumed" in e.message]
        assert resumed == ([] if at < 3 else [f"resumed at step {at // 3 * 3}"])


@pytest.mark.parametrize("at", [1, 5])
def test_a_signal_waits_for_the_state(recordings: Path, tmp_path: Path, at: int) -> None:
    """It is said at once; the step is saved, before and after the quantizer has come in; then the training goes on."""
    said: list[str] = []

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "train" and event.done == at:
            os.kill(os.getpid(), signal.SIGINT)
        if isinstance(event, Note):
            said.append(event.message)

    request = CodecTrainRequest(recordings, tmp_path / "c", name="c", config=STEPS, shape=SHAPE, on_event=stop)
    with pytest.raises(KeyboardInterrupt):
        train_codec(request)
    assert WAITS in said and said[-1] == f"saved at step {at}; the same command goes on from there"

    again = train_codec(dataclasses.replace(request, on_event=lambda event: said.append(getattr(event, "message", ""))))
    assert f"resumed at step {at}" in said
    whole = train_codec(CodecTrainRequest(recordings, tmp_path / "whole", name="c", config=STEPS, shape=SHAPE))
    assert again.folder.files == whole.folder.files


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_what_cannot_be_read_is_left_out_and_listed(
    audiolm: Any, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only ffmpeg reads is used; of a damaged file, what can be read. Killed and started again, all the same."""
    source = tmp_path / "in"
    shutil.copytree(recordings, source)
    command = ["ffmpeg", "-v", "error", "-i", str(source / "0.flac"), "-c:a", "aac", str(source / "film.m4a")]
    subprocess.run(command, check=True)
    (source / "letter.wav").write_text("Dear Sir or Madam")
    (source / "noise.mka").write_bytes(bytes(range(256)) * 16)
    data = (source / "1.flac").read_bytes()
    (source / "1.flac").write_bytes(data[: len(data) // 2])
    monkeypatch.setattr(codec_train, "NEW_SPECTRAL", SHAPE)
    monkeypatch.setattr(CodecTrainConfig, "clip_s", 0.5)
    whole = train_codec(CodecTrainRequest(source, tmp_path / "whole", name="c", config=STEPS, shape=SHAPE))
    assert {Path(line.split(":")[0]).name for line in whole.failed} == {"letter.wav", "noise.mka", "1.flac"}

    def kill(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 5 and event.stage == "train":
            raise Killed

    with pytest.raises(Killed):
        train_codec(CodecTrainRequest(source, tmp_path / "c", config=STEPS, shape=SHAPE, on_event=kill))
    copies = list((tmp_path / "c.state" / "recordings").iterdir())
    assert len(copies) == 1 and soundfile.info(copies[0]).duration == pytest.approx(2.0, abs=0.1)
    again = train_codec(CodecTrainRequest(source, tmp_path / "c", config=STEPS, shape=SHAPE))
    assert again.folder.files == whole.folder.files and sorted(again.failed) == sorted(whole.failed)
    shown = audiolm("codec", "train", source, "-o", tmp_path / "d", "--steps", 2, "--clips", 2)
    assert shown.exit_code == 10 and f"{tmp_path / 'd'}  (use it" in shown.stdout
    assert all(name in shown.stderr for name in ("letter.wav", "noise.mka"))
    assert (tmp_path / "d" / "config.json").is_file() and not (tmp_path / "d.state").exists()


def test_training_anew_does_not_go_on_from_what_is_done(recordings: Path, tmp_path: Path, piano: Piano) -> None:
    """With -f on other recordings, another codec comes out."""
    first = train_codec(CodecTrainRequest(recordings, tmp_path / "c", config=STEPS, shape=SHAPE))
    soundfile.write(tmp_path / "a.wav", piano(3.0, 16000, seed=99), 16000)
    assert (tmp_path / "c" / "samples" / "original" / "clip-1.wav").is_file()
    second = train_codec(CodecTrainRequest(tmp_path / "a.wav", tmp_path / "c", config=STEPS, shape=SHAPE, force=True))
    assert second.folder.files != first.folder.files


def test_fine_tuning(audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """A codec starts from another one's weights and codebooks: what it measures first is what that one measures."""
    notes: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.message)

    before = {path.name: path.read_bytes() for path in tiny_codec.iterdir()}
    config = dataclasses.replace(STEPS, steps=8, state_every=8, clips=4)
    tuned = train_codec(
        CodecTrainRequest(recordings, tmp_path / "tuned", config=config, init=str(tiny_codec), on_event=listen)
    )
    assert {path.name: path.read_bytes() for path in tiny_codec.iterdir()} == before
    told = [line for line in notes if "held-out" in line and line.startswith("step")]
    assert [line.split(":")[0] for line in told] == ["step 0", "step 8"]  # neither components nor k-means
    codec, result = load_codec(str(tiny_codec)), load_codec(str(tmp_path / "tuned"))
    assert isinstance(codec, SpectralCodec) and isinstance(result, SpectralCodec)
    assert dataclasses.replace(result.config, gains_db=[]) == codec.config and result.name == "tuned"
    files = split_files([open_audio(path) for path in sorted(recordings.iterdir())])
    trainee = SpectralTrainee(codec, config, trained=True)
    judge = CodecTrainer(trainee, config, files["train"], files["dev"], tmp_path / "none", ignore, "x")
    trainee.quantizer.counts.fill_(1.0)
    own = judge.evaluate()
    assert "mel" in own  # what was trained already keeps its levels
    assert "held-out " + ", ".join(f"{name} {value:.4f}" for name, value in own.items()) in told[0]
    assert tuned.losses["log"] < own["log"]
    moved = (result.network.quantizer.codebooks - codec.network.quantizer.codebooks).norm(dim=-1)
    assert 0 < moved.median() < 0.2 * codec.network.quantizer.codebooks.norm(dim=-1).median()
    facts = json.loads(audiolm("models", "info", tmp_path / "tuned", "--json").stdout)
    assert facts["training"]["init"] == str(tiny_codec) and facts["licence"] == "none: a test"
    assert facts["training"]["config"]["learning_rate"] == 3e-4


def test_kept_codes(audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """Only the decoder learns: what made the codes is the same, to the bit, and so are they; stores go with both."""
    store, tuned, again = (tmp_path / name for name in ("tokens", "tuned", "again"))
    assert audiolm("tokenize", recordings, "-o", store, "--codec", tiny_codec).exit_code == 0
    config = dataclasses.replace(STEPS, keep_codes=True, learning_rate=3e-3, warmup_steps=0)
    notes: list[str] = []
    result = train_codec(
        CodecTrainRequest(
            recordings,
            tuned,
            config=config,
            init=str(tiny_codec),
            on_event=lambda e: notes.append(getattr(e, "message", "")),
        )
    )
    first = next(line for line in notes if line.startswith("step 0: held-out"))
    assert result.losses["log"] < 0.99 * float(first.split("held-out log ")[1].split(",")[0])
    before, after = (safetensors.torch.load_file(path / "codec.safetensors") for path in (tiny_codec, tuned))
    changed = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name].to(before[name]))}
    assert changed == {"from_latent", "decoder", "synthesis"}
    wav = torch.from_numpy(soundfile.read(recordings / "0.flac", dtype="float32")[0])[None, None]
    old, new = load_codec(str(tiny_codec)), load_codec(str(tuned))
    assert torch.equal(old.encode(wav), new.encode(wav))
    assert not torch.equal(old.decode(old.encode(wav)), new.decode(old.encode(wav)))
    assert (
        codec_hash(str(tuned)) != codec_hash(str(tiny_codec)) == codes_hash(str(tiny_codec)) == codes_hash(str(tuned))
    )
    shown = audiolm("decode", store, "-o", tmp_path / "decoded", "--codec", tuned, "--json")
    assert shown.exit_code == 0 and json.loads(shown.stdout)["codec"]["sha256"] == codec_hash(str(tuned)), shown.stderr
    assert audiolm("tokenize", recordings, "-o", tmp_path / "tokens2", "--codec", tuned).exit_code == 0
    assert read_facts(tmp_path / "tokens2").sha256 == codes_hash(str(tiny_codec))
    assert audiolm("models", "verify", tuned).exit_code == 0
    for name, path in (("a", tuned), ("b", tiny_codec)):
        shutil.copytree(path, tmp_path / "cache" / name)
    found = codec_by_hash(codec_hash(str(tiny_codec)), tmp_path / "cache")
    assert found is not None and found.path.name == "b", "the very codec, not one with its codes"
    shutil.rmtree(tmp_path / "cache" / "b")
    found = codec_by_hash(codec_hash(str(tiny_codec)), tmp_path / "cache")
    assert found is not None and found.path.name == "a"
    train_codec(CodecTrainRequest(recordings, again, config=config, init=str(tuned)))
    assert codes_hash(str(again)) == codes_hash(str(tiny_codec))
    assert read_folder(again).training["started_from"]["config"]["keep_codes"]
    train_codec(CodecTrainRequest(recordings, tmp_path / "other", config=STEPS, init=str(tuned)))
    with pytest.raises(ModelError, match="is not the codec that made the codes"):
        codec_of_store(store, str(tmp_path / "other"))


def test_kept_codes_of_a_model(audiolm: Any, recordings: Path, tiny_model: Path, tmp_path: Path) -> None:
    """What comes out is that model, with the new codec: the same recording goes on with another sound."""
    options = ["--init", tiny_model, "--keep-codes", "--steps", 2, "--clips", 2]
    shown = audiolm("codec", "train", recordings, "-o", tmp_path / "tuned", *options)
    assert shown.exit_code == 0 and f"continue IN -m {tmp_path / 'tuned'}" in shown.stdout, shown.stderr
    models = [tiny_model, tmp_path / "tuned"]
    assert len({(path / "model.safetensors").read_bytes() for path in models}) == 1
    for i, path in enumerate(models):
        out = tmp_path / f"{i}.wav"
        made = audiolm("continue", recordings / "0.flac", "-o", out, "-d", 1, "--seed", 1, "-m", path)
        assert made.exit_code == 0, made.stderr
    old, new = (soundfile.read(tmp_path / f"{i}.wav")[0] for i in range(2))
    assert len(old) == len(new) and np.array_equal(old[:32000], new[:32000]) and not np.array_equal(old, new)
    facts = json.loads(audiolm("models", "info", tmp_path / "tuned", "--json").stdout)
    assert facts["kind"] == "model" and facts["training"]["codec"]["config"]["keep_codes"]
    assert facts["licence"] == read_folder(tiny_model).licence
    assert "taught its codec's decoder" in (tmp_path / "tuned" / "MODEL_CARD.md").read_text()
    run = ["--init", tiny_model, "--codec", tmp_path / "tuned", "--steps", 1, "--batch-frames", 80, "--sample-every", 0]
    shown = audiolm("train", recordings, "-o", tmp_path / "run", *run)
    assert shown.exit_code == 0, shown.stderr
    trained = read_folder(tmp_path / "run" / "best")
    assert trained.training["codec"]["config"]["keep_codes"]
    assert codec_hash(str(trained.path)) == codec_hash(str(tmp_path / "tuned"))


def test_kept_codes_of_a_model_that_names_its_codec(recordings: Path, tiny_model: Path, tmp_path: Path) -> None:
    """What comes out carries its codec, and is what a model that carries one would have become."""
    whole = read_folder(tiny_model)
    tensors = {name: load_tensors(whole, name) for name in (MODEL_TENSORS, CODEC_TENSORS)}
    record = {**whole.codec, "sha256": codes_hash(str(tiny_model))}
    codec, model = (
        FolderFacts(kind=kind, name=kind, model=shape, codec=record, training=whole.training)
        for kind, shape in (("codec", None), ("model", whole.model))
    )
    cache = tmp_path / "cache"
    write_folder(cache / "codec", codec, tensors={CODEC_TENSORS: tensors[CODEC_TENSORS]}, texts={})
    write_folder(tmp_path / "naming", model, tensors={MODEL_TENSORS: tensors[MODEL_TENSORS]}, texts={})

    config = dataclasses.replace(STEPS, keep_codes=True, steps=2)
    found = [
        train_codec(CodecTrainRequest(recordings, tmp_path / name, config=config, init=str(init), cache=cache)).folder
        for name, init in (("out", tmp_path / "naming"), ("other", tiny_model))
    ]
    assert found[0].files == found[1].files and {MODEL_TENSORS, CODEC_TENSORS} <= set(found[0].files)
    assert codes_hash(str(tmp_path / "out")) == codes_hash(str(tiny_model))


def test_a_damaged_start_is_refused_at_once(audiolm: Any, recordings: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Also where the damaged file is not needed before the end."""
    shutil.copytree(tiny_model, tmp_path / "model")
    data = bytearray((tmp_path / "model" / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model" / "model.safetensors").write_bytes(data)
    options = ["--init", tmp_path / "model", "--keep-codes", "--steps", 2]
    shown = audiolm("codec", "train", recordings, "-o", tmp_path / "tuned", *options)
    assert shown.exit_code == 4 and "is damaged" in shown.stderr and "step 0" not in shown.stderr


@pytest.mark.parametrize("keep", [False, True])
def test_fine_tuning_goes_on_from_the_same_codec_only(
    recordings: Path, tiny_codec: Path, tmp_path: Path, keep: bool
) -> None:
    """Killed and started again it ends as if it had not been, and another start is refused."""
    config = dataclasses.replace(STEPS, keep_codes=keep)
    whole = train_codec(
        CodecTrainRequest(recordings, tmp_path / "whole", name="c", config=config, init=str(tiny_codec))
    )

    def kill(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 5 and event.stage == "train":
            raise Killed

    again: dict[str, Any] = {"name": "c", "config": config}
    with pytest.raises(Killed):
        train_codec(CodecTrainRequest(recordings, tmp_path / "c", **again, init=str(tiny_codec), on_event=kill))
    for other in (None, str(tmp_path / "whole")):
        with pytest.raises(
            UsageError, match="name that codec with --init" if keep and other is None else "was started with .*--init"
        ):
            train_codec(CodecTrainRequest(recordings, tmp_path / "c", **again, init=other))
    with pytest.raises(UsageError, match=r"--base-lr 0.0003 \(now 0.1\)"):
        faster = dataclasses.replace(config, learning_rate=0.1)
        train_codec(CodecTrainRequest(recordings, tmp_path / "c", name="c", config=faster, init=str(tiny_codec)))
    ended = train_codec(CodecTrainRequest(recordings, tmp_path / "c", **again, init=str(tiny_codec)))
    assert ended.folder.files == whole.folder.files


def test_an_encodec_network(
    audiolm: Any, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    """From nothing, then fine-tuned from the folder; both tokenize, and leave round trips to see and hear."""
    small = {"dimension": 16, "codebook_size": 16}
    monkeypatch.setattr(
        encodec_shape, "EncodecConfig", lambda **given: EncodecConfig(**{**small, **given})
    )  # what the command makes
    monkeypatch.setattr(CodecTrainConfig, "clip_s", 0.3)
    first, tuned = tmp_path / "first", tmp_path / "tuned"
    options = ["--clips", 2, "--json"]
    family = ["--family", "encodec", "--filters", 2]
    shown = audiolm("codec", "train", recordings, "-o", first, *family, "--steps", 3, "--sample-every", 2, *options)
    assert shown.exit_code == 0, shown.stderr
    assert json.loads(shown.stdout)["held_out"].keys() == {"mel", "stft", "commitment"}
    assert sorted(os.listdir(first / "samples")) == ["original", "step-0000002", "step-0000003"]
    assert sorted(os.listdir(first / "samples" / "step-0000003")) == ["clip-1.png", "clip-1.wav"]
    shown = audiolm(
        "codec", "train", recordings, "-o", tuned, "--init", first, "--steps", 2, "--sample-every", 0, *options
    )
    assert shown.exit_code == 0, shown.stderr
    assert "step 0: held-out mel" in shown.stderr and "first weights" not in shown.stderr
    before, after = load_codec(str(first)), load_codec(str(tuned))
    assert isinstance(before, EncodecCodec) and isinstance(after, EncodecCodec)
    assert after.config == dataclasses.replace(before.config, name="tuned")
    assert before.config.num_filters == 2 and after.name == "tuned"
    shown = audiolm("tokenize", recordings, "-o", tmp_path / "tokens", "--codec", tuned)
    assert shown.exit_code == 0, shown.stderr
    assert not (tuned / "samples").exists()
    kept = tmp_path / "kept"
    shown = audiolm("codec", "train", recordings, "-o", kept, "--init", first, "--keep-codes", "--steps", 2, *options)
    assert shown.exit_code == 0, shown.stderr
    states = [safetensors.torch.load_file(path / "codec.safetensors") for path in (first, kept)]
    moved = {name for name in states[0] if not torch.equal(states[0][name], states[1][name])}
    assert any(name.startswith("decoder.") for name in moved)
    assert not any(name.startswith("encoder.") or name.endswith(".embed") for name in moved), moved


def test_fine_tuning_a_published_codec(
    audiolm: Any, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    """Found by name in the cache; its licence goes on to hold. Where it is not there, the error says what to do."""
    shape = EncodecConfig(num_filters=2, dimension=16, codebook_size=16)
    shown = audiolm("codec", "train", recordings, "-o", tmp_path / "c", "--init", "encodec-32khz")
    assert shown.exit_code in (4, 5) and "encodec-32khz" in shown.stderr
    path = cache / "encodec-32khz.safetensors"
    safetensors.torch.save_file(EncodecCodec.untrained(shape).state(), path)
    monkeypatch.setattr(loading, "find_checkpoint", lambda name, cache: path)
    monkeypatch.setattr(fetching, "fetch_missing", lambda *args, **given: None)
    monkeypatch.setitem(encodec_shape.PUBLISHED, "encodec-32khz", shape)
    config = dataclasses.replace(STEPS, steps=1)
    trained = train_codec(CodecTrainRequest(recordings, tmp_path / "c", config=config, init="encodec-32khz"))
    assert trained.folder.codec["family"] == "encodec" and trained.folder.codec["name"] == "c"
    assert "NC" in trained.folder.licence and trained.folder.training["init"] == "encodec-32khz"
    assert load_codec(str(tmp_path / "c")).codebook_size == 16


def test_options_that_do_not_fit_the_family(audiolm: Any, recordings: Path, tmp_path: Path, tiny_codec: Path) -> None:
    """Each is refused in one line before anything is made."""
    for options, told in (
        (["--init", tiny_codec, "--family", "encodec"], "--init with --family"),
        (["--init", tiny_codec, "--filters", 4], "--init with --family or --filters"),
        (["--filters", 4], "add --family encodec"),
        (["--keep-codes"], "name that codec with --init"),
        (["--adversarial-from", 4], "--adversarial-from"),
    ):
        shown = audiolm("codec", "train", recordings, "-o", tmp_path / "c", *options)
        assert shown.exit_code == 2 and told in shown.stderr, shown.stderr
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_started_from(audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """What is not there, and what would be overwritten."""
    shown = audiolm("codec", "train", recordings, "-o", tmp_path / "c", "--init", "nothing")
    assert shown.exit_code == 4 and "nothing" in shown.stderr
    shutil.copytree(tiny_codec, tmp_path / "c")
    shown = audiolm("codec", "train", recordings, "-o", tmp_path / "c", "-f", "--init", tmp_path / "c")
    assert shown.exit_code == 2 and "never overwritten" in shown.stderr
    assert os.listdir(tmp_path) == ["c"]


def test_outputs_are_checked_before_the_work(audiolm: Any, recordings: Path, tmp_path: Path) -> None:
    """An existing codec without -f, and with -f something that is no codec; a place that cannot be written."""
    train_codec(CodecTrainRequest(recordings, tmp_path / "c", config=dataclasses.replace(STEPS, steps=1), shape=SHAPE))
    shown = audiolm("codec", "train", recordings, "-o", tmp_path / "c")
    assert shown.exit_code == 7 and "exists already" in shown.stderr
    for flags in ((), ("-f",)):
        shown = audiolm("codec", "train", recordings, "-o", recordings, *flags)
        assert shown.exit_code == 7 and str(recordings) in shown.stderr
    (tmp_path / "file").touch()
    shown = audiolm("codec", "train", recordings, "-o", tmp_path / "file" / "c")
    assert shown.exit_code == 7 and "cannot be created" in shown.stderr
    assert sorted(os.listdir(tmp_path)) == ["c", "file"]


def test_unusable_sources(audiolm: Any, tmp_path: Path, piano: Piano) -> None:
    """Missing, without audio, broken, too short: exit code 3, one line, nothing left behind."""
    (tmp_path / "in").mkdir()
    shown = audiolm("codec", "train", tmp_path / "missing", "-o", tmp_path / "c")
    assert shown.exit_code == 3 and "no such file" in shown.stderr
    shown = audiolm("codec", "train", tmp_path / "in", "-o", tmp_path / "c")
    assert shown.exit_code == 3 and "no audio files" in shown.stderr
    soundfile.write(tmp_path / "in" / "a.wav", piano(1.0, 16000), 16000)
    shown = audiolm("codec", "train", tmp_path / "in", "-o", tmp_path / "c")
    assert shown.exit_code == 3 and "expected at least 2.0 s" in shown.stderr
    (tmp_path / "in" / "a.wav").write_text("Dear Sir or Madam")
    with pytest.raises(DataError, match=r"no file, of 1 found, could be read as audio; .*a\.wav: holds text"):
        train_codec(CodecTrainRequest(tmp_path / "in", tmp_path / "c", config=STEPS, shape=SHAPE))
    assert os.listdir(tmp_path) == ["in"]


def test_options_reach_the_workflow(audiolm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each flag is a field."""
    seen: dict[str, Any] = {}

    def fake(request: CodecTrainRequest) -> None:
        seen.update(vars(request))
        raise DataError("far enough")

    monkeypatch.setattr(codec_train, "train_codec", fake)
    options = ["--steps", 7, "--clips", 8, "--state-every", 9, "--seed", 4, "--threads", 2, "--device", "cpu", "-f"]
    options += ["--init", "piano", "--base-lr", 0.002]
    assert audiolm("codec", "train", "in", "-o", "c", *options).exit_code == 3
    config = seen["config"]
    assert (config.steps, config.clips, config.state_every, config.seed) == (7, 8, 9, 4)
    assert (config.threads, config.device, seen["force"]) == (2, "cpu", True)
    assert (config.learning_rate, seen["init"]) == (0.002, "piano")
    assert (seen["source"], seen["output"]) == (Path("in"), Path("c"))
    assert audiolm("codec", "train", "in", "-o", "c", "--steps", 0).exit_code == 2


def test_a_file_that_crashes_the_decoder(recordings: Path, piano: Piano, tmp_path: Path, crashing_decoder: int) -> None:
    """It is listed, clips of the others take its place, and a training that was stopped ends with the same weights."""
    folder = shutil.copytree(recordings, tmp_path / "recordings")
    soundfile.write(folder / "bad.wav", piano(0.6, crashing_decoder), crashing_decoder)

    def kill(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "train" and event.done == 5:
            raise Killed

    whole = train_codec(CodecTrainRequest(folder, tmp_path / "whole", name="c", config=STEPS, shape=SHAPE))
    assert len(whole.failed) == 1 and "bad.wav: the process that decoded it crashed (SIGSEGV)" in whole.failed[0]
    with pytest.raises(Killed):
        train_codec(CodecTrainRequest(folder, tmp_path / "killed", name="c", config=STEPS, shape=SHAPE, on_event=kill))
    again = train_codec(CodecTrainRequest(folder, tmp_path / "killed", name="c", config=STEPS, shape=SHAPE))
    assert (again.folder.files, again.failed) == (whole.folder.files, whole.failed)


def test_the_shape_of_a_codec_from_nothing_is_asked_for(
    audiolm: Any, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames, codebooks, a level and steady codebooks; columns stay about as far apart as they were."""
    monkeypatch.setattr(codec_train, "NEW_SPECTRAL", SHAPE)
    options = ["--steps", 2, "--clips", 2, "--frame-rate", 25, "--codebooks", 6, "--level-seconds", 1]
    shown = audiolm("codec", "train", recordings, "-o", tmp_path / "mine", *options, "--steady-frames", 5)
    assert shown.exit_code == 0, shown.stderr
    codec = load_codec(str(tmp_path / "mine"))
    assert isinstance(codec, SpectralCodec)
    assert (codec.frame_rate_hz, codec.num_codebooks, codec.column_samples) == (25.0, 7, 320)
    assert (codec.config.level_s, codec.config.steady_frames) == (1.0, 5)
    facts = read_folder(tmp_path / "mine").training
    assert len(facts["consistency"]["3 dB quieter"]) == 7
    assert facts["shape"] == {"frame_rate_hz": 25, "num_codebooks": 6, "level_s": 1, "steady_frames": 5}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--frame-rate", "30"], "--frame-rate 30 does not divide the sample rate of 32000 Hz; choose one of 200"),
        (["--steady-frames", "4"], "steady_frames must be odd, got 4"),
        (["--init", "CODEC", "--frame-rate", "25"], "--init with --frame-rate or --codebooks"),
        (["--init", "CODEC", "--codebooks", "2"], "--init with --frame-rate or --codebooks"),
        (["--init", "CODEC", "--keep-codes", "--level-seconds", "3"], "which change the codes"),
        (["--family", "encodec", "--filters", "2", "--codebooks", "2"], "are for spectral codecs"),
    ],
)
def test_shapes_that_do_not_fit(
    audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path, options: list[str], told: str
) -> None:
    words = [tiny_codec if word == "CODEC" else word for word in options]
    shown = audiolm("codec", "train", recordings, "-o", tmp_path / "mine", "--steps", 1, *words)
    assert shown.exit_code == 2, shown.stderr
    assert told in " ".join(shown.stderr.split())
    assert not (tmp_path / "mine").exists()


def test_a_codec_goes_on_with_a_level_of_its_own(
    audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path
) -> None:
    """No weight depends on it, so it can be asked for of a codec that has none."""
    options = ["--init", tiny_codec, "--steps", 2, "--clips", 2, "--level-seconds", 1, "--steady-frames", 3]
    shown = audiolm("codec", "train", recordings, "-o", tmp_path / "mine", *options)
    assert shown.exit_code == 0, shown.stderr
    codec = load_codec(str(tmp_path / "mine"))
    assert codec.num_codebooks == load_codec(str(tiny_codec)).num_codebooks + 1


def test_a_training_says_what_it_does_beside_its_steps(recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """Each thing under its own name, and after a pause the steps again."""
    config = dataclasses.replace(STEPS, steps=3, state_every=2, sample_every=2)
    events: list[Event] = []
    train_codec(
        CodecTrainRequest(recordings, tmp_path / "c", init=str(tiny_codec), config=config, on_event=events.append)
    )
    stages = [event.stage for event in events if isinstance(event, (Activity, Progress))]
    pause = [
        "measure held-out clips",
        "measure the level of each band",
        "make round trips to hear",
        "see which codes stay",
        "compare round trips",
    ]
    told = [stage for stage, _ in itertools.groupby(stages)]
    start = ["open", pause[-1], "count the codes of the recordings", pause[0]]
    assert told == [*start, "train", *pause, "train", *pause, "write the codec"], told


@pytest.mark.parametrize(("held_out", "words"), [(True, "on held-out clips"), (False, "none was held out")])
def test_what_a_training_ends_with(capsys: pytest.CaptureFixture[str], held_out: bool, words: str) -> None:
    """How long, on how much sound, how good in words, how to hear it and how to use it; losses are a detail."""
    folder = SimpleNamespace(path=Path("codecs/mine"), model=None)
    verdict = Verdict(findings=["the codec: good"], advice=["more of it"])
    result: Any = SimpleNamespace(
        folder=folder,
        losses={"log": 0.12746},
        verdict=verdict,
        heard_s=3900.0,
        passes=12.34,
        held_out=held_out,
        elapsed_s=200.0,
    )
    for verbose in (0, 1):
        show_codec(Renderer(verbose=verbose), result)
        shown = capsys.readouterr()
        told, good, advice, hear, use = shown.out.splitlines()
        assert told.startswith("trained for 3 min 20 s on 1 h 05 min of sound, heard 12.3 times") and words in told
        assert (good, advice) == ("the codec: good", "next: more of it")
        assert hear.endswith("audiolm evaluate PATH -m codecs/mine --report report.html")
        assert use == "codecs/mine  (use it: audiolm train PATH --codec codecs/mine)"
        assert ("log 0.1275" in shown.err) == bool(verbose)


def test_a_training_says_how_much_how_long_and_how_good(
    recordings: Path, tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of a codec that another one was made of, how good that one was on the same clips."""
    monkeypatch.setattr(CodecTrainConfig, "clip_s", 0.5)
    # In float16, as codecs are stored, the figures of one that was loaded differ in the last digit.
    monkeypatch.setattr("audiolm_cli.workflows.codec_train.compact_codec", lambda codec: codec.state_dict())
    config = dataclasses.replace(STEPS, steps=12, clip_s=0.5, sample_every=6)
    told: dict[str, list[str]] = {}
    results = {}
    for name, init in (("new", None), ("tuned", str(tiny_codec))):
        events: list[Event] = []
        results[name] = train_codec(
            CodecTrainRequest(
                recordings,
                tmp_path / name,
                config=config,
                shape=None if init else SHAPE,
                init=init,
                on_event=events.append,
            )
        )
        told[name] = [event.message for event in events if isinstance(event, Note)]

    seconds = results["new"].heard_s
    assert f"{seconds:.0f} s of sound in" in told["new"][0] and "which hear it 2 times" in told["new"][0]
    assert any("is little for a codec from nothing" in line for line in told["new"])
    assert not any("is little" in line for line in told["tuned"])
    for name, steps in (("new", (6, 12)), ("tuned", (0, 6, 12))):
        assert [line.split(":")[0] for line in told[name] if "mel distance" in line] == [f"step {n}" for n in steps]
        assert len([line for line in told[name] if line.startswith("expected: about")]) == 1
    assert " as it was" not in results["new"].verdict.findings[0]
    assert f"of {tiny_codec} as it was" in results["tuned"].verdict.findings[0]

    # The figures are those that an evaluation has of the same clips: of a codec, by itself.
    report = LikenessReport(
        load_codec(str(tmp_path / "tuned")), [open_audio(p) for p in held_out_of(recordings)], ignore
    )
    report(12)
    assert report.distances is not None
    assert f"mel distance {report.distances['mel']:.3f}" in results["tuned"].verdict.findings[0]


def held_out_of(recordings: Path) -> list[Path]:
    """The recordings that a training holds out; all of them where that is none."""
    files = [open_audio(path) for path in sorted(recordings.iterdir())]
    parts = split_files(files)
    return [file.path for file in parts["dev"] or parts["train"]]
