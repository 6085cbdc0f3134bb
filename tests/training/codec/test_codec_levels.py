"""The gains that give back half of the level that a spectral codec loses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.data.files import AudioFile, open_audio
from audiolm_cli.events import ignore
from audiolm_cli.library.loading import load_codec
from audiolm_cli.training.codec.levels import BANDS, MOST_DB, find_gains, return_lost_level
from audiolm_cli.training.codec.round_trips import read_middles


@pytest.fixture
def codec(tiny_codec: Path) -> SpectralCodec:
    """A spectral codec of its own."""
    codec = load_codec(str(tiny_codec))
    assert isinstance(codec, SpectralCodec)
    return codec


def noise(samples: int, seed: int) -> np.ndarray:
    """Gaussian noise [samples]."""
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


@pytest.mark.parametrize(("lost_db", "expected"), [(5.0, 2.5), (0.0, 0.0), (-3.0, -1.5), (40.0, MOST_DB)])
def test_half_of_what_is_lost_comes_back(
    codec: SpectralCodec, monkeypatch: pytest.MonkeyPatch, lost_db: float, expected: float
) -> None:
    """In every band, of a codec that returns what it heard, only softer; the median of the clips counts."""
    heard: list[Tensor] = []
    softer = [lost_db, lost_db, lost_db + 30]  # of three clips
    monkeypatch.setattr(codec, "encode", lambda wav: heard.append(wav))
    monkeypatch.setattr(codec, "decode", lambda codes: heard[-1] * 10 ** (-softer[len(heard) - 1] / 20))
    gains = find_gains(codec, [noise(32_000, seed) for seed in range(3)])
    assert gains == [pytest.approx(expected, abs=0.01)] * BANDS


def test_bands_that_no_clip_has_are_left_alone(codec: SpectralCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips of one low tone say nothing about treble; without clips there is nothing to say."""
    tone = np.sin(2 * np.pi * 200 * np.arange(32_000) / codec.sample_rate_hz).astype(np.float32)
    fade = np.hanning(32_000).astype(np.float32)  # so that nothing clicks where it begins
    monkeypatch.setattr(codec, "encode", lambda wav: wav)
    monkeypatch.setattr(codec, "decode", lambda wav: wav / 2)
    gains = find_gains(codec, [tone * fade])
    assert gains[0] == pytest.approx(20 * np.log10(2) / 2, abs=0.01) and gains[6:] == [0.0] * (BANDS - 6)
    assert find_gains(codec, []) == [0.0] * BANDS


def test_a_codec_comes_nearer_in_level(codec: SpectralCodec, piano_files: list[AudioFile]) -> None:
    """What is lost with the gains is about half of what was lost without; gains it had before count for nothing."""
    clips = read_middles(piano_files, 3.0, codec.sample_rate_hz)
    before = np.array(find_gains(codec, clips))
    return_lost_level(codec, piano_files, ignore)
    gains = codec.config.gains_db
    assert gains == before.tolist()
    after = np.array(find_gains(codec, clips))
    assert 0 < np.abs(after).sum() < 0.75 * np.abs(before).sum()

    codec.use_gains([6.0, -6.0])
    return_lost_level(codec, piano_files, ignore)
    assert codec.config.gains_db == gains != [0.0] * BANDS


@pytest.fixture(scope="module")
def piano_files(tmp_path_factory: pytest.TempPathFactory, piano: object) -> list[AudioFile]:
    """Two short recordings."""
    import soundfile

    assert callable(piano)
    folder = tmp_path_factory.mktemp("pianos")
    for i in range(2):
        soundfile.write(folder / f"{i}.flac", piano(3.0, 16000, seed=i), 16000)
    return [open_audio(path) for path in sorted(folder.iterdir())]


def test_another_codec_stays_as_it_is(piano_files: list[AudioFile]) -> None:
    """Nothing is asked of a codec of another family."""

    class Other:
        sample_rate_hz = 32_000

    return_lost_level(Other(), piano_files, ignore)  # type: ignore[arg-type]


def test_gains_multiply_decoded_magnitudes_and_leave_codes(codec: SpectralCodec) -> None:
    """Between the centres of two bands by what lies between; none at all is to the bit what it was."""
    wav = torch.from_numpy(noise(16_000, 0))[None, None]
    codes = codec.encode(wav)
    plain, audio = codec.decode_magnitudes(codes), codec.decode(codes)

    codec.use_gains([6.0, -3.0])
    assert torch.equal(codec.encode(wav), codes)
    raised_db = 20 * (codec.decode_magnitudes(codes) / plain).log10().nanmean((0, 1))  # [bins]
    peak, dip = int(raised_db.argmax()), int(raised_db.argmin())
    mel = 2595 * np.log10(1 + 16_000 / 700)
    centres = [700 * (10 ** (mel * part / 3 / 2595) - 1) / 16_000 * (len(raised_db) - 1) for part in (1, 2)]
    assert (peak, dip) == pytest.approx(centres, abs=0.6)
    assert raised_db[peak].item() == pytest.approx(6.0, abs=0.1)
    assert raised_db[dip].item() == pytest.approx(-3.0, abs=0.1)
    middle = raised_db[(peak + dip) // 2].item()
    assert middle == pytest.approx(1.5, abs=0.1)

    codec.use_gains([])
    assert torch.equal(codec.decode(codes), audio)
