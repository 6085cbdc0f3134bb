"""A recording in memory, with the exact samples of its file, and the way back from floating point to such samples.

Knows nothing about how files are opened or written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from audiolm_cli.audio.layout import Layout
from audiolm_cli.audio.markers import Marker
from audiolm_cli.audio.metadata import Metadata
from audiolm_cli.audio.tempo import Tempo

BITS = {
    "PCM_S8": 8,
    "PCM_U8": 8,
    "PCM_16": 16,
    "PCM_24": 24,
    "PCM_32": 32,
    "ULAW": 16,
    "ALAW": 16,
    "ALAC_16": 16,
    "ALAC_20": 20,
    "ALAC_24": 24,
    "ALAC_32": 32,
    "DWVW_12": 12,
    "DWVW_16": 16,
    "DWVW_24": 24,
}
"""Bit depth of the subtypes that hold integers; companded ones expand to 16 bits."""
FLOATS: dict[str, type[np.floating]] = {"FLOAT": np.float32, "DOUBLE": np.float64}
"""The subtypes that hold floating point."""
CHANNELS = (1, 64)
"""Fewest and most channels of a recording."""
RATES_HZ = (1_000, 768_000)
"""Lowest and highest sample rate of a recording."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Audio with the exact samples of its file."""

    samples: np.ndarray
    """[N, C]: int32 filled from the top bit for integer subtypes, float64 for DOUBLE, float32 for all others."""
    sample_rate_hz: int
    """Sample rate in Hz."""
    format: str
    """Container, in libsndfile's names ("WAV", "FLAC", ...); what ffmpeg decoded has its extension ("M4A")."""
    subtype: str
    """Encoding of the samples, in libsndfile's names ("PCM_24", "FLOAT", ...); "UNKNOWN" for codecs that it does not
    know and that lose something."""
    lossless: bool
    """Whether the samples can be written back to the same format and subtype unchanged."""
    tags: dict[str, str]
    """Text stored in the file: title, artist, comment, ..."""
    name: str
    """The file's name without extension, or "stdin"."""
    layout: Layout | None = None
    """Which loudspeakers the channels are for; None where the file says nothing."""
    tempo: Tempo | None = None
    """The tempo that the file says its music has; None where it says nothing."""
    metadata: Metadata | None = None
    """What else the file holds; None where it is of a format that is not written."""
    markers: tuple[Marker, ...] = ()
    """The named places and stretches that the file holds, in order."""

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.samples.shape[1]

    @property
    def num_samples(self) -> int:
        """Length in samples per channel."""
        return self.samples.shape[0]

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate_hz

    def wav(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """float32 [C, n] of the samples `start` to `stop`; full scale is 1, which only float recordings can exceed."""
        return np.ascontiguousarray(as_float(self.samples[start:stop], np.float32).T)


@dataclass(kw_only=True)
class SampleStream:
    """A recording that is being read from its start to its end, with the exact samples of its file."""

    sample_rate_hz: int
    """As in `Recording`."""
    channels: int
    """Number of channels."""
    format: str
    """As in `Recording`."""
    subtype: str
    """As in `Recording`. Final after the last block: a file may turn out to hold more bits than it says."""
    tags: dict[str, str] = field(default_factory=dict)
    """As in `Recording`."""
    layout: Layout | None = None
    """As in `Recording`."""
    tempo: Tempo | None = None
    """As in `Recording`."""
    metadata: Metadata | None = None
    """As in `Recording`."""
    blocks: Iterator[np.ndarray]
    """[n, C] of any sizes n, of the type in `Recording.samples`. At the end an AudioInputError is raised if the file is
    truncated or damaged."""

    @property
    def lossless(self) -> bool:
        """As in `Recording`."""
        return self.subtype in BITS or self.subtype in FLOATS

    @property
    def dtype(self) -> type[np.int32 | np.floating]:
        """The type of the samples."""
        return np.int32 if self.subtype in BITS else FLOATS.get(self.subtype, np.float32)


def as_float(samples: np.ndarray, dtype: type[np.floating]) -> np.ndarray:
    """Native samples of any shape as floating point with full scale 1."""
    if samples.dtype == np.int32:
        scaled = samples.astype(dtype)
        scaled *= dtype(2.0**-31)  # in place: a copy of an hour of sound is large
        return scaled
    return samples.astype(dtype)


def quantize(wav: np.ndarray, bits: int) -> tuple[np.ndarray, int]:
    """Floating point of any shape to int32 filled from the top bit, without dither.

    Returns:
        The nearest values of `bits` bits, and how many samples were beyond full scale and are now at it.
    """
    clipped = int(np.count_nonzero(np.abs(wav) > 1))

    steps = np.rint(wav.astype(np.float64) * 2.0 ** (bits - 1))
    np.clip(steps, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1, out=steps)

    return (steps.astype(np.int64) << (32 - bits)).astype(np.int32), clipped


def to_native(wav: np.ndarray, recording: Recording) -> tuple[np.ndarray, int]:
    """Floating point as samples of the kind `recording` has, ready to be joined with its own.

    Args:
        wav: float32 or float64 [C, N], full scale 1, finite.
        recording: whose dtype and bit depth to take over.

    Returns:
        The samples [N, C], rounded to the bit depth without dither, and how many were clipped to full scale. FLOAT and
        DOUBLE hold values beyond full scale, so nothing is clipped there.
    """
    samples = wav.T
    if recording.subtype in BITS:
        return quantize(samples, BITS[recording.subtype])

    clipped = 0
    if recording.subtype not in FLOATS:  # decoded from a lossy format, and bound for one, or for integers
        clipped = int(np.count_nonzero(np.abs(samples) > 1))
        samples = np.clip(samples, -1, 1)

    return np.ascontiguousarray(samples, recording.samples.dtype), clipped
