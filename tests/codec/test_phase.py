"""Phases from magnitudes: the transforms, their inverse, and partials that run on through a seam."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from audiolm_cli.codec.base import KnownSamples
from audiolm_cli.codec.phase import _sum_squared_windows, _synthesise, griffin_lim, stft

RATE_HZ, WINDOW_SAMPLES, HOP = 32_000, 2048, 320
WINDOW = torch.hann_window(WINDOW_SAMPLES)
N = 75 * HOP  # 0.75 s
SEAM = 40 * HOP
CONVERGED_DB = -36.0
"""Magnitudes after 32 iterations on a noisy chord; measured: -38.2, and -30.1 before the first iteration."""
SINE_DB = -18.0
"""The third of a second after a seam; measured: -21 at 440 Hz, -35 at 110 Hz, -46 and less above 1.2 kHz, and 1 to 6
without known samples."""
ROUNDING_DB = -120.0
"""Known samples a window away from unknown ones; measured: -137 and less."""
NEAR_SEAM_DB = -45.0
"""Known samples within a window of the seam; measured: -51 at 440 Hz."""
SEAM_STEP = 1e-3
"""What the step over the seam adds to that of the sine, full scale being 1; measured: 0.0001."""
GAP_DB = -16.0
"""A quarter of a second between known samples, or the 0.4 s before them; measured: -17 at 440 Hz."""

HELD_LEVEL = 0.95
"""Least level of a sine in a gap, over that beside it; measured: 0.989, and 0.723 where phases only count on."""


def sine(frequency_hz: float, samples: int = N) -> Tensor:
    """[1, N], amplitude 0.5."""
    return 0.5 * (2 * math.pi * frequency_hz * torch.arange(samples, dtype=torch.float64) / RATE_HZ).sin().float()[None]


def noise(samples: int, seed: int = 0) -> Tensor:
    return torch.randn(1, samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def known(wav: Tensor, until: int) -> KnownSamples:
    """The samples of wav [1, N] before `until`; what follows is rubbish that must not be read."""
    mask = torch.arange(wav.shape[-1]) < until
    return KnownSamples(wav=torch.where(mask, wav, torch.full_like(wav, 1e3))[:, None], mask=mask)


def error_db(estimate: Tensor, truth: Tensor) -> float:
    """Energy of the error over that of the truth, in dB."""
    return 10 * math.log10((estimate - truth).square().sum() / truth.square().sum())


@given(st.integers(1, 30), st.sampled_from([(64, 16), (64, 32), (128, 20)]), st.integers(0, 99))
@settings(deadline=None)
def test_the_inverse_undoes_the_transform(columns: int, shape: tuple[int, int], seed: int) -> None:
    window_samples, hop = shape
    wav, window = noise(columns * hop, seed), torch.hann_window(window_samples)
    transformed = stft(wav, window, hop)
    assert transformed.shape == (1, columns, window_samples // 2 + 1)
    inverse = _synthesise(transformed, window, hop) / _sum_squared_windows(window, hop, columns)
    torch.testing.assert_close(inverse, wav, atol=1e-6, rtol=1e-4)


def test_a_column_is_centred_half_a_hop_after_its_first_sample() -> None:
    """A click at the centre of column 10 has no phase ramp left beyond that of half a window."""
    wav = torch.zeros(1, N)
    wav[0, 10 * HOP + HOP // 2] = 1.0
    columns = stft(wav, WINDOW, HOP)[0]
    assert columns.abs()[:, 100].argmax() == 10
    assert columns[10, 0].real == pytest.approx(1.0)
    torch.testing.assert_close(columns[10, ::2].angle(), torch.zeros(513), atol=1e-3, rtol=0)


def test_the_same_magnitudes_give_the_same_samples() -> None:
    magnitudes = stft(noise(N), WINDOW, HOP).abs()
    torch.manual_seed(1)
    first = griffin_lim(magnitudes, WINDOW, HOP, 8)
    torch.manual_seed(2)
    assert torch.equal(griffin_lim(magnitudes, WINDOW, HOP, 8), first)
    assert first.shape == (1, N)


def test_items_of_a_batch_do_not_touch_each_other() -> None:
    magnitudes = stft(torch.cat([noise(N), sine(440)]), WINDOW, HOP).abs()
    both = griffin_lim(magnitudes, WINDOW, HOP, 8)
    alone = torch.cat([griffin_lim(one[None], WINDOW, HOP, 8) for one in magnitudes])
    torch.testing.assert_close(both, alone, atol=1e-5, rtol=0)


def convergence_db(wav: Tensor, magnitudes: Tensor) -> float:
    """Distance of the samples' magnitudes from the wanted ones, in dB."""
    return error_db(stft(wav, WINDOW, HOP).abs(), magnitudes)


