"""Stereo images: what is measured in a recording, and what a new signal becomes in it."""

from __future__ import annotations

import numpy as np
import pytest

from audiolm_cli.audio import StereoImage, measure_image, mid

RATE_HZ = 44100


def noise(channels: int, seconds: float = 4.0, seed: int = 0) -> np.ndarray:
    """Independent channels float32 [C, N]."""
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((channels, round(seconds * RATE_HZ)))).astype(np.float32)


def lowpass(wav: np.ndarray, share: float) -> np.ndarray:
    """wav [C, N] without what lies over a share of its bandwidth."""
    spectrum = np.fft.rfft(wav)
    spectrum[:, round(share * spectrum.shape[1]) :] = 0
    return np.fft.irfft(spectrum, wav.shape[1]).astype(np.float32)


def place(image: StereoImage, mono: np.ndarray) -> np.ndarray:
    """Channels [C, n] of a signal [n]."""
    return image.place(np.pad(mono, (image.behind, image.ahead)))


def level_db(wav: np.ndarray) -> np.ndarray:
    """RMS of each channel, in dB."""
    return 20 * np.log10(np.sqrt(np.square(wav, dtype=np.float64).mean(axis=-1)))


def likeness(wav: np.ndarray) -> float:
    """Correlation of the two channels [2, N]."""
    return float(np.corrcoef(wav)[0, 1])


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("rate_hz", [16000, 44100, 48000])
def test_new_sound_is_as_loud_and_as_wide_as_the_recording(shared: float, rate_hz: int) -> None:
    """In each channel, to half a decibel, where the mid signal alone would be up to 3 dB softer."""
    wide = (1 - shared) * noise(2) + shared * noise(1, seed=1) * np.array([[1.0], [0.5]], np.float32)
    image = measure_image(wide, rate_hz)
    new = (1 - shared) * noise(2, seed=2) + shared * noise(1, seed=3) * np.array([[1.0], [0.5]], np.float32)
    out = place(image, mid(new))
    assert out.shape == new.shape
    np.testing.assert_allclose(level_db(out), level_db(wide), atol=0.5)
    assert likeness(out) == pytest.approx(likeness(wide), abs=0.05)
    np.testing.assert_allclose(mid(out), mid(new), atol=1e-7)  # the mid signal stays what it was


def test_bands_are_where_they_were() -> None:
    """Low sound in the left channel and high sound in the right one, which one gain for each would mix up."""
    both = noise(2)
    low = lowpass(both[:1], 0.1)
    high = both[1:] - lowpass(both[1:], 0.1)
    image = measure_image(np.concatenate([low, high]), RATE_HZ)
    new = lowpass(noise(1, seed=1), 0.08)
    left, right = level_db(place(image, mid(new)))
    assert left - right > 12
    new = noise(1, seed=1) - lowpass(noise(1, seed=1), 0.15)
    left, right = level_db(place(image, mid(new)))
    assert right - left > 12


def test_what_has_no_side_signal_gets_none() -> None:
    """One channel, equal channels, one that is silent, silence, and what is too short to know: gains alone."""
    one = noise(1)
    cases = {
        "one channel": one,
        "equal": np.concatenate([one, one]),
        "panned": np.concatenate([one, 0.25 * one]),
        "left alone": np.concatenate([one, 0 * one]),
        "silence": 0 * noise(2),
        "short": noise(2, 0.01),
        "nothing": noise(2)[:, :0],
    }
    for name, wav in cases.items():
        image = measure_image(wav, RATE_HZ)
        assert (len(image.kernel), image.ahead, image.behind) == (0, 0, 0), name
        mono = noise(1, seed=1)[0]
        np.testing.assert_array_equal(image.place(mono), np.outer(image.gains, mono).astype(np.float64), name)


def test_a_stretch_at_a_time_is_the_whole() -> None:
    """With as much before and after each as the filter needs."""
    image = measure_image(noise(2), RATE_HZ)
    mono = noise(1, 1.0, seed=1)[0]
    padded, whole = np.pad(mono, (image.behind, image.ahead)), place(image, mono)
    for start, stop in ((0, 1), (0, 5000), (17, 18000), (40000, len(mono))):
        stretch = image.place(padded[start : stop + image.behind + image.ahead])
        np.testing.assert_allclose(stretch, whole[:, start:stop], atol=1e-12)
    assert image.place(padded[: image.behind + image.ahead]).shape == (2, 0)


def test_the_same_recording_has_the_same_image() -> None:
    """Whatever signs and orders the solver of the eigenvalues comes up with; channels swapped swap the image."""
    wav, mono = noise(2), noise(1, seed=1)[0]
    out = place(measure_image(wav, RATE_HZ), mono)
    np.testing.assert_array_equal(out, place(measure_image(wav.copy(), RATE_HZ), mono))
    swapped = place(measure_image(wav[::-1].copy(), RATE_HZ), mono)
    np.testing.assert_allclose(level_db(swapped), level_db(out)[::-1], atol=0.5)


def test_several_channels() -> None:
    """Most of what the mid signal lacks; the mid signal stays."""
    wav, mono = noise(6), noise(1, seed=1)[0]
    out = place(measure_image(wav, RATE_HZ), mono)
    assert out.shape == (6, len(mono))
    np.testing.assert_allclose(mid(out), mono, atol=1e-6)


def test_channels_that_cancel_out() -> None:
    """The loudest stands for all: it stays as it is."""
    tone = noise(1)
    wav = np.concatenate([tone, -0.999 * tone + 0.01 * noise(1, seed=2)])
    image = measure_image(wav, RATE_HZ)
    out = place(image, tone[0])
    np.testing.assert_allclose(out[0] if image.gains[0] == 1 else out[1], tone[0], atol=1e-6)
    np.testing.assert_allclose(level_db(out), level_db(wav), atol=0.5)
