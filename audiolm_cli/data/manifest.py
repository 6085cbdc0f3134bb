"""Token stores: folders of lhotse cut manifests with the codes of recordings as features.

Writes those of `audiolm tokenize`, and reads these and what VALL-E-style recipes write. Knows nothing about codecs or
models: it is handed codes and the facts that describe them.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from audiolm_cli.data.cuts import COPY_OF, ENDS, Cut, read_clip, read_cuts, remedy_of
from audiolm_cli.data.files import SPLITS
from audiolm_cli.data.parts import is_unfinished
from audiolm_cli.data.storage import KINDS, ArrayReader
from audiolm_cli.data.tokens import CodecFacts, TokenClip
from audiolm_cli.errors import DataError
from audiolm_cli.events import Note, OnEvent, ignore
from audiolm_cli.files import DeferringFile
from audiolm_cli.packages import without_lhotse_folder
from audiolm_cli.stopping import uninterrupted

if TYPE_CHECKING:
    import h5py
    from lhotse import MonoCut

FACTS = "codec.json"
FEATURES = "codes.h5"
NAMES = {"train": ("train",), "dev": ("dev", "validation", "valid"), "test": ("test",)}
"""What recipes call the splits in the names of their manifests."""
COPIES = "transposed"
"""In place of a split: transposed copies of clips of "train". Their manifest is read by what knows of them alone."""
SUFFIXES = (".jsonl.gz", ".jsonl")
SHIFT_TOLERANCE_S = 1e-4
"""Frame shifts that differ by less are the same, written with more or fewer digits."""


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """A feature type that recipes write, and the codec behind it."""

    name: str
    sample_rate_hz: int
    hop_samples: int
    codebook_size: int
    catalogued: bool = False


ORIGINS = {
    "encodec": _Origin(name="encodec-24khz", sample_rate_hz=24_000, hop_samples=320, codebook_size=1024),
    "encodec32": _Origin(
        name="encodec-32khz", sample_rate_hz=32_000, hop_samples=640, codebook_size=2048, catalogued=True
    ),
    "encodec32ft": _Origin(name="encodec32ft", sample_rate_hz=32_000, hop_samples=640, codebook_size=2048),
}
"""`encodec32ft` is somebody's own fine-tuning, so no catalogue has it."""


def write_store(
    folder: Path, facts: CodecFacts, clips: Iterable[tuple[str, TokenClip]], *, final_folder: Path | None = None
) -> dict[str, int]:
    """Write (split, clip) pairs as `cuts_<split>.jsonl.gz` and `codes.h5`; returns the number of cuts of each split.

    Transposed copies have COPIES for their split, and a manifest where there are any.

    Args:
        folder: where to write.
        facts: what the codes mean.
        clips: the pairs; they may be made on the way.
        final_folder: where the store will be in the end, so that lhotse finds the codes from any working directory;
            None is `folder`.

    Raises:
        OSError: the disk is full or refuses.
    """
    with without_lhotse_folder():
        from lhotse import CutSet

    folder.mkdir(parents=True, exist_ok=True)
    features = str((final_folder or folder).resolve() / FEATURES)
    cuts: defaultdict[str, list[MonoCut]] = defaultdict(list, {split: [] for split in SPLITS})

    # HDF5 ends the process on a full disk, so it writes through a file that keeps the error for us.
    with DeferringFile(folder / FEATURES, "w+") as file:
        with _open_for_writing(file) as arrays:
            for split, clip in clips:
                with uninterrupted():
                    arrays.create_dataset(clip.id, data=clip.codes)
                file.check()
                cuts[split].append(_describe_clip(clip, facts, features))
        file.check()
        os.fsync(file.fileno())

    for split, members in cuts.items():
        CutSet.from_cuts(members).to_file(folder / f"cuts_{split}.jsonl.gz")
    (folder / FACTS).write_text(json.dumps(facts.__dict__, indent=1) + "\n")
    return {split: len(cuts[split]) for split in SPLITS}


@contextmanager
def _open_for_writing(file: DeferringFile) -> Iterator[h5py.File]:
    """A new HDF5 file. HDF5 calls `file` back, and a signal's exception would be lost in there."""
    import h5py

    with uninterrupted():
        arrays = h5py.File(file, "w")
    try:
        yield arrays
    finally:
        with uninterrupted():
            arrays.close()


