"""How loud a recording is: its highest sample, its highest point between samples, and its mean.

Knows nothing about files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from audiolm_cli.audio.recording import Recording
from audiolm_cli.audio.streaming import resample_blocks

OVERSAMPLED_HZ = 176_400
"""The true peak is looked for at four times the rate, up to this rate at least, as ITU-R BS.1770 has it."""
BLOCK_SAMPLES = 1 << 18
"""Looked at together."""


@dataclass(frozen=True, kw_only=True)
class Loudness:
    """Levels in decibels, of which 0 is full scale; None is silence."""

    peak_db: float | None
    """The highest sample of all channels."""
    true_peak_db: float | None
    """The highest point of the waveform, between samples too."""
    rms_db: float | None
    """The root of the mean of the squares, over all channels."""


def measure_loudness(recording: Recording) -> Loudness:
    """The levels of a recording."""
    rate_hz, peak, energy = recording.sample_rate_hz, 0.0, 0.0
    for block in _iter_blocks(recording):
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
        energy += float(np.square(block, dtype=np.float64).sum())

    factor = next((times for times in (1, 2) if rate_hz * times >= OVERSAMPLED_HZ), 4)
    finer = resample_blocks(_iter_blocks(recording), rate_hz, factor * rate_hz)
    true_peak = max((float(np.abs(block).max(initial=0.0)) for block in finer), default=0.0)
    return Loudness(
        peak_db=_decibels(peak),
        true_peak_db=_decibels(max(peak, true_peak)),
        rms_db=_decibels(float(np.sqrt(energy / max(1, recording.samples.size)))),
    )


def _iter_blocks(recording: Recording) -> Iterator[np.ndarray]:
    """The recording as float32 [C, n]."""
    for start in range(0, recording.num_samples, BLOCK_SAMPLES):
        yield recording.wav(start, start + BLOCK_SAMPLES)


def _decibels(level: float) -> float | None:
    return round(float(20 * np.log10(level)), 2) if level > 0 else None
