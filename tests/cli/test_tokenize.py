"""`audiolm tokenize`: what is kept, what is dropped and why, and what it says about inputs it cannot use."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiolm_cli.data.files import AudioFile
from audiolm_cli.data.manifest import read_facts, read_store
from audiolm_cli.workflows.level import TRAINING_PEAK
from audiolm_cli.workflows.loading import codec_hash, load_codec
from audiolm_cli.workflows.tokenize import unique_names

Piano = Callable[..., np.ndarray]


@pytest.fixture
def recordings(tmp_path: Path, piano: Piano) -> Path:
    """Twelve recordings of 1 s and more in folders below one, a copy, and a silent one."""
    folder = tmp_path / "recordings"
    (folder / "deeper").mkdir(parents=True)
    for i in range(12):
        path = folder / ("deeper" if i % 2 else "") / f"piece-{i}{'.flac' if i % 3 else '.wav'}"
        soundfile.write(path, piano(1 + i / 10, 16000, 1 + i % 2, seed=i), 16000)
    shutil.copy(folder / "piece-0.wav", folder / "copy.wav")
    soundfile.write(folder / "silence.wav", np.zeros(16000), 16000)
    (folder / "notes.txt").write_text("not audio")
    return folder


def codes(store: Path) -> dict[str, np.ndarray]:
    """Every clip of a store by its name."""
    return {clip.id: clip.codes for split in ("train", "dev", "test") for clip in read_store(store, split)}


def test_counts(audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """Kept and dropped are counted with their reasons; the store holds the codes of whole frames."""
    store = tmp_path / "tokens"
    shown = audiolm("tokenize", recordings, "-o", store, "--codec", tiny_codec, "--json")
    assert shown.exit_code == 0
    result = json.loads(shown.stdout)
    assert sum(result["cuts"].values()) == 12 and set(result["cuts"]) == {"train", "dev", "test"}
    assert result["dropped"] == {"duplicate": 1, "silence": 1} and result["failed"] == []
    assert result["hours"] == pytest.approx(sum(1 + i / 10 for i in range(12)) / 3600, rel=0.01)
    assert "1 duplicate, 1 silence" in shown.stderr
    clips = codes(store)
    pairs = {frozenset({f"piece-{i}" for i in range(12)}), frozenset({"copy", *(f"piece-{i}" for i in range(1, 12))})}
    assert frozenset(clips) in pairs
    assert {name: len(c) for name, c in clips.items() if name != "copy"} == {
        f"piece-{i}": int((1 + i / 10) * 50 + 1e-6) for i in range(12) if f"piece-{i}" in clips
    }
    assert all(c.shape[1] == 4 and c.min() >= 0 and c.max() < 32 for c in clips.values())
    facts = read_facts(store)
    assert (facts.source, facts.sha256) == (str(tiny_codec), codec_hash(str(tiny_codec)))
    assert sorted(os.listdir(store)) == [
        "codec.json",
        "codes.h5",
        "cuts_dev.jsonl.gz",
        "cuts_test.jsonl.gz",
        "cuts_train.jsonl.gz",
    ]


def test_lhotse_loads_what_was_written(
    audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Integer codes (T, K), from any working directory."""
    import lhotse

    monkeypatch.chdir(tmp_path)
    assert audiolm("tokenize", recordings, "-o", "tokens", "--codec", tiny_codec).exit_code == 0
    monkeypatch.chdir("/")
    cuts = lhotse.load_manifest(tmp_path / "tokens" / "cuts_train.jsonl.gz")
    loaded = {cut.id: cut.load_features() for cut in cuts}
    own = codes(tmp_path / "tokens")
    assert loaded and all(np.array_equal(array, own[name]) for name, array in loaded.items())
    assert all(np.issubdtype(array.dtype, np.integer) for array in loaded.values())


