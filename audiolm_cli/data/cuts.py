"""The lines of a cut manifest, ours or a recipe's, as clips of codes.

Reads lhotse's format (JSON lines) itself, so that manifests of any version of lhotse are read alike. Knows nothing
about folders of manifests or what the codes mean.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiolm_cli.audio.recording import RATES_HZ
from audiolm_cli.data.parts import INPUTS
from audiolm_cli.data.storage import ArrayReader
from audiolm_cli.data.tokens import MOST_CODEBOOKS, TokenClip
from audiolm_cli.errors import DataError
from audiolm_cli.events import Note, OnEvent, ignore
from audiolm_cli.wording import listed

ENDS = "ends"
"""Custom field of a cut that says whether its last frame is the end of its recording."""
COPY_OF = "copy_of"
"""Custom field of a cut that is a transposed copy: the id of the one that it is a copy of."""
FIELDS = ("speaker", "language", "gender")
"""Fields of a supervision that may serve as labels, beside its custom ones."""
AGAIN = "tokenize the recordings again with -f"
"""What makes a damaged store whole."""
LARGEST_CODE = np.iinfo(np.int16).max
SHIFTS_S = (1e-4, 10.0)
"""Seconds per frame that features may have."""
LONGEST_S = 1e7
"""Seconds of a cut: four months."""
LONGEST_LINE = 1 << 24
"""Bytes of a line of a manifest; a cut has some hundred."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What a line says about its codes."""

    id: str
    """The cut's name."""
    type: str
    """What made the features."""
    frame_shift_s: float
    """Seconds per frame."""
    sample_rate_hz: int
    """Of the recording, not necessarily of what was encoded."""
    num_codebooks: int
    """K."""
    first: int
    """The first frame within the stored array: cuts may be windows of it."""
    count: int
    """Frames."""
    storage: tuple[str, str, str]
    """Type, path and key of the array."""
    ends: bool | None
    """Whether the cut ends where its recording does; None when nothing says so."""
    copy_of: str
    """The id of the cut that this one is a transposed copy of; empty for all others."""
    fields: dict[str, str]
    """What its first supervision says about the whole of it: speaker, language, gender, and custom texts."""


def read_cuts(manifest: Path, on_event: OnEvent = ignore) -> Iterator[Cut]:
    """The cuts of a manifest, `.jsonl` or `.jsonl.gz`, in its order.

    Mixed and padded cuts are left out: recipes make some when they fill batches, and no array has their codes.

    Args:
        manifest: the file.
        on_event: hears which cuts are left out.

    Raises:
        DataError: it cannot be read, a line is no cut with features, or all cuts are mixed or padded.
    """
    number = count = 0
    mixed: list[str] = []
    try:
        with gzip.open(manifest, "rb") if manifest.name.endswith(".gz") else manifest.open("rb") as stream:
            if manifest.stat().st_size == 0:  # a gzip file without content has some bytes
                raise DataError(f"{manifest}: cannot be read (no content); {remedy_of(manifest.parent)}")

            while line := stream.readline(LONGEST_LINE):
                number += 1
                if len(line) == LONGEST_LINE:
                    raise ValueError(f"longer than {LONGEST_LINE} bytes")
                if not line.strip():
                    continue
                cut = _parse_cut(json.loads(line))
                if isinstance(cut, Cut):
                    count += 1
                    yield cut
                else:
                    mixed.append(cut)

    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{manifest}: cannot be read ({error}); {remedy_of(manifest.parent)}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{manifest}: line {number} cannot be read ({error!s:.200}); expected a lhotse cut as JSON"
        ) from error
    except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise DataError(f"{manifest}: line {number} is no lhotse cut (wrong or missing: {error!s:.200})") from error
    except _NotCodesError as error:
        raise DataError(f"{manifest}: line {number}: {error}") from error

    if mixed and not count:
        raise DataError(
            f"{manifest}: all its cuts are mixed or padded, which codes cannot be: {listed(mixed)}; expected plain cuts"
        )
    if mixed:
        message = f"{manifest}: left out, mixed or padded, which codes cannot be: {listed(mixed)}"
        on_event(Note(message=message, warning=True))


def remedy_of(folder: Path) -> str:
    """What to do about a damaged store or manifest in a folder."""
    return AGAIN if (folder / INPUTS).is_file() else "tokenize the recordings again, or get a whole copy"


def read_clip(cut: Cut, arrays: ArrayReader, codebook_size: int) -> TokenClip:
    """The codes of a cut, checked.

    Args:
        cut: the cut.
        arrays: what reads them.
        codebook_size: codes must be below this; 0 when it is not known.

    Raises:
        DataError: they are missing, or are no codes of that codec.
    """
    try:
        stored = arrays.read(*cut.storage, cut.first, cut.count)
    except DataError as error:
        raise DataError(f"cut {cut.id}: {error}") from error
    codes = _as_codes(stored, cut, codebook_size)
    return TokenClip(id=cut.id, codes=codes, ends=bool(cut.ends), copy_of=cut.copy_of)


