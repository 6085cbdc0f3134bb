"""The parts of a token store to the store: what is kept, under which names, in which split.

Knows nothing about audio or codecs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from audiolm_cli.data.cuts import AGAIN
from audiolm_cli.data.files import SPLITS, split_hashes
from audiolm_cli.data.manifest import (
    COPIES,
    FACTS,
    FEATURES,
    CodecFacts,
    TokenClip,
    iter_store,
    read_facts,
    write_store,
)
from audiolm_cli.data.parts import INPUTS, PARTIAL, VERSION, Input, Part, Parts, load_inputs, save_inputs
from audiolm_cli.data.storage import ArrayReader
from audiolm_cli.errors import DataError, OutputError
from audiolm_cli.events import Note, OnEvent
from audiolm_cli.files import name_new_file
from audiolm_cli.wording import counted, printable

STORE = "store"
"""The finished files, inside the folder of parts, before they move to their place."""
SEMITONES = "semitones"
"""Where a store's summary has how far its transposed copies reach."""
UNREACHED = "unreached"
"""Where a store's summary has the folders and links that could not be read when it was made, with the reason."""
PLACED = "placed"
"""The names of those that have moved, a line each, in case the others do not follow."""
DUPLICATE, SILENCE, SILENT_STRETCHES = "duplicate", "silence", "silent stretches"
LEFT_OUT = {
    DUPLICATE: ("duplicate", "duplicates"),
    SILENCE: ("silent recording", "silent recordings"),
    SILENT_STRETCHES: ("silent stretch", "silent stretches"),
}
"""What is left out of a store, by reason: one, and several of them."""


@dataclass(frozen=True, kw_only=True)
class Tokenized:
    """What a store holds."""

    path: Path
    """The store."""
    cuts: dict[str, int]
    """Clips per split."""
    hours: float
    """Audio in the store."""
    dropped: dict[str, int]
    """What was left out, by reason: "duplicate" and "silence" are recordings, "silent stretches" parts of some."""
    silence_s: float
    """Audio in the silent stretches."""
    failed: list[str]
    """Recordings, folders and links that could not be read, with the reason."""
    semitones: int = 0
    """How far up and down the recordings to train on were transposed, for copies to be trained on as well."""


def assemble(
    inputs: list[Input],
    chosen: tuple[dict[str, Path], dict[str, Any]],
    parts: Parts,
    output: Path,
    facts: CodecFacts,
    on_event: OnEvent,
    *,
    unreached: list[str],
    force: bool,
    semitones: int = 0,
) -> Tokenized:
    """Make the store at `output` of the parts of all inputs, in their order, and remove the parts.

    Args:
        inputs: every file.
        chosen: those that go into the store, as `choose_recordings` has them.
        parts: their codes.
        output: the folder of the store.
        facts: what the codes mean.
        on_event: hears what is in the store.
        unreached: what lies beside the files and could not be read, with the reason.
        force: overwrite files in `output`; without it, only those that an earlier run left when it was stopped.
        semitones: how far up and down the transposed copies reach that are among the parts.

    Raises:
        OutputError: another file is where one of the store belongs.
        OSError: the system refuses to write.
    """
    kept, amounts = chosen
    folder = parts.folder.parent / STORE
    shutil.rmtree(folder, ignore_errors=True)
    clips = _name_clips(kept, parts, facts)
    copies = _name_copies(clips, parts, steps_of(semitones))
    cuts = write_store(folder, facts, _iterate_clips(clips, copies, parts), final_folder=output)
    summary = {"version": VERSION, "codec_sha256": facts.sha256, "cuts": cuts, UNREACHED: unreached, **amounts}
    if semitones:
        summary[SEMITONES] = semitones

    # What is in the store of each input, so that a later run knows what is new.
    usable = {known.sha256 for known in inputs if not known.problem}
    lengths = {sha256: _find_part(parts, sha256).frames for sha256 in usable}
    inputs = [
        replace(
            known,
            frames=lengths.get(known.sha256, 0),
            clips=clips.get(known.sha256, ()),
            copies=copies.get(known.sha256, ()),
        )
        for known in inputs
    ]
    save_inputs(folder / INPUTS, summary, inputs)
    _publish(folder, output, force)
    discard(output)

    done = summarise(output, summary, inputs)
    _report(done, on_event)
    return done