def _describe_clip(clip: TokenClip, facts: CodecFacts, path: str) -> MonoCut:
    """The cut of a clip whose codes are stored under its name in the HDF5 file `path`."""
    from lhotse import Features, MonoCut

    frames = len(clip.codes)
    duration_s = round(frames * facts.frame_shift_s, 8)
    features = Features(
        type="audiolm-codes",
        num_frames=frames,
        num_features=facts.num_codebooks,
        frame_shift=facts.frame_shift_s,
        sampling_rate=facts.sample_rate_hz,
        start=0.0,
        duration=duration_s,
        storage_type=KINDS[0],
        storage_path=path,
        storage_key=clip.id,
        recording_id=clip.id,
        channels=0,
    )

    custom: dict[str, object] = {} if clip.ends else {ENDS: False}
    if clip.copy_of:
        custom[COPY_OF] = clip.copy_of
    return MonoCut(id=clip.id, start=0.0, duration=duration_s, channel=0, features=features, custom=custom or None)


def find_manifest(folder: Path, split: str) -> Path | None:
    """The manifest of a split in a store, under whichever name recipes give it; None when there is none."""
    names = [f"cuts_{name}{suffix}" for name in NAMES.get(split, (split,)) for suffix in SUFFIXES]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def is_store(folder: Path) -> bool:
    """True when the folder holds token manifests, and no `tokenize` is making them or was stopped while it did."""
    return any(find_manifest(folder, split) for split in SPLITS) and not is_unfinished(folder)


def read_facts(source: Path, on_event: OnEvent = ignore) -> CodecFacts:
    """What the codes of a store, or of one of its manifests, mean, by its `codec.json` or else by its features.

    Features do not say how many codes a codebook has. Where their type does not either, it is guessed: the power of two
    that holds every code of the store. A `codec.json` beside the manifests says it for certain.

    Args:
        source: the folder of a store, or a manifest.
        on_event: hears of the guess.

    Raises:
        DataError: the store says nothing, or nothing that can be understood.
    """
    facts = _read_stated_facts(source)
    if facts.codebook_size:
        return facts

    # Nothing says the codebook size: look at all codes.
    with ArrayReader(_folder_of(source)) as arrays:
        clips = (read_clip(cut, arrays, 0) for cut in list_cuts(source, facts))
        highest = max((int(clip.codes.max(initial=0)) for clip in clips), default=0)
    guess = 2 ** max(1, highest.bit_length())
    message = (
        f"{source}: nothing says how many codes a codebook of {facts.name} has; {guess} is a guess, as the largest "
        f"code is {highest}; if it is wrong, name the codec with --codec, or put a {FACTS} beside the manifests"
    )
    on_event(Note(message=message, warning=True))
    return replace(facts, codebook_size=guess)


def list_cuts(source: Path, facts: CodecFacts, splits: Iterable[str] = SPLITS, on_event: OnEvent = ignore) -> list[Cut]:
    """The cuts of a store, split by split, or of one of its manifests; codes are read from the folder it lies in.

    Args:
        source: the folder of a store, or a manifest.
        facts: those of the store.
        splits: which of its splits, where it is a folder; one that is missing has no cuts.
        on_event: hears which cuts are left out.

    Raises:
        DataError: a manifest is damaged, or its codes are not all of one codec.
    """
    folder = _folder_of(source)
    own = (folder / FEATURES).resolve()
    is_ours = (folder / FACTS).is_file() and own.is_file()

    manifests = [find_manifest(source, split) for split in splits] if source.is_dir() else [source]
    cuts = []
    for manifest in manifests:
        for cut in read_cuts(manifest, on_event) if manifest else ():
            try:
                _check_same_codec(cut, facts)
            except DataError as error:
                raise DataError(f"{manifest}: cannot be read: {error}") from error

            if is_ours and Path(cut.storage[1]).name == FEATURES:  # the store may have been moved
                cut = replace(cut, storage=(cut.storage[0], str(own), cut.storage[2]))
            if cut.ends is None:
                cut = replace(cut, ends=is_ours)  # ours say where a clip does not end its recording
            cuts.append(cut)

    return cuts


