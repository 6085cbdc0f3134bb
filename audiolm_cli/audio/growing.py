"""A WAV that is written while its samples are being made: at every moment what is on disk is a whole, playable file.

Knows nothing about where samples come from, nor how long they take.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from audiolm_cli.audio.chunks import pack_riff_chunk
from audiolm_cli.audio.headers import iter_chunks, read_at
from audiolm_cli.audio.metadata import count_bytes
from audiolm_cli.audio.recording import BITS, FLOATS
from audiolm_cli.audio.writing import (
    RIFF_BYTES,
    AudioSpec,
    as_stored,
    encode_unread,
    encoder_as_output_error,
    in_file_order,
    named_format,
)
from audiolm_cli.errors import UsageError
from audiolm_cli.files import encode_path, replacing, scratch_file
from audiolm_cli.stopping import uninterrupted

COMPANDED = ("ULAW", "ALAW")
"""Subtypes that are written as the 16-bit integers that they stand for."""


def check_growing(path: str | Path) -> None:
    """Raise now what `write_growing` to this path would raise for its format.

    Raises:
        UsageError: it is not a WAV.
    """
    if named_format(path) != "WAV":
        raise UsageError(f"{path}: only a WAV can be written while it is made; name it .wav, or leave out --stream")


def write_growing(target: str | Path, blocks: Iterable[np.ndarray], spec: AudioSpec, *, force: bool) -> None:
    """Write a WAV block by block, each as soon as it comes.

    A file takes its name when it holds the first block. Audio is appended first, then the header counts it, so that
    what was written before an error or an interruption stays, and plays. A pipe has no header to go back to: it says
    from the start how much there will be.

    Args:
        target: the file; "-" is standard output.
        blocks: consecutive blocks [n, C] as in `Recording.samples`, of any sizes.
        spec: how to store them; its format is "WAV" or "WAVEX".
        force: replace an existing file, when the first block is there.

    Raises:
        OutputError: as `write_audio`.
        UsageError: it would be over 4 GB.
    """
    if spec.subtype in COMPANDED:
        spec = replace(spec, subtype="PCM_16")

    N, _ = spec.shape
    if N * _frame_bytes(spec) + count_bytes(spec.metadata) > RIFF_BYTES:
        raise UsageError(f"{target}: would be over 4 GB, more than a WAV can grow to; leave out --stream")

    with encoder_as_output_error(target):
        head = Header.like(spec)
        data = (to_wav_bytes(block, spec.subtype) for block in in_file_order(blocks, spec))
        if str(target) != "-":
            _write_file(target, data, head, force)
            return

        with open(1, "wb", buffering=0, closefd=False) as stdout:
            if _can_go_back(1):
                _append(stdout, data, head, start=stdout.tell())
            else:
                _send(stdout, data, head, N)


def grown_seconds(path: str | Path) -> float:
    """How much a file that `write_growing` was stopped in holds; 0 where there is none yet."""
    try:
        return float(soundfile.info(encode_path(path)).duration)
    except (OSError, soundfile.LibsndfileError):
        return 0.0


class Header:
    """The head of a WAV, for any number of samples."""

    def __init__(self, chunks: list[tuple[bytes, bytes]], tail: bytes, frame_bytes: int) -> None:
        """Keep what all heads of the file have in common.

        Args:
            chunks: names and contents of the chunks in front of the samples.
            tail: the chunks behind them, which are written when the samples are.
            frame_bytes: bytes of a sample of all channels.
        """
        self.frame_bytes, self.tail = frame_bytes, tail
        self._chunks = chunks

    @classmethod
    def like(cls, spec: AudioSpec) -> Header:
        """The head that libsndfile writes for such a file, with what else it is to hold."""
        _, C = spec.shape
        left_out = (b"data", b"PEAK", *(() if spec.subtype in FLOATS else (b"fact",)))
        with scratch_file() as stream:
            encode_unread(stream, iter(()), replace(spec, shape=(0, C)))
            places = list(iter_chunks(stream))
            data_at, data_bytes = next((start, size) for name, start, size in places if name == b"data")
            chunks = [(name, read_at(stream, start, size)) for name, start, size in places if start < data_at]
            tail_at = data_at + data_bytes
            tail = read_at(stream, tail_at, stream.seek(0, os.SEEK_END) - tail_at)
        return cls([chunk for chunk in chunks if chunk[0] not in left_out], tail, _frame_bytes(spec))

    def bytes(self, count: int, *, ends: bool = False) -> bytes:
        """The head of a file of `count` samples, which ends in the tail or not; equally long for all."""
        counted = struct.pack("<I", count)
        chunks = b"".join(
            pack_riff_chunk(name, counted if name == b"fact" else content) for name, content in self._chunks
        )

        size = count * self.frame_bytes
        riff = 4 + len(chunks) + 8 + size + size % 2  # "WAVE", chunks, head of "data", samples, padding
        riff += len(self.tail) if ends else 0
        return b"RIFF" + struct.pack("<I", riff) + b"WAVE" + chunks + b"data" + struct.pack("<I", size)


def to_wav_bytes(samples: np.ndarray, subtype: str) -> bytes:
    """Native samples [n, C] as the bytes that a WAV of this subtype holds."""
    stored = np.ascontiguousarray(as_stored(samples, subtype))
    if subtype in FLOATS:
        return stored.astype(stored.dtype.newbyteorder("<")).tobytes()

    # Integers fill their 32 bits from the top, so that the bytes of the file are the upper ones.
    bits = BITS[subtype]
    if subtype == "PCM_U8":
        return ((stored >> 24) + 128).astype(np.uint8).tobytes()
    if bits == 24:
        return stored.astype("<i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    return (stored >> (32 - bits)).astype(f"<i{bits // 8}").tobytes()


def _frame_bytes(spec: AudioSpec) -> int:
    """Bytes of a sample of all channels."""
    width = BITS[spec.subtype] // 8 if spec.subtype in BITS else np.dtype(FLOATS[spec.subtype]).itemsize
    return spec.shape[1] * width


def _write_file(target: str | Path, data: Iterator[bytes], head: Header, force: bool) -> None:
    """Append to a new file, which takes its name when it holds the first block."""
    first = next(data, b"")
    with replacing(target, force) as file:
        _append(file, iter((first,)), head)

    # The file has its name after the first block, so that it can be listened to. It is opened again, since Windows
    # renames no open file, and outside of `replacing`, which would remove it when the rest fails.
    with open(target, "r+b", buffering=0) as named:
        _append(named, data, head, written=len(first))


def _append(file: BinaryIO, data: Iterator[bytes], head: Header, start: int = 0, written: int = 0) -> None:
    """Append data to a file that begins at `start` and holds `written` bytes, and count it in the header.

    Whatever ends this, the file is whole afterwards.
    """
    samples_at = start + len(head.bytes(0))
    if not written:
        _write_at(file, start, head.bytes(0))

    try:
        for part in data:
            _write_at(file, samples_at + written, part)
            written += len(part)
            count = written // head.frame_bytes
            _write_at(file, start, head.bytes(count - count * head.frame_bytes % 2))  # chunks end at even bytes
    finally:
        with uninterrupted():
            file.truncate(samples_at + written)  # a part of which only a piece was written
            _write_at(file, samples_at + written, bytes(written % 2) + head.tail)
            _write_at(file, start, head.bytes(written // head.frame_bytes, ends=True))
            file.seek(0, os.SEEK_END)


def _send(stdout: BinaryIO, data: Iterator[bytes], head: Header, count: int) -> None:
    """Write to a pipe a file of `count` samples."""
    _write_all(stdout, head.bytes(count, ends=True))
    for part in data:
        _write_all(stdout, part)
    _write_all(stdout, bytes(count * head.frame_bytes % 2) + head.tail)


def _can_go_back(descriptor: int) -> bool:
    """Whether an open file is one whose beginning can be written again."""
    if os.name == "nt" or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False

    import fcntl  # which Windows does not have

    return not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND


def _write_at(file: BinaryIO, position: int, data: bytes) -> None:
    file.seek(position)
    _write_all(file, data)


def _write_all(file: BinaryIO, data: bytes) -> None:
    """Write all of `data`: an unbuffered file may take less than it is given."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
