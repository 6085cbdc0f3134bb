"""What a codec in training hears instead of a clip, so that it learns what to leave out: noise, a delay, MP3.

Knows nothing about networks or losses.
"""

from __future__ import annotations

import numpy as np

from audiolm_cli.audio.wear import MP3_LEVELS, add_noise, pass_through_mp3

NOISY_SHARE, MP3_SHARE, DELAYED_SHARE = 0.85, 0.1, 0.5
"""Shares of the clips that are disturbed in each way."""
SNR_DB = (25.0, 70.0)
"""Range of the signal-to-noise ratio in dB; the noise floor of a home recording lies 40 to 60 dB down."""
SLOPES = (0.0, 1.5)
"""Range of the noise's spectral slope: 0 is white, 1 is pink, more is rumble."""


def disturb(wav: np.ndarray, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """A copy of clips float32 [B, N], most of them with noise, some through MP3."""
    disturbed = wav.copy()
    for clip in disturbed:
        if rng.random() < NOISY_SHARE:
            clip[:] = add_noise(clip, sample_rate_hz, rng, rng.uniform(*SNR_DB), rng.uniform(*SLOPES))
        if rng.random() < MP3_SHARE:
            clip[:] = pass_through_mp3(clip, sample_rate_hz, int(rng.choice(list(MP3_LEVELS))))
    return disturbed


def draw_delays(clips: int, longest: int, rng: np.random.Generator) -> np.ndarray:
    """Samples int64 [B] by which each clip is delayed: 0 to `longest`."""
    return rng.integers(0, longest + 1, clips) * (rng.random(clips) < DELAYED_SHARE)
