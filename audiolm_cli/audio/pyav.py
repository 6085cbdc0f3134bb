"""What ffmpeg's libraries read, through PyAV, where there is no `ffmpeg` program: as exact as through that one.

Knows nothing about libsndfile, nor about why ffmpeg is asked.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np

from audiolm_cli.audio.checks import check_finite, check_kind
from audiolm_cli.audio.foreign import (
    CHECKED,
    ESTIMATING,
    PROTOCOLS,
    Probe,
    Source,
    changed_kind,
    check_length,
    leave_out_padding,
    pick_tags,
    settle_subtype,
    stated_duration,
    stated_samples,
)
from audiolm_cli.audio.layout import DEFAULTS, Layout
from audiolm_cli.audio.recording import SampleStream
from audiolm_cli.audio.sndfile import BLOCK_SAMPLES
from audiolm_cli.audio.tempo import tag_tempo

SPEAKERS = (
    *("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC"),
    *("SL", "SR", "TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR"),
)
"""ffmpeg's names of loudspeakers, in the order of the bits of a mask."""
Said = list[tuple[int, str, str]]
"""What the libraries have said: how bad it is, who says it, and the words."""
FEWEST_BITS = {"u8": 8, "s16": 16, "s32": 24}
"""The bits of each kind of integers that a recording has at least; more are found in its samples."""
BELOW_SIGN = {"u8": 7, "s16": 15, "s32": 31}
"""Of each kind of integers, how many bits are below the sign."""


def has_pyav() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


@contextlib.contextmanager
def open_pyav(source: Source, format: str) -> Iterator[SampleStream]:
    """What ffmpeg's libraries make of the first audio stream of a file.

    Args:
        source: the file.
        format: its container, for `Recording.format`.

    Raises:
        AudioInputError: they cannot read it, or it has too many channels or too odd a rate; the blocks raise it when
            the file turns out to be truncated, or holds values that are not numbers.
    """
    import av

    with _listening() as said:
        try:
            container = av.open(source.url, options={"protocol_whitelist": PROTOCOLS})
        except (av.error.FFmpegError, ValueError) as error:
            _note(said, error)
            raise source.failure(_last_words(said)) from error

        with container:
            if not container.streams.audio:
                raise source.failure(b"")
            track = container.streams.audio[0]
            is_estimate = any(ESTIMATING in words for _, _, words in said)
            said.clear()
            av.logging.set_level(av.logging.ERROR)
            if track.codec_context.name in CHECKED:
                track.codec_context.options = {"err_detect": "crccheck+explode"}

            frames = _iter_frames(container, track, said)
            first = next(frames, None)
            if first is None:
                raise source.failure(_last_words(said) or b"it holds no samples")

            found = _describe(container, track, first, is_estimate=is_estimate)
            channels = len(first.layout.channels)
            check_kind(channels, first.sample_rate, source.label)
            stream = SampleStream(
                sample_rate_hz=first.sample_rate,
                channels=channels,
                format=format,
                subtype=found.subtype,
                tags=found.tags,
                tempo=tag_tempo(found.tags),
                layout=_read_layout(first),
                blocks=iter(()),
            )
            blocks = _read_blocks(stream, source, found, _chain(first, frames), said)
            stream.blocks = leave_out_padding(blocks, found.num_samples)
            yield stream


def _describe(container: Any, track: Any, first: Any, *, is_estimate: bool) -> Probe:
    """What is known of the file, now that its first frame is decoded."""
    tags = {key.lower(): text for each in (track, container) for key, text in each.metadata.items()}
    alone = len(container.streams) == 1
    own = None if track.duration is None else float(track.duration * track.time_base)
    whole = None if container.duration is None or not alone else container.duration / 1_000_000

    sample_format = first.format.name.removesuffix("p")
    return Probe(
        codec=track.codec_context.name.removesuffix("float"),
        sample_format=sample_format,
        bits=FEWEST_BITS.get(sample_format, 0),
        duration_s=0.0 if is_estimate else stated_duration(container.format.name, [own, tags.get("duration"), whole]),
        tags=pick_tags(tags),
        num_samples=stated_samples(tags),
    )


