"""Files to recordings in memory, whatever decodes them. Knows nothing about writing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from audiolm_cli.audio.decoding import open_samples
from audiolm_cli.audio.recording import Recording, SampleStream
from audiolm_cli.audio.sndfile import CutShortError
from audiolm_cli.errors import AudioInputError, MemoryLimitError


def read_audio(source: str | Path, *, max_duration_s: float | None = None) -> Recording:
    """The whole of an audio file, with its exact samples.

    Args:
        source: a file; "-" is standard input. What libsndfile does not read goes through `ffmpeg` or its libraries.
        max_duration_s: refuse what is longer than this, in seconds.

    Raises:
        AudioInputError: the file is missing, unreadable, empty, truncated, damaged, not audio, too long, has too many
            channels or too odd a rate, or holds values that are not numbers.
        MemoryLimitError: it does not fit into memory.
    """
    label = "standard input" if str(source) == "-" else str(source)
    try:
        try:
            return _read(source, label, max_duration_s, through_ffmpeg=False)
        except CutShortError:
            return _read(source, label, max_duration_s, through_ffmpeg=True)
    except OSError as error:
        raise AudioInputError(f"{label}: cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise MemoryLimitError(f"{label}: does not fit into memory; split it into shorter files") from error


def _read(source: str | Path, label: str, max_duration_s: float | None, *, through_ffmpeg: bool) -> Recording:
    """The recording that one decoder reads."""
    with open_samples(source, label, through_ffmpeg=through_ffmpeg) as stream:
        samples = _collect(stream, label, max_duration_s)
        return Recording(
            samples=samples,
            sample_rate_hz=stream.sample_rate_hz,
            format=stream.format,
            subtype=stream.subtype,
            lossless=stream.lossless,
            tags=stream.tags,
            name="stdin" if str(source) == "-" else Path(source).stem,
            layout=stream.layout,
            tempo=stream.tempo,
            metadata=stream.metadata,
            markers=() if stream.metadata is None else stream.metadata.markers,
        )


def _collect(stream: SampleStream, label: str, max_duration_s: float | None) -> np.ndarray:
    """All samples [N, C]; memory grows with what is there, not with what a header promises."""
    samples = np.empty((0, stream.channels), stream.dtype)
    limit = None if max_duration_s is None else round(max_duration_s * stream.sample_rate_hz)

    count = 0
    for block in stream.blocks:
        stop = count + len(block)
        if limit is not None and stop > limit:
            raise AudioInputError(
                f"{label}: is longer than {max_duration_s:g} s, the longest allowed; cut a part of it"
            )

        if not count:  # a short recording is its first block
            samples, count = block, stop
            continue

        if stop > len(samples):
            samples = samples if samples.flags.owndata else samples.copy()
            samples.resize((max(stop, len(samples) * 3 // 2), stream.channels), refcheck=False)
        samples[count:stop] = block
        count = stop

    if count < len(samples):
        samples.resize((count, stream.channels), refcheck=False)
    return samples
