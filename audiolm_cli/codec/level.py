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
    """Level [B, J, 1] of each column: the RMS of the columns around it, as `average_around` has it.

    By Parseval's theorem, a column's squared magnitudes sum to the energy under its window.

    Args:
        magnitudes: [B, J, bins] of an STFT.
        window: [L] of that STFT.
        reach: in columns.
    """
    energy = 2 * magnitudes[..., INAUDIBLE_BINS:].square().sum(-1) / (len(window) * window.square().sum())  # [B, J]

    rms = average_around(energy[..., None], reach).clamp(min=0).sqrt()  # [B, J, 1]

    return (rms / REFERENCE_RMS).clamp(10 ** (LOWEST_DB / 20), 10 ** (HIGHEST_DB / 20))


def average_around(rows: Tensor, reach: int) -> Tensor:
    """Means [B, T, D] of rows [B, T, D] up to `reach` before and after each, in a Hann window.

    At both ends, the mean is over the rows that are there.
    """
    columns = rows.transpose(1, 2)  # [B, D, T]
    weights = torch.hann_window(2 * reach + 3, periodic=False, device=rows.device)[1:-1].view(1, 1, -1)

    D = columns.shape[1]
    sums = F.conv1d(columns, weights.expand(D, 1, -1), padding=reach, groups=D)
    shares = F.conv1d(torch.ones_like(columns[:1, :1]), weights, padding=reach)
    return (sums / shares).transpose(1, 2)


def encode_level(level: Tensor, codebook_size: int) -> Tensor:
    """Codes int64 [...] of levels [...]: steps of equal decibels from LOWEST_DB on."""
    decibels = 20 * level.log10() - LOWEST_DB
    return (decibels / step_db(codebook_size)).round().long().clamp(0, codebook_size - 1)


def decode_level(codes: Tensor, codebook_size: int) -> Tensor:
    """Levels [...] of codes [...]."""
    decibels = LOWEST_DB + codes * step_db(codebook_size)
    return 10 ** (decibels.clamp(max=HIGHEST_DB) / 20)


def step_db(codebook_size: int) -> float:
    """Decibels between two codes."""
    return max(FINEST_STEP_DB, math.ceil(HIGHEST_DB - LOWEST_DB) / max(1, codebook_size - 1))