def _iter_frames(container: Any, track: Any, said: Said) -> Iterator[Any]:
    """The frames that can be decoded; what is damaged between them is left out, and said."""
    import av

    packets = container.demux(track)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:  # the file ends in the middle of something
            _note(said, error)
            return
        if packet is None:
            return

        try:
            yield from packet.decode()
        except av.error.EOFError:
            continue
        except av.error.FFmpegError as error:
            _note(said, error)


def _read_blocks(
    stream: SampleStream, source: Source, found: Probe, frames: Iterator[Any], said: Said
) -> Iterator[np.ndarray]:
    """Blocks [n, C] up to the end, which may leave `stream` with a finer subtype.

    Raises:
        AudioInputError: the stream changes, a sample is no number, or there are fewer than promised.
    """
    count = used = 0
    for block in _iter_blocks(stream, source, frames):
        check_finite(block, count, stream.sample_rate_hz, source.label)
        if block.dtype == np.int32:
            used |= int(np.bitwise_or.reduce(block, axis=None))
        count += len(block)
        yield block

    if not count and said:
        raise source.failure(_last_words(said))
    check_length(source, found, stream, count, complained=bool(said))
    settle_subtype(stream, used)


def _iter_blocks(stream: SampleStream, source: Source, frames: Iterator[Any]) -> Iterator[np.ndarray]:
    """The samples of frames, in blocks [n, C] of at least `BLOCK_SAMPLES` but for the last.

    Raises:
        AudioInputError: the stream changes.
    """
    held: list[np.ndarray] = []
    held_samples = 0
    for frame in frames:
        if (frame.sample_rate, len(frame.layout.channels)) != (stream.sample_rate_hz, stream.channels):
            raise changed_kind(source)
        held.append(_to_native(frame, stream))
        held_samples += len(held[-1])
        if held_samples >= BLOCK_SAMPLES:
            yield np.concatenate(held)
            held, held_samples = [], 0

    if held:
        yield np.concatenate(held)


def _to_native(frame: Any, stream: SampleStream) -> np.ndarray:
    """A frame as samples [n, C] of the kind in `Recording.samples`."""
    name = frame.format.name.removesuffix("p")
    if name == "s64":  # which PyAV makes no array of
        count = frame.samples if frame.format.is_planar else frame.samples * stream.channels
        samples = np.stack([np.frombuffer(plane, np.int64, count) for plane in frame.planes])
    else:
        samples = frame.to_ndarray()
    if frame.format.is_planar:
        samples = samples.T
    samples = np.ascontiguousarray(samples.reshape(-1, stream.channels))

    if name == "s64":
        return samples * 2.0**-63
    if name in BELOW_SIGN:
        return (samples.astype(np.int32) - (128 if name == "u8" else 0)) << (31 - BELOW_SIGN[name])
    return samples.astype(stream.dtype, copy=False)


def _read_layout(frame: Any) -> Layout | None:
    """The loudspeakers of the channels; None where they are those of mono or stereo."""
    names = [channel.name for channel in frame.layout.channels]
    known = all(name in SPEAKERS for name in names)
    mask = sum(1 << SPEAKERS.index(name) for name in names) if known else 0
    if len(names) <= 2 and mask in (0, DEFAULTS[len(names)]):
        return None
    return Layout(mask=mask)


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


@contextlib.contextmanager
def _listening() -> Iterator[Said]:
    """What the libraries say inside: the level, who says it, and the words. Their level is set as it was afterwards."""
    import av

    before = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as said:
            yield said
    finally:
        av.logging.set_level(before)


def _note(said: Said, error: Exception) -> None:
    """Note what went wrong beside what the libraries have said of it."""
    said.append((0, "", str(getattr(error, "strerror", None) or error)))


def _last_words(said: Said) -> bytes:
    """The last line of what was said."""
    lines = [line for _, _, words in said for line in words.strip().splitlines()]
    return lines[-1].encode() if lines else b""