def test_more_iterations_come_closer_to_the_magnitudes() -> None:
    chord = sine(220) + 0.6 * sine(331) + 0.4 * sine(523.7) + 0.1 * noise(N)
    magnitudes = stft(chord, WINDOW, HOP).abs()
    errors = [convergence_db(griffin_lim(magnitudes, WINDOW, HOP, n), magnitudes) for n in (0, 4, 16, 32, 64)]
    assert all(later < earlier + 0.2 for earlier, later in pairwise(errors)), errors
    assert errors[3] < errors[0] - 6 and errors[3] < CONVERGED_DB, errors


@pytest.mark.parametrize("frequency_hz", [110.0, 440.0, 1234.5, 5000.0])
def test_a_steady_sine_runs_on_through_the_seam(frequency_hz: float) -> None:
    """Physics says what the samples after the seam are; without the known ones the phase is anyone's guess."""
    truth = sine(frequency_hz)
    magnitudes = stft(truth, WINDOW, HOP).abs()
    after = slice(SEAM, N - WINDOW_SAMPLES // 2)
    anchored = griffin_lim(magnitudes, WINDOW, HOP, 32, known(truth, SEAM))
    far, near = slice(0, SEAM - WINDOW_SAMPLES), slice(SEAM - WINDOW_SAMPLES, SEAM)
    assert error_db(anchored[:, far], truth[:, far]) < ROUNDING_DB, "known samples come back"
    assert error_db(anchored[:, near], truth[:, near]) < NEAR_SEAM_DB
    step = (anchored - truth)[:, SEAM - 1 : SEAM + 1].diff()
    assert step.abs().max() < SEAM_STEP, "nothing clicks"
    free = griffin_lim(magnitudes, WINDOW, HOP, 32)
    with_known, without = error_db(anchored[:, after], truth[:, after]), error_db(free[:, after], truth[:, after])
    assert with_known < SINE_DB, f"{with_known:.1f} dB with known samples, {without:.1f} dB without"
    assert without > with_known + 15, f"{with_known:.1f} dB with known samples, {without:.1f} dB without"


@pytest.mark.parametrize(("first", "last"), [(25 * HOP, 50 * HOP), (0, 40 * HOP)], ids=["gap", "before"])
def test_a_sine_meets_the_known_samples_after_it(first: int, last: int) -> None:
    truth = sine(440)
    magnitudes = stft(truth, WINDOW, HOP).abs()
    mask = torch.ones(N, dtype=torch.bool)
    mask[first:last] = False
    filled = griffin_lim(magnitudes, WINDOW, HOP, 32, KnownSamples(wav=truth[:, None], mask=mask))
    assert error_db(filled[:, mask], truth[:, mask]) < NEAR_SEAM_DB
    inside = slice(max(first, WINDOW_SAMPLES // 2), last)
    assert error_db(filled[:, inside], truth[:, inside]) < GAP_DB


def test_phases_that_drift_arrive_where_the_known_samples_go_on() -> None:
    """Decoded magnitudes say 1 Hz too much, half a turn in the gap: the sine keeps its level, from early on."""
    truth, decoded = sine(440), sine(441)
    mask = torch.ones(N, dtype=torch.bool)
    first, last = 12 * HOP, 62 * HOP
    mask[first:last] = False
    magnitudes = stft(decoded, WINDOW, HOP).abs()
    filled = griffin_lim(magnitudes, WINDOW, HOP, 8, KnownSamples(wav=truth[:, None], mask=mask))[0]
    levels = filled[first:last].unflatten(0, (-1, HOP)).square().mean(1).sqrt() / truth.square().mean().sqrt()
    assert levels.min() > HELD_LEVEL, levels


def test_when_all_is_known_all_comes_back() -> None:
    wav = noise(N)
    magnitudes = torch.zeros(1, N // HOP, WINDOW_SAMPLES // 2 + 1)
    assert error_db(griffin_lim(magnitudes, WINDOW, HOP, 3, known(wav, N)), wav) < ROUNDING_DB


def test_silence_stays_silent() -> None:
    magnitudes = torch.zeros(1, 20, WINDOW_SAMPLES // 2 + 1)
    assert torch.equal(griffin_lim(magnitudes, WINDOW, HOP, 5), torch.zeros(1, 20 * HOP))
