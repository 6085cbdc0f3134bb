"""`audiolm tokenize`: what is kept, what is dropped and why, and what it says about inputs it cannot use."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile

from audiolm_cli.audio.level import TRAINING_PEAK
from audiolm_cli.data.manifest import is_store, read_facts, read_store
from audiolm_cli.distributed import Ranks
from audiolm_cli.library.loading import codec_hash, load_codec
from audiolm_cli.tokenizing.assembly import unique_names

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
    assert "1 duplicate, 1 silent recording;" in shown.stderr
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
        "inputs.jsonl.gz",
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
    assert shown.exit_code == 7 and "already holds a token store" in shown.stderr
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
    odd = {"1" * 64: Path(os.fsdecode(b"caf\xe9.wav")), "2" * 64: Path("caf?.wav"), "3" * 64: Path("..wav")}
    assert unique_names(odd) == {"1" * 64: "caf?-11111111", "2" * 64: "caf?-22222222", "3" * 64: "recording"}


def test_unusable_options(
    audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing input, an unknown codec, an output that is a file, a full disk: one line, nothing half-written."""
    one, store = recordings / "piece-0.wav", tmp_path / "t"
    shown = audiolm("tokenize", tmp_path / "missing", "-o", store, "--codec", tiny_codec)
    assert shown.exit_code == 3 and "no such file" in shown.stderr
    shown = audiolm("tokenize", one, "-o", store, "--codec", "nothing")
    assert shown.exit_code == 4
    shown = audiolm("tokenize", one, "-o", store, "--codec", "encodec-32khz")
    assert shown.exit_code == 5 and "encodec-32khz" in shown.stderr  # which is not here
    (tmp_path / "file").touch()
    shown = audiolm("tokenize", one, "-o", tmp_path / "file", "--codec", tiny_codec)
    assert shown.exit_code == 7 and "cannot be written" in shown.stderr and "make room" not in shown.stderr

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for step in ("data.parts._write_whole", "tokenizing.assembly.write_store"):
        with monkeypatch.context() as broken:
            broken.setattr(f"audiolm_cli.{step}", full)
            shown = audiolm("tokenize", one, "-o", store, "--codec", tiny_codec)
        assert shown.exit_code == 7 and "No space left" in shown.stderr and "goes on from here" in shown.stderr
        assert store.exists() == (step == "tokenizing.assembly.write_store"), "what is done is kept, and nothing else"
    monkeypatch.setattr("audiolm_cli.workflows.tokenize.encode_recording", full)
    shown = audiolm("tokenize", one, "-o", store, "--codec", tiny_codec)
    assert shown.exit_code == 0 and len(codes(store)) == 1, "what was done before is not done again"


def test_a_model_stands_for_its_codec(audiolm: Any, recordings: Path, tiny_model: Path, tmp_path: Path) -> None:
    """--codec MODEL."""
    one = recordings / "piece-0.wav"
    assert audiolm("tokenize", one, "-o", tmp_path / "t", "--codec", tiny_model).exit_code == 0
    assert read_facts(tmp_path / "t").sha256 == codec_hash(str(tiny_model))


def test_the_hash_of_a_codec_that_a_model_only_names(tmp_path: Path) -> None:
    """Models on a catalogued codec do not carry its weights."""
    import torch

    from audiolm_cli.checkpoints.folder import FolderFacts, write_folder
    from audiolm_cli.config.shapes import ModelConfig

    write_folder(
        tmp_path / "m",
        FolderFacts(
            kind="model",
            name="m",
            model=ModelConfig(d_model=32, nhead=2).to_dict(),
            codec={"family": "encodec", "name": "encodec-32khz", "config": {}, "sha256": "a" * 64},
            training={},
        ),
        tensors={"model.safetensors": {"a": torch.zeros(1)}},
        texts={},
    )
    assert codec_hash(str(tmp_path / "m")) == "a" * 64


def rests(pattern: str, piano: Piano, rate_hz: int = 16000) -> np.ndarray:
    """Music where the pattern has an x, silence elsewhere, a second each; float32 [N]."""
    wav = piano(len(pattern), rate_hz)[:, 0]
    return wav * np.repeat([float(letter == "x") for letter in pattern], rate_hz).astype(np.float32)


