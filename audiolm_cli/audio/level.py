"""The level that recordings are brought to before they are encoded, and the constant that some lie around.

Knows nothing about codecs or models.
"""

from __future__ import annotations

import numpy as np

from audiolm_cli.audio import Recording, mid

TRAINING_PEAK = 10 ** (-3 / 20)
"""Peak of what models are trained on and prompted with."""
LARGEST_GAIN = 10 ** (40 / 20)
"""Gain at most, so that silence stays silence."""
MEASURED_SAMPLES = 1 << 22
"""Samples looked at together: 95 s at 44.1 kHz."""

OFFSET_STRETCHES = 15
"""Stretches of a recording, each half over the next, whose means show whether it lies around a constant."""
LEAST_OFFSET = 1e-3
"""-60 dB of full scale: a smaller constant is none."""
OFFSET_DEVIATIONS = 4.0
"""How many times farther from 0 than from one another the means of the stretches lie."""


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


def measure_offset(wav: np.ndarray) -> np.ndarray:
    """The constant float64 [C] that each channel of wav [C, N] lies around (its DC offset); 0 where there is none.

    Where means of the stretches differ, they come from low notes or from wind, and nothing is taken for a constant.

    Example:
        >>> measure_offset(np.full((1, 800), 0.25))
        array([0.25])
        >>> measure_offset(np.linspace(-1, 1, 800)[None])
        array([0.])
    """
    C, N = wav.shape
    hop = N // (OFFSET_STRETCHES + 1)
    if not hop:
        return np.zeros(C)

    # The window makes the means of higher tones vanish. Those of a tone with one cycle in a stretch change their sign
    # from each stretch to the next, since these are half a cycle apart.
    window = np.hanning(2 * hop + 2)[1:-1]
    stretches = np.lib.stride_tricks.sliding_window_view(wav, 2 * hop, axis=1)[:, ::hop][:, :OFFSET_STRETCHES]
    means = stretches.astype(np.float64) @ (window / window.sum())  # [C, stretches]

    offset = np.median(means, axis=1)
    deviation = np.abs(means - offset[:, None]).mean(axis=1)
    return np.where(np.abs(offset) > np.maximum(LEAST_OFFSET, OFFSET_DEVIATIONS * deviation), offset, 0.0)
