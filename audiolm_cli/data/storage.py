"""Arrays that manifests point to: where they are, and nothing outside the places where they may be.

A manifest written elsewhere names its arrays relative to the folder that some recipe was started in. They are looked
for beside the manifest, and in the folders above it that such a name can mean. Knows nothing about cuts or codes.
"""

from __future__ import annotations

import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, Self

import numpy as np

from audiolm_cli.errors import DataError

KINDS = ("numpy_hdf5", "numpy_files")
"""lhotse's storage types that keep integers exactly; the others compress with loss, or hold no codes."""
UNPACKED = 1100
"""No array is this many times larger than its file: what deflate packs best becomes 1032 times smaller."""
DAMAGED = (
    *(OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, ArithmeticError),
    *(MemoryError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""What numpy and h5py raise over a file that is not what they expect: numpy reads headers as Python."""


def candidate_paths(path: str, folder: Path) -> Iterator[Path]:
    """The files that a storage path of a manifest in `folder` may mean, nearest first.

    An absolute path is taken as it is. A relative one is tried in the manifest's folder, in as many of the folders
    above as it has folders itself, and in the working directory. Last comes its bare name beside the manifest.

    Raises:
        DataError: a relative path climbs out of all of these.
    """
    pure = PurePath(path)
    if os.path.isabs(path):
        yield Path(path)
    else:
        if ".." in pure.parts:
            raise DataError(
                f"the storage path {path!r} leads out of the folder of its manifest; copy the file beside the manifest "
                "and name it there"
            )

        own = folder.resolve()
        for base in (own, *own.parents[: len(pure.parts) - 1], Path.cwd()):
            yield base / pure

    yield folder / pure.name


class ArrayReader:
    """Reads parts of stored arrays; files stay open until it is closed."""

    def __init__(self, folder: Path) -> None:
        """Read what manifests in `folder` point to."""
        self._folder = folder
        self._found: dict[str, Path] = {}
        self._files: dict[Path, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def read(self, kind: str, path: str, key: str, first: int, count: int) -> np.ndarray:
        """Rows `first` to `first + count` of an array, as it is stored; fewer where it has fewer.

        Raises:
            DataError: it is of another kind than `KINDS`, missing, damaged, or outside the folders where it may be.
        """
        if kind not in KINDS:
            raise DataError(f"storage type {kind!r} is not read; expected {' or '.join(KINDS)}")

        found = self._find(path)
        try:
            if kind == "numpy_hdf5":
                return np.asarray(self._dataset(found, key)[first : first + count])

            if ".." in PurePath(key).parts or os.path.isabs(key):
                raise DataError(f"the storage key {key!r} leads out of {found}")
            array = np.lib.format.open_memmap(found / key, mode="r")  # the rows alone are read
            return np.array(array[first : first + count])

        except DAMAGED as error:
            cause = " ".join(str(error).split())
            raise DataError(f"{found}: {key!r} cannot be read from it ({cause:.200})") from error

    def _find(self, path: str) -> Path:
        """The first file that there is of those that a storage path may mean; looked for once."""
        if path not in self._found:
            tried = list(dict.fromkeys(candidate_paths(path, self._folder)))
            found = next((candidate for candidate in tried if candidate.exists()), None)
            if found is None:
                looked = ", ".join(str(candidate) for candidate in tried)
                raise DataError(f"the codes in {path} are not there; looked for {looked}")

            self._found[path] = found
        return self._found[path]

    def _dataset(self, path: Path, key: str) -> Any:
        """A dataset of an HDF5 file that holds its numbers itself, rather than a link to some other file."""
        import h5py

        if path not in self._files:
            self._files[path] = h5py.File(path, "r")

        # Looked at before it is followed: a link may lead to any file of the machine.
        link = self._files[path].get(key, getlink=True)
        dataset = self._files[path][key] if isinstance(link, h5py.HardLink) else None
        if link is None:
            raise KeyError("no such key")

        if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
            raise DataError(f"{path}: {key!r} is no array of its own but a link or a group; expected codes")
        if dataset.dtype.kind not in "iuf":
            raise DataError(f"{path}: {key!r} holds {str(dataset.dtype)!r:.40}, not codes; codes are whole numbers")
        if dataset.nbytes > UNPACKED * path.stat().st_size:
            raise DataError(f"{path}: {key!r} claims {dataset.nbytes} bytes, which this file cannot hold")
        return dataset
