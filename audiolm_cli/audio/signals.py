"""Arithmetic on waveforms: sample rates and channels. Knows nothing about files."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import soxr

CANCELLED = 10 ** (-40 / 20)
"""A mid signal this much weaker than its channels does not stand for them."""


def resample(wav: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """The same sound at another sample rate, without delay: sample 0 stays at time 0.

    Args:
        wav: float32 or float64 [C, N].
        from_hz: its rate, in Hz.
        to_hz: the rate wanted, in Hz.

    Returns:
        [C, M] of the same dtype with M = round(N * to_hz / from_hz); `wav` itself when the rates are equal.

    >>> resample(np.zeros((2, 441), np.float32), 44100, 32000).shape
    (2, 320)
    """
    if from_hz == to_hz:
        return wav

    C, N = wav.shape
    M = round(Fraction(N * to_hz, from_hz))
    out = np.zeros((C, M), wav.dtype)
    if N and M:
        # A copy always: of a single sample, an old numpy keeps the strides of [C, N], and soxr reads other channels.
        interleaved = np.array(wav.T, order="C")  # [N, C]
        made = soxr.resample(interleaved, from_hz, to_hz, quality="VHQ").T  # [C, M give or take one]
        out[:, : made.shape[1]] = made[:, :M]

    return out


def mid(wav: np.ndarray) -> np.ndarray:
    """One channel [N] that stands for all of wav [C, N]: their mean, or the loudest where the mean cancels out."""
    if len(wav) == 1:
        return wav[0]

    energy = np.sum(np.square(wav, dtype=np.float64), axis=1)  # [C]
    mean = np.asarray(np.mean(wav, axis=0, dtype=np.float64))  # [N]
    if np.sum(np.square(mean)) < CANCELLED**2 * np.mean(energy):
        return wav[np.argmax(energy)]

    return mean.astype(wav.dtype)


def balance(wav: np.ndarray, mid: np.ndarray) -> np.ndarray:
    """Gains float32 [C] that place a mono signal like wav [C, N]: each channel's least-squares projection on `mid` [N].

    All 1 for one channel and for silence.
    """
    mono = mid.astype(np.float64)
    power = float(mono @ mono)
    if len(wav) == 1 or power == 0:
        return np.ones(len(wav), np.float32)

    return ((wav.astype(np.float64) @ mono) / power).astype(np.float32)