def test_the_codes_are_the_codecs(audiolm: Any, tiny_codec: Path, tmp_path: Path, piano: Piano) -> None:
    """As `encode` gives them for the mean of the channels at the training level, whatever the file's own."""
    import torch

    wav = piano(2.0, 32000, 2)
    soundfile.write(tmp_path / "a.wav", wav, 32000, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", wav / 8, 32000, subtype="FLOAT")
    inputs = tmp_path / "a.wav", tmp_path / "b.wav"
    assert audiolm("tokenize", *inputs, "-o", tmp_path / "t", "--codec", tiny_codec).exit_code == 0
    mono = wav.mean(1)
    leveled = torch.from_numpy(mono * (TRAINING_PEAK / np.abs(mono).max()))
    expected = load_codec(str(tiny_codec)).encode(leveled.float()[None, None])[0].numpy()
    found = codes(tmp_path / "t")
    assert np.mean(found["a"] == expected) > 0.98  # but for ties that rounding decides
    assert np.mean(found["b"] == expected) > 0.98


def test_a_store_is_not_overwritten(audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """Exit code 7 without -f; with it, the new store replaces the old one."""
    store = tmp_path / "tokens"
    one = recordings / "piece-0.wav"
    assert audiolm("tokenize", one, "-o", store, "--codec", tiny_codec).exit_code == 0
    shown = audiolm("tokenize", recordings, "-o", store, "--codec", tiny_codec)
    assert shown.exit_code == 7 and "holds a token store already" in shown.stderr
    shown = audiolm("tokenize", recordings, "-o", store, "--codec", tiny_codec, "-f")
    assert shown.exit_code == 0 and str(store) in shown.stdout
    assert len(codes(store)) == 12


def test_broken_recordings(audiolm: Any, tmp_path: Path, tiny_codec: Path, piano: Piano) -> None:
    """Each is named with its reason, the others are done, and the exit code is 10."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(3):
        soundfile.write(folder / f"good-{i}.wav", piano(1.0, 16000, seed=i), 16000)
    (folder / "empty.wav").touch()
    (folder / "text.flac").write_text("Dear Sir or Madam")
    soundfile.write(folder / "cut.flac", piano(4.0, 16000), 16000)
    whole = (folder / "cut.flac").read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])
    broken = piano(1.0, 16000, seed=9)
    broken[500] = np.nan
    soundfile.write(folder / "nan.wav", broken, 16000, subtype="FLOAT")
    soundfile.write(folder / "none.wav", piano(1.0, 16000)[:0], 16000)
    shown = audiolm("tokenize", folder, "-o", tmp_path / "t", "--codec", tiny_codec, "--json")
    assert shown.exit_code == 10 and "Traceback" not in shown.stderr
    result = json.loads(shown.stdout)
    assert sum(result["cuts"].values()) == 3 and sorted(codes(tmp_path / "t")) == ["good-0", "good-1", "good-2"]
    assert len(result["failed"]) == 5
    for name in ("empty.wav", "text.flac", "cut.flac", "nan.wav", "none.wav"):
        assert sum(name in line for line in result["failed"]) == 1
        assert f"{folder / name}" in shown.stderr


@pytest.mark.parametrize("kind", ["silence", "broken", "text", "cut"])
def test_nothing_usable(audiolm: Any, tmp_path: Path, tiny_codec: Path, piano: Piano, kind: str) -> None:
    """Exit code 3, and no store is left that a second try would stumble over."""
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "a.flac"
    soundfile.write(path, np.zeros(16000) if kind == "silence" else piano(1.0, 16000)[:, 0], 16000)
    if kind == "broken":
        path.write_bytes(path.read_bytes()[:20])
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-2000])
    if kind == "text":
        path.rename(folder / "a.txt")
    shown = audiolm("tokenize", folder, "-o", tmp_path / "t", "--codec", tiny_codec)
    assert (shown.exit_code, shown.stdout) == (3, "")
    assert shown.stderr.splitlines()[-1].startswith("audiolm: error: ")
    assert os.listdir(tmp_path) == ["in"]


def test_names(audiolm: Any, tmp_path: Path, tiny_codec: Path, piano: Piano) -> None:
    """Equal stems, and names that are not UTF-8, have names of their own in the store."""
    for i, folder in enumerate(("a", "b")):
        (tmp_path / "in" / folder).mkdir(parents=True)
        soundfile.write(tmp_path / "in" / folder / "x.wav", piano(1.0, 16000, seed=i), 16000)
    assert audiolm("tokenize", tmp_path / "in", "-o", tmp_path / "t", "--codec", tiny_codec).exit_code == 0
    names = sorted(codes(tmp_path / "t"))
    assert len(set(names)) == 2 and all(len(name) == len("x-12345678") for name in names)
    odd = [
        AudioFile(path=Path(os.fsdecode(name)), sample_rate_hz=1, num_samples=1, sha256=sha256)
        for name, sha256 in ((b"caf\xe9.wav", "1" * 64), (b"caf?.wav", "2" * 64))
    ]
    assert unique_names(odd) == {"1" * 64: "caf?-11111111", "2" * 64: "caf?-22222222"}


def test_unusable_options(
    audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing input, an unknown codec, an output that is a file, a full disk: one line, nothing half-written."""
    one, store = recordings / "piece-0.wav", tmp_path / "t"
    shown = audiolm("tokenize", tmp_path / "missing", "-o", store, "--codec", tiny_codec)
    assert shown.exit_code == 3 and "no such file" in shown.stderr
    shown = audiolm("tokenize", one, "-o", store, "--codec", "nothing")
    assert shown.exit_code == 4
    shown = audiolm("tokenize", one, "-o", store)
    assert shown.exit_code == 5 and "encodec-32khz" in shown.stderr  # the default, which is not here
    (tmp_path / "file").touch()
    shown = audiolm("tokenize", one, "-o", tmp_path / "file", "--codec", tiny_codec)
    assert shown.exit_code == 7 and "cannot be written" in shown.stderr

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("audiolm_cli.workflows.tokenize.write_store", full)
    shown = audiolm("tokenize", one, "-o", store, "--codec", tiny_codec)
    assert shown.exit_code == 7 and "No space left" in shown.stderr
    assert sorted(os.listdir(tmp_path)) == ["file", "recordings"]


def test_a_model_stands_for_its_codec(audiolm: Any, recordings: Path, tiny_model: Path, tmp_path: Path) -> None:
    """--codec MODEL."""
    one = recordings / "piece-0.wav"
    assert audiolm("tokenize", one, "-o", tmp_path / "t", "--codec", tiny_model).exit_code == 0
    assert read_facts(tmp_path / "t").sha256 == codec_hash(str(tiny_model))


def test_the_hash_of_a_codec_that_a_model_only_names(tmp_path: Path) -> None:
    """Models on a catalogued codec do not carry its weights."""
    import torch

    from audiolm_cli.checkpoints.folder import write_folder
    from audiolm_cli.config import ModelConfig

    write_folder(
        tmp_path / "m",
        kind="model",
        name="m",
        model=ModelConfig(d_model=32, nhead=2).to_dict(),
        codec={"family": "encodec", "name": "encodec-32khz", "config": {}, "sha256": "a" * 64},
        training={},
        tensors={"model.safetensors": {"a": torch.zeros(1)}},
        texts={},
    )
    assert codec_hash(str(tmp_path / "m")) == "a" * 64
