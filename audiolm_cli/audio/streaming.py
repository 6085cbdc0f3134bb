"""Files to blocks of samples, in constant memory, with the checks of `reading.py` at the end instead of before.

Knows nothing about what the samples are for.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import IO, BinaryIO

import numpy as np
import soundfile
import soxr

from audiolm_cli.audio.headers import read_data_size, sniff
from audiolm_cli.audio.reading import (
    CUT_SHORT,
    FFMPEG_TIMEOUT_S,
    READ_SAMPLES,
    cause_of,
    check_finite,
    check_length,
    ffmpeg_command,
    ffmpeg_failure,
    is_complete,
    open_decoder,
    open_readable,
    read_head,
    unknown_format,
)
from audiolm_cli.audio.recording import CHANNELS, RATES_HZ
from audiolm_cli.errors import AudioInputError

BLOCK_SAMPLES = 16 * READ_SAMPLES
"""Samples of a block, but for the last one."""
_AU_HEAD = Struct(">4s5I")
"""Magic, offset of the samples, their size, encoding, sample rate, channels."""


@dataclass(frozen=True, kw_only=True)
class AudioStream:
    """A recording that is being read from its start to its end."""

    sample_rate_hz: int
    """Sample rate in Hz."""
    channels: int
    """Number of channels."""
    blocks: Iterator[np.ndarray]
    """float32 [C, n] of any sizes n. At the end it raises an AudioInputError if the file is truncated or damaged."""


class CutShortError(AudioInputError):
    """An MP3 that libsndfile takes to end earlier than it does."""


@contextlib.contextmanager
def open_stream(path: Path, *, through_ffmpeg: bool = False) -> Iterator[AudioStream]:
    """A file as a stream of blocks; what libsndfile does not read goes through the `ffmpeg` program if it is installed.

    Args:
        path: the file.
        through_ffmpeg: let ffmpeg read it although libsndfile could.

    Raises:
        AudioInputError: the file is missing, unreadable, empty, not audio, has too many channels or too odd a rate.
        CutShortError: from the blocks, at their end: open it again through ffmpeg.
    """
    with contextlib.ExitStack() as stack:
        try:
            stream = _open(path, str(path), through_ffmpeg, stack)
        except OSError as error:
            raise AudioInputError(f"{path}: cannot be read ({error.strerror or error})") from error
        yield stream  # outside the `try`: what fails while the caller works on the blocks is not the file's fault


def _open(path: Path, label: str, through_ffmpeg: bool, stack: contextlib.ExitStack) -> AudioStream:
    """The stream of a file, which `stack` closes."""
    stream = stack.enter_context(open_readable(path, label))
    head = read_head(stream, label)
    if through_ffmpeg or not sniff(head):
        reason = CUT_SHORT if sniff(head) else unknown_format(head, label)
        return stack.enter_context(_open_ffmpeg(path, label, reason))

    sizes = read_data_size(stream)
    file = stack.enter_context(open_decoder(stream, label, sizes))
    blocks = _read_blocks(file, stream, label, sizes)
    return AudioStream(sample_rate_hz=file.samplerate, channels=file.channels, blocks=blocks)


def resample_blocks(blocks: Iterator[np.ndarray], from_hz: int, to_hz: int) -> Iterator[np.ndarray]:
    """The same sound at another sample rate, block by block. The samples are those that `resample` gives at once.

    Args:
        blocks: float32 [C, n], C the same throughout.
        from_hz: their rate, in Hz.
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


def _read_blocks(
    file: soundfile.SoundFile, stream: BinaryIO, label: str, sizes: tuple[int, int] | None
) -> Iterator[np.ndarray]:
    """Blocks that libsndfile reads, until the end or the first error."""
    block = np.empty((BLOCK_SAMPLES, file.channels), np.float32)
    rate_hz, count, damage = file.samplerate, 0, ""

    got = BLOCK_SAMPLES
    while got == BLOCK_SAMPLES:
        got = 0
        try:
            while got < BLOCK_SAMPLES:  # in small pieces, so that what precedes a damaged spot is known
                piece = len(file.read(out=block[got : got + READ_SAMPLES]))
                got += piece
                if piece < READ_SAMPLES:
                    break
        except soundfile.SoundFileError as error:
            damage = cause_of(error)

        check_finite(block[:got], count, rate_hz, label)
        count += got
        if got:
            yield block[:got].T.copy()  # the block is read into again
        if damage:
            break

    # The end is reached: now the header's promises can be checked.
    format, promised = file.format, file.frames
    if not damage and not is_complete(stream, format):
        raise CutShortError(f"{label}: {CUT_SHORT}")
    check_length(label, count, promised, rate_hz, format, sizes, damage)


@contextlib.contextmanager
def _open_ffmpeg(path: Path, label: str, reason: str) -> Iterator[AudioStream]:
    """What ffmpeg makes of a file: float samples in an AU stream, whose header needs no length."""
    command = [*ffmpeg_command(label, path, reason), "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said) as program,
    ):
        output = _FfmpegOutput(program, said, label, reason)
        try:
            rate_hz, channels = output.read_header()
            yield AudioStream(sample_rate_hz=rate_hz, channels=channels, blocks=output.read_blocks(rate_hz, channels))
        finally:
            program.kill()


class _FfmpegOutput:
    """An AU stream from an ffmpeg that is running."""

    def __init__(self, program: subprocess.Popen[bytes], said: IO[bytes], label: str, reason: str) -> None:
        """Read from the standard output of `program`; `said` is the file that its messages go to."""
        self._program, self._said = program, said
        self._label, self._reason = label, reason

    def read_header(self) -> tuple[int, int]:
        """Sample rate in Hz and number of channels.

        Raises:
            AudioInputError: ffmpeg cannot decode the file, or these are not those of a recording.
        """
        head = self._read(_AU_HEAD.size)
        if len(head) < _AU_HEAD.size:
            raise self._failure()

        magic, start, _, _, rate_hz, channels = _AU_HEAD.unpack(head)
        if magic != b".snd" or not (CHANNELS[0] <= channels <= CHANNELS[1] and RATES_HZ[0] <= rate_hz <= RATES_HZ[1]):
            raise AudioInputError(f"{self._label}: has {channels} channels at {rate_hz} Hz, which no recording has")

        self._read(start - _AU_HEAD.size)  # a comment, up to the first sample
        return rate_hz, channels

    def read_blocks(self, rate_hz: int, channels: int) -> Iterator[np.ndarray]:
        """Blocks float32 [C, n] up to the end.

        Raises:
            AudioInputError: ffmpeg failed, or a sample is no number.
        """
        count = 0
        while data := self._read(4 * channels * BLOCK_SAMPLES):
            block = np.frombuffer(data, ">f4", len(data) // (4 * channels) * channels).reshape(-1, channels)
            check_finite(block, count, rate_hz, self._label)
            count += len(block)
            yield block.T.astype(np.float32)

        if self._program.wait() or not count:
            raise self._failure()

    def _read(self, size: int) -> bytes:
        """Bytes of the pipe; fewer only at its end. ffmpeg is ended when it gives nothing for too long."""
        timer = threading.Timer(FFMPEG_TIMEOUT_S, self._program.kill)
        timer.start()
        try:
            return self._program.stdout.read(size) if self._program.stdout else b""
        finally:
            timer.cancel()

    def _failure(self) -> AudioInputError:
        """What went wrong, with the last thing that ffmpeg said."""
        self._program.wait()
        self._said.seek(0)
        return ffmpeg_failure(self._label, self._reason, self._said.read())
