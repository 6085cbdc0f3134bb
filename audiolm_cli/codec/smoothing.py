"""Decoded magnitudes without the jitter of their codes. Knows nothing about networks or phases."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BIN_DB, COLUMN_DB = 4.0, 2.0
"""Deviation of the Gaussian that weights by level: of the magnitudes of a bin, and of the energies of whole columns."""
LEAST = 1e-5
"""Magnitudes under this count as this."""


def smooth_columns(magnitudes: Tensor, reach: int) -> Tensor:
    """Magnitudes [B, J, bins], each averaged with those of its bin that are near in time and in level.

    Each frame's codes are chosen for this frame alone, so a partial that is held trembles from one column to the next.
    No audio has such magnitudes, and the phases that are found for them make the partial come and go. A bilateral
    filter (Tomasi and Manduchi, 1998) steadies what is held and leaves onsets where they are. Each bin has the average
    of logarithms. Each column has the average of energies, so that the whole is as loud as before.

    Args:
        magnitudes: of an STFT, J columns.
        reach: columns to either side that count at all.
    """
    logs = magnitudes.clamp(min=LEAST).log()
    smooth = _average_near(logs, logs, reach, BIN_DB).exp()

    energies = magnitudes.square().sum(-1, keepdim=True)  # [B, J, 1]
    wanted = _average_near(energies, energies.clamp(min=LEAST**2).log() / 2, reach, COLUMN_DB)
    return smooth * (wanted / smooth.square().sum(-1, keepdim=True)).sqrt()


def _average_near(values: Tensor, logs: Tensor, reach: int, deviation_db: float) -> Tensor:
    """Values [B, J, n], averaged over the columns by how near in time they are and in `logs` [B, J, n], in nepers."""
    sums, weights = values.clone(), torch.ones_like(values)
    deviation = deviation_db * math.log(10) / 20
    falling = torch.hann_window(2 * reach + 3, periodic=False)[reach + 2 : -1].tolist()  # of the columns beside one

    for distance, share in enumerate(falling, start=1):
        steps = (logs[:, distance:] - logs[:, :-distance]) / deviation
        near = share * (-0.5 * steps.square()).exp()
        sums[:, :-distance] += near * values[:, distance:]
        sums[:, distance:] += near * values[:, :-distance]
        weights[:, :-distance] += near
        weights[:, distance:] += near
    return sums / weights
