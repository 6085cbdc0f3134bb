"""The level that recordings are brought to before they are encoded. Knows nothing about codecs or models."""

from __future__ import annotations

import numpy as np

from audiolm_cli.audio import Recording, mid

TRAINING_PEAK = 10 ** (-3 / 20)
"""Peak of what models are trained on and prompted with."""
LARGEST_GAIN = 10 ** (40 / 20)
"""Gain at most, so that silence stays silence."""
MEASURED_SAMPLES = 1 << 22
"""Samples looked at together: 95 s at 44.1 kHz."""


def training_gain(mono: np.ndarray) -> float:
    """The gain that brings a recording [n] to the training level; 1 for silence and for no samples at all."""
    peak = float(np.abs(mono).max(initial=0.0))
    return min(TRAINING_PEAK / peak, LARGEST_GAIN) if peak > 0 else 1.0


def recording_gain(recording: Recording, without: list[tuple[int, int]]) -> float:
    """`training_gain` of what is kept of a recording.

    Args:
        recording: the recording.
        without: the stretches (first sample, last + 1) that will be replaced, in order.
    """
    # A block at a time, since the recording has no copy in floating point.
    peak, at = 0.0, 0
    for start, stop in [*without, (recording.num_samples, recording.num_samples)]:
        for first in range(at, start, MEASURED_SAMPLES):
            block = mid(recording.wav(first, min(start, first + MEASURED_SAMPLES)))
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
        at = stop

    return training_gain(np.array([peak]))