def _as_codes(stored: np.ndarray, cut: Cut, codebook_size: int) -> np.ndarray:
    """int16 [T, K] of what was stored."""
    if stored.ndim != 2 or stored.shape[1] != cut.num_codebooks:
        raise DataError(f"cut {cut.id}: its array has shape {stored.shape}, expected (frames, {cut.num_codebooks})")
    if len(stored) < cut.count - 1:  # encoders round the last frame up or down
        raise DataError(f"cut {cut.id}: has {len(stored)} frames from frame {cut.first} on, but promises {cut.count}")

    # Recipes store codes as floating point, too.
    whole = stored.dtype.kind in "iu" or (
        stored.dtype.kind == "f" and bool((np.isfinite(stored) & (stored == np.rint(stored))).all())
    )
    if not whole:
        raise DataError(f"cut {cut.id}: holds features of type {cut.type!r}, not codes; codes are whole numbers")

    lowest, highest = (int(stored.min()), int(stored.max())) if stored.size else (0, 0)
    limit = codebook_size or LARGEST_CODE + 1
    if lowest < 0 or highest >= limit:
        wrong = lowest if lowest < 0 else highest
        raise DataError(f"cut {cut.id}: holds the code {wrong}, expected 0 to {limit - 1}")

    return stored.astype(np.int16)


class _NotCodesError(Exception):
    """A line that is a proper lhotse item, but none that has codes."""


def _parse_cut(line: dict[str, Any]) -> Cut | str:
    """The cut that a line says, or the name of one that is mixed or padded.

    What lhotse leaves out when it is empty (recording, custom) may be missing.

    Raises:
        _NotCodesError: it is something else that lhotse writes.
        KeyError, TypeError, ValueError, ...: it is nothing that lhotse writes.
    """
    # Which kind of item it is.
    name = line["id"]
    if "tracks" in line or line.get("type") in ("MixedCut", "PaddingCut"):
        return str(name)
    if "duration" not in line or "start" not in line:
        raise _NotCodesError(f"{name} is no cut but a recording or a supervision; expected cuts with features")
    features = line.get("features")
    if not features:
        raise _NotCodesError(
            f"cut {name} has no features, so no codes; make them with audiolm tokenize, or with the recipe's tokenizer"
        )

    # Times and sizes, in ranges in which nothing that follows can overflow.
    shift = float(features["frame_shift"])
    start, duration = float(line["start"]), float(line["duration"])
    if not (SHIFTS_S[0] <= shift <= SHIFTS_S[1] and 0 < duration <= LONGEST_S):
        raise ValueError(f"frame_shift {shift}, duration {duration}")
    rate_hz, codebooks = int(features["sampling_rate"]), int(features["num_features"])
    if not (RATES_HZ[0] <= rate_hz <= RATES_HZ[1] and 1 <= codebooks <= MOST_CODEBOOKS):
        raise ValueError(f"sampling_rate {rate_hz}, num_features {codebooks}")

    first = _to_frames(start - float(features["start"]), shift)
    if first < 0:
        raise ValueError(f"the cut starts at {start} s, before its features")

    # Whether the recording ends with it: ours say so, and elsewhere it shows when its length is stated.
    recording, custom = line.get("recording") or {}, line.get("custom") or {}
    ends = custom.get(ENDS)
    if ends is None and "duration" in recording:
        ends = abs(start + duration - float(recording["duration"])) < shift

    return Cut(
        id=str(name),
        type=str(features["type"]),
        frame_shift_s=shift,
        sample_rate_hz=rate_hz,
        num_codebooks=codebooks,
        first=first,
        count=_to_frames(duration, shift),
        storage=(str(features["storage_type"]), str(features["storage_path"]), str(features["storage_key"])),
        ends=None if ends is None else bool(ends),
        copy_of=str(custom.get(COPY_OF) or ""),
        fields=_read_fields(line.get("supervisions") or [{}]),
    )


def _read_fields(supervisions: list[dict[str, Any]]) -> dict[str, str]:
    """The texts of the first supervision that may serve as labels, by name."""
    first = supervisions[0]
    said = {name: first.get(name) for name in FIELDS} | dict(first.get("custom") or {})
    return {str(name): text for name, text in said.items() if isinstance(text, str) and text}


def _to_frames(seconds: float, shift: float) -> int:
    """Frames in a time, rounded half up as lhotse does."""
    return math.floor(seconds / shift + 0.5 + 1e-6)
