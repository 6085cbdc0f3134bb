"""`audiolm decode`: every clip comes back as the codec makes it, under a harmless name; and what it refuses."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile

from audiolm_cli.data.manifest import CodecFacts, TokenClip, read_facts, read_store, write_store
from audiolm_cli.events import AUDIO_S, Event, Progress
from audiolm_cli.library.loading import load_codec
from audiolm_cli.workflows.decode import decode
from audiolm_cli.workflows.tokenize import tokenize

Piano = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tiny_codec: Path, piano: Piano) -> Path:
    """A store of three clips of 1, 1.5 and 2 s."""
    folder = tmp_path_factory.mktemp("recordings")
    for i in range(3):
        soundfile.write(folder / f"piece-{i}.wav", piano(1 + i / 2, 16000, seed=i), 16000)
    tokenize([folder], folder / "tokens", str(tiny_codec))
    return folder / "tokens"


@pytest.fixture
def store(source: Path, tmp_path: Path) -> Path:
    """A copy of that store, to be spoiled."""
    return shutil.copytree(source, tmp_path / "tokens")


def clips(store: Path) -> dict[str, TokenClip]:
    return {clip.id: clip for split in ("train", "dev", "test") for clip in read_store(store, split)}


def test_every_clip_comes_back(audiolm: Any, store: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """As long as its codes say, and sounding as the codec decodes them."""
    import torch

    shown = audiolm("decode", store, "-o", tmp_path / "out", "--json")
    assert shown.exit_code == 0, shown.stderr
    result = json.loads(shown.stdout)
    assert sorted(os.listdir(tmp_path / "out")) == ["piece-0.wav", "piece-1.wav", "piece-2.wav"]
    assert result["failed"] == [] and result["codec"]["sha256"] == read_facts(store).sha256
    codec = load_codec(str(tiny_codec))
    for output in result["outputs"]:
        codes = torch.from_numpy(clips(store)[output["id"]].codes.astype(np.int64))[None]
        expected = codec.decode(codes)[0, 0].numpy()
        samples, rate_hz = soundfile.read(output["path"], dtype="float32")
        assert (rate_hz, output["sample_rate_hz"], output["channels"]) == (32_000, 32_000, 1)
        assert len(samples) == len(expected) == output["duration_s"] * 32_000
        np.testing.assert_allclose(samples, np.clip(expected, -1, 1), atol=2**-15)


def test_long_clips_are_decoded_in_chunks(audiolm: Any, tiny_codec: Path, tmp_path: Path) -> None:
    """What is written is what `decode_chunked` gives, over several blocks of the file."""
    import torch

    from audiolm_cli.codec.chunked import decode_chunked

    codec = load_codec(str(tiny_codec))
    facts = CodecFacts(name="x", sha256="", sample_rate_hz=32_000, hop_samples=640, num_codebooks=4, codebook_size=32)
    codes = np.random.default_rng(0).integers(32, size=(2300, 4)).astype(np.int16)
    write_store(tmp_path / "t", facts, [("train", TokenClip(id="long", codes=codes))])
    target = tmp_path / "long.flac"
    shown = audiolm("decode", tmp_path / "t", "-o", target, "--codec", tiny_codec)
    assert shown.exit_code == 0, shown.stderr
    expected = decode_chunked(codec, torch.from_numpy(codes.astype(np.int64))[None])[0, 0].numpy()
    samples, _ = soundfile.read(target, dtype="float32")
    np.testing.assert_allclose(samples, np.clip(expected, -1, 1), atol=2**-15)


def test_seconds_are_reported_while_they_are_made(tiny_codec: Path, tmp_path: Path) -> None:
    """Seconds of audio, from the beginning on, within each chunk of 20 s as well; the last one once."""
    facts = CodecFacts(name="x", sha256="", sample_rate_hz=32_000, hop_samples=640, num_codebooks=4, codebook_size=32)
    rng = np.random.default_rng(0)
    clips = [("train", TokenClip(id=f"c{n}", codes=rng.integers(32, size=(n, 4)).astype(np.int16))) for n in (50, 2300)]
    write_store(tmp_path / "t", facts, clips)
    events: list[Event] = []
    decode(tmp_path / "t", str(tmp_path / "out"), codec=str(tiny_codec), on_event=events.append)
    reports = [event for event in events if isinstance(event, Progress)]
    assert {(report.unit, report.total) for report in reports} == {(AUDIO_S, 47.0)}
    done = [report.done for report in reports]
    assert done[0] == 0 and done == sorted(done) and done.count(47) == 1 and done[-1] == 47
    assert max(np.diff(done)) <= 5  # the codec chooses phases in four rounds


def test_one_clip_into_one_file(audiolm: Any, store: Path, tmp_path: Path) -> None:
    """The extension says the format; a name that is not there brings the nearest one."""
    shown = audiolm("decode", store, "--id", "piece-1", "-o", tmp_path / "one.flac")
    assert shown.exit_code == 0 and str(tmp_path / "one.flac") in shown.stdout
    info = soundfile.info(tmp_path / "one.flac")
    assert (info.format, info.frames) == ("FLAC", 48_000)
    shown = audiolm("decode", store, "--id", "piece-7", "-o", tmp_path / "two.wav")
    assert shown.exit_code == 3 and "no clip called 'piece-7'. Did you mean piece-" in shown.stderr
    shown = audiolm("decode", store, "-o", tmp_path / "two.wav")
    assert shown.exit_code == 2 and "holds one clip, but there are 3" in shown.stderr
    shown = audiolm("decode", store, "-o", tmp_path / "out", "--id", "piece-0", "--id", "piece-2")
    assert shown.exit_code == 0 and sorted(os.listdir(tmp_path / "out")) == ["piece-0.wav", "piece-2.wav"]
    split = next(split for split in ("train", "dev", "test") if read_store(store, split))
    shown = audiolm("decode", store / f"cuts_{split}.jsonl.gz", "-o", tmp_path / "split")
    assert len(os.listdir(tmp_path / "split")) == len(read_store(store, split))


def test_nothing_is_overwritten(audiolm: Any, store: Path, tmp_path: Path) -> None:
    """Not even one of several; with -f everything is."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "piece-1.wav").write_text("mine")
    shown = audiolm("decode", store, "-o", tmp_path / "out")
    assert shown.exit_code == 7 and "exists already" in shown.stderr
    assert os.listdir(tmp_path / "out") == ["piece-1.wav"]
    assert audiolm("decode", store, "-o", tmp_path / "out", "-f").exit_code == 0
    assert soundfile.info(tmp_path / "out" / "piece-1.wav").frames == 48_000