def test_what_was_left_out_is_counted_in_words(audiolm: Any, tiny_codec: Path, tmp_path: Path, piano: Piano) -> None:
    """One thing of a kind, and several."""
    soundfile.write(tmp_path / "a.wav", rests("xxx.....", piano), 16000, subtype="FLOAT")
    for name in ("b", "c"):
        shutil.copy(tmp_path / "a.wav", tmp_path / f"{name}.wav")
    soundfile.write(tmp_path / "d.wav", rests("...", piano), 16000, subtype="FLOAT")
    shown = audiolm("tokenize", tmp_path, "-o", tmp_path / "t", "--codec", tiny_codec)
    assert shown.exit_code == 0
    assert "dropped: 1 silent stretch (4 s), 2 duplicates, 1 silent recording; failed" in shown.stderr


def test_a_token_store_is_no_recording(audiolm: Any, tiny_codec: Path, tmp_path: Path, piano: Piano) -> None:
    soundfile.write(tmp_path / "a.wav", rests("xxx", piano), 16000)
    store = tmp_path / "s"
    assert audiolm("tokenize", tmp_path / "a.wav", "-o", store, "--codec", tiny_codec).exit_code == 0
    shown = audiolm("tokenize", store, "-o", tmp_path / "t", "--codec", tiny_codec)
    assert shown.exit_code == 2 and shown.stderr.count("\n") == 1
    assert f"{store}: is a token store" in shown.stderr and "give the recordings" in shown.stderr
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("gain", [1.0, 0.05])
def test_silent_stretches_are_dropped(
    audiolm: Any, tiny_codec: Path, tmp_path: Path, piano: Piano, gain: float
) -> None:
    """They are counted; what is left are clips named by where they begin, of which the last ends the recording.

    How loud the recording is does not matter.
    """
    wav = gain * rests(".....xxx.x....xx......", piano)
    soundfile.write(tmp_path / "a.wav", wav, 16000, subtype="FLOAT")
    shown = audiolm("tokenize", tmp_path / "a.wav", "-o", tmp_path / "t", "--codec", tiny_codec, "--json")
    assert shown.exit_code == 0 and "3 silent stretches (13 s)" in shown.stderr
    result = json.loads(shown.stdout)
    assert result["dropped"] == {"silent stretches": 3} and result["silence_s"] == pytest.approx(13.0)
    clips = read_store(tmp_path / "t", "train")
    assert [(clip.id, len(clip.codes), clip.ends) for clip in clips] == [
        ("a@4.50", 300, False),
        ("a@13.50", 150, True),
    ]
    assert result["hours"] == pytest.approx(9 / 3600)


def test_the_codes_of_a_stretch_are_the_codecs(audiolm: Any, tiny_codec: Path, tmp_path: Path, piano: Piano) -> None:
    """A clip between silences has the codes of that part of the recording."""
    import torch

    wav = rests("xx....xx", piano, 32000)
    soundfile.write(tmp_path / "a.wav", wav, 32000, subtype="FLOAT")
    assert audiolm("tokenize", tmp_path / "a.wav", "-o", tmp_path / "t", "--codec", tiny_codec).exit_code == 0
    leveled = torch.from_numpy(wav * (TRAINING_PEAK / np.abs(wav).max()))[None, None]
    codec = load_codec(str(tiny_codec))
    for name, start, stop in (("a@0.00", 0, 125), ("a@5.50", 275, 400)):
        expected = codec.encode(leveled[..., start * 640 : stop * 640])[0].numpy()
        np.testing.assert_array_equal(codes(tmp_path / "t")[name], expected)


def test_a_clip_and_a_recording_of_one_name(audiolm: Any, tiny_codec: Path, tmp_path: Path, piano: Piano) -> None:
    """Nothing is lost."""
    soundfile.write(tmp_path / "a.wav", rests("xx....xx", piano), 16000)
    soundfile.write(tmp_path / "a@5.50.wav", piano(1.0, 16000), 16000)
    inputs = tmp_path / "a.wav", tmp_path / "a@5.50.wav"
    assert audiolm("tokenize", *inputs, "-o", tmp_path / "t", "--codec", tiny_codec).exit_code == 0
    found = codes(tmp_path / "t")
    assert len(found) == 3 and {"a@0.00", "a@5.50"} <= set(found)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_what_ffmpeg_reads_is_found(audiolm: Any, tiny_codec: Path, tmp_path: Path, piano: Piano) -> None:
    """A film's sound, beside files that everybody reads; hidden files are left alone."""
    folder = tmp_path / "in"
    folder.mkdir()
    soundfile.write(folder / "a.wav", piano(2.0, 16000), 16000)
    for name in ("b.m4a", "c.mkv", "d.opus"):
        command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(folder / "a.wav"), str(folder / name)]
        subprocess.run(command, check=True, timeout=60)
    (folder / "._a.wav").write_bytes(b"a Macintosh leaves these")
    shown = audiolm("tokenize", folder, "-o", tmp_path / "t", "--codec", tiny_codec)
    assert shown.exit_code == 0, shown.stderr
    found = codes(tmp_path / "t")
    assert sorted(found) == ["a", "b", "c", "d"] and all(len(c) in range(100, 107) for c in found.values())


