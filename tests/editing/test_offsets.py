"""Recordings that lie around a constant: new audio lies around the same one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiolm_cli import continue_audio, infill_audio, loop_audio
from audiolm_cli.audio.level import measure_offset

Piano = Callable[..., np.ndarray]
RATE_HZ = 16_000


def means(wav: np.ndarray, window_s: float = 0.1) -> np.ndarray:
    """The means of consecutive windows of wav [C, N], [windows, C]."""
    size = round(window_s * RATE_HZ)
    return np.stack([wav[:, at : at + size].mean(axis=1) for at in range(0, wav.shape[1] - size + 1, size)])


def with_offset(piano: Piano, *offsets: float, seconds: float = 2.0) -> np.ndarray:
    """[C, N]: notes around a constant of each channel."""
    return piano(seconds, RATE_HZ, len(offsets)).T * 0.5 + np.array(offsets, dtype=np.float32)[:, None]


@pytest.mark.parametrize("channels", ["mid", "each"])
@pytest.mark.parametrize("before", [False, True])
def test_a_continuation_keeps_it(tiny_model: Path, piano: Piano, channels: Any, before: bool) -> None:
    """From the seam to the end, in each channel."""
    wav = with_offset(piano, 0.1, -0.05)
    made = continue_audio(wav, RATE_HZ, duration_s=1.5, before=before, model=str(tiny_model), seed=1, channels=channels)
    audio = made[0].audio
    new = audio[:, : -wav.shape[1]] if before else audio[:, wav.shape[1] :]
    assert np.abs(means(new) - [0.1, -0.05]).max() < 0.02
    kept = audio[:, -wav.shape[1] :] if before else audio[:, : wav.shape[1]]
    np.testing.assert_array_equal(kept, wav)


def test_an_infill_leads_from_one_to_the_other(tiny_model: Path, piano: Piano) -> None:
    """A recording that was cut together: 0.1 before, -0.1 after; the same on both sides stays."""
    wav = with_offset(piano, 0.1, seconds=3.0)
    gap = [(1.0, 2.0)]
    new = infill_audio(wav, RATE_HZ, gaps=gap, model=str(tiny_model), seed=1)[0].audio[:, RATE_HZ : 2 * RATE_HZ]
    assert np.abs(means(new) - 0.1).max() < 0.02
    wav[:, round(1.5 * RATE_HZ) :] -= 0.2
    new = infill_audio(wav, RATE_HZ, gaps=gap, model=str(tiny_model), seed=1)[0].audio[:, RATE_HZ : 2 * RATE_HZ]
    assert np.abs(means(new)[:, 0] - np.linspace(0.09, -0.09, 10)).max() < 0.02


def test_a_loop_keeps_it(tiny_model: Path, piano: Piano) -> None:
    wav = with_offset(piano, 0.1)
    made = loop_audio(wav, RATE_HZ, bridge_s=1.0, model=str(tiny_model), seed=1)[0].audio
    assert np.abs(means(made[:, wav.shape[1] :]) - 0.1).max() < 0.02


def test_a_streamed_continuation_keeps_it(
    audiolm: Any, tiny_model: Path, piano: Piano, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("take.wav", with_offset(piano, 0.1).T, RATE_HZ, subtype="PCM_16")
    command = "continue", "take.wav", "-d", 2, "--stream", "-m", tiny_model, "--seed", 1, "-o", "out.wav"
    assert audiolm(*command).exit_code == 0
    wav = soundfile.read("out.wav", always_2d=True)[0].T
    assert np.abs(means(wav[:, 2 * RATE_HZ :]) - 0.1).max() < 0.02


def test_nothing_clips_around_it(tiny_model: Path, piano: Piano, tmp_path: Path) -> None:
    """Room is left for the constant below full scale."""
    wav = np.clip(with_offset(piano, 0.7), -1, 0.999)
    soundfile.write(tmp_path / "loud.wav", wav.T, RATE_HZ, subtype="PCM_16")
    new = continue_audio(tmp_path / "loud.wav", duration_s=1.5, model=str(tiny_model), seed=1)[0].audio
    assert np.abs(new[:, wav.shape[1] :]).max() < 0.9999


@pytest.mark.parametrize("offset", [0.0, 0.002, 0.1, -0.4])
@pytest.mark.parametrize("seconds", [1.0, 5.0])
def test_a_constant_is_found(piano: Piano, offset: float, seconds: float) -> None:
    """Under notes, within a tenth of it; none is seen where there is none."""
    wav = piano(seconds, RATE_HZ).T * 0.5
    assert measure_offset(wav + offset) == pytest.approx([offset], rel=0.1, abs=5e-4)
    assert measure_offset(wav).tolist() == [0.0]


@pytest.mark.parametrize("seconds", [0.1, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("pitch_hz", [0.3, 1.0, 5.0, 20.0, 31.5, 80.0])
def test_low_notes_and_wind_are_no_constant(seconds: float, pitch_hz: float) -> None:
    """Whatever their phase, as long as there is more than a cycle of them."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    phases = np.linspace(0, 2 * np.pi, 24)
    found = [measure_offset(0.5 * np.sin(2 * np.pi * pitch_hz * time_s + phase)[None])[0] for phase in phases]
    if seconds * pitch_hz > 1:
        assert not any(found)


def test_few_samples_have_none() -> None:
    for count in (0, 1, 15):
        assert measure_offset(np.ones((2, count))).tolist() == [0.0, 0.0]
    assert measure_offset(np.ones((2, 16))).tolist() == pytest.approx([1.0, 1.0])
