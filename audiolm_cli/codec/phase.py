"""Phases for a magnitude spectrogram: deterministic fast Griffin-Lim that runs on from known samples.

Knows nothing about networks or codes. All transforms use a Hann window and columns centred at `hop / 2 + hop * j`, so
that N = hop * columns samples have columns symmetric about the middle, and no column hangs off either end.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from audiolm_cli.codec.base import KnownSamples, OnShare, ignore_share

MOMENTUM = 0.99
"""Acceleration of fast Griffin-Lim: Perraudin, Balazs, Sondergaard (2013), section 3.2."""


def stft(wav: Tensor, window: Tensor, hop: int) -> Tensor:
    """Complex columns [B, N / hop, window / 2 + 1] of wav [B, N]; N is a multiple of hop."""
    margin = (len(window) - hop) // 2
    padded = F.pad(wav, (margin, margin))

    return torch.fft.rfft(padded.unfold(-1, len(window), hop) * window)


def absolute(columns: Tensor) -> Tensor:
    """Magnitudes of complex columns; several times faster on a CPU than `abs`, which guards against overflow."""
    return (columns.real.square() + columns.imag.square()).sqrt()


def griffin_lim(
    magnitudes: Tensor,
    window: Tensor,
    hop: int,
    iterations: int,
    known: KnownSamples | None = None,
    on_share: OnShare = ignore_share,
) -> Tensor:
    """Audio [B, hop * J] whose `stft` has about the magnitudes [B, J, bins]; the same input gives the same samples.

    Starts from the phases of steady sinusoids at the spectral peaks, counted onward from the last phase that `known`
    samples (`wav` [B, 1, N], `mask` [N]) fix, to the next one. The known samples are put back before every iteration,
    so that what follows them continues their partials. A window away from unknown samples they come back exactly but
    for rounding; beside unknown ones, nearly so. `on_share` is called after every iteration.
    """
    # First phases, and the true columns where all samples are known.
    angles = _sinusoidal_phases(magnitudes, hop, len(window))
    if known is not None:
        fixed, given = known.wav[:, 0], known.mask
        true_columns = stft(torch.where(given, fixed, torch.zeros_like(fixed)), window, hop)
        covered = _find_covered_columns(given, len(window), hop)  # [J]
        angles = _continue_phases(angles, true_columns, covered)
        magnitudes = torch.where(covered[None, :, None], absolute(true_columns), magnitudes)

    weight = _sum_squared_windows(window, hop, magnitudes.shape[1])  # [1, hop * J]
    columns = torch.polar(magnitudes, angles)  # [B, J, bins]
    previous = torch.zeros_like(columns)
    for iteration in range(iterations):
        wav = _synthesise(columns, window, hop) / weight
        if known is not None:
            wav = torch.where(given, fixed, wav)
        consistent = stft(wav, window, hop)

        # Complex numbers as pairs: one pass over memory, which is what an iteration waits for.
        pairs = torch.lerp(torch.view_as_real(previous), torch.view_as_real(consistent), 1 + MOMENTUM)
        columns, previous = torch.view_as_complex(pairs), consistent
        pairs *= (magnitudes / absolute(columns).clamp_(min=1e-8))[..., None]
        on_share((iteration + 1) / iterations)

    return _synthesise(columns, window, hop) / weight


def _sinusoidal_phases(magnitudes: Tensor, hop: int, window_samples: int) -> Tensor:
    """Phases [B, J, bins] of a signal in which each bin turns at the frequency of the spectral peak it belongs to.

    Single-pass inversion after Beauregard, Harish, Wyse (2015), section 3: peak frequencies by parabolic interpolation
    of the log magnitude, accumulated over the columns.
    """
    # Peaks, and how far from its bin each one really lies.
    log_magnitudes = magnitudes.clamp(min=1e-7).log()
    left, centre, right = log_magnitudes[..., :-2], log_magnitudes[..., 1:-1], log_magnitudes[..., 2:]
    is_peak = (centre > left) & (centre >= right)
    curvature = (left - 2 * centre + right).clamp(max=-1e-6)
    offset = (0.5 * (left - right) / curvature).clamp(-0.5, 0.5)

    # Every bin turns at the frequency of its peak.
    bins = torch.arange(magnitudes.shape[-1], device=magnitudes.device)
    frequency = bins.to(magnitudes.dtype).expand_as(magnitudes).clone()
    frequency[..., 1:-1] += torch.where(is_peak, offset, torch.zeros_like(offset))
    nearest_peak = _find_nearest_peak(F.pad(is_peak, (1, 1)))
    advance = torch.gather(frequency, -1, nearest_peak) * (2 * math.pi * hop / window_samples)

    parity = (bins % 2).to(magnitudes.dtype) * math.pi  # a sinusoid in the middle of the window alternates over bins
    phases = torch.remainder(torch.cumsum(advance.double(), dim=-2), 2 * math.pi)  # [B, J, bins]
    return phases.to(magnitudes.dtype) + parity


def _find_nearest_peak(is_peak: Tensor) -> Tensor:
    """For each bin the index of the nearest peak [..., bins], itself where there is none."""
    bins = torch.arange(is_peak.shape[-1], device=is_peak.device).expand(is_peak.shape)
    below = torch.where(is_peak, bins, -1).cummax(-1).values

    far = is_peak.shape[-1] * 2
    above = torch.where(is_peak, bins, far).flip(-1).cummin(-1).values.flip(-1)

    choose_below = (bins - below <= above - bins) & (below >= 0)
    nearest = torch.where(choose_below, below, above)
    return torch.where((nearest < 0) | (nearest >= far), bins, nearest)


def _find_covered_columns(given: Tensor, window_samples: int, hop: int) -> Tensor:
    """Columns [J] whose whole window lies in known samples (or beyond the ends)."""
    margin = (window_samples - hop) // 2
    unknown = F.pad((~given).to(torch.float32), (margin, margin))
    return unknown.unfold(-1, window_samples, hop).sum(-1) == 0


def _continue_phases(angles: Tensor, true_columns: Tensor, covered: Tensor) -> Tensor:
    """Shift the phases that follow each covered stretch so that they count on from its last true phase.

    Where another covered stretch follows, they meet its first true phase: what they would miss it by is spread over the
    columns between, so that a partial that is held through them arrives as it goes on.
    """
    if not covered.any():
        return angles

    # The nearest covered columns on both sides; where there is none on one side, that on the other.
    positions = torch.arange(len(covered), device=covered.device)
    last = torch.where(covered, positions, -1).cummax(0).values  # [J] at or before
    following = torch.where(covered, positions, len(covered)).flip(0).cummin(0).values.flip(0)  # [J] at or after
    last, following = torch.where(last >= 0, last, following), torch.where(following < len(covered), following, last)

    true_angles = true_columns.angle()
    offset = true_angles - angles
    missed = torch.remainder(offset[:, following] - offset[:, last] + math.pi, 2 * math.pi) - math.pi
    share = (positions - last) / (following - last).clamp(min=1)  # [J], 0 to 1 from one to the other
    counted = angles + offset[:, last] + missed * share[:, None]
    return torch.where(covered[None, :, None], true_angles, counted)


def _synthesise(columns: Tensor, window: Tensor, hop: int) -> Tensor:
    """Windowed columns [B, J, bins] added up: [B, hop * J].

    Over `_sum_squared_windows`, the least-squares inverse of `stft` (Griffin and Lim 1984, eq. 6).
    """
    return _overlap_add(torch.fft.irfft(columns, n=len(window)).mul_(window), hop)


def _sum_squared_windows(window: Tensor, hop: int, columns: int) -> Tensor:
    """What `_synthesise` makes too loud: the squares of all windows over each sample, [1, hop * columns]."""
    return _overlap_add((window * window).expand(1, columns, -1), hop).clamp(min=1e-8)


def _overlap_add(frames: Tensor, hop: int) -> Tensor:
    """Sum frames [B, J, window] at steps of hop and drop the margins: [B, hop * J]."""
    B, J, window_samples = frames.shape
    parts = -(-window_samples // hop)

    # As rows of one hop: the i-th part of every frame adds to the row i later.
    summed = frames.new_zeros(B, J + parts - 1, hop)
    for i in range(parts):
        piece = frames[..., i * hop : (i + 1) * hop]
        summed[:, i : i + J, : piece.shape[-1]] += piece

    margin = (window_samples - hop) // 2
    return summed.view(B, -1)[:, margin : margin + hop * J]
