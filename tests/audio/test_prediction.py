"""Linear prediction: sinusoids run on, nothing grows, any channel and any length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiolm_cli.audio.prediction import burg, extrapolate


@pytest.mark.parametrize("rate_hz", [8000, 44100, 192000])
def test_a_chord_runs_on(rate_hz: int) -> None:
    """Three partials in two channels: within 5 % for 5 ms, and for 30 ms but where the rate makes periods long."""
    time_s = np.arange(round(0.5 * rate_hz)) / rate_hz
    chord = np.stack(
        [sum(np.sin(2 * np.pi * hz * time_s + hz) / 3 for hz in notes) for notes in ((220, 277, 330), (440, 550, 660))]
    )
    known, count = len(time_s) - round(0.03 * rate_hz), round(0.03 * rate_hz)
    carried = extrapolate(chord[:, :known].astype(np.float32), count, rate_hz)
    off = np.abs(carried - chord[:, known:])
    assert off[:, : count // 6].max() < 0.05
    assert off.max() < (0.05 if rate_hz < 100_000 else 0.5)


@pytest.mark.parametrize("rate_hz", [8000, 44100])
def test_a_chord_runs_on_for_a_long_fade(rate_hz: int) -> None:
    """Within a tenth for 80 ms."""
    time_s = np.arange(round(0.5 * rate_hz)) / rate_hz
    chord = sum(np.sin(2 * np.pi * hz * time_s + hz) / 3 for hz in (220, 277, 330))[None]
    count = round(0.08 * rate_hz)
    carried = extrapolate(chord[:, :-count].astype(np.float32), count, rate_hz)
    assert np.abs(carried - chord[:, -count:]).max() < 0.1


@settings(deadline=None, max_examples=50)
@given(channels=st.integers(1, 3), length=st.integers(0, 500), count=st.integers(0, 200), seed=st.integers(0, 99))
def test_any_length(channels: int, length: int, count: int, seed: int) -> None:
    """Finite, of the shape asked for, and no louder than twice the loudest sample, down to no samples at all."""
    wav = np.random.default_rng(seed).standard_normal((channels, length)).cumsum(axis=1).astype(np.float32)
    carried = extrapolate(wav, count, 16000)
    assert carried.shape == (channels, count)
    assert np.isfinite(carried).all()
    assert np.abs(carried).max(initial=0) <= 2 * np.abs(wav).max(initial=0) + 1e-9


@pytest.mark.parametrize("peak", [1e-44, 1e37])
def test_any_level(peak: float) -> None:
    """Float recordings go far beyond full scale, and far below."""
    wav = (np.sin(np.arange(2000) * 0.05)[None] * peak).astype(np.float32)
    carried = extrapolate(wav, 50, 16000)
    assert np.isfinite(carried).all() and np.abs(carried).max() <= 2 * peak


def test_silence_stays_silent_beside_sound() -> None:
    """Channels do not mix."""
    wav = np.stack([np.zeros(1000), np.sin(np.arange(1000) * 0.1)]).astype(np.float32)
    carried = extrapolate(wav, 100, 16000)
    assert not carried[0].any() and np.abs(carried[1]).max() > 0.9


def test_reflections_are_stable() -> None:
    """All poles lie inside the unit circle, whatever the signal."""
    for seed in range(5):
        wav = np.random.default_rng(seed).standard_normal((1, 300)).cumsum(axis=1)
        assert np.abs(np.roots(burg(wav, 20)[0])).max() < 1


@pytest.mark.parametrize("off", [0.02, -0.1, 0.5])
def test_a_faulty_last_sample_is_not_answered(off: float) -> None:
    """As resampling and careless cuts leave one: the chord runs on as if it were not there."""
    rate_hz = 44100
    time_s = np.arange(rate_hz // 2) / rate_hz
    rng = np.random.default_rng(0)
    chord = sum(np.sin(2 * np.pi * hz * time_s + hz) / 4 for hz in (220, 277, 330))
    chord = (chord + 1e-4 * rng.standard_normal(len(time_s)))[None].astype(np.float32)
    known, count = chord.shape[1] - 1000, 1000
    faulty = chord[:, :known].copy()
    faulty[0, -1] += off
    clean, carried = (extrapolate(wav, count, rate_hz) for wav in (chord[:, :known], faulty))
    assert np.abs(carried - clean).max() < 0.02
