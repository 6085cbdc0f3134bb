"""Any readable file as one stream of its exact samples: who decodes it, and how several recordings in it are joined.

Knows nothing about what the samples are for.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from audiolm_cli.audio.ffmpeg import has_ffmpeg, open_ffmpeg
from audiolm_cli.audio.foreign import Source
from audiolm_cli.audio.headers import find_data_chunks, lacks_bytes, sniff
from audiolm_cli.audio.links import find_links
from audiolm_cli.audio.metadata import read_metadata
from audiolm_cli.audio.opening import Section, cut_out, open_readable, read_head, unknown_format
from audiolm_cli.audio.pyav import has_pyav, open_pyav
from audiolm_cli.audio.recording import BITS, FLOATS, SampleStream
from audiolm_cli.audio.sndfile import CUT_SHORT, RefusedError, open_sndfile
from audiolm_cli.errors import AudioInputError


@contextlib.contextmanager
def open_samples(source: str | Path, label: str, *, through_ffmpeg: bool = False) -> Iterator[SampleStream]:
    """The samples of a file; what libsndfile does not read goes through the `ffmpeg` program, or through PyAV.

    Args:
        source: a file; "-" is standard input.
        label: its name, for messages.
        through_ffmpeg: let ffmpeg read it although libsndfile could.

    Raises:
        AudioInputError: the file is missing, unreadable, empty, not audio, has too many channels or too odd a rate.
        CutShortError: from the blocks, at their end: open it again through ffmpeg.
        OSError: the system cannot read it.
    """
    with open_readable(source, label) as stream:
        links = find_links(stream)
        if len(links) == 1:
            with _open_link(stream, source, label, through_ffmpeg) as samples:
                yield samples
            return

        with contextlib.ExitStack() as stack:
            yield _join_links(stream, source, label, links, stack)


def holds_several(path: Path) -> bool:
    """Whether a file holds several recordings, or pieces of one, of which libsndfile alone reads the first.

    Raises:
        OSError: the system cannot read it.
    """
    with path.open("rb", buffering=0) as stream:
        return len(find_links(stream)) > 1 or len(find_data_chunks(stream)) > 1


@contextlib.contextmanager
def _open_link(stream: BinaryIO, source: str | Path, label: str, through_ffmpeg: bool) -> Iterator[SampleStream]:
    """The samples of a file that holds one recording, or of one of several in it."""
    head = read_head(stream, label)
    format = sniff(head)
    if isinstance(stream, Section) and len(find_data_chunks(stream)) > 1:  # `open_readable` joins those of a whole file
        raise AudioInputError(f"{label}: holds several chunks of samples; split the file, or export it again")
    if lacks_bytes(stream, head):
        raise AudioInputError(f"{label}: is truncated: its header promises more bytes; get a complete copy")

    with contextlib.ExitStack() as stack:
        if format is None:
            reason = unknown_format(head, label)
        elif through_ffmpeg:
            reason = CUT_SHORT
        else:
            try:
                samples = stack.enter_context(open_sndfile(stream, label))
            except RefusedError as error:
                reason = str(error)
            else:
                yield samples
                return

        if str(source) == "-" or not os.path.isfile(source):  # ffmpeg would wait for a pipe that has been read
            raise AudioInputError(f"{label}: {reason}; pipe a WAV, for example with: ffmpeg -i FILE -f wav -")
        span = (stream.start, stream.stop) if isinstance(stream, Section) else None
        asked = Source(path=Path(source), span=span, label=label, reason=reason)
        read = open_pyav if has_pyav() and not has_ffmpeg() else open_ffmpeg
        samples = stack.enter_context(read(asked, format or Path(source).suffix[1:].upper() or "UNKNOWN"))
        metadata = read_metadata(stream, samples.format)
        if metadata is not None:  # libsndfile may have stumbled over something in front of the samples
            samples.metadata = metadata.on_side(behind=True)
        yield samples


def _join_links(
    stream: BinaryIO, source: str | Path, label: str, links: list[int], stack: contextlib.ExitStack
) -> SampleStream:
    """The samples of all recordings that begin at `links`, as those of one; `stack` closes what is open."""
    length = stream.seek(0, os.SEEK_END)
    sections = [cut_out(stream, start, stop) for start, stop in zip(links, [*links[1:], length], strict=True)]
    names = [f"{label}, recording {number} of {len(links)}" for number in range(1, len(links) + 1)]

    first = stack.enter_context(_open_link(sections[0], source, names[0], through_ffmpeg=False))
    joined = replace(first)

    def read_blocks() -> Iterator[np.ndarray]:
        count = 0
        for number, (section, name) in enumerate(zip(sections, names, strict=True)):
            with contextlib.ExitStack() as opened:
                part = first
                if number:
                    part = opened.enter_context(_open_link(section, source, name, through_ffmpeg=False))
                    _check_same_kind(joined, part, label, number + 1, count)

                for block in part.blocks:
                    count += len(block)
                    yield block
                joined.subtype = _pick_finer(joined.subtype, part.subtype)

    joined.blocks = read_blocks()
    return joined


def _check_same_kind(joined: SampleStream, part: SampleStream, label: str, number: int, count: int) -> None:
    """Refuse to join recordings of several rates, numbers of channels or number formats."""

    def describe(stream: SampleStream) -> str:
        kind = "integer" if stream.dtype is np.int32 else "floating-point"
        return f"{stream.channels} channels of {kind} samples at {stream.sample_rate_hz} Hz"

    if describe(joined) != describe(part) or joined.dtype is not part.dtype:
        where = f"recording {number} in it, from {count / joined.sample_rate_hz:.2f} s on"
        raise AudioInputError(
            f"{label}: holds several recordings, and {where}, has {describe(part)} where the first has "
            f"{describe(joined)}; split it into one file for each"
        )


def _pick_finer(one: str, other: str) -> str:
    """Of two subtypes whose samples have the same type, the one that holds both."""
    if one in BITS and other in BITS:
        return other if BITS[other] > BITS[one] else one
    return other if other in FLOATS else one
