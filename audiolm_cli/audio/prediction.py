"""Sound carried on from its own samples by linear prediction. Knows nothing about files or models."""

from __future__ import annotations

import numpy as np

LONGEST_ORDER = 800
ORDER_S = 0.025
"""Prediction order in seconds of samples, as far as `LONGEST_ORDER` allows: enough for the partials of a chord."""
SAMPLES_PER_COEFFICIENT = 5
EDGE = 8
"""The last samples of a cut or resampled recording may not belong to its sound: so many are looked at."""
OUTLIER = 6.0
"""How many times larger than usual, in deviations, the prediction error of a sample is that does not belong."""


def extrapolate(wav: np.ndarray, count: int, sample_rate_hz: int) -> np.ndarray:
    """The `count` samples float64 [C, count] that linear prediction expects after wav [C, N]: its partials run on.

    Each channel is predicted by itself. The result never stays louder than its start for long, since Burg's predictors
    are stable. Silence, and a handful of samples, go on as zeros. The method is that of Kauppinen and Roth, "Audio
    signal extrapolation" (2002), for gaps in recordings.
    """
    C, N = wav.shape
    order = min(LONGEST_ORDER, round(ORDER_S * sample_rate_hz), N // 3)

    # Predictors are fitted to the last samples of each channel, at full scale.
    scale = np.abs(wav).max(axis=1, keepdims=True, initial=0.0).astype(np.float64) if N else np.zeros((C, 1))
    recent = wav[:, max(0, N - SAMPLES_PER_COEFFICIENT * order) :] / np.where(scale > 0, scale, 1.0)
    long = recent.shape[1] - EDGE >= 2 * order
    weights = -burg(recent[:, :-EDGE] if long else recent, order)[:, :0:-1]  # [C, order], for the oldest sample first

    # A predictor would answer a faulty sample with a burst.
    if long and order:
        recent = _mend_edge(recent, weights)

    # Every sample is the weighted sum of the `order` samples before it.
    ahead = np.concatenate([recent[:, recent.shape[1] - order :], np.zeros((C, count))], axis=1)
    for n in range(count if order else 0):
        ahead[:, order + n] = np.einsum("co,co->c", weights, ahead[:, n : n + order])

    return ahead[:, order:] * scale


def _mend_edge(wav: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """wav [C, N] with those of its last samples predicted that are far from what predictors [C, order] expect."""
    N, order = wav.shape[1], weights.shape[1]
    mended = wav.astype(np.float64)
    for own, weight in zip(mended, weights, strict=True):
        errors = own[order:] - np.convolve(own[:-1], weight[::-1], mode="valid")  # [N - order]
        usual = np.median(np.abs(errors[:-EDGE])) / 0.6745  # a deviation that outliers do not change
        for n in range(N - EDGE, N):
            expected = weight @ own[n - order : n]
            if abs(own[n] - expected) > OUTLIER * usual:
                own[n] = expected
    return mended


def burg(wav: np.ndarray, order: int) -> np.ndarray:
    """Prediction error filters float64 [C, order + 1] of wav [C, N] by Burg's method (1975); the first value is 1.

    Example:
        >>> time = np.arange(100)
        >>> burg(np.cos(0.3 * time)[None], 2).round(2)  # 1, -2 cos(0.3), 1
        array([[ 1.  , -1.91,  1.  ]])
    """
    forward, backward = wav[:, 1:].astype(np.float64), wav[:, :-1].astype(np.float64)
    filters = np.zeros((len(wav), order + 1))
    filters[:, 0] = 1

    for m in range(1, order + 1):
        # The reflection coefficient that leaves the least energy in both prediction errors.
        energy = np.sum(forward**2 + backward**2, axis=1)
        cross = np.sum(forward * backward, axis=1)
        reflection = np.where(energy > 1e-18, -2 * cross / np.maximum(energy, 1e-18), 0.0)[:, None]

        filters[:, : m + 1] = filters[:, : m + 1] + reflection * filters[:, m::-1]
        forward, backward = (forward + reflection * backward)[:, 1:], (backward + reflection * forward)[:, :-1]

    return filters
