"""An open file for libraries that crash when a write fails, or overlook it. Knows nothing about what is written."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from typing import Any


class DeferringFile(io.FileIO):
    """An unbuffered file that takes whatever it is given and keeps its first error for `check`.

    On a full disk HDF5 ends the process when it closes a file, libsndfile loses the end of an MP3 and says nothing, and
    the system writes the part that fits without an error.
    """

    error: OSError | None = None
    """The first error of a write; nothing was written after it."""

    def write(self, data: Any) -> int:
        """Write all of `data`, or keep the error; returns its length in bytes."""
        rest = memoryview(data).cast("B")
        count = len(rest)
        while len(rest) and self.error is None:
            try:
                rest = rest[super().write(rest) :]
            except OSError as error:
                self.error = error
        return count

    def truncate(self, size: int | None = None) -> int:
        """Make the file `size` bytes long, or keep the error; returns the size."""
        if self.error is None:
            try:
                return super().truncate(size)
            except OSError as error:
                self.error = error
        return self.tell() if size is None else size

    def check(self) -> None:
        """Raise the error that was kept.

        Raises:
            OSError: a write failed.
        """
        if self.error is not None:
            raise self.error


@contextlib.contextmanager
def scratch_file() -> Iterator[DeferringFile]:
    """One in the folder for temporary files, which is gone afterwards."""
    with tempfile.TemporaryFile(buffering=0) as plain, DeferringFile(os.dup(plain.fileno()), "r+b") as file:
        yield file