def steps_of(semitones: int) -> list[int]:
    """The transpositions of copies that reach so far up and down, from the lowest."""
    return [step for step in range(-semitones, semitones + 1) if step]


def choose_recordings(inputs: list[Input], parts: Parts, facts: CodecFacts) -> tuple[dict[str, Path], dict[str, Any]]:
    """The recordings that go into a store by their hash, and how much they hold and leave out.

    Raises:
        DataError: none is usable.
    """
    dropped: Counter[str] = Counter()
    kept: dict[str, Path] = {}
    frames = silent_frames = 0
    for known in inputs:
        if known.problem:
            continue
        if known.sha256 in kept:
            dropped[DUPLICATE] += 1
            continue
        part = _find_part(parts, known.sha256)
        if not len(part.spans):
            dropped[SILENCE] += 1
            continue

        kept[known.sha256] = Path(known.path)
        frames += len(part.codes)
        silent_frames += part.frames - len(part.codes)
        dropped[SILENT_STRETCHES] += _count_silences(part)

    if not kept:
        failed = [known.problem for known in inputs if known.problem]
        reason = f"could be read as audio; the first: {failed[0]}" if failed else "holds more than silence"
        raise DataError(f"no file, of {len(inputs)} given, {reason}; nothing was tokenized")
    return kept, {
        "hours": frames * facts.frame_shift_s / 3600,
        "dropped": {reason: count for reason, count in dropped.items() if count},
        "silence_s": round(silent_frames * facts.frame_shift_s, 2),
    }


