"""Token stores: codes of recordings as lhotse cuts over an HDF5 file. The only importer of lhotse.

Knows nothing about codecs or models: it is handed codes and the facts that describe them.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiolm_cli.data.files import SPLITS
from audiolm_cli.errors import DataError

FACTS = "codec.json"
FEATURES = "codes.h5"
ENDS = "ends"
"""Custom field of a cut whose last frame is not the end of its recording: false."""


@dataclass(frozen=True, kw_only=True)
class CodecFacts:
    """What the codes of a store mean."""

    name: str
    """The codec's name."""
    sha256: str
    """Hash of the codec's weights; empty when unknown."""
    sample_rate_hz: int
    """Rate of the audio that was encoded."""
    hop_samples: int
    """Samples per frame."""
    num_codebooks: int
    """K."""
    codebook_size: int
    """V."""
    source: str = ""
    """What finds the codec again: its catalogue name, or the path of its folder."""

    @property
    def frame_shift_s(self) -> float:
        """Seconds per frame."""
        return self.hop_samples / self.sample_rate_hz


@dataclass(frozen=True, kw_only=True)
class TokenClip:
    """Codes of one recording."""

    id: str
    """Name of the recording within the store."""
    codes: np.ndarray
    """int16 [T, K]."""
    ends: bool = True
    """True where the last frame is the end of the recording."""


def write_store(folder: Path, facts: CodecFacts, clips: Iterable[tuple[str, TokenClip]]) -> dict[str, int]:
    """Write (split, clip) pairs as `cuts_<split>.jsonl.gz` and `codes.h5`; returns the number of cuts of each split."""
    from lhotse import CutSet, Features, MonoCut
    from lhotse.features.io import NumpyHdf5Writer

    folder.mkdir(parents=True, exist_ok=True)
    cuts: dict[str, list[MonoCut]] = {split: [] for split in SPLITS}
    with NumpyHdf5Writer(folder / FEATURES) as writer:
        for split, clip in clips:
            key = writer.write(clip.id, clip.codes)
            frames = len(clip.codes)
            duration = round(frames * facts.frame_shift_s, 8)
            features = Features(
                type="audiolm-codes",
                num_frames=frames,
                num_features=facts.num_codebooks,
                frame_shift=facts.frame_shift_s,
                sampling_rate=facts.sample_rate_hz,
                start=0.0,
                duration=duration,
                storage_type=writer.name,
                storage_path=FEATURES,
                storage_key=key,
                recording_id=clip.id,
                channels=0,
            )
            cuts[split].append(
                MonoCut(
                    id=clip.id,
                    start=0.0,
                    duration=duration,
                    channel=0,
                    features=features,
                    custom=None if clip.ends else {ENDS: False},
                )
            )
    for split, members in cuts.items():
        CutSet.from_cuts(members).to_file(folder / f"cuts_{split}.jsonl.gz")
    (folder / FACTS).write_text(json.dumps(facts.__dict__, indent=1) + "\n")
    return {split: len(members) for split, members in cuts.items()}


def is_store(folder: Path) -> bool:
    """True when the folder holds token manifests."""
    return any(folder.glob("cuts_*.jsonl.gz"))


def read_facts(folder: Path) -> CodecFacts:
    """What the codes of a store mean.

    Raises:
        DataError: the file that says so is missing or damaged.
    """
    try:
        values: dict[str, Any] = json.loads((folder / FACTS).read_text())
        return CodecFacts(**values)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{folder / FACTS}: cannot be read ({error}); tokenize the recordings again") from error


def read_store(folder: Path, split: str) -> list[TokenClip]:
    """The clips of one split, codes in memory.

    Raises:
        DataError: the manifest or its codes are missing or damaged.
    """
    from lhotse import load_manifest

    manifest = folder / f"cuts_{split}.jsonl.gz"
    if not manifest.is_file():
        raise DataError(f"{manifest}: no such manifest; expected what `audiolm tokenize` writes")
    if manifest.stat().st_size == 0:
        raise DataError(f"{manifest}: cannot be read (no content); tokenize the recordings again")
    try:
        with gzip.open(manifest) as stream:
            cuts = list(load_manifest(manifest)) if stream.read(1) else []
        return [
            TokenClip(
                id=cut.id,
                codes=cut.with_features_path_prefix(folder).load_features().astype(np.int16),
                ends=(cut.custom or {}).get(ENDS, True),
            )
            for cut in cuts
        ]
    except (OSError, EOFError, zlib.error, KeyError, ValueError) as error:
        raise DataError(f"{manifest}: cannot be read ({error}); tokenize the recordings again") from error
