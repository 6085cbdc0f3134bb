"""The mel scale. Knows nothing about spectrograms or files."""

from __future__ import annotations

import numpy as np


def mel_filters(
    window_samples: int, bands: int, sample_rate_hz: int, *, low_hz: float = 0.0, unit_area: bool = False
) -> np.ndarray:
    """Triangular filters that sum the magnitudes of an STFT into mel bands.

    The mel scale is 2595 log10(1 + f / 700), as in the HTK book (Young et al. 2006, section 5.4). A band narrower than
    the distance between two bins may hold no bin at all; its filter is then 0.

    Args:
        window_samples: window length of the STFT; it has `window_samples // 2 + 1` bins.
        bands: how many filters, evenly spaced on the mel scale up to half the sample rate.
        sample_rate_hz: rate of the audio.
        low_hz: where the first filter begins.
        unit_area: scale each triangle to an area of 1 Hz instead of a height of 1 (as in Slaney's Auditory Toolbox).

    Returns:
        float32 [bins, bands].

    >>> mel_filters(2048, 80, 32000).shape
    (1025, 80)
    """
    bins_hz = np.linspace(0, sample_rate_hz / 2, window_samples // 2 + 1)
    low_mel, high_mel = (2595 * np.log10(1 + f / 700) for f in (low_hz, sample_rate_hz / 2))

    # Each triangle rises from the centre of the band before to its own, and falls to the centre of the band after.
    corners_hz = 700 * (10 ** (np.linspace(low_mel, high_mel, bands + 2) / 2595) - 1)  # [bands + 2]
    start, centre, end = corners_hz[:-2], corners_hz[1:-1], corners_hz[2:]
    rising = (bins_hz[:, None] - start) / (centre - start)  # [bins, bands]
    falling = (end - bins_hz[:, None]) / (end - centre)
    filters = np.minimum(rising, falling).clip(min=0)

    if unit_area:
        filters *= 2 / (end - start)
    return filters.astype(np.float32)
