"""A first pass over a recording: how long and how loud it is, where it is silent. Knows nothing about codecs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiolm_cli.audio.signals import CANCELLED
from audiolm_cli.audio.sndfile import CutShortError
from audiolm_cli.audio.streaming import AudioStream, open_stream

GRID_S = 0.02
"""Peaks are kept of stretches of this length."""


@dataclass(frozen=True, kw_only=True)
class Downmix:
    """How the channels of a recording become those wanted."""

    channels: int
    """How many are wanted."""
    pick: int | None = None
    """The channel that stands for all; None where their mean does."""

    def __call__(self, wav: np.ndarray) -> np.ndarray:
        """[channels, n] of wav [C, n]: as it is, one channel repeated, or one for all."""
        if len(wav) == self.channels:
            return wav

        if self.pick is not None:
            one = wav[self.pick : self.pick + 1]
        else:
            one = np.mean(wav, axis=0, keepdims=True, dtype=np.float64).astype(wav.dtype)

        return np.repeat(one, self.channels, axis=0)


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What a first pass finds."""

    sample_rate_hz: int
    """The recording's own rate."""
    num_samples: int
    """Its length, as it turned out."""
    mix: Downmix
    """How it is brought to the channels wanted."""
    through_ffmpeg: bool
    """Whether ffmpeg has to read it."""
    peaks: np.ndarray
    """float32 [G]: the peak of each stretch of `grid_samples`, of all mixed channels; the last may be shorter."""
    grid_samples: int
    """Samples per peak."""

    @property
    def peak(self) -> float:
        """The loudest sample."""
        return float(self.peaks.max(initial=0.0))


def scan(path: Path, channels: int) -> Scan:
    """Read a recording once from start to end.

    Args:
        path: the file.
        channels: how many channels are wanted.

    Raises:
        AudioInputError: it is missing, unreadable, truncated, damaged, or no audio.
    """
    mix = Downmix(channels=channels)
    through_ffmpeg = False
    try:
        found = _scan_mixed(path, mix, through_ffmpeg)
    except CutShortError:
        through_ffmpeg = True
        found = _scan_mixed(path, mix, through_ffmpeg)

    # Where the channels cancel in their mean, the loudest one stands for all, which takes another pass.
    if not isinstance(found, Scan):
        found = _scan_mixed(path, Downmix(channels=channels, pick=found), through_ffmpeg)
        assert isinstance(found, Scan)
    return found


def find_sounding(scan: Scan, threshold: float, shortest_s: float, margin_s: float) -> list[tuple[int, int]]:
    """The stretches (start, stop) of samples that remain of a recording without its silences.

    Args:
        scan: the first pass over it.
        threshold: what stays below this is silent.
        shortest_s: silences that are shorter, in seconds, remain.
        margin_s: of a silence, this much remains after what sounded and before what will sound.
    """
    loud = np.flatnonzero(scan.peaks >= threshold)
    if not len(loud):
        return []

    rate = scan.sample_rate_hz
    shortest, margin = round(shortest_s * rate), round(margin_s * rate)

    # Loud stretches with less than `shortest` between them belong together.
    starts, stops = loud * scan.grid_samples, (loud + 1) * scan.grid_samples
    gaps = np.flatnonzero(starts[1:] - stops[:-1] >= shortest)
    begins = [int(starts[0]), *(int(starts[gap + 1]) for gap in gaps)]
    ends = [*(int(stops[gap]) for gap in gaps), min(int(stops[-1]), scan.num_samples)]

    begins = [max(0, begin - margin) for begin in begins]
    ends = [end + margin for end in ends]

    # A short silence at an end of the recording remains whole.
    if begins[0] + margin < shortest:
        begins[0] = 0
    if scan.num_samples - (ends[-1] - margin) < shortest:
        ends[-1] = scan.num_samples

    return list(zip(begins, ends, strict=True))


def _scan_mixed(path: Path, mix: Downmix, through_ffmpeg: bool) -> Scan | int:
    """The scan, or the channel to pick instead of a mean in which the channels cancel."""
    with open_stream(path, through_ffmpeg=through_ffmpeg) as stream:
        grid = max(1, round(GRID_S * stream.sample_rate_hz))
        energy, mean_energy, count = np.zeros(stream.channels), 0.0, 0
        peaks: list[np.ndarray] = []

        mixed = stream.channels not in (1, mix.channels) and mix.pick is None
        for wav, mono in _cut_to_grid(stream, mix, grid):
            if mixed:
                energy += np.sum(np.square(wav, dtype=np.float64), axis=1)
                mean_energy += float(np.sum(np.square(mono[0], dtype=np.float64)))

            count += wav.shape[1]
            loudest = np.abs(mono).max(axis=0)
            peaks.append(np.maximum.reduceat(loudest, np.arange(0, len(loudest), grid)))  # one per grid cell

        if mixed and mean_energy < CANCELLED**2 * np.mean(energy):
            return int(np.argmax(energy))

        return Scan(
            sample_rate_hz=stream.sample_rate_hz,
            num_samples=count,
            mix=mix,
            through_ffmpeg=through_ffmpeg,
            peaks=np.concatenate(peaks).astype(np.float32),
            grid_samples=grid,
        )


def _cut_to_grid(stream: AudioStream, mix: Downmix, grid: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks [C, n] and what becomes of them [channels, n], with n a multiple of `grid` in all but the last."""
    held = np.zeros((stream.channels, 0), np.float32)
    for block in stream.blocks:
        held = np.concatenate((held, block), axis=1)
        whole = held.shape[1] // grid * grid
        if whole:
            yield held[:, :whole], mix(held[:, :whole])
            held = held[:, whole:].copy()  # a view would keep the whole block

    if held.shape[1]:
        yield held, mix(held)
