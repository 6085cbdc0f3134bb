"""Files, pipes and standard input as open files, and parts of them. Knows nothing about how sound is decoded."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from audiolm_cli.audio.headers import SNIFF_BYTES, find_data_chunks, find_mends, is_text
from audiolm_cli.errors import AudioInputError
from audiolm_cli.files import DeferringFile, scratch_file
from audiolm_cli.guessing import guess_path

KNOWN = "WAV, RF64, W64, FLAC, AIFF, AU, CAF, OGG or MP3"


class Section(io.RawIOBase):
    """Some of the bytes of an open file, as a file. The other one's position moves with this one's."""

    def __init__(self, stream: BinaryIO, start: int, stop: int) -> None:
        """Show the bytes `start` to `stop` of `stream`, which stays open when this is closed."""
        self._stream, self.start, self.stop = stream, start, stop
        self._at = 0
        self.error: OSError | None = None
        """What the system said when it could not read: a library that calls this does not pass it on."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.stop - self.start}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self.stop - self.start - self._at))
        try:
            self._stream.seek(self.start + self._at)
            data = self._stream.read(wanted)
        except OSError as error:
            self.error = error
            raise

        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def cut_out(stream: BinaryIO, start: int, stop: int) -> BinaryIO:
    """The bytes `start` to `stop` of an open file, as a `Section`."""
    return cast("BinaryIO", Section(stream, start, stop))


@contextlib.contextmanager
def open_readable(source: str | Path, label: str) -> Iterator[BinaryIO]:
    """The file, unbuffered. A pipe is copied first, and so is a file that has to be mended for libsndfile."""
    with _open_raw(source, label) as raw:
        if stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
            needs_mending = bool(find_mends(raw)) or len(find_data_chunks(raw)) > 1
            raw.seek(0)
            if not needs_mending:
                yield raw
                return

        with scratch_file() as copy:
            shutil.copyfileobj(raw, copy, 1 << 20)
            copy.check()

            for position, data in find_mends(copy):
                copy.seek(position)
                copy.write(data)

            chunks = find_data_chunks(copy)
            if len(chunks) < 2:
                yield copy
                return

            with scratch_file() as joined:
                _join_data(copy, chunks, joined)
                yield joined


def read_head(stream: BinaryIO, label: str) -> bytes:
    """The first bytes of a file, enough for `sniff`.

    Raises:
        AudioInputError: it is empty.
    """
    stream.seek(0)
    head = stream.read(SNIFF_BYTES)
    if not head:
        raise AudioInputError(f"{label}: is empty (0 bytes); expected an audio file")
    return head


def unknown_format(head: bytes, label: str) -> str:
    """What to say about a file whose first bytes are those of no format that libsndfile should read.

    Raises:
        AudioInputError: they are text, which ffmpeg must not see either: it follows the paths in playlists.
    """
    if is_text(head):
        raise AudioInputError(f"{label}: holds text, not audio; expected {KNOWN}")
    return f"is not {KNOWN}"


def _join_data(stream: BinaryIO, chunks: list[tuple[int, int]], joined: DeferringFile) -> None:
    """Write a WAV with one chunk of samples in place of several, of which decoders read one."""
    stream.seek(0)
    joined.write(stream.read(chunks[0][0] - 4) + b"\xff" * 4)  # which means: up to the end
    for start, size in chunks:
        stream.seek(start)
        while size > 0 and (data := stream.read(min(size, 1 << 20))):
            joined.write(data)
            size -= len(data)
    joined.check()


def _open_raw(source: str | Path, label: str) -> BinaryIO:
    """The file, pipe or standard input itself."""
    if str(source) == "-":
        if os.isatty(0):
            raise AudioInputError(f"{label}: is a terminal; pipe a WAV into it, or name a file")
        return os.fdopen(os.dup(0), "rb", buffering=0)

    try:
        mode = os.stat(source).st_mode
        if stat.S_ISREG(mode) or stat.S_ISFIFO(mode):
            return os.fdopen(os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0)), "rb", buffering=0)
    except FileNotFoundError as error:
        hint = guess_path(source) or "; check the name and the folder"
        raise AudioInputError(f"{label}: no such file{hint}") from error
    except PermissionError as error:
        raise AudioInputError(f"{label}: no permission to read it; change its owner or mode") from error

    if stat.S_ISDIR(mode):
        raise AudioInputError(f"{label}: is a folder; expected an audio file, so name the files in it")
    raise AudioInputError(f"{label}: is a device; expected an audio file")