def iter_store(
    folder: Path, split: str, facts: CodecFacts | None = None, on_event: OnEvent = ignore
) -> Iterator[TokenClip]:
    """The clips of one split, one after the other; none where the store has no such split, unless that is "train".

    Args:
        folder: the store.
        split: one of "train", "dev" and "test", or COPIES.
        facts: those of the store, where they are known already.
        on_event: hears which cuts are left out.

    Raises:
        DataError: the manifest or its codes are missing or damaged, or are not all of one codec.
    """
    manifest = find_manifest(folder, split)
    if manifest is None:
        if split != "train":
            return
        raise DataError(f"{folder / f'cuts_{split}.jsonl.gz'}: no such manifest; expected what audiolm tokenize writes")

    yield from iter_clips(manifest, facts or _read_stated_facts(folder), on_event)


def iter_clips(manifest: Path, facts: CodecFacts, on_event: OnEvent = ignore) -> Iterator[TokenClip]:
    """The clips of one manifest, one after the other.

    Args:
        manifest: in the folder of its store.
        facts: those of the store.
        on_event: hears which cuts are left out.

    Raises:
        DataError: it or its codes are missing or damaged, or are not all of one codec.
    """
    folder = _folder_of(manifest)
    with ArrayReader(folder) as arrays:
        for cut in list_cuts(manifest, facts, on_event=on_event):
            try:
                yield read_clip(cut, arrays, facts.codebook_size)
            except DataError as error:
                raise DataError(f"{manifest}: cannot be read: {error}; {remedy_of(folder)}") from error


def read_store(folder: Path, split: str, on_event: OnEvent = ignore) -> list[TokenClip]:
    """The clips of one split, codes in memory; none where the store has no such split, unless that is "train".

    `on_event` hears which cuts are left out.

    Raises:
        DataError: the manifest or its codes are missing or damaged, or are not all of one codec.
    """
    return list(iter_store(folder, split, on_event=on_event))


def _folder_of(source: Path) -> Path:
    """The folder of a store, or of one of its manifests."""
    return source if source.is_dir() else source.parent


def _read_stated_facts(source: Path) -> CodecFacts:
    """The facts of a store, with a codebook size of 0 where nothing says it."""
    path = _folder_of(source) / FACTS
    if path.exists():
        try:
            return CodecFacts.from_dict(json.loads(path.read_text()))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path}: cannot be read ({error!s:.300}); {remedy_of(path.parent)}") from error

    # Without a `codec.json`: what the first cut says about its features.
    manifests = [find_manifest(source, split) for split in SPLITS] if source.is_dir() else [source]
    first = next((cut for manifest in manifests if manifest for cut in read_cuts(manifest)), None)
    if first is None:
        raise DataError(f"{source}: cannot be read: neither {FACTS} nor a cut says what its codes are")

    return _facts_of(first)


def _facts_of(cut: Cut) -> CodecFacts:
    """What the features of a cut say about the codec."""
    # A codec that recipes use, as long as its frames are as long as they should be.
    origin = ORIGINS.get(cut.type)
    if origin is not None and abs(origin.hop_samples / origin.sample_rate_hz - cut.frame_shift_s) < SHIFT_TOLERANCE_S:
        certain = origin.catalogued and cut.num_codebooks == 4
        return CodecFacts(
            name=origin.name if certain or not origin.catalogued else cut.type,
            sha256="",
            source=origin.name if certain else "",
            sample_rate_hz=origin.sample_rate_hz,
            hop_samples=origin.hop_samples,
            num_codebooks=cut.num_codebooks,
            codebook_size=origin.codebook_size,
        )

    # An unknown codec: sample rate and hop are whole numbers whose ratio is the frame shift.
    shift = Fraction(cut.frame_shift_s).limit_denominator(1_000_000)
    samples = shift * cut.sample_rate_hz
    rate = cut.sample_rate_hz if samples.denominator == 1 else shift.denominator
    return CodecFacts(
        name=cut.type,
        sha256="",
        sample_rate_hz=rate,
        hop_samples=int(shift * rate),
        num_codebooks=cut.num_codebooks,
        codebook_size=0,
    )


def _check_same_codec(cut: Cut, facts: CodecFacts) -> None:
    """Refuse a cut whose codes are not of the store's codec."""
    if cut.num_codebooks != facts.num_codebooks:
        raise DataError(f"cut {cut.id} has {cut.num_codebooks} codebooks, but the store's have {facts.num_codebooks}")

    if abs(cut.frame_shift_s - facts.frame_shift_s) > SHIFT_TOLERANCE_S:
        raise DataError(
            f"cut {cut.id} has a frame shift of {cut.frame_shift_s} s, but the store's have {facts.frame_shift_s} s"
        )
