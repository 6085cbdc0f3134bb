"""The level that recordings are brought to before they are encoded. Knows nothing about codecs or models."""

from __future__ import annotations

import numpy as np

TRAINING_PEAK = 10 ** (-3 / 20)
"""Peak of what models are trained on and prompted with."""
LARGEST_GAIN = 10 ** (40 / 20)
"""Gain at most, so that silence stays silence."""


def training_gain(mono: np.ndarray) -> float:
    """What brings a recording [n] to the training level; 1 for silence and for no samples at all."""
    peak = float(np.abs(mono).max(initial=0.0))
    return min(TRAINING_PEAK / peak, LARGEST_GAIN) if peak > 0 else 1.0