def summarise(output: Path, summary: dict[str, Any], inputs: list[Input]) -> Tokenized:
    """What a store holds, from what it says about itself.

    Raises:
        DataError: something is missing.
    """
    try:
        return Tokenized(
            path=output,
            cuts={split: int(summary["cuts"][split]) for split in SPLITS},
            hours=float(summary["hours"]),
            dropped=dict(summary["dropped"]),
            silence_s=float(summary["silence_s"]),
            failed=[known.problem for known in inputs if known.problem] + list(summary.get(UNREACHED, ())),
            semitones=int(summary.get(SEMITONES, 0)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{output / INPUTS}: cannot be read ({error}); make the store anew with -f") from error


def check_whole(done: Tokenized) -> None:
    """Read a finished store.

    Raises:
        DataError: a file of it, or a clip, is missing or damaged.
    """
    _, inputs = load_inputs(done.path) or ({}, [])
    for name in (FACTS, FEATURES):
        if not (done.path / name).is_file():
            raise DataError(f"{done.path / name}: no such file, and the store needs it; {AGAIN}")
    copies = {known.sha256: len(known.copies) for known in inputs}  # duplicates have theirs in common
    for split, count in (done.cuts | {COPIES: sum(copies.values())}).items():
        found = sum(1 for _ in iter_store(done.path, split)) if count else 0
        if found != count:
            raise DataError(f"{done.path}: has {found} of {counted(count, 'clip')} of {split}; {AGAIN}")


def semitones_of(store: Path) -> int:
    """How far up and down the transposed copies in a store reach; 0 where nothing says that there are any.

    Raises:
        DataError: what says it is damaged.
    """
    summary, inputs = load_inputs(store) or ({}, [])
    return summarise(store, summary, inputs).semitones if summary else 0


def list_failures(store: Path) -> list[str]:
    """What could not be read when a store was made, with the reason; empty where nothing says it.

    Raises:
        DataError: what says it is damaged.
    """
    summary, inputs = load_inputs(store) or ({}, [])
    return summarise(store, summary, inputs).failed if summary else []


def discard(output: Path) -> None:
    """Remove the parts of a store."""
    shutil.rmtree(output / PARTIAL, ignore_errors=True)


def tidy(parts: Parts, output: Path, made: bool) -> None:
    """Remove folders in which nothing was left; that of the store only when this run has `made` it."""
    for folder in (parts.folder / "inputs", parts.folder / "codes", parts.folder, output / PARTIAL, output):
        with contextlib.suppress(OSError):  # it has something in it, or another process was faster
            if folder != output or made:
                folder.rmdir()


def unique_names(files: Mapping[str, Path]) -> dict[str, str]:
    """A name for each file by its hash: the stem, with part of the hash where two are alike."""
    stems = {sha256: printable(path.stem) for sha256, path in files.items()}
    stems = {sha256: stem if stem.strip(".") else "recording" for sha256, stem in stems.items()}
    uses = Counter(stems.values())
    return {sha256: stem if uses[stem] == 1 else f"{stem}-{sha256[:8]}" for sha256, stem in stems.items()}


def revive(output: Path, parts: Parts, codec_sha256: str) -> None:
    """Take the codes of a finished store over into the parts of a new one; those that cannot be read are left out."""
    try:
        summary, inputs = load_inputs(output) or ({}, [])
        size = read_facts(output).codebook_size if inputs else 0
    except DataError:
        return
    if (summary.get("codec_sha256"), summary.get("version")) != (codec_sha256, VERSION):
        return

    path = str((output / FEATURES).resolve())
    with ArrayReader(output) as arrays:
        for known in inputs:
            if not known.frames:
                continue

            _revive_part(parts, known, 0, known.clips, known.frames, arrays, path, size)
            for step in {step for _, step, _, _ in known.copies}:
                clips = tuple((name, start, count) for name, own, start, count in known.copies if own == step)
                _revive_part(parts, known, step, clips, clips[-1][1] + clips[-1][2], arrays, path, size)


def _revive_part(
    parts: Parts,
    known: Input,
    semitones: int,
    clips: tuple[tuple[str, int, int], ...],
    frames: int,
    arrays: ArrayReader,
    path: str,
    codebook_size: int,
) -> None:
    """Take over the codes of a recording, or of a transposed copy of it, unless they are there or are damaged."""
    if parts.find(known.sha256, semitones) is not None:
        return

    with contextlib.suppress(DataError, ValueError):
        codes = [arrays.read("numpy_hdf5", path, name, 0, count) for name, _, count in clips]
        spans = np.array([(start, start + count) for _, start, count in clips], np.int64).reshape(-1, 2)
        joined = np.concatenate(codes) if codes else np.zeros((0, 1), np.int16)
        are_codes = bool(((joined >= 0) & (joined < codebook_size)).all())
        if are_codes and len(joined) == sum(stop - start for start, stop in spans):
            parts.save(known.sha256, Part(codes=joined.astype(np.int16), spans=spans, frames=frames), semitones)


def _name_clips(kept: dict[str, Path], parts: Parts, facts: CodecFacts) -> dict[str, tuple[tuple[str, int, int], ...]]:
    """Name, first frame and number of frames of every clip, by the hash of its recording."""
    names, taken = unique_names(kept), set()
    clips_of: dict[str, tuple[tuple[str, int, int], ...]] = {}
    for sha256 in kept:
        spans = _find_part(parts, sha256).spans.tolist()
        clips = []
        for start, stop in spans:
            name = names[sha256] if len(spans) == 1 else f"{names[sha256]}@{start * facts.frame_shift_s:.2f}"
            if name in taken:  # another recording is called like this part of one
                name = f"{name}-{sha256[:8]}"
            taken.add(name)
            clips.append((name, start, stop - start))
        clips_of[sha256] = tuple(clips)
    return clips_of


def _name_copies(
    clips: Mapping[str, tuple[tuple[str, int, int], ...]], parts: Parts, steps: list[int]
) -> dict[str, tuple[tuple[str, int, int, int], ...]]:
    """Name, semitones, first frame and number of frames of every transposed copy that is there, as `_name_clips`.

    There are as many of each step as the recording has clips, in their order. What is held out has none: a recording
    may have been one to train on when its copies were made.
    """
    homes = split_hashes(clips)
    taken = {name for own in clips.values() for name, _, _ in own}
    copies_of: dict[str, tuple[tuple[str, int, int, int], ...]] = {}
    for sha256, own in clips.items():
        copies = []
        for step in steps if homes[sha256] == "train" else ():
            part = parts.find(sha256, step)
            if part is None:
                continue
            for (name, _, _), (start, codes) in zip(own, part.clips(), strict=True):
                copy = f"{name}{step:+d}" if f"{name}{step:+d}" not in taken else f"{name}-{sha256[:8]}{step:+d}"
                copies.append((copy, step, start, len(codes)))
        copies_of[sha256] = tuple(copies)
    return copies_of


def _iterate_clips(
    clips: Mapping[str, tuple[tuple[str, int, int], ...]],
    copies: Mapping[str, tuple[tuple[str, int, int, int], ...]],
    parts: Parts,
) -> Iterator[tuple[str, TokenClip]]:
    """Every clip with its split. A clip ends its recording when nothing, or only silence, follows it."""
    homes = split_hashes(clips)
    for split in SPLITS:
        for sha256 in clips:
            if homes[sha256] != split:
                continue

            codes = [codes for _, codes in _find_part(parts, sha256).clips()]
            for number, ((name, _, _), array) in enumerate(zip(clips[sha256], codes, strict=True), start=1):
                yield split, TokenClip(id=name, codes=array, ends=number == len(codes))

    for sha256, named in copies.items():
        for step in dict.fromkeys(step for _, step, _, _ in named):
            codes = [codes for _, codes in _find_part(parts, sha256, step).clips()]
            names = [name for name, own, _, _ in named if own == step]
            originals = [name for name, _, _ in clips[sha256]]
            for number, (name, original, array) in enumerate(zip(names, originals, codes, strict=True), start=1):
                yield COPIES, TokenClip(id=name, codes=array, ends=number == len(codes), copy_of=original)


def _find_part(parts: Parts, sha256: str, semitones: int = 0) -> Part:
    part = parts.find(sha256, semitones)
    if part is None:
        raise DataError(f"{parts.folder}: the codes of {sha256[:12]}... are gone; run the command again")
    return part


def _count_silences(part: Part) -> int:
    """Stretches that were left out."""
    edges = [0, *part.spans.flatten().tolist(), part.frames]
    return sum(stop > start for start, stop in zip(edges[::2], edges[1::2], strict=True))


def check_free(output: Path) -> None:
    """Raise now what `assemble` without `force` would raise in the end.

    Raises:
        OutputError: a file of something else is where one of the store belongs.
    """
    own = _read_placed(output / PARTIAL / PLACED)
    for name in (FACTS, FEATURES, INPUTS):
        if name not in own and os.path.lexists(output / name):
            raise _in_the_way(output / name)


def _publish(folder: Path, output: Path, force: bool) -> None:
    """Move the files of a store to where they belong; `INPUTS`, which makes it a finished one, comes last."""
    note = output / PARTIAL / PLACED
    own = _read_placed(note)
    news = sorted(folder.iterdir(), key=lambda path: (path.name == INPUTS, path.name.startswith("cuts_"), path.name))
    cuts = (*output.glob("cuts_*.jsonl.gz"), *output.glob("cuts_*.jsonl"))  # which would not fit the new codes
    for path in (*cuts, *(output / new.name for new in news)):
        if not force and path.name not in own and os.path.lexists(path):
            raise _in_the_way(path)

    (output / INPUTS).unlink(missing_ok=True)
    for old in cuts:
        old.unlink()

    for new in news:
        if force or new.name in own:
            os.replace(new, output / new.name)
            continue

        # Noted before it is there: a run that is stopped in between finds nothing of this name, or its own file.
        _write_placed(note, [*own, new.name])
        try:
            name_new_file(new, output / new.name)
        except OutputError as error:
            _write_placed(note, own)
            raise _in_the_way(output / new.name) from error
        own.append(new.name)


def _read_placed(note: Path) -> list[str]:
    """The names of the files that a run has put into the store before it was stopped."""
    try:
        return note.read_text().splitlines()
    except (OSError, ValueError):
        return []


def _write_placed(note: Path, names: list[str]) -> None:
    if names:
        note.write_text("".join(f"{name}\n" for name in names))
    else:
        note.unlink()


def _in_the_way(path: Path) -> OutputError:
    return OutputError(f"{path}: exists already; choose another folder with -o, or overwrite it with -f")


def _report(done: Tokenized, on_event: OnEvent) -> None:
    kept = ", ".join(f"{count} {split}" for split, count in done.cuts.items())
    dropped = {reason: counted(count, *LEFT_OUT[reason]) for reason, count in done.dropped.items()}
    if SILENT_STRETCHES in dropped:
        dropped[SILENT_STRETCHES] += f" ({done.silence_s:.0f} s)"
    left_out = ", ".join(dropped.values()) or "none"

    message = f"tokenized {done.hours:.2f} h: {kept}; dropped: {left_out}; failed: {len(done.failed)}"
    if done.semitones:
        message += f"; to learn from, also transposed by up to {counted(done.semitones, 'semitone')} up and down"
    on_event(Note(message=message))
    for line in done.failed:
        on_event(Note(message=line, warning=True))
