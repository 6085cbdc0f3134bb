"""What libsndfile reads: exact samples in blocks, and nothing a header says is believed before the samples are there.

libsndfile reads from a file descriptor, never from a name (names need not be UTF-8, and ".raw" has a meaning to it) and
never seeks: a seek makes MP3 inexact, and fails at the end of a FLAC of unknown length.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import soundfile

from audiolm_cli.audio.checks import check_finite, check_kind, check_not_empty, check_promise, lacks_data
from audiolm_cli.audio.headers import FLAC_HEAD_BYTES, read_data_size, states_flac_length, states_mpeg_length
from audiolm_cli.audio.layout import read_layout
from audiolm_cli.audio.metadata import read_metadata
from audiolm_cli.audio.opening import Section, cut_out
from audiolm_cli.audio.recording import SampleStream
from audiolm_cli.audio.tags import read_tags
from audiolm_cli.audio.tempo import read_tempo
from audiolm_cli.audio.trailing import find_mpeg_end, find_sound_end, holds_mpeg_audio
from audiolm_cli.errors import AudioInputError
from audiolm_cli.stopping import uninterrupted

READ_SAMPLES = 4096
"""Read at a time: what precedes a damaged spot is known to this."""
BLOCK_SAMPLES = 16 * READ_SAMPLES
"""Samples of a block, but for the last one."""
MPEG_SLACK_SAMPLES = 3 * 1152
"""By three frames encoders and decoders of MP3 count differently: the one that states the length, and padding."""
CUT_SHORT = "is an MP3 of variable bit rate that does not state its length, which libsndfile would cut short"
UNREAD_BYTES = 4096
"""No more than this is left behind the last sample of an MP3 that was read to its end, tags excepted."""
UNKNOWN_FRAMES = 2**62
"""libsndfile's word for a length that a header does not state is more than this."""
RESYNC_BYTES = 1024
"""libsndfile passes over as many foreign bytes behind an MP3."""


class RefusedError(AudioInputError):
    """libsndfile does not read the content of a file; the message is the reason, without the file's name."""


class CutShortError(AudioInputError):
    """An MP3 that libsndfile takes to end earlier than it does."""


class HeldFile(soundfile.SoundFile):
    """A sound file that no signal interrupts while libsndfile calls an open file back: its exception would be lost."""

    def __init__(self, file: Any, *args: Any, **kwargs: Any) -> None:
        self._held = uninterrupted if hasattr(file, "read") else contextlib.nullcontext
        with self._held():
            super().__init__(file, *args, **kwargs)

    def read(self, *args: Any, **kwargs: Any) -> np.ndarray:
        with self._held():
            return super().read(*args, **kwargs)

    def write(self, data: np.ndarray) -> None:
        with self._held():
            super().write(data)

    def close(self) -> None:
        with self._held():
            super().close()


class ForwardFile(HeldFile):
    """A sound file that is read from its start to its end."""

    def seekable(self) -> bool:
        return False


@contextlib.contextmanager
def open_sndfile(stream: BinaryIO, label: str) -> Iterator[SampleStream]:
    """The samples of a file that libsndfile knows.

    Args:
        stream: the open file.
        label: its name, for messages.

    Raises:
        AudioInputError: it is truncated, or has too many channels or too odd a rate; the blocks raise it when the file
            turns out to be truncated or damaged.
        RefusedError: libsndfile does not read what is in it.
        CutShortError: from the blocks, at their end: another decoder has to read it.
    """
    sizes = read_data_size(stream)
    source = _leave_out_tail(stream)
    source.seek(0)
    handle = source if os.name == "nt" or isinstance(source, Section) else source.fileno()

    try:
        file = ForwardFile(handle, closefd=False)
    except soundfile.SoundFileError as error:
        if isinstance(source, Section) and source.error is not None:
            raise source.error from None
        if sizes is not None and lacks_data(sizes):
            there = f"{sizes[1]} of the {sizes[0]} bytes of sound its header promises"
            raise AudioInputError(f"{label}: is truncated: holds {there}; get a complete copy") from error
        raise RefusedError(f"cannot be decoded ({cause_of(error)})") from error

    with file:
        check_kind(file.channels, file.samplerate, label)
        position = source.tell()  # from where libsndfile reads on
        layout = read_layout(source, file.format, file.subtype, file.channels)
        tags = read_tags(stream, file)
        tempo = read_tempo(stream, tags)
        metadata = read_metadata(stream, file.format)
        source.seek(position)

        samples = SampleStream(
            sample_rate_hz=file.samplerate,
            channels=file.channels,
            format=file.format,
            subtype=file.subtype,
            tags=tags,
            tempo=tempo,
            metadata=metadata,
            layout=layout,
            blocks=iter(()),
        )
        samples.blocks = _read_blocks(file, source, label, sizes, samples.dtype)
        yield samples


