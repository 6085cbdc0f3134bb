"""A WAV that is written while its samples are being made: at every moment what is on disk is a whole, playable file.

Knows nothing about where samples come from, nor how long they take.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from audiolm_cli.audio.deferring import scratch_file
from audiolm_cli.audio.headers import chunk_offset
from audiolm_cli.audio.recording import BITS, FLOATS
from audiolm_cli.audio.writing import RIFF_BYTES, as_stored, encode, named_format, replacing, told
from audiolm_cli.errors import UsageError

COMPANDED = ("ULAW", "ALAW")
"""Subtypes that are written as the 16-bit integers that they stand for."""


def check_growing(path: str | Path) -> None:
    """Raise now what `write_growing` to this path would raise for its format.

    Raises:
        UsageError: it is not a WAV.
    """
    if named_format(path) != "WAV":
        raise UsageError(f"{path}: only a WAV can be written while it is made; name it .wav, or leave out --stream")


def write_growing(
    target: str | Path,
    blocks: Iterable[np.ndarray],
    *,
    shape: tuple[int, int],
    sample_rate_hz: int,
    format: str,
    subtype: str,
    tags: dict[str, str],
    force: bool,
) -> None:
    """Write a WAV block by block, each as soon as it comes.

    A file takes its name when it holds the first block. Audio is appended first, then the header counts it, so that
    what was written before an error or an interruption stays, and plays. A pipe has no header to go back to: it says
    from the start how much there will be.

    Args:
        target: the file; "-" is standard output.
        blocks: consecutive blocks [n, C] as in `Recording.samples`, of any sizes.
        shape: samples and channels, of all blocks together.
        sample_rate_hz: their rate, in Hz.
        format: "WAV" or "WAVEX", from `output_format`.
        subtype: encoding, from `output_format`.
        tags: as for `write_audio`.
        force: replace an existing file, when the first block is there.

    Raises:
        OutputError: as `write_audio`.
        UsageError: it would be over 4 GB.
    """
    subtype = "PCM_16" if subtype in COMPANDED else subtype
    frame_bytes = shape[1] * (BITS[subtype] // 8 if subtype in BITS else np.dtype(FLOATS[subtype]).itemsize)
    if shape[0] * frame_bytes > RIFF_BYTES:
        raise UsageError(f"{target}: would be over 4 GB, more than a WAV can grow to; leave out --stream")
    with told(target):
        head = Header.like(shape[1], sample_rate_hz, format, subtype, tags, frame_bytes)
        data = (encoded(block, subtype) for block in blocks)
        if str(target) != "-":
            _grow(target, data, head, force)
            return
        with open(1, "wb", buffering=0, closefd=False) as stdout:
            if _can_go_back(1):
                _append(stdout, data, head, start=stdout.tell())
            else:
                _send(stdout, data, head, shape[0])


def grown_seconds(path: str | Path) -> float:
    """How much a file that `write_growing` was stopped in holds; 0 where there is none yet."""
    try:
        return float(soundfile.info(path).duration)
    except (OSError, soundfile.LibsndfileError):
        return 0.0


class Header:
    """The head of a WAV, for any number of samples."""

    def __init__(self, form: bytes, info: bytes, frame_bytes: int, *, counted: bool) -> None:
        """Contents of its "fmt " and "LIST" chunks, bytes of a sample of all channels, whether to have a "fact"."""
        self.frame_bytes = frame_bytes
        self._form, self._info, self._counted = form, info, counted

    @classmethod
    def like(
        cls, channels: int, sample_rate_hz: int, format: str, subtype: str, tags: dict[str, str], frame_bytes: int
    ) -> Header:
        """What libsndfile writes for such a file."""
        with scratch_file() as stream:
            encode(stream, iter(()), (0, channels), sample_rate_hz, format, subtype, tags)
            form, info = _chunk(stream, b"fmt "), _chunk(stream, b"LIST")
        return cls(form, info, frame_bytes, counted=subtype in FLOATS)

    def bytes(self, count: int) -> bytes:
        """The head of a file of `count` samples; equally long for all."""
        size = count * self.frame_bytes
        chunks = _framed(b"fmt ", self._form)
        chunks += _framed(b"fact", struct.pack("<I", count)) if self._counted else b""
        chunks += _framed(b"LIST", self._info) if self._info else b""
        riff = 4 + len(chunks) + 8 + size + size % 2
        return b"RIFF" + struct.pack("<I", riff) + b"WAVE" + chunks + b"data" + struct.pack("<I", size)


def encoded(samples: np.ndarray, subtype: str) -> bytes:
    """Native samples [n, C] as the bytes that a WAV of this subtype holds."""
    stored = np.ascontiguousarray(as_stored(samples, subtype))
    if subtype in FLOATS:
        return stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    bits = BITS[subtype]
    if subtype == "PCM_U8":
        return ((stored >> 24) + 128).astype(np.uint8).tobytes()
    if bits == 24:
        return stored.astype("<i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    return (stored >> (32 - bits)).astype(f"<i{bits // 8}").tobytes()


def _grow(target: str | Path, data: Iterator[bytes], head: Header, force: bool) -> None:
    """Append to a new file, which takes its name when it holds the first block."""
    first = next(data, b"")
    with contextlib.ExitStack() as stack:
        with replacing(target, force) as file:
            _append(file, iter((first,)), head)
            named = stack.enter_context(os.fdopen(os.dup(file.fileno()), "r+b", buffering=0))
        _append(named, data, head, written=len(first))


def _append(file: BinaryIO, data: Iterator[bytes], head: Header, start: int = 0, written: int = 0) -> None:
    """Append data to a file that begins at `start` and holds `written` bytes, and count it in the header.

    Whatever ends this, the file is whole afterwards.
    """
    at = start + len(head.bytes(0))
    if not written:
        _put(file, start, head.bytes(0))
    try:
        for part in data:
            _put(file, at + written, part)
            written += len(part)
            count = written // head.frame_bytes
            _put(file, start, head.bytes(count - count * head.frame_bytes % 2))  # chunks end at even bytes
    finally:
        file.truncate(at + written)
        _put(file, at + written, bytes(written % 2))
        _put(file, start, head.bytes(written // head.frame_bytes))
        file.seek(0, os.SEEK_END)


def _send(stdout: BinaryIO, data: Iterator[bytes], head: Header, count: int) -> None:
    """Write to a pipe a file of `count` samples."""
    _write_all(stdout, head.bytes(count))
    for part in data:
        _write_all(stdout, part)
    _write_all(stdout, bytes(count * head.frame_bytes % 2))


def _can_go_back(descriptor: int) -> bool:
    """Whether an open file is one whose beginning can be written again."""
    if os.name == "nt" or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    import fcntl

    return not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND


def _put(file: BinaryIO, position: int, data: bytes) -> None:
    file.seek(position)
    _write_all(file, data)


def _write_all(file: BinaryIO, data: bytes) -> None:
    """All of it: an unbuffered file may take less than it is given."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _chunk(stream: BinaryIO, name: bytes) -> bytes:
    """The content of a chunk, empty where there is none."""
    start = chunk_offset(stream, name)
    if start is None:
        return b""
    stream.seek(start - 4)
    (size,) = struct.unpack("<I", stream.read(4))
    return stream.read(size)


def _framed(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
