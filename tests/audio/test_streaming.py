"""Recordings as streams: the same samples and complaints as when they are read at once; levels and silences."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.image import imsave

from audiolm_cli.audio import decoding, find_sounding, open_stream, read_audio, resample, resample_blocks, scan
from audiolm_cli.errors import AudioInputError

RATE_HZ = 16_000
Piano = Callable[..., np.ndarray]
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def whole(path: Path, through_ffmpeg: bool = False) -> tuple[np.ndarray, int]:
    """All blocks together, float32 [C, N], and the rate."""
    with open_stream(path, through_ffmpeg=through_ffmpeg) as stream:
        blocks = list(stream.blocks)
        assert all(block.dtype == np.float32 and len(block) == stream.channels for block in blocks)
        return np.concatenate(blocks, axis=1), stream.sample_rate_hz


def convert(source: Path, target: Path, *options: str) -> Path:
    """Let ffmpeg make a file."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(source), *options, str(target)]
    subprocess.run(command, check=True, timeout=60)
    return target


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.wav", "PCM_16"), ("a.wav", "PCM_24"), ("a.wav", "DOUBLE"), ("a.flac", "PCM_16"), ("a.ogg", "VORBIS")],
)
def test_a_stream_has_the_samples_of_the_file(
    tmp_path: Path, piano: Piano, name: str, subtype: str, channels: int
) -> None:
    """Over several blocks, the last one shorter."""
    path = tmp_path / name
    soundfile.write(path, piano(10.1, RATE_HZ, channels), RATE_HZ, subtype=subtype)
    samples, rate_hz = whole(path)
    assert rate_hz == RATE_HZ
    np.testing.assert_array_equal(samples, read_audio(path).wav())


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["m4a", "mkv", "webm", "wma"])
def test_what_only_ffmpeg_reads(tmp_path: Path, piano: Piano, suffix: str) -> None:
    soundfile.write(tmp_path / "a.wav", piano(6.0, RATE_HZ, 2), RATE_HZ)
    path = convert(tmp_path / "a.wav", tmp_path / f"a.{suffix}")
    samples, rate_hz = whole(path)
    recording = read_audio(path)
    assert rate_hz == recording.sample_rate_hz and samples.shape == recording.wav().shape
    np.testing.assert_array_equal(samples, recording.wav())


@needs_ffmpeg
def test_an_mp3_that_libsndfile_would_cut_short(tmp_path: Path, piano: Piano) -> None:
    """The first pass notices, and everything else goes through ffmpeg."""
    soundfile.write(tmp_path / "a.wav", piano(20.0, RATE_HZ), RATE_HZ)
    path = convert(tmp_path / "a.wav", tmp_path / "a.mp3", "-q:a", "9", "-write_xing", "0", "-id3v2_version", "0")
    found = scan(path, 1)
    assert found.through_ffmpeg and found.num_samples == pytest.approx(20 * RATE_HZ, rel=0.02)
    assert whole(path, through_ffmpeg=True)[0].shape == (1, found.num_samples)


@needs_ffmpeg
def test_ffmpeg_opens_no_playlist(tmp_path: Path, piano: Piano) -> None:
    """A text that names other files, and one that does so behind what is no text."""
    soundfile.write(tmp_path / "secret.wav", piano(1.0, RATE_HZ), RATE_HZ)
    (tmp_path / "a.m4a").write_text("#EXTM3U\n#EXTINF:1,\nsecret.wav\n")
    with pytest.raises(AudioInputError, match="holds text, not audio"):
        whole(tmp_path / "a.m4a")
    (tmp_path / "b.m4a").write_bytes(b"#EXTM3U\n\x00\x01\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.wav\n")
    with pytest.raises(AudioInputError, match="ffmpeg cannot decode it either"):
        whole(tmp_path / "b.m4a")


@needs_ffmpeg
@pytest.mark.parametrize("damaged", [False, True])
def test_a_picture_is_said_to_hold_no_sound(damaged: bool, tmp_path: Path) -> None:
    """Not what ffmpeg says about streams and maps, nor how it could be told to look further."""
    imsave(tmp_path / "a.png", np.zeros((8, 8)))
    if damaged:
        data = (tmp_path / "a.png").read_bytes()
        (tmp_path / "a.png").write_bytes(data[:8] + bytes(range(256)) * 8)
    for read in (whole, read_audio):
        with pytest.raises(AudioInputError) as caught:
            read(tmp_path / "a.png")
        assert str(caught.value) == f"{tmp_path / 'a.png'}: there is no sound in it; expected an audio file"


def test_without_ffmpeg_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.m4a").write_bytes(bytes(range(256)) * 10)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(decoding, "has_pyav", lambda: False)
    with pytest.raises(AudioInputError, match="install ffmpeg, or run"):
        whole(tmp_path / "a.m4a")


