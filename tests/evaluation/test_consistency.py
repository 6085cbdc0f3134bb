"""How many codes stay: exact changes of a signal, and codecs whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from audiolm_cli.audio.wear import add_noise, pass_through_mp3
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.evaluation.consistency import CHANGES, DELAYS, measure_consistency
from audiolm_cli.library.loading import load_codec

RATE_HZ = 32_000


def tune(seconds: float = 3.0) -> np.ndarray:
    """A melody of decaying notes, float32 [N]."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    notes = 220 * 2 ** (np.floor(4 * time_s) * 3 % 12 / 12)
    return (0.2 * np.sin(2 * np.pi * notes * time_s) * np.exp(-4 * (time_s % 0.25))).astype(np.float32)


class Sign:
    """A `Codec` whose first code is the sign of the first sample of a frame, and whose second never changes."""

    name, sample_rate_hz, hop_samples, channels = "sign", RATE_HZ, 640, 1
    num_codebooks, codebook_size, receptive_field_frames = 2, 2, 0
    frame_rate_hz, device = 50.0, torch.device("cpu")

    def encode(self, wav: Tensor) -> Tensor:
        signs = (wav[:, 0, :: self.hop_samples] > 0).long()
        return torch.stack([signs, torch.zeros_like(signs)], dim=-1)

    def decode(self, codes: Tensor, known: object = None, on_share: object = None) -> Tensor:
        raise NotImplementedError


def test_what_stays_stays_and_what_changes_does_not() -> None:
    """A sine of one period in two frames changes its sign half a frame later in every other frame."""
    period = 2 * Sign.hop_samples
    wav = torch.sin(2 * torch.pi * (torch.arange(RATE_HZ * 2 + Sign.hop_samples) + period / 6) / period)
    found = measure_consistency(Sign(), [wav])
    assert list(found) == [*CHANGES, *DELAYS]
    assert all(shares[1] == pytest.approx(1, abs=0.02) for shares in found.values())
    assert found["3 dB quieter"][0] == 1
    assert found["a whole frame later"][0] == pytest.approx(1, abs=0.02)
    assert found["a quarter of a frame later"][0] == pytest.approx(1, abs=0.02)
    assert found["half a frame later"][0] == pytest.approx(0, abs=0.02)


def test_too_short_recordings_do_not_count() -> None:
    assert measure_consistency(Sign(), [torch.ones(100)]) == {}


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_noise_has_its_level_and_its_slope(slope: float) -> None:
    """Power falls by 10 * slope dB in a decade, and is as far below the signal as was asked."""
    signal = np.full(RATE_HZ * 4, 0.1, dtype=np.float32)
    noise = add_noise(signal, RATE_HZ, np.random.default_rng(0), 40.0, slope) - signal
    assert 20 * np.log10(noise.std() / 0.1) == pytest.approx(-40, abs=0.1)
    power = np.abs(np.fft.rfft(noise)) ** 2
    hz = np.fft.rfftfreq(len(noise), 1 / RATE_HZ)
    low, high = (power[(hz > f / 1.2) & (hz < f * 1.2)].mean() for f in (500, 5000))
    assert 10 * np.log10(low / high) == pytest.approx(10 * slope, abs=1.0)


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 96_000])
def test_mp3_comes_back_in_place(rate_hz: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No delay, and nearly the same; at rates that MP3 has not, too, and beside what a Mac leaves on other disks."""
    (tmp_path / ".AppleDouble").mkdir()
    monkeypatch.chdir(tmp_path)
    wav = tune()
    heard = pass_through_mp3(wav, rate_hz, 128)
    assert heard.shape == wav.shape
    assert 20 * np.log10((heard - wav).std() / wav.std()) < -20


def test_a_level_of_its_own_keeps_the_other_codes(tiny_codec: Path) -> None:
    """Quieter by 3 dB: the same codes but for the level's, which sounds quieter by 3 dB."""
    plain = load_codec(str(tiny_codec))
    assert isinstance(plain, SpectralCodec)
    apart = SpectralCodec(type(plain.config)(**{**plain.config.to_dict(), "level_s": 1.0}))
    apart.load_state_dict(plain.state_dict())
    wav = torch.from_numpy(tune())

    found = measure_consistency(apart, [wav])
    assert len(found["3 dB quieter"]) == plain.num_codebooks + 1
    assert found["3 dB quieter"][:-1] == [1.0] * plain.num_codebooks
    assert measure_consistency(plain, [wav])["3 dB quieter"][0] < 1

    loud, quiet = (apart.decode_magnitudes(apart.encode(gain * wav[None, None])) for gain in (1.0, 10 ** (-3 / 20)))
    ratio_db = 20 * (quiet.square().sum().sqrt() / loud.square().sum().sqrt()).log10()
    assert float(ratio_db) == pytest.approx(-3, abs=1.3)  # steps of a codec of 32 codes are 2.4 dB
