"""Renders made to sound recorded: drawn from names, and each property does what its name says."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from recorded import Making, compress, draw_clicks, draw_hum, draw_making, draw_swells, record, render_of
from render import RATE_HZ

CLEAN = Making(
    cents=None, room=None, echo=None, bands=[], lowest_hz=None, highest_hz=None, swells=None, ratio=None, noise=None,
    hum=None, clicks=None, mp3_kbps=None,
)  # fmt: skip
NEEDS_SOX = pytest.mark.skipif(shutil.which("sox") is None, reason="the recipe needs sox")


def tone(seconds: float = 4.0, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def strength(wav: np.ndarray, hz: float) -> float:
    """Magnitude of wav [n] at a frequency."""
    return float(np.abs(np.fft.rfft(wav * np.hanning(len(wav)))[round(hz * len(wav) / RATE_HZ)]))


def test_a_name_has_one_making_and_names_differ() -> None:
    drawn = [draw_making(f"piece {i}") for i in range(400)]
    assert drawn == [draw_making(f"piece {i}") for i in range(400)]
    for field in dataclasses.fields(Making):
        there = sum(bool(getattr(one, field.name)) for one in drawn)
        assert 20 < there < 320, field.name
    assert len({str(one) for one in drawn}) > 380


def test_copies_know_their_render() -> None:
    names = ["a_third_recorded", "a_third_recorded2", "a_third", "a_recorded_third"]
    assert [render_of(name) for name in names] == ["a_third", "a_third", "a_third", "a_recorded_third"]


def test_swells_are_smooth_and_as_wide_as_asked_for() -> None:
    gains = draw_swells(200 * RATE_HZ, 2.0, 3.0, np.random.default_rng(0))
    decibels = 20 * np.log10(gains)
    assert gains.shape == (200 * RATE_HZ,) and abs(decibels.std() / 3.0 - 0.8) < 0.2  # between knots it is nearer to 0
    assert np.abs(np.diff(decibels)).max() < 0.01


def test_a_compressor_leaves_the_ratio_of_a_step() -> None:
    wav = tone() * np.where(np.arange(4 * RATE_HZ) < 2 * RATE_HZ, 1.0, 0.1).astype(np.float32)
    loud, soft = (np.abs(part).max() for part in np.split(compress(wav, 2.0), [2 * RATE_HZ + RATE_HZ // 2]))
    assert 20 * np.log10(loud / soft) == pytest.approx(10.0, abs=0.5)  # 20 dB before
    assert np.array_equal(compress(wav, 1.0), wav)


def test_hum_lies_at_the_mains_and_clicks_are_few() -> None:
    hum = draw_hum(4 * RATE_HZ, 60, np.random.default_rng(0))
    assert hum.std() == pytest.approx(1.0, abs=1e-3)
    assert strength(hum, 60) > 100 * strength(hum, 90)

    clicks = draw_clicks(20 * RATE_HZ, 5, np.random.default_rng(0))
    assert np.abs(clicks).max() == pytest.approx(1.0)
    assert 0.0 < np.mean(clicks != 0) < 0.01


@NEEDS_SOX
@pytest.mark.parametrize(
    ("change", "hz", "louder"),
    [
        ({"lowest_hz": 1000.0}, 440.0, 0.5),
        ({"highest_hz": 1000.0}, 4400.0, 0.5),
        ({"bands": [(4400.0, 8.0)]}, 4400.0, 2.0),
    ],
)
def test_each_change_of_the_spectrum_is_heard_where_it_belongs(
    change: dict[str, object], hz: float, louder: float, tmp_path: Path
) -> None:
    wav, rng = tone() + tone(hz=4400.0) + tone(hz=2000.0), np.random.default_rng(0)
    plain = record(wav / 3, CLEAN, rng, tmp_path)
    changed = record(wav / 3, dataclasses.replace(CLEAN, **change), rng, tmp_path)  # type: ignore[arg-type]
    assert np.abs(plain).max() == pytest.approx(0.7, abs=1e-3) and len(plain) == len(wav)

    ratio = strength(changed, hz) / strength(plain, hz) / (strength(changed, 2000.0) / strength(plain, 2000.0))
    assert ratio < louder if louder < 1 else ratio > louder


@NEEDS_SOX
def test_what_is_played_faster_is_shorter_and_higher(tmp_path: Path) -> None:
    faster = record(tone(), dataclasses.replace(CLEAN, cents=1200.0), np.random.default_rng(0), tmp_path)
    assert len(faster) == pytest.approx(len(tone()) / 2, abs=2)
    assert strength(faster, 880) > 100 * strength(faster, 440)


@NEEDS_SOX
def test_noise_has_the_level_it_was_given(tmp_path: Path) -> None:
    noisy = record(tone(), dataclasses.replace(CLEAN, noise=(20.0, 0.0)), np.random.default_rng(0), tmp_path)
    spectrum = np.abs(np.fft.rfft(noisy)) ** 2
    at = round(440 * len(noisy) / RATE_HZ)
    rest = spectrum.sum() - spectrum[at - 20 : at + 21].sum()
    assert 10 * np.log10(spectrum[at - 20 : at + 21].sum() / rest) == pytest.approx(20.0, abs=0.3)