def test_a_second_run_does_nothing(
    audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, tells the failures again, and touches no file; also from another folder, or after a copy."""
    (recordings / "broken.wav").write_bytes(b"RIFF\x00\x01\x02")
    command = ["tokenize", recordings, "-o", tmp_path / "t", "--codec", tiny_codec, "--json"]
    first = audiolm(*command)
    assert first.exit_code == 10
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "t").iterdir()}
    for name in ("load_codec", "assemble"):
        monkeypatch.setattr(f"audiolm_cli.workflows.tokenize.{name}", None)
    for path in recordings.rglob("*.wav"):
        os.utime(path)  # copied, say
    monkeypatch.chdir(recordings)
    for inputs in (recordings, "."):
        second = audiolm("tokenize", inputs, *command[2:])
        assert second.exit_code == 10 and "nothing to do" in second.stderr and "broken.wav" in second.stderr
        assert json.loads(second.stdout) == json.loads(first.stdout)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "t").iterdir()} == before


def _damage_code(store: Path) -> None:
    with h5py.File(store / "codes.h5", "r+") as file:
        next(iter(file.values()))[0, 0] = -3


@pytest.mark.parametrize(
    "damage",
    [
        *(
            (lambda store, name=name: (store / name).unlink())
            for name in ("codes.h5", "codec.json", "cuts_dev.jsonl.gz", "cuts_transposed.jsonl.gz")
        ),
        *((lambda store, name=name: os.truncate(store / name, 60)) for name in ("codes.h5", "cuts_train.jsonl.gz")),
        _damage_code,
    ],
    ids=["no codes", "no facts", "no manifest", "no copies", "half the codes", "half a manifest", "what is no code"],
)
def test_a_damaged_store_is_not_taken_for_whole(
    audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """One line says what is wrong and what to do, and that then does it."""
    options = [recordings, "-o", tmp_path / "t", "--codec", tiny_codec, "--transpose", 1]
    assert audiolm("tokenize", *options).exit_code == 0
    before = codes(tmp_path / "t")
    damage(tmp_path / "t")
    shown = audiolm("tokenize", *options)
    assert shown.exit_code == 3 and shown.stderr.endswith("; tokenize the recordings again with -f\n"), shown.stderr
    assert audiolm("tokenize", *options, "-f").exit_code == 0
    after = codes(tmp_path / "t")
    assert list(after) == list(before) and all(np.array_equal(after[name], before[name]) for name in before)
    assert "nothing to do" in audiolm("tokenize", *options).stderr


def test_other_recordings_are_not_mixed_in(
    audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path, piano: Piano, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New, changed and gone ones are counted; another codec is named. -f encodes only what is new."""
    from audiolm_cli.tokenizing.encoding import encode_recording

    soundfile.write(recordings / "rests.wav", rests("....xx....xx", piano), 16000)
    command = ["tokenize", recordings, "-o", tmp_path / "t", "--codec"]
    assert audiolm(*command, tiny_codec).exit_code == 0
    soundfile.write(recordings / "new.wav", piano(1.0, 16000, seed=70), 16000)
    soundfile.write(recordings / "piece-3.wav", piano(1.0, 16000, seed=71), 16000)
    (recordings / "silence.wav").unlink()
    shown = audiolm(*command, tiny_codec)
    assert shown.exit_code == 7 and "(2 new, 1 gone)" in shown.stderr
    soundfile.write(recordings / "piece-0.wav", piano(1.0, 16000, seed=72), 16000)
    shown = audiolm(*command, tiny_codec)
    assert shown.exit_code == 7 and "(2 new, 1 changed, 1 gone)" in shown.stderr
    shown = audiolm(*command, "piano")
    assert shown.exit_code == 7 and "of another codec" in shown.stderr
    encoded: list[str] = []

    def count(path: Path, *args: Any) -> Any:
        encoded.append(path.name)
        return encode_recording(path, *args)

    monkeypatch.setattr("audiolm_cli.workflows.tokenize.encode_recording", count)
    assert audiolm(*command, tiny_codec, "-f").exit_code == 0
    assert sorted(encoded) == ["new.wav", "piece-0.wav", "piece-3.wav"], "the codes of the others are taken over"
    assert audiolm(*command[:1], *command[1:2], "-o", tmp_path / "fresh", "--codec", tiny_codec).exit_code == 0
    assert len(encoded) > 10
    for name in ("codes.h5", "inputs.jsonl.gz"):
        assert (tmp_path / "t" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()
    assert "new" in codes(tmp_path / "t") and audiolm(*command, tiny_codec).exit_code == 0


class Killed(BaseException):
    """What stands for a signal at any moment."""


@pytest.mark.parametrize("moment", ["encode", "save", "assemble", "publish"])
def test_a_killed_run_goes_on(
    audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """What was done is not done again, there is no store before it is whole, and it is that of a run never stopped."""
    from audiolm_cli.tokenizing import assembly
    from audiolm_cli.tokenizing.encoding import encode_recording
    from audiolm_cli.workflows import tokenize

    whole, store = tmp_path / "whole", tmp_path / "t"
    tokenize.tokenize([recordings], whole, str(tiny_codec))
    encoded: list[str] = []

    def count(path: Path, *args: Any) -> Any:
        encoded.append(path.name)
        if moment == "encode" and len(encoded) == 6:
            raise Killed
        return encode_recording(path, *args)

    def killed_in(act: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        def rename(source: Path, target: Path) -> None:
            name = {"save": ".npz", "assemble": "codes.h5", "publish": "cuts_test.jsonl.gz"}.get(moment)
            if name and str(target).endswith(name) and len(encoded) > 5:
                raise Killed
            act(source, target)

        return rename

    with monkeypatch.context() as broken:
        broken.setattr(tokenize, "encode_recording", count)
        broken.setattr(os, "replace", killed_in(os.replace))
        broken.setattr(os, "link", killed_in(os.link))
        assert assembly.os is os
        with pytest.raises(Killed):
            tokenize.tokenize([recordings], store, str(tiny_codec))
    assert not is_store(store)
    done = len(encoded) - (moment in ("encode", "save"))
    monkeypatch.setattr(tokenize, "encode_recording", count)
    moment = ""
    tokenize.tokenize([recordings], store, str(tiny_codec))
    assert len(encoded) - done - 1 <= 13 - done and len(set(encoded)) == 13
    assert encoded.count(encoded[0]) == 1
    assert sorted(os.listdir(store)) == sorted(os.listdir(whole))
    expected, found = codes(whole), codes(store)
    assert list(found) == list(expected) and all(np.array_equal(found[name], expected[name]) for name in found)
    assert (store / "codes.h5").read_bytes() == (whole / "codes.h5").read_bytes()


def test_ranks_share_the_work(recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """Two make the store that one makes, and each encodes about half of it."""
    from concurrent.futures import ThreadPoolExecutor

    from audiolm_cli.events import Event, Progress
    from audiolm_cli.workflows.tokenize import tokenize

    events: tuple[list[Event], list[Event]] = ([], [])

    def run(rank: int) -> Any:
        ranks = Ranks(rank=rank, size=2, local=rank, local_size=2)
        return tokenize([recordings], tmp_path / "two", str(tiny_codec), ranks=ranks, on_event=events[rank].append)

    alone = tokenize([recordings], tmp_path / "one", str(tiny_codec))
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, (0, 1)))
    assert results[0] == results[1] == dataclasses.replace(alone, path=tmp_path / "two")
    for own in events:
        assert len([e for e in own if isinstance(e, Progress) and e.stage == "tokenize" and e.detail]) >= 7
    assert (tmp_path / "one" / "codes.h5").read_bytes() == (tmp_path / "two" / "codes.h5").read_bytes()


def test_torchrun_speaks_through_the_environment(
    audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 0 speaks for all; -f is refused."""
    command = ["tokenize", recordings, "-o", tmp_path / "t", "--codec", tiny_codec]
    assert audiolm(*command).exit_code == 0
    names = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    shown = audiolm(*command)
    assert (shown.exit_code, shown.stdout, shown.stderr) == (0, "", "")
    shown = audiolm(*command, "-f")
    assert shown.exit_code == 2 and "torchrun" in shown.stderr


@pytest.mark.slow
def test_workers_change_nothing(audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """Two processes make the store that one makes, byte for byte."""
    (recordings / "broken.wav").write_bytes(b"RIFF\x00\x01\x02")
    for workers in (1, 2):
        command = ["tokenize", recordings, "-o", tmp_path / str(workers), "--codec", tiny_codec, "--workers", workers]
        assert audiolm(*command).exit_code == 10
    for name in ("codes.h5", "codec.json", "inputs.jsonl.gz"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_file_that_crashes_the_decoder(
    audiolm: Any, tiny_codec: Path, tmp_path: Path, piano: Piano, crashing_decoder: int, workers: int
) -> None:
    """It is listed as failed, and the others are done, however many workers there are."""
    for name, rate_hz in {"a": 16000, "bad": crashing_decoder, "c": 16000, "d": 16000}.items():
        soundfile.write(tmp_path / f"{name}.wav", piano(1.0, rate_hz, seed=ord(name[0])), rate_hz)
    command = ["tokenize", tmp_path, "-o", tmp_path / "tokens", "--codec", tiny_codec, "--workers", workers, "--json"]
    shown = audiolm(*command)
    assert shown.exit_code == 10, shown.stderr
    (failed,) = json.loads(shown.stdout)["failed"]
    assert failed.startswith(f"{tmp_path}/bad.wav: the process that decoded it crashed (SIGSEGV)")
    assert set(codes(tmp_path / "tokens")) == {"a", "c", "d"}


def test_a_file_that_kills_its_worker(
    recordings: Path, tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed as failed, and the others are done; rank 0 hears of those of other ranks."""
    from concurrent.futures import ThreadPoolExecutor

    from audiolm_cli.tokenizing.workers import EndedTask
    from audiolm_cli.workflows import tokenize

    def dying(setup: Any, args: Any, tasks: list[tuple[Path, int]], *_: Any) -> Any:
        do = setup(*args)
        for task, (path, semitones) in enumerate(tasks):
            fatal = path.name == "piece-1.flac"
            yield (
                EndedTask(task=task, died=-11)
                if fatal
                else EndedTask(task=task, result=do((path, semitones), lambda share: None))
            )

    monkeypatch.setattr(tokenize, "run_workers", dying)
    result = tokenize.tokenize([recordings], tmp_path / "t", str(tiny_codec))
    assert sum(result.cuts.values()) == 11
    assert len(result.failed) == 1 and "piece-1.flac: a worker died over it (exit code -11)" in result.failed[0]

    def share(rank: int) -> tokenize.Tokenized:
        ranks = Ranks(rank=rank, size=3, local=rank, local_size=3)
        return tokenize.tokenize([recordings], tmp_path / "shared", str(tiny_codec), ranks=ranks)

    with ThreadPoolExecutor(3) as pool:
        shared = list(pool.map(share, range(3)))
    assert shared == [dataclasses.replace(result, path=tmp_path / "shared")] * 3


def test_a_file_that_changes_while_ranks_share(
    recordings: Path, tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rank's is listed, and neither waits for it."""
    import threading
    from concurrent.futures import ThreadPoolExecutor

    from audiolm_cli.tokenizing.workers import EndedTask
    from audiolm_cli.workflows import tokenize

    listed = threading.Barrier(2)

    def changing(setup: Any, args: Any, tasks: list[tuple[Path, int]], *_: Any) -> Any:
        do = setup(*args)
        listed.wait(60)  # a rank that lists the files after the change would take it for what they were
        for task, (path, semitones) in enumerate(tasks):
            result = do((path, semitones), lambda share: None)
            if path.stem in "ab":
                os.utime(path, (1, 1))
            yield EndedTask(task=task, result=result)

    (tmp_path / "in").mkdir()
    for name in "abcd":
        shutil.copy(next(recordings.rglob(f"piece-{ord(name) - 97}.*")), tmp_path / "in" / f"{name}.wav")
    monkeypatch.setattr(tokenize, "run_workers", changing)

    def share(rank: int) -> tokenize.Tokenized:
        ranks = Ranks(rank=rank, size=2, local=rank, local_size=2)
        return tokenize.tokenize([tmp_path / "in"], tmp_path / "t", str(tiny_codec), ranks=ranks)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(share, (0, 1)))
    assert results[0] == results[1] and sum(results[0].cuts.values()) == 2
    assert ["was changed while it was read" in line for line in results[0].failed] == [True, True]


@pytest.mark.parametrize("name", ["codes.h5", "codec.json", "inputs.jsonl.gz"])
def test_a_file_of_something_else_stays(
    audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path, name: str
) -> None:
    """It is refused at once, without a word of what was in the way being lost; -f overwrites it."""
    store = tmp_path / "t"
    store.mkdir()
    (store / name).write_bytes(b"theirs")
    command = ("tokenize", recordings, "-o", store, "--codec", tiny_codec, "-q")
    refused = audiolm(*command)
    assert refused.exit_code in (3, 7) and str(store / name) in refused.stderr
    assert os.listdir(store) == [name] and (store / name).read_bytes() == b"theirs"
    if name != "inputs.jsonl.gz":
        assert audiolm(*command, "-f").exit_code == 0 and is_store(store)
