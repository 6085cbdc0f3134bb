"""Files that hold several recordings, one behind the other: all of them are read, or the file is refused."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiolm_cli.audio import DecoderProcess, read_audio, scan
from audiolm_cli.data.files import open_audio
from audiolm_cli.errors import AudioInputError, DataError

RATE_HZ = 48_000
needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None, reason="makes its input with ffmpeg"
)
OF_LIBSNDFILE = [
    *(("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("WAV", "PCM_16"), ("WAV", "FLOAT")),
    *(("RF64", "PCM_24"), ("AIFF", "PCM_16"), ("CAF", "PCM_24"), ("W64", "PCM_16"), ("AU", "PCM_16")),
]
OF_FFMPEG = {
    "a.oga": ("-c:a", "flac"),
    "a.m4a": ("-c:a", "alac"),
    "a.mov": ("-c:a", "pcm_s16be"),
    "a.caf": ("-c:a", "alac"),
    "a.wv": ("-c:a", "wavpack"),
    "a.tta": ("-c:a", "tta"),
    "a.mka": ("-c:a", "flac"),
    "a.avi": ("-c:a", "pcm_s16le"),
    "a.voc": ("-c:a", "pcm_s16le"),
    "a.nut": ("-c:a", "pcm_s16le"),
}


def write(path: Path, seconds: float, frequency_hz: float, format: str, subtype: str, rate_hz: int = RATE_HZ) -> Path:
    """A sine in a file."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * frequency_hz * time_s), rate_hz, subtype, format=format)
    return path


def join(target: Path, *parts: Path) -> Path:
    """The bytes of some files behind one another."""
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


@pytest.mark.parametrize(("format", "subtype"), OF_LIBSNDFILE)
def test_all_recordings_in_a_file_are_read(tmp_path: Path, format: str, subtype: str) -> None:
    """Sample by sample those of the parts, where libsndfile reads the first and says nothing."""
    parts = [write(tmp_path / f"{i}", 0.4 + 0.1 * i, 220 * i, format, subtype) for i in (1, 2, 3)]
    path = join(tmp_path / "all", *parts)
    wanted = np.concatenate([read_audio(part).samples for part in parts])
    got = read_audio(path)
    assert (got.format, got.subtype, got.sample_rate_hz) == (format, subtype, RATE_HZ)
    np.testing.assert_array_equal(got.samples, wanted)
    assert scan(path, 1).num_samples == len(wanted)


@needs_ffmpeg
@pytest.mark.parametrize("name", OF_FFMPEG)
def test_all_recordings_are_read_through_ffmpeg(tmp_path: Path, name: str) -> None:
    parts = []
    for i in (1, 2):
        source = write(tmp_path / f"{i}.wav", 0.5, 220 * i, "WAV", "PCM_16")
        parts.append(tmp_path / f"{i}{name[1:]}")
        command = ["ffmpeg", "-nostdin", "-v", "error", "-i", source, *OF_FFMPEG[name], parts[-1]]
        subprocess.run(command, check=True, timeout=60)
    wanted = np.concatenate([read_audio(part).samples for part in parts])
    got = read_audio(join(tmp_path / name, *parts))
    assert got.subtype == "PCM_16"
    np.testing.assert_array_equal(got.samples, wanted)


@pytest.mark.parametrize("format", ["W64", "CAF", "WAV", "AIFF"])
def test_samples_of_an_odd_number_of_bytes(tmp_path: Path, format: str) -> None:
    """Some programs pad them, some do not."""
    for seconds in (3001 / RATE_HZ, 3002 / RATE_HZ, 3003 / RATE_HZ):
        part = write(tmp_path / "1", seconds, 220, format, "PCM_24")
        wanted = np.tile(read_audio(part).samples, (2, 1))
        np.testing.assert_array_equal(read_audio(join(tmp_path / "all", part, part)).samples, wanted)