def test_names_stay_inside_the_folder(audiolm: Any, tiny_codec: Path, tmp_path: Path) -> None:
    """Whatever clips are called, and if two would be called alike."""
    facts = CodecFacts(name="x", sha256="", sample_rate_hz=32_000, hop_samples=640, num_codebooks=4, codebook_size=32)
    names = ["../../evil", "a/b", "a_b", "..", "x" * 300, "A_B", "tab\there"]
    codes = np.zeros((3, 4), np.int16)
    folder = write_names(tmp_path / "t", facts, names, codes)
    shown = audiolm("decode", folder, "-o", tmp_path / "out", "--codec", tiny_codec)
    assert shown.exit_code == 0, shown.stderr
    written = sorted(os.listdir(tmp_path / "out"))
    assert len(written) == len(names) and sorted(os.listdir(tmp_path)) == ["out", "t"]
    assert {"a_b.wav", "a_b-3.wav", "A_B-6.wav", "clip.wav", "tab_here.wav"} <= set(written)
    assert max(map(len, written)) < 120


def write_names(folder: Path, facts: CodecFacts, names: list[str], codes: np.ndarray) -> Path:
    """A store whose clips are called `names`; HDF5 itself could not hold all of these."""
    import gzip

    write_store(folder, facts, [("train", TokenClip(id=f"k{i}", codes=codes)) for i in range(len(names))])
    manifest = folder / "cuts_train.jsonl.gz"
    lines = [json.loads(line) for line in gzip.decompress(manifest.read_bytes()).splitlines()]
    for line, name in zip(lines, names, strict=True):
        line["id"] = name
    manifest.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    return folder


def test_a_damaged_clip(audiolm: Any, store: Path, tmp_path: Path) -> None:
    """It is named, the others are written, and the exit code is 10; alone, it is 3."""
    with h5py.File(store / "codes.h5", "r+") as file:
        del file["piece-1"]
        file["piece-1"] = np.full((75, 4), 99)
    shown = audiolm("decode", store, "-o", tmp_path / "out")
    assert shown.exit_code == 10 and "cut piece-1: holds the code 99, expected 0 to 31" in shown.stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["piece-0.wav", "piece-2.wav"]
    shown = audiolm("decode", store, "-o", tmp_path / "one.wav", "--id", "piece-1")
    assert shown.exit_code == 3 and not (tmp_path / "one.wav").exists()


def test_the_codec_is_another_one_or_gone(audiolm: Any, store: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """Exit code 4 with its name; --codec is believed where the store does not say whose its codes are."""
    shown = audiolm("decode", store, "-o", tmp_path / "out", "--codec", "piano")
    assert shown.exit_code == 4 and "piano is not the codec that made the codes" in shown.stderr
    facts = json.loads((store / "codec.json").read_text())
    (store / "codec.json").write_text(json.dumps({**facts, "source": "/nowhere", "sha256": "0" * 64}))
    shown = audiolm("decode", store, "-o", tmp_path / "out")
    assert shown.exit_code == 4 and "the codec tiny-codec that made the codes" in shown.stderr
    (store / "codec.json").write_text(json.dumps({**facts, "source": "", "sha256": ""}))
    assert audiolm("decode", store, "-o", tmp_path / "out", "--codec", tiny_codec).exit_code == 0
    (store / "codec.json").write_text(json.dumps({**facts, "source": "", "sha256": "", "num_codebooks": 3}))
    shown = audiolm("decode", store, "-o", tmp_path / "new", "--codec", tiny_codec)
    assert shown.exit_code in (3, 4) and "codebooks" in shown.stderr and not (tmp_path / "new").exists()


def test_unusable_inputs(
    audiolm: Any, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piano: Piano
) -> None:
    """No store, an unknown extension, a full disk: one line, the right code, nothing half-written."""
    (tmp_path / "empty").mkdir()
    soundfile.write(tmp_path / "a.wav", piano(1.0, 16000), 16000)
    for place in (tmp_path / "empty", tmp_path / "missing", tmp_path / "a.wav"):
        shown = audiolm("decode", place, "-o", tmp_path / "out")
        assert shown.exit_code == 3 and str(place) in shown.stderr and shown.stderr.count("\n") == 1, shown.stderr
    shown = audiolm("decode", store, "-o", "-", "--id", "piece-0", "--json")
    assert shown.exit_code == 2 and "--json" in shown.stderr
    (tmp_path / "file").touch()
    assert audiolm("decode", store, "-o", f"{tmp_path / 'file'}/").exit_code == 7

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("audiolm_cli.audio.writing.encode_audio", full)
    shown = audiolm("decode", store, "-o", tmp_path / "out")
    assert shown.exit_code == 7 and "no space left" in shown.stderr
    assert os.listdir(tmp_path / "out") == []
