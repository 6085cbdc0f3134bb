"""Where a recording's sound lies among its channels, and one new signal placed in the same way.

Each channel has its share of the mid signal. What is left of a recording is its side signal: it is wider than a mid
signal alone, and in a stereo recording of a room up to half of the power. A new signal has no side signal of its own,
so one is made from it by a filter: in each band as loud as in the recording, and as much like the mid signal as there.
This is parametric stereo (Breebaart, van de Par, Kohlrausch and Schuijers 2005, "Parametric coding of stereo audio",
sections 3 and 6) with one set of parameters for the recording. What is not like the mid signal is a quarter of a cycle
away from it, ahead in every other band: with any other phase, a steady tone would be louder in one channel.

Knows nothing about files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audiolm_cli.audio.signals import balance, mid

FILTER_S = 0.04
"""Length of the filter, rounded to a power of two in samples."""
BAND_OCTAVES = 1 / 3
"""Width of the bands."""
MOST_SIDE = 4.0
"""How many times as loud as the mid signal a band of the side signal is at most."""
STRETCHES = 256
"""Stretches of a recording that are looked at together."""
LEAST_SIDE = 1e-4
"""A side signal with less than this share of the power, -40 dB, is none."""


@dataclass(frozen=True, kw_only=True)
class StereoImage:
    """How the channels of a recording are made from one signal."""

    gains: np.ndarray
    """float32 [C]: each channel's share of the mid signal."""
    direction: np.ndarray
    """float64 [C]: each channel's share of the side signal, at right angles to what `mid` takes: that stays."""
    kernel: np.ndarray
    """float64 [before + 1 + after]: the filter that makes the side signal from the mid signal; empty where there is
    none."""
    ahead: int
    """How many samples of the filter come before the one that they are for: it needs as many of what follows."""

    @property
    def behind(self) -> int:
        """How many samples of what came before the filter needs."""
        return max(0, len(self.kernel) - 1 - self.ahead)

    def place(self, mono: np.ndarray) -> np.ndarray:
        """Channels float64 [C, n] of a signal [behind + n + ahead]."""
        middle = mono[self.behind : len(mono) - self.ahead]
        out = np.outer(self.gains, middle).astype(np.float64)
        if len(self.kernel) and len(middle):
            out += np.outer(self.direction, _filter(mono, self.kernel))
        return out


def measure_image(wav: np.ndarray, rate_hz: int) -> StereoImage:
    """The image of a recording [C, N].

    One channel, silence, and what is shorter than the filter have no side signal.
    """
    middle = mid(wav).astype(np.float64)
    gains = balance(wav, middle)
    image = StereoImage(gains=gains, direction=np.zeros(len(wav)), kernel=np.zeros(0), ahead=0)
    size = 1 << round(np.log2(FILTER_S * rate_hz))

    rest = wav - np.outer(gains, middle)  # [C, N]
    if wav.shape[1] < size or np.square(rest).sum() <= LEAST_SIDE * np.square(wav, dtype=np.float64).sum():
        return image

    # Of two channels, both have all of the rest, with opposite signs; of more, this is most of it.
    direction = np.linalg.eigh(rest @ rest.T)[1][:, -1]
    direction *= np.sign(direction[np.abs(direction) > 0.1][0])  # which of both signs comes out is left open
    side = direction @ rest
    kernel = _fit_filter(middle, side, size)
    return StereoImage(gains=gains, direction=direction, kernel=kernel, ahead=size // 2 - 1)


def _fit_filter(middle: np.ndarray, side: np.ndarray, size: int) -> np.ndarray:
    """The filter [size] that gives the mid signal [N] the spectrum of the side signal [N], as like it as that is."""
    power, side_power, like = (_smooth(values) for values in _measure_powers(middle, side, size))
    power += 1e-6 * power.max()

    # In each band, the part that follows the mid signal, and the power of the rest.
    following = np.clip(like / power, -MOST_SIDE, MOST_SIDE)
    apart = np.sqrt(np.clip(side_power / power - following**2, 0, MOST_SIDE**2))
    bands = np.floor(np.log2(np.maximum(np.arange(len(apart)), 1)) / BAND_OCTAVES).astype(int)
    quarters = np.where(bands % 2, 1j, -1j)
    kernel = np.roll(np.fft.irfft(following + apart * quarters), size // 2)

    # Cutting it off must not be heard, nor change how loud the side signal is.
    ramp = size // 16
    fade = 0.5 - 0.5 * np.cos(np.pi * (np.arange(ramp) + 0.5) / ramp)
    kernel[:ramp] *= fade
    kernel[size - ramp :] *= fade[::-1]
    made = _filter(middle, kernel)
    return kernel * np.sqrt(np.square(side).mean() / max(np.square(made).mean(), 1e-30))


def _measure_powers(middle: np.ndarray, side: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Power [bins] of the mid signal [N], of the side signal [N], and of what they share, over stretches of `size`."""
    window, bins = np.hanning(size + 1)[:size], size // 2 + 1
    power, side_power, like = np.zeros(bins), np.zeros(bins), np.zeros(bins)
    views = [np.lib.stride_tricks.sliding_window_view(signal, size)[:: size // 2] for signal in (middle, side)]

    for first in range(0, len(views[0]), STRETCHES):
        M, S = (np.fft.rfft(view[first : first + STRETCHES] * window) for view in views)  # [stretches, bins]
        power += np.square(np.abs(M)).sum(axis=0)
        side_power += np.square(np.abs(S)).sum(axis=0)
        like += (S * M.conj()).real.sum(axis=0)
    return power, side_power, like


def _smooth(values: np.ndarray) -> np.ndarray:
    """The mean of values [bins] over the band around each bin."""
    bins, half = np.arange(len(values)), 2 ** (BAND_OCTAVES / 2)
    first, last = np.floor(bins / half).astype(int), np.minimum(np.ceil(bins * half).astype(int), len(values) - 1)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return (sums[last + 1] - sums[first]) / (last + 1 - first)


def _filter(signal: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """What `kernel` [k] makes of a signal [N], where it has all that it needs: float64 [N - k + 1]."""
    size = 1 << (len(signal) + len(kernel) - 2).bit_length()
    spectrum = np.fft.rfft(signal.astype(np.float64), size) * np.fft.rfft(kernel, size)  # else in single precision
    return np.fft.irfft(spectrum, size)[len(kernel) - 1 : len(signal)]