def test_two_wavs_of_unknown_length(tmp_path: Path) -> None:
    """The first does not say where it ends, as programs do that write to a pipe."""
    parts = [write(tmp_path / f"{i}", 0.5, 220 * i, "WAV", "PCM_16") for i in (1, 2)]
    wanted = np.concatenate([read_audio(part).samples for part in parts])
    for part in parts:
        head, name, rest = part.read_bytes().partition(b"data")
        part.write_bytes(head[:4] + b"\xff" * 4 + head[8:] + name + b"\xff" * 4 + rest[4:])
    np.testing.assert_array_equal(read_audio(join(tmp_path / "all", *parts)).samples, wanted)


def test_recordings_of_other_depths_are_joined(tmp_path: Path) -> None:
    """The finer depth holds both."""
    parts = [write(tmp_path / "1", 0.5, 220, "FLAC", "PCM_16"), write(tmp_path / "2", 0.5, 330, "FLAC", "PCM_24")]
    got = read_audio(join(tmp_path / "all", *parts))
    assert got.subtype == "PCM_24"
    np.testing.assert_array_equal(got.samples, np.concatenate([read_audio(part).samples for part in parts]))


@pytest.mark.parametrize(("format", "subtype"), [("OGG", "VORBIS"), ("FLAC", "PCM_16"), ("WAV", "PCM_16")])
def test_a_rate_that_changes_is_named(tmp_path: Path, format: str, subtype: str) -> None:
    """What is joined has to fit together."""
    parts = [
        write(tmp_path / "1", 0.5, 220, format, subtype),
        write(tmp_path / "2", 0.5, 220, format, subtype, rate_hz=44_100),
    ]
    path = join(tmp_path / "all", *parts)
    told = r"recording 2 in it, from 0\.50 s on, has .* at 44100 Hz where the first has .* at 48000 Hz; split it"
    for read in (lambda: read_audio(path), lambda: scan(path, 1)):
        with pytest.raises(AudioInputError, match=told):
            read()


def test_a_recording_that_is_cut_off_is_named(tmp_path: Path) -> None:
    parts = [write(tmp_path / f"{i}", 0.5, 220 * i, "FLAC", "PCM_16") for i in (1, 2)]
    path = join(tmp_path / "all", *parts)
    path.write_bytes(path.read_bytes()[:-9000])
    with pytest.raises(AudioInputError, match="recording 2 of 2: is truncated"):
        read_audio(path)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("joined", [1, 2])
@pytest.mark.parametrize("lacking", [1, 500, 3000])
def test_an_ogg_that_is_cut_off_is_missed(tmp_path: Path, subtype: str, joined: int, lacking: int) -> None:
    """Its length is that of what is there, but the last page says that it is longer."""
    part = tmp_path / "part"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE_HZ)
    soundfile.write(part, noise, RATE_HZ, subtype, format="OGG")
    path = join(tmp_path / "all", *[part] * joined)
    assert read_audio(path).duration_s == pytest.approx(4 * joined)

    path.write_bytes(path.read_bytes()[:-lacking])
    with pytest.raises(AudioInputError, match="is truncated"):
        read_audio(path)


def test_an_ogg_recording_without_samples_does_not_count(tmp_path: Path) -> None:
    """As when a radio begins anew at once."""
    parts = [write(tmp_path / f"{i}", 0.5, 220 * i, "OGG", "VORBIS") for i in (1, 2)]
    data = parts[1].read_bytes()
    third = [at for at in range(len(data)) if data.startswith(b"OggS", at)][2]
    (tmp_path / "heads").write_bytes(data[:third])  # the pages before the first one of sound
    path = join(tmp_path / "all", parts[0], tmp_path / "heads", parts[1])
    assert read_audio(path).num_samples == RATE_HZ


def test_training_does_not_take_the_first_for_all(tmp_path: Path) -> None:
    """What reads at random places leaves such a file to what reads it from start to end."""
    parts = [write(tmp_path / f"{i}", 0.5, 220 * i, "OGG", "VORBIS") for i in (1, 2)]
    with pytest.raises(DataError, match="holds several recordings"):
        open_audio(join(tmp_path / "all.ogg", *parts))


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    parts = [write(tmp_path / f"{i}", 0.5, 220 * i, "OGG", "OPUS") for i in (1, 2)]
    with DecoderProcess() as decoder:
        assert decoder.read_audio(join(tmp_path / "all.opus", *parts)).num_samples == RATE_HZ
