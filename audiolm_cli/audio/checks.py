"""What is refused in a recording, whatever decodes it: odd rates and channels, no numbers, fewer samples than promised.

Knows nothing about decoders.
"""

from __future__ import annotations

import numpy as np

from audiolm_cli.audio.recording import CHANNELS, RATES_HZ
from audiolm_cli.errors import AudioInputError

SLOPPY_BYTES = 64
"""A data chunk may promise this much more than the file holds: some programs count wrong."""


def check_kind(channels: int, rate_hz: int, label: str) -> None:
    """Refuse what no recording has.

    Raises:
        AudioInputError: too many channels, or too odd a rate.
    """
    if not CHANNELS[0] <= channels <= CHANNELS[1]:
        raise AudioInputError(f"{label}: has {channels} channels; expected {CHANNELS[0]} to {CHANNELS[1]}")
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        limits = f"{RATES_HZ[0]} to {RATES_HZ[1]} Hz"
        raise AudioInputError(f"{label}: has a sample rate of {rate_hz} Hz; expected {limits}")


def check_finite(samples: np.ndarray, offset: int, rate_hz: int, label: str) -> None:
    """Refuse NaN, infinity, and what is infinite as float32, in samples [N, C] that start at sample `offset`.

    Raises:
        AudioInputError: there are such.
    """
    if samples.dtype == np.int32:
        return

    # In pieces, since the comparison makes copies.
    limit = np.finfo(np.float32).max
    for start in range(0, len(samples), 1 << 20):
        wrong = ~(np.abs(samples[start : start + (1 << 20)]) <= limit)  # NaN compares false
        if wrong.any():
            first, channel = np.argwhere(wrong)[0]
            where = f"at {(offset + start + first) / rate_hz:.3f} s in channel {channel + 1}"
            value = samples[start + first, channel]
            raise AudioInputError(f"{label}: the sample {where} is {value}; expected numbers; export the file again")


def lacks_data(sizes: tuple[int, int] | None) -> bool:
    """Whether a data chunk promises more than there is; `sizes` is what `read_data_size` says."""
    return sizes is not None and sizes[0] > sizes[1] + SLOPPY_BYTES


def check_promise(label: str, count: int, promised: float, rate_hz: int) -> None:
    """Refuse what holds fewer samples than promised.

    Raises:
        AudioInputError: it does.
    """
    if promised > count:
        there = f"holds {count / rate_hz:.2f} s of the {promised / rate_hz:.2f} s its header promises"
        raise AudioInputError(f"{label}: is truncated or damaged: {there}; get a complete copy")


def check_not_empty(label: str, count: int) -> None:
    """Refuse what holds no samples.

    Raises:
        AudioInputError: it holds none.
    """
    if not count:
        raise AudioInputError(f"{label}: holds no audio: 0 samples, or not even one complete block of them")
