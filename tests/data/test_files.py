"""Folders of recordings: what is found, which split it belongs to, and clips cut from it."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audiolm_cli.data.files import SPLITS, AudioFile, draw_clips, open_audio, read_mono_clip, split_files
from audiolm_cli.errors import DataError

RATE_HZ = 8000


def ramp(path: Path, samples: int = 2 * RATE_HZ, rate_hz: int = RATE_HZ, channels: int = 1) -> AudioFile:
    """A recording whose sample n is n / 2^16, so that a clip tells where it was cut; exact in float WAV."""
    wav = np.arange(samples, dtype=np.float32)[:, None].repeat(channels, axis=1) / 2**16
    soundfile.write(path, wav, rate_hz, subtype="FLOAT")
    return open_audio(path)


def named(name: int, path: str = "x.wav") -> AudioFile:
    """The facts of a recording with some content hash."""
    digest = hashlib.sha256(str(name).encode()).hexdigest()
    return AudioFile(path=Path(path), sample_rate_hz=RATE_HZ, num_samples=RATE_HZ, sha256=digest)


def test_facts_of_a_recording(tmp_path: Path) -> None:
    file = ramp(tmp_path / "a.wav", samples=12_000, channels=2)
    assert (file.sample_rate_hz, file.num_samples, file.duration_s) == (RATE_HZ, 12_000, 1.5)
    assert file.sha256 == hashlib.sha256((tmp_path / "a.wav").read_bytes()).hexdigest()


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not audio at all" * 100])
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.wav").write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.wav: cannot be read as audio"):
        open_audio(tmp_path / "broken.wav")


@given(st.lists(st.integers(0, 5000), max_size=40))
@settings(deadline=None)
def test_splits_share_the_files_and_keep_copies_together(names: list[int]) -> None:
    files = [named(name, f"{i}.wav") for i, name in enumerate(names)]
    parts = split_files(files)
    assert list(parts) == list(SPLITS)
    assert Counter(f.path for part in parts.values() for f in part) == Counter(f.path for f in files)
    homes = {(f.sha256, split) for split, part in parts.items() for f in part}
    assert len(homes) == len(set(names)), "no content is in two splits"
    assert parts["train"] or not files
    assert parts["dev"] or len({f.sha256 for f in parts["train"]}) < 2


def test_a_split_is_fixed_by_the_content_alone() -> None:
    """Other files, names and folders do not matter once a collection fills every split by itself."""
    files = [named(name) for name in range(400)]
    whole = split_files(files)
    for split, part in split_files([named(name, "elsewhere/y.flac") for name in range(399, 99, -1)]).items():
        assert {f.sha256 for f in part} <= {f.sha256 for f in whole[split]}
    assert all(f.split == split for split, part in whole.items() for f in part)


def test_splits_have_about_their_shares() -> None:
    counts = Counter(named(name).split for name in range(20_000))
    assert counts["test"] / 20_000 == pytest.approx(0.04, abs=0.006)
    assert counts["dev"] / 20_000 == pytest.approx(0.025, abs=0.005)


@pytest.mark.parametrize("split", SPLITS)
def test_two_recordings_are_one_to_train_on_and_one_to_validate(split: str) -> None:
    """Also where both hashes say dev, or test."""
    files = [file for file in (named(name) for name in range(2000)) if file.split == split][:2]
    parts = split_files(files)
    assert [len(parts[name]) for name in SPLITS] == [1, 1, 0]


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("split", SPLITS)
def test_one_recording_is_trained_on(split: str, copies: int) -> None:
    file = next(file for file in (named(name) for name in range(2000)) if file.split == split)
    assert [len(part) for part in split_files([file] * copies).values()] == [copies, 0, 0]


@pytest.mark.parametrize("channels", [1, 2])
def test_a_clip_is_cut_where_it_is_asked_for(tmp_path: Path, channels: int) -> None:
    file = ramp(tmp_path / "a.wav", channels=channels)
    clip = read_mono_clip(file, 0.5, 100, RATE_HZ)
    assert clip.shape == (100,) and clip.dtype == np.float32
    np.testing.assert_array_equal(clip, np.arange(4000, 4100, dtype=np.float32) / 2**16)


def test_channels_are_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([[0.5, 0.25]] * 100, np.float32), RATE_HZ, subtype="FLOAT")
    np.testing.assert_array_equal(read_mono_clip(open_audio(tmp_path / "a.wav"), 0.0, 10, RATE_HZ), np.float32(0.375))


@pytest.mark.parametrize(("start_s", "real"), [(1.99, 80), (2.0, 0), (7.0, 0)])
def test_beyond_the_end_are_zeros(tmp_path: Path, start_s: float, real: int) -> None:
    clip = read_mono_clip(ramp(tmp_path / "a.wav"), start_s, 200, RATE_HZ)
    assert clip.shape == (200,) and (clip[:real] > 0).all() and (clip[real:] == 0).all()


@pytest.mark.parametrize("rate_hz", [6000, 16_000, 22_050])
def test_a_clip_has_the_rate_that_is_asked_for(tmp_path: Path, rate_hz: int) -> None:
    """A sine stays the sine it was, to -40 dB away from the cut ends."""
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(2 * math.pi * 440 * time_s), RATE_HZ, subtype="FLOAT")
    samples = rate_hz // 2
    clip = read_mono_clip(open_audio(tmp_path / "a.wav"), 0.25, samples, rate_hz)
    truth = 0.5 * np.sin(2 * math.pi * 440 * (0.25 + np.arange(samples) / rate_hz))
    middle = slice(samples // 10, -samples // 10)
    assert clip.shape == (samples,) and clip.dtype == np.float32
    assert np.sqrt(np.mean((clip - truth)[middle] ** 2)) < 0.01 * 0.5 / math.sqrt(2)


def test_clips_are_drawn_from_anywhere_in_proportion_to_length(tmp_path: Path) -> None:
    files = [ramp(tmp_path / "short.wav", 2000), ramp(tmp_path / "long.wav", 6000, channels=2)]
    clips = draw_clips(files, 400, 500, RATE_HZ, np.random.default_rng(0))
    assert clips.shape == (400, 500) and clips.dtype == np.float32
    starts = np.round(clips[:, 0] * 2**16).astype(int)
    np.testing.assert_array_equal(clips, (starts[:, None] + np.arange(500)).astype(np.float32) / 2**16)
    assert starts.min() >= 0 and 5200 < starts.max() <= 5500, "no clip leaves the recording"
    # a quarter begins in the first 1500 samples of the short file, the others anywhere in the first 5500 of the long
    assert (starts < 1500).mean() == pytest.approx(0.25 + 0.75 * 1500 / 5500, abs=0.1)


def test_clips_are_a_function_of_the_generator(tmp_path: Path) -> None:
    files = [ramp(tmp_path / "a.wav")]
    clips = [draw_clips(files, 5, 50, RATE_HZ, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert np.array_equal(clips[0], clips[1]) and not np.array_equal(clips[0], clips[2])


def test_a_recording_shorter_than_the_clip_is_filled_up(tmp_path: Path) -> None:
    clips = draw_clips([ramp(tmp_path / "a.wav", 60)], 3, 100, RATE_HZ, np.random.default_rng(0))
    assert (clips[:, 59] > 0).all() and (clips[:, 60:] == 0).all()


def test_a_damaged_recording_gives_its_place_to_others(tmp_path: Path) -> None:
    """Where it cannot be read another clip is drawn, the same one every time, unless damage is refused."""
    good, bad = ramp(tmp_path / "good.wav", 4000), ramp(tmp_path / "bad.wav", 4000)
    (tmp_path / "bad.wav").write_bytes((tmp_path / "bad.wav").read_bytes()[:8000])
    with pytest.raises(DataError, match=r"bad\.wav: is truncated or damaged: holds 0\.2\d of 0\.50 s"):
        read_mono_clip(bad, 0.2, 1000, RATE_HZ)
    with pytest.raises(DataError, match=r"bad\.wav: is .*damaged"):
        draw_clips([bad], 50, 100, RATE_HZ, np.random.default_rng(0))
    told: list[AudioFile] = []
    draws = [
        draw_clips([good, bad], 50, 100, RATE_HZ, np.random.default_rng(0), lambda file, error: told.append(file))
        for _ in range(2)
    ]
    assert np.array_equal(*draws) and set(told) == {bad} and draws[0][:, -1].all()
    (tmp_path / "bad.wav").write_bytes(b"")
    with pytest.raises(DataError, match="damaged"):
        draw_clips([bad], 1, 100, RATE_HZ, np.random.default_rng(0), lambda file, error: None)