def cause_of(error: Exception) -> str:
    """libsndfile's words for what is wrong."""
    return str(getattr(error, "error_string", error)).removeprefix("Error : ").rstrip(". ")


def _leave_out_tail(stream: BinaryIO) -> BinaryIO:
    """The file, without what libsndfile would take for sound, or for damage, behind its samples."""
    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(FLAC_HEAD_BYTES)

    stop = length
    if head[:4] == b"riff" and (sizes := read_data_size(stream)) is not None:
        stop = length - max(0, sizes[1] - sizes[0])
    elif head[:4] == b"fLaC" and not states_flac_length(head):
        stop = find_sound_end(stream, skip_zeros=False)  # the last byte of a frame may be one
    elif head[:3] == b"ID3" or head[:1] == b"\xff":
        stop = find_mpeg_end(stream)
        if length - stop <= RESYNC_BYTES:
            stop = length

    return stream if stop >= length else cut_out(stream, 0, stop)


def _read_blocks(
    file: soundfile.SoundFile,
    stream: BinaryIO,
    label: str,
    sizes: tuple[int, int] | None,
    dtype: type[np.int32 | np.floating],
) -> Iterator[np.ndarray]:
    """Blocks of samples [n, C] until the end or the first error, and then whether they are all."""
    rate_hz, count, damage = file.samplerate, 0, ""

    # Foreign bytes behind a FLAC are no part of it.
    stop = file.frames if file.format == "FLAC" and file.frames < UNKNOWN_FRAMES else UNKNOWN_FRAMES

    got = BLOCK_SAMPLES
    while got == BLOCK_SAMPLES and not damage:
        block = np.empty((BLOCK_SAMPLES, file.channels), dtype)
        got = 0
        try:
            while got < BLOCK_SAMPLES:  # in small pieces, so that what precedes a damaged spot is known
                wanted = min(READ_SAMPLES, stop - count - got)
                piece = len(file.read(out=block[got : got + wanted])) if wanted else 0
                got += piece
                if piece < READ_SAMPLES:
                    break
        except soundfile.SoundFileError as error:
            damage = cause_of(error)

        block.resize((got, file.channels), refcheck=False)
        check_finite(block, count, rate_hz, label)
        count += got
        if got:
            yield block

    if isinstance(stream, Section) and stream.error is not None:
        raise stream.error

    # The end is reached: now the header's promises can be checked.
    if not damage and not _is_complete(stream, file.format):
        raise CutShortError(f"{label}: {CUT_SHORT}")
    _check_length(label, count, file, sizes, damage, stream)


def _is_complete(stream: BinaryIO, format: str) -> bool:
    """Whether libsndfile has read all of the sound, now that it has read `stream` to what it takes for the end."""
    if format != "MP3":
        return True

    position = stream.tell()
    unread = stream.seek(0, os.SEEK_END) - position
    return unread <= UNREAD_BYTES or not holds_mpeg_audio(stream, position)


def _check_length(
    label: str,
    count: int,
    file: soundfile.SoundFile,
    sizes: tuple[int, int] | None,
    damage: str,
    stream: BinaryIO,
) -> None:
    """Refuse a file that holds less than its header promises, or nothing.

    Args:
        label: the file, for messages.
        count: samples per channel that were read.
        file: what they were read from.
        sizes: what `read_data_size` says.
        damage: what ended the reading before the end of the file; empty when nothing did.
        stream: the bytes of the file.

    Raises:
        AudioInputError: it does.
    """
    # What the data chunk promises counts more than libsndfile's number, which follows the length of the file.
    promised = file.frames
    if sizes is not None and lacks_data(sizes):
        promised = count * sizes[0] // max(1, sizes[1])
    elif promised >= UNKNOWN_FRAMES:  # libsndfile's word for unknown
        promised = count
    elif file.subtype.startswith("MPEG_"):  # an estimate, unless an encoder has stated it
        stated = promised > count + MPEG_SLACK_SAMPLES and states_mpeg_length(stream)
        promised = promised if stated else count

    if promised > count and sizes and sizes[1] >= 2**32 - 2**16 and file.format in ("WAV", "WAVEX", "AIFF", "AU"):
        raise AudioInputError(f"{label}: is over 4 GB, which its header cannot say; rewrite it as RF64 or W64")
    check_promise(label, count, promised, file.samplerate)
    if damage:
        there = f"{count / file.samplerate:.2f} s"
        raise AudioInputError(f"{label}: is damaged after {there} ({damage}); get a good copy")
    check_not_empty(label, count)
