"""A token store in the making: what is known about each input, and the codes of each recording, one file each.

Every file is written under a temporary name and renamed. So a process that is killed leaves whole files behind, and
several processes can fill one folder. Knows nothing about how recordings are encoded.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from audiolm_cli.data.storage import DAMAGED
from audiolm_cli.errors import DataError
from audiolm_cli.files import taking_place_of

PARTIAL = ".partial"
"""Where a store is while it is being made, inside its folder."""
INPUTS = "inputs.jsonl.gz"
"""What a finished store says about the files it was made of; written last."""
MOST_SEMITONES = 12
"""Copies are transposed by at most an octave."""
VERSION = 1
"""Of the way from files to codes; another one makes other codes."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Input:
    """A file that was looked at."""

    path: str
    """Its absolute path; bytes that are no UTF-8 are escaped as Python does."""
    bytes: int
    """Its size."""
    mtime_ns: int
    """When it was changed last."""
    sha256: str
    """Hash of its content; empty where it could not be read."""
    problem: str = ""
    """Why it cannot be used; empty when it can."""
    frames: int = 0
    """Frames of the recording, in a finished store that holds its codes or found it silent."""
    clips: tuple[tuple[str, int, int], ...] = ()
    """Name, first frame in the recording and number of frames of each of its clips in a finished store."""
    copies: tuple[tuple[str, int, int, int], ...] = ()
    """The same of its transposed copies, each with its semitones; frames are those of the recording so played."""

    def is_current(self) -> bool:
        """Whether the file still is what it was."""
        try:
            found = os.stat(self.path)
        except OSError:
            return self.bytes < 0
        return (found.st_size, found.st_mtime_ns) == (self.bytes, self.mtime_ns)


@dataclass(frozen=True, kw_only=True)
class Part:
    """The codes of a recording without its silences."""

    codes: np.ndarray
    """int16 [T, K]: those of all spans, one after the other."""
    spans: np.ndarray
    """int64 [S, 2]: the frames (start, stop) of the recording that were kept; none when it is silent."""
    frames: int
    """Frames of the whole recording."""

    def fits(self) -> bool:
        """Whether the spans lie in the recording, one after the other, and hold all of the codes."""
        if (self.codes.dtype, self.codes.ndim) != (np.int16, 2) or self.spans.dtype != np.int64:
            return False
        if self.spans.ndim != 2 or self.spans.shape[1] != 2:
            return False

        # Python's integers, which do not overflow.
        bounds = [int(frame) for frame in self.spans.flat]
        rising = bounds == sorted(bounds) and (not bounds or (bounds[0] >= 0 and bounds[-1] <= self.frames))
        return rising and sum(bounds[1::2]) - sum(bounds[::2]) == len(self.codes)

    def clips(self) -> list[tuple[int, np.ndarray]]:
        """(first frame in the recording, codes [t, K]) of each span."""
        # Codes are stored without the silences between the spans, so each span ends where the sum of lengths says.
        stops = np.cumsum([stop - start for start, stop in self.spans], dtype=np.int64)
        return [
            (int(start), self.codes[end - (stop - start) : end])
            for (start, stop), end in zip(self.spans, stops, strict=True)
        ]