def broken_files(folder: Path, wav: np.ndarray) -> list[Path]:
    """One of each kind of damage."""
    nan = wav.copy()
    nan[70_000] = np.nan
    soundfile.write(folder / "nan.wav", nan, RATE_HZ, subtype="FLOAT")
    soundfile.write(folder / "cut.flac", wav, RATE_HZ)
    (folder / "cut.flac").write_bytes((folder / "cut.flac").read_bytes()[:-30_000])
    soundfile.write(folder / "cut.wav", wav, RATE_HZ)
    (folder / "cut.wav").write_bytes((folder / "cut.wav").read_bytes()[:-30_000])
    soundfile.write(folder / "none.wav", wav[:0], RATE_HZ)
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("Dear Sir or Madam")
    (folder / "header.wav").write_bytes((folder / "cut.wav").read_bytes()[:30])
    (folder / "folder.wav").mkdir()
    return sorted([*folder.iterdir(), folder / "missing.wav"])


def test_complaints_are_those_of_reading_at_once(tmp_path: Path, piano: Piano) -> None:
    """Word for word, the time of a damaged spot included."""
    told = {}
    for path in broken_files(tmp_path, piano(8.0, RATE_HZ)):
        with pytest.raises(AudioInputError) as at_once:
            read_audio(path)
        with pytest.raises(AudioInputError) as streamed:
            whole(path)
        assert str(streamed.value) == str(at_once.value)
        told[path.name] = str(streamed.value)
    assert len(told) == 9 and "4.375 s" in told["nan.wav"] and "truncated" in told["cut.flac"]


def test_what_fails_while_a_stream_is_open_is_not_its_fault(tmp_path: Path, piano: Piano) -> None:
    """A pipe that breaks while somebody is told about the progress, say."""
    soundfile.write(tmp_path / "a.wav", piano(1.0, RATE_HZ), RATE_HZ)
    with pytest.raises(BrokenPipeError), open_stream(tmp_path / "a.wav") as stream:
        next(stream.blocks)
        raise BrokenPipeError


@pytest.mark.parametrize("from_hz", [8_000, 22_050, 32_000, 44_100, 96_000])
def test_resampling_in_blocks_changes_nothing(piano: Piano, from_hz: int) -> None:
    wav = piano(3.0, from_hz, 2).T
    edges = [0, 1, 1, 1000, 70_000, wav.shape[1]]
    blocks = [wav[:, start:stop] for start, stop in itertools.pairwise(edges)]
    joined = np.concatenate(list(resample_blocks(iter(blocks), from_hz, 32_000)), axis=1)
    np.testing.assert_array_equal(joined, resample(wav, from_hz, 32_000))


def test_a_scan_finds_length_and_level(tmp_path: Path, piano: Piano) -> None:
    wav = piano(9.0, RATE_HZ, 2)
    soundfile.write(tmp_path / "a.wav", wav, RATE_HZ, subtype="FLOAT")
    found = scan(tmp_path / "a.wav", 1)
    mono = wav.mean(axis=1)
    assert (found.sample_rate_hz, found.num_samples, found.grid_samples) == (RATE_HZ, len(wav), 320)
    assert found.peak == pytest.approx(np.abs(mono).max(), rel=1e-6)
    np.testing.assert_allclose(found.peaks, np.abs(mono).reshape(-1, 320).max(axis=1), rtol=1e-5)


def test_channels_that_cancel(tmp_path: Path, piano: Piano) -> None:
    """The louder one stands for both, as when the file is read at once."""
    wav = piano(6.0, RATE_HZ)[:, 0]
    soundfile.write(tmp_path / "a.wav", np.stack([0.5 * wav, -0.505 * wav], axis=1), RATE_HZ, subtype="FLOAT")
    found = scan(tmp_path / "a.wav", 1)
    assert found.mix.pick == 1 and found.peak == pytest.approx(0.505 * np.abs(wav).max(), rel=1e-5)
    two = scan(tmp_path / "a.wav", 2)
    assert two.mix.pick is None and two.peak == pytest.approx(0.505 * np.abs(wav).max(), rel=1e-5)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("xxxxxxxxxx", [(0, 10)]),
        ("xx.x.xx..x", [(0, 10)]),  # short silences
        ("xx...xx", [(0, 3), (4, 7)]),
        ("xx......xx", [(0, 3), (7, 10)]),
        ("...xx", [(2, 5)]),
        ("..xx", [(0, 4)]),
        ("xx...", [(0, 3)]),
        ("xx..", [(0, 4)]),
        ("....x....x....", [(3, 6), (8, 11)]),
        ("......", []),
    ],
)
def test_silences_are_cut_out(tmp_path: Path, pattern: str, expected: list[tuple[int, int]]) -> None:
    """From 3 s on; one second of each stays on both sides. A letter is a second."""
    wav = np.repeat([0.5 if letter == "x" else 1e-4 for letter in pattern], RATE_HZ)
    soundfile.write(tmp_path / "a.wav", wav, RATE_HZ, subtype="FLOAT")
    spans = find_sounding(scan(tmp_path / "a.wav", 1), 0.001, shortest_s=3.0, margin_s=1.0)
    assert [(start / RATE_HZ, stop / RATE_HZ) for start, stop in spans] == expected
