"""What a codec gets wrong of a recording, bin by bin and level by level, put right in what it decodes.

Knows nothing about networks or phases.
"""

from __future__ import annotations

import torch
from torch import Tensor

LOWEST_DB, HIGHEST_DB = -100, 60
"""Levels that are told apart, in steps of 1 dB; what is beyond counts as the last one."""
LEAST = 10 ** (LOWEST_DB / 20)
"""Magnitudes under this count as this."""
LEVEL_DB = 3.0
"""Deviation of the Gaussian by which levels near each other learn from each other."""
MOST_DB = 18.0
"""Most that a column says a magnitude is wrong by."""
DOUBT = 1.0
"""Weight of the guess that nothing is wrong; a column of the level in question has a weight of 1."""


def learn_corrections(decoded: Tensor, true: Tensor) -> Tensor:
    """What decoded magnitudes are to be multiplied with, for each level and bin: [levels, bins].

    A kernel regression (Nadaraya 1964, Watson 1964) of true over decoded magnitudes on levels, with a prior of no
    error. The level of a bin tells what sounds in it: where a partial is held, it has the level that it had before, and
    the same error. The mean is that of ratios, not of decibels: the latter would take level away from what trembles.

    Args:
        decoded: magnitudes [J, bins] of stretches of a recording, as decoded.
        true: as they truly are.
    """
    found = _find_levels(decoded)
    most = 10 ** (MOST_DB / 20)
    ratios = (true.clamp(min=LEAST) / decoded.clamp(min=LEAST)).clamp(1 / most, most)
    none = decoded.new_zeros(HIGHEST_DB - LOWEST_DB + 1, decoded.shape[1])
    sums, counts = none.scatter_add(0, found, ratios), none.scatter_add(0, found, torch.ones_like(ratios))

    # Each level learns from the levels near it.
    levels = torch.arange(len(none), device=decoded.device)
    near = (-0.5 * ((levels[:, None] - levels) / LEVEL_DB).square()).exp()  # [levels, levels]
    return (near @ sums + DOUBT) / (near @ counts + DOUBT)


def correct(magnitudes: Tensor, corrections: Tensor) -> Tensor:
    """Decoded magnitudes [B, J, bins], multiplied with what `learn_corrections` has for their levels."""
    factors = corrections.expand(len(magnitudes), *corrections.shape)
    return magnitudes * factors.gather(1, _find_levels(magnitudes))


def _find_levels(magnitudes: Tensor) -> Tensor:
    """Indices int64 [...] of the levels of magnitudes [...]."""
    levels_db = 20 * magnitudes.clamp(min=LEAST).log10()
    return levels_db.round().long().clamp(LOWEST_DB, HIGHEST_DB) - LOWEST_DB