class Parts:
    """The folder of a store in the making, for one codec."""

    def __init__(self, store: Path, codec_sha256: str) -> None:
        """The one for the store in the folder `store`, and for the codec with this hash."""
        self.folder = store / PARTIAL / f"{codec_sha256[:16]}-{VERSION}"

    def create(self) -> None:
        """Make the folders; may be called by several processes at once."""
        for name in ("inputs", "codes"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def find_input(self, path: Path) -> Input | None:
        """What is known about a file, unless it has changed since."""
        try:
            known = _as_input(json.loads(self._input_file(path).read_text()))
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return None

        # Another path may have the same name here, though hardly ever.
        return known if known.path == os.path.abspath(path) and known.is_current() else None

    def save_input(self, known: Input) -> None:
        """Remember what is known about a file."""
        _write_whole(self._input_file(Path(known.path)), json.dumps(asdict(known)).encode())

    def find(self, sha256: str, semitones: int = 0) -> Part | None:
        """The codes of a recording by the hash of its file, or those of a transposed copy of it.

        None when they are not there, or not whole.
        """
        try:
            with np.load(self._codes_file(sha256, semitones), allow_pickle=False) as arrays:
                part = Part(codes=arrays["codes"], spans=arrays["spans"], frames=int(arrays["frames"]))
            return part if part.fits() else None
        except DAMAGED:  # as a missing one: it is made again
            return None

    def save(self, sha256: str, part: Part, semitones: int = 0) -> None:
        """Keep the codes of a recording, or of a transposed copy of it."""
        buffer = BytesIO()
        np.savez(buffer, codes=part.codes, spans=part.spans, frames=np.int64(part.frames))
        _write_whole(self._codes_file(sha256, semitones), buffer.getvalue())

    def _input_file(self, path: Path) -> Path:
        # Paths may be too long for a name, or hold what no name may.
        name = hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:40]
        return self.folder / "inputs" / f"{name}.json"

    def _codes_file(self, sha256: str, semitones: int) -> Path:
        return self.folder / "codes" / (f"{sha256}{semitones:+d}.npz" if semitones else f"{sha256}.npz")


def is_unfinished(store: Path) -> bool:
    """Whether a store is in the making, or was when its maker was killed."""
    return (store / PARTIAL).is_dir() and not (store / INPUTS).is_file()


def save_inputs(path: Path, summary: dict[str, Any], inputs: Sequence[Input]) -> None:
    """Write what a store was made of: a line of facts and a line per file."""
    lines = [json.dumps(summary), *(json.dumps(asdict(known)) for known in inputs)]
    _write_whole(path, gzip.compress("".join(line + "\n" for line in lines).encode(), mtime=0))


def load_inputs(store: Path) -> tuple[dict[str, Any], list[Input]] | None:
    """What a finished store was made of; None where nothing says it.

    Raises:
        DataError: the file that says it is damaged.
    """
    path = store / INPUTS
    try:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            summary = json.loads(stream.readline())
            if not isinstance(summary, dict):
                raise ValueError("no summary")
            return summary, [_as_input(json.loads(line)) for line in stream]

    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, EOFError, zlib.error, ValueError, TypeError, AttributeError, RecursionError) as error:
        cause = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read ({cause:.200}); make the store anew with -f") from error


def _as_input(values: dict[str, Any]) -> Input:
    """What a line says, its types checked: the hash becomes the name of a file."""
    clips = tuple((str(name), _count(start), _count(count)) for name, start, count in values.pop("clips", ()))
    copies = tuple(
        (str(name), _semitones(step), _count(start), _count(count))
        for name, step, start, count in values.pop("copies", ())
    )
    known = Input(**values, clips=clips, copies=copies)

    if not all(isinstance(text, str) for text in (known.path, known.sha256, known.problem)):
        raise TypeError("path, sha256 and problem are texts")
    if known.sha256 and not _SHA256.fullmatch(known.sha256):
        raise ValueError(f"{known.sha256!r:.80} is no hash")
    if "\0" in known.path:
        raise ValueError(f"{known.path!r:.80} is no path")

    if type(known.bytes) is not int or type(known.mtime_ns) is not int:
        raise TypeError("bytes and mtime_ns are whole numbers")
    _count(known.frames)
    return known


def _count(value: object) -> int:
    """`value`, checked to be a number of frames."""
    if type(value) is not int or not 0 <= value < 2**62:
        raise ValueError(f"{value!r:.40} is no number of frames")
    return value


def _semitones(value: object) -> int:
    """`value`, checked to be a transposition."""
    if type(value) is not int or not -MOST_SEMITONES <= value <= MOST_SEMITONES:
        raise ValueError(f"{value!r:.40} is no number of semitones")
    return value


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Thousands are written, so none waits for the disk: a lost one is made again."""
    with taking_place_of(path) as temporary:
        temporary.write_bytes(data)
