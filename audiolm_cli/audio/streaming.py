"""Files to blocks of floating point, in constant memory, with the checks of a file at its end instead of before.

Knows nothing about what the samples are for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from audiolm_cli.audio.decoding import open_samples
from audiolm_cli.audio.recording import as_float
from audiolm_cli.errors import AudioInputError


@dataclass(frozen=True, kw_only=True)
class AudioStream:
    """A recording that is being read from its start to its end."""

    sample_rate_hz: int
    """Sample rate in Hz."""
    channels: int
    """Number of channels."""
    blocks: Iterator[np.ndarray]
    """float32 [C, n] of any sizes n. At the end it raises an AudioInputError if the file is truncated or damaged."""


@contextlib.contextmanager
def open_stream(path: Path, *, through_ffmpeg: bool = False) -> Iterator[AudioStream]:
    """A file as a stream of blocks; what libsndfile does not read goes through `ffmpeg` or its libraries.

    Args:
        path: the file.
        through_ffmpeg: let ffmpeg read it although libsndfile could.

    Raises:
        AudioInputError: the file is missing, unreadable, empty, not audio, has too many channels or too odd a rate.
        CutShortError: from the blocks, at their end: open it again through ffmpeg.
    """
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(open_samples(path, str(path), through_ffmpeg=through_ffmpeg))
        except OSError as error:
            raise AudioInputError(f"{path}: cannot be read ({error.strerror or error})") from error

        # Outside the `try`: what fails while the caller works on the blocks is not the file's fault.
        blocks = (np.ascontiguousarray(as_float(block, np.float32).T) for block in stream.blocks)
        yield AudioStream(sample_rate_hz=stream.sample_rate_hz, channels=stream.channels, blocks=blocks)


def resample_blocks(blocks: Iterator[np.ndarray], from_hz: float, to_hz: int) -> Iterator[np.ndarray]:
    """The same sound at another sample rate, block by block. The samples are those that `resample` gives at once.

    Args:
        blocks: float32 [C, n], C the same throughout.
        from_hz: their rate, in Hz; need not be a whole number.
        to_hz: the rate wanted, in Hz.

    Yields:
        float32 [C, m].
    """
    if from_hz == to_hz:
        yield from blocks
        return

    stream: soxr.ResampleStream | None = None
    channels = 1
    for block in blocks:
        channels = len(block)
        stream = stream or soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32", quality="VHQ")
        yield stream.resample_chunk(np.ascontiguousarray(block.T)).T

    if stream is not None:
        yield stream.resample_chunk(np.zeros((0, channels), np.float32), last=True).T
