"""Loudness kept apart from what sounds: a slow level, and codes for it. Knows nothing about networks.

Gain and shape, as speech codecs have it: a signal divided by its level has the same codes however loud it was recorded.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

REFERENCE_RMS = 0.1
"""Root mean square of a signal of level 1: 20 dB below full scale."""
LOWEST_DB, HIGHEST_DB = -50.0, 22.0
"""Range of levels; a signal below the lowest one is coded as quieter, so silence stays silent."""
FINEST_STEP_DB = 0.25
"""Between two codes of a level, where there are enough codes."""
INAUDIBLE_BINS = 2
"""The lowest bins of the STFT do not count."""


def measure_level(magnitudes: Tensor, window: Tensor, reach: int) -> Tensor:
    """Level [B, J, 1] of each column: the RMS of the columns up to `reach` before and after it, in a Hann window.

    By Parseval's theorem, a column's squared magnitudes sum to the energy under its window. At both ends of the
    signal, the mean is over the columns that are there.

    Args:
        magnitudes: [B, J, bins] of an STFT.
        window: [L] of that STFT.
        reach: in columns.
    """
    energy = 2 * magnitudes[..., INAUDIBLE_BINS:].square().sum(-1) / (len(window) * window.square().sum())  # [B, J]

    weights = torch.hann_window(2 * reach + 3, periodic=False, device=energy.device)[1:-1].view(1, 1, -1)
    sums, shares = (F.conv1d(row[:, None], weights, padding=reach) for row in (energy, torch.ones_like(energy)))
    rms = (sums / shares).clamp(min=0).sqrt().transpose(1, 2)  # [B, J, 1]

    return (rms / REFERENCE_RMS).clamp(10 ** (LOWEST_DB / 20), 10 ** (HIGHEST_DB / 20))


def encode_level(level: Tensor, codebook_size: int) -> Tensor:
    """Codes int64 [...] of levels [...]: steps of equal decibels from LOWEST_DB on."""
    decibels = 20 * level.log10() - LOWEST_DB
    return (decibels / _step_db(codebook_size)).round().long().clamp(0, codebook_size - 1)


def decode_level(codes: Tensor, codebook_size: int) -> Tensor:
    """Levels [...] of codes [...]."""
    decibels = LOWEST_DB + codes * _step_db(codebook_size)
    return 10 ** (decibels.clamp(max=HIGHEST_DB) / 20)


def _step_db(codebook_size: int) -> float:
    """Decibels between two codes."""
    return max(FINEST_STEP_DB, math.ceil(HIGHEST_DB - LOWEST_DB) / max(1, codebook_size - 1))
