"""WAVs that are written while they are made: whole at every moment, exact at the end, whatever ends them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiolm_cli.audio import AudioSpec, check_growing, read_audio, write_audio, write_growing
from audiolm_cli.audio.recording import BITS, FLOATS, quantize
from audiolm_cli.errors import OutputError, UsageError

RATE_HZ = 22050
TAGS = {"title": "etude", "comment": "made on the way, " * 40}
Writes = Callable[..., None]


def noise(count: int, channels: int, subtype: str) -> np.ndarray:
    """[N, C] random samples as `Recording` holds them."""
    wav = np.random.default_rng(0).uniform(-1, 1, (count, channels))
    return quantize(wav, BITS[subtype])[0] if subtype in BITS else wav.astype(FLOATS[subtype])


def write(path: Path | str, blocks: Iterator[np.ndarray], samples: np.ndarray, subtype: str, **more: object) -> None:
    """`write_growing` of blocks that are `samples` in all."""
    force = bool(more.pop("force", False))
    settings: dict[str, Any] = {"format": "WAV", "tags": TAGS, "sample_rate_hz": RATE_HZ, **more}
    write_growing(path, blocks, AudioSpec(shape=samples.shape, subtype=subtype, **settings), force=force)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_whole_at_every_moment(tmp_path: Path, subtype: str, channels: int) -> None:
    """Between two blocks the file holds what was written, but for a sample where the bytes would be odd."""
    samples, path = noise(501, channels, subtype), tmp_path / "x.wav"

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, 501, 77):
            yield samples[start : start + 77]
            so_far, written = read_audio(path).samples, min(start + 77, 501)
            assert written - 1 <= len(so_far) <= written
            assert np.array_equal(so_far, samples[: len(so_far)])
            assert len(soundfile.read(path)[0]) == len(so_far)

    write(path, blocks(), samples, subtype, format="WAVEX" if channels == 3 else "WAV")
    made = read_audio(path)
    assert np.array_equal(made.samples, samples) and made.subtype == subtype
    assert made.tags["title"] == TAGS["title"] and made.tags["comment"] == TAGS["comment"]
    assert path.stat().st_size == 8 + int.from_bytes(path.read_bytes()[4:8], "little")
    assert os.listdir(tmp_path) == ["x.wav"]


def test_it_says_what_a_file_written_at_once_says(tmp_path: Path) -> None:
    """The same facts about the samples, from libsndfile."""
    samples = noise(300, 2, "PCM_16")
    write(tmp_path / "grown.wav", iter([samples[:100], samples[100:]]), samples, "PCM_16")
    settings = {"sample_rate_hz": RATE_HZ, "format": "WAV", "subtype": "PCM_16", "tags": TAGS, "force": False}
    write_audio(tmp_path / "whole.wav", samples, **settings)  # type: ignore[arg-type]
    assert (tmp_path / "grown.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()


@pytest.mark.parametrize("count", [101, 202])
def test_an_error_on_the_way_leaves_what_was_written(tmp_path: Path, count: int) -> None:
    """Also an interruption, in a file of odd bytes or even ones; the file that was there before is gone."""
    samples, path = noise(300, 1, "PCM_24"), tmp_path / "x.wav"
    path.write_bytes(b"old")

    def blocks() -> Iterator[np.ndarray]:
        yield samples[:100]
        yield samples[100:count]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(path, blocks(), samples, "PCM_24", force=True)
    assert np.array_equal(read_audio(path).samples, samples[:count])


def test_an_error_at_first_leaves_the_old_file(tmp_path: Path) -> None:
    """Nothing is replaced before there is something."""

    def blocks() -> Iterator[np.ndarray]:
        raise KeyboardInterrupt
        yield

    path = tmp_path / "x.wav"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write(path, blocks(), noise(9, 1, "FLOAT"), "FLOAT", force=True)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["x.wav"]
    with pytest.raises(OutputError, match="exists already"):
        write(path, iter([noise(9, 1, "FLOAT")]), noise(9, 1, "FLOAT"), "FLOAT")


def test_a_full_disk_leaves_what_fitted() -> None:
    """The file plays up to the last block that was written whole."""
    script = (
        "import resource, signal, sys, numpy as np; from audiolm_cli.audio import AudioSpec, write_growing\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)); signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "blocks = (np.full((500, 1), i << 16, np.int32) for i in range(100))\n"
        "settings = dict(sample_rate_hz=8000, format='WAV', subtype='PCM_16', tags={})\n"
        "write_growing('x.wav', blocks, AudioSpec(shape=(50000, 1), **settings), force=False)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "OutputError: x.wav: no space left" in found.stderr
    assert np.array_equal(read_audio("x.wav").samples[:, 0] >> 16, np.repeat(np.arange(4), 500))


SEND = (
    "import numpy as np; from audiolm_cli.audio import AudioSpec, write_growing\n"
    "blocks = (np.full((50, 1), i << 24, np.int32) for i in range(3))\n"
    "settings = dict(sample_rate_hz=8000, format='WAV', subtype='PCM_U8', tags={})\n"
    "write_growing('-', blocks, AudioSpec(shape=(150, 1), **settings), force=False)"
)


def test_standard_output() -> None:
    """The same bytes through a pipe, into a file, behind what is in a file already, and appended to one."""
    command = [sys.executable, "-c", SEND]
    piped = subprocess.run(command, capture_output=True, check=True).stdout
    Path("piped.wav").write_bytes(piped)
    assert np.array_equal(read_audio("piped.wav").samples[:, 0] >> 24, np.repeat(np.arange(3), 50))
    assert len(piped) == 44 + 150
    for mode in ("wb", "ab"):
        with open("x", mode, buffering=0) as file:
            file.write(b"before" if mode == "wb" else b"")
            subprocess.run(command, stdout=file, check=True)
            file.write(b"after" if mode == "wb" else b"")
    assert Path("x").read_bytes() == b"before" + piped + b"after" + piped


def test_only_wavs_grow(tmp_path: Path) -> None:
    """Other formats, and more than 4 GB, are refused by name."""
    for name in ("x.flac", "x.w64", "x.rf64", "x.ogg"):
        with pytest.raises(UsageError, match=r"name it \.wav, or leave out --stream"):
            check_growing(name)
    check_growing("-")
    check_growing("X.WAV")
    spec = AudioSpec(shape=(3_000_000_000, 1), sample_rate_hz=8000, format="WAV", subtype="PCM_16", tags={})
    with pytest.raises(UsageError, match="over 4 GB"):
        write_growing(tmp_path / "x.wav", iter(()), spec, force=False)


def test_companded_samples_become_what_they_stand_for(tmp_path: Path) -> None:
    """A u-law recording goes on in 16 bits, every sample the same."""
    samples = noise(64, 1, "PCM_16")
    soundfile.write(tmp_path / "u.wav", (samples >> 16).astype(np.int16), RATE_HZ, subtype="ULAW")
    heard = read_audio(tmp_path / "u.wav")
    write(tmp_path / "x.wav", iter([heard.samples]), heard.samples, heard.subtype)
    assert np.array_equal(read_audio(tmp_path / "x.wav").samples, heard.samples)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
