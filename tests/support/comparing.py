"""What two runs of one command wrote, compared byte for byte but for what no two runs have in common.

Knows nothing about commands; `benchmarks/same_bytes.py` runs them.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

MEASURED = {"timing", "minutes", "elapsed_s", "frames_per_s", "expected_s", "memory_bytes"}
"""Keys, at any depth of a JSON value, that say how long something took or how much memory it needed."""
SPEED_TAGS = "speed/"
"""TensorBoard scalars that are measured."""
AUDIO = {".wav", ".flac", ".ogg", ".aiff"}
LEFT_OUT = (".stderr", ".locks")
"""Progress lines, which come by the clock; and notes of who holds a lock, which name a process and the time."""
LONGEST = 160


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same."""

    place: str
    """The file."""
    what: str
    """What differs, in a line."""
    note: bool = False
    """Whether only what a file or a printed result says about how it was made differs, not what was made."""


def compare_folders(before: Path, after: Path) -> tuple[int, list[Difference]]:
    """How many files were compared, and what differs between two folders."""
    olds, news = files_of(before), files_of(after)
    found = [Difference(name, "is written only before") for name in sorted(olds.keys() - news.keys())]
    found += [Difference(name, "is written only after") for name in sorted(news.keys() - olds.keys())]
    for name in sorted(olds.keys() & news.keys()):
        if comparable(olds[name]) != comparable(news[name]):
            found += differences(name, olds[name], news[name])
    return len(olds.keys() | news.keys()), found


def files_of(folder: Path) -> dict[str, Path]:
    """The files below a folder by the names under which two runs can be compared."""
    found: dict[str, Path] = {}
    events = 0
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if not path.is_file() or any(part in LEFT_OUT for part in parts):
            continue
        if path.name.startswith("events.out.tfevents."):  # the name has the time, the machine and the process
            events += 1
            parts = (*parts[:-1], f"events {events}")
        found["/".join(parts)] = path
    return found


def comparable(path: Path) -> object:
    """The content of a file without what differs between any two runs of one program.

    - JSON, and JSON lines: without what `MEASURED` names. Texts that are no JSON stay as they are.
    - gzip: what is in it, since its header has the time of writing.
    - TensorBoard events: their steps, names and values, without the time of writing and `SPEED_TAGS`.
    - Everything else, such as audio, pictures, weights and codes: all its bytes.
    """
    if path.name.startswith("events.out.tfevents."):
        return list(read_events(path))
    data = content(path)
    values = as_json(path, data)
    return data if values is None else without_measured(values)


def content(path: Path) -> bytes:
    """The bytes of a file, unpacked where it is packed."""
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def as_json(path: Path, data: bytes) -> Any:
    """What a file of JSON or JSON lines holds; None when it is another one."""
    kind = Path(path.name.removesuffix(".gz")).suffix
    if kind not in (".json", ".jsonl", "") or not data.strip():
        return None
    try:
        text = data.decode()
        return [json.loads(line) for line in text.splitlines()] if kind == ".jsonl" else json.loads(text)
    except ValueError:
        return None


def without_measured(value: Any) -> Any:
    """A JSON value without the keys of `MEASURED`; as pairs, so that the order of keys counts."""
    if isinstance(value, dict):
        return [(key, without_measured(item)) for key, item in value.items() if key not in MEASURED]
    return [without_measured(item) for item in value] if isinstance(value, list) else value


def read_events(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """(step, tag, value) of every scalar and sound in a TensorBoard file; the end may be cut off by a kill."""
    from tensorboard.compat.proto.event_pb2 import Event

    data, position = path.read_bytes(), 0
    while position + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, position)  # a record: length, checksum, event, checksum
        if position + 16 + length > len(data):
            return
        event = Event.FromString(data[position + 12 : position + 12 + length])
        position += 16 + length
        for value in event.summary.value:
            if not value.tag.startswith(SPEED_TAGS):
                yield event.step, value.tag, value.SerializeToString(deterministic=True)


def differences(name: str, before: Path, after: Path) -> list[Difference]:
    """What differs between two files that are not the same, as closely as their kind allows."""
    old, new = content(before), content(after)
    values = as_json(before, old), as_json(after, new)
    if None not in values:
        return list(json_differences(name, *values))
    if before.suffix in AUDIO:
        return list(audio_differences(name, before, after))
    if before.suffix == ".safetensors":
        return [Difference(name, tensor_difference(before, after))]
    if before.name.startswith("events.out.tfevents."):
        pairs = zip(read_events(before), read_events(after), strict=False)
        at = next((f"{one[1]} of step {one[0]}" for one, other in pairs if one != other), "the number of events")
        return [Difference(name, at)]
    at = next(
        (i for i, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), min(len(old), len(new))
    )
    return [Difference(name, f"{len(old)} and {len(new)} bytes, the first difference at byte {at}")]


def json_differences(name: str, before: Any, after: Any, path: str = "") -> Iterator[Difference]:
    """Every value that differs; those of settings and of how codes were drawn are notes."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            if key not in MEASURED:
                missing = "(nothing)"
                yield from json_differences(name, before.get(key, missing), after.get(key, missing), f"{path}.{key}")
        shared = [[key for key in one if key in other] for one, other in ((before, after), (after, before))]
        if shared[0] != shared[1]:
            yield Difference(name, f"the order of the keys of {path or 'the object'}", note=True)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from json_differences(name, one, other, f"{path}[{index}]")
    elif before != after:
        told = f"{path.removeprefix('.') or 'the value'}: {str(before)[:LONGEST]} became {str(after)[:LONGEST]}"
        yield Difference(name, told, note=path.startswith((".settings", ".comment")) or ".sampling" in path)


def audio_differences(name: str, before: Path, after: Path) -> Iterator[Difference]:
    """What differs between two audio files: the format, the samples, the tags; or only the comment, a note."""
    facts = []
    for path in (before, after):
        with soundfile.SoundFile(path) as sound:
            form = f"{sound.samplerate} Hz, {sound.channels} channels, {sound.format} {sound.subtype}"
            facts.append((form, sound.copy_metadata(), sound.read(dtype="float64", always_2d=True)))
    (form, tags, samples), (new_form, new_tags, new_samples) = facts
    found = 0
    if form != new_form or len(samples) != len(new_samples):
        found += 1
        yield Difference(name, f"{form}, {len(samples)} samples became {new_form}, {len(new_samples)} samples")
    elif not np.array_equal(samples, new_samples):
        found += 1
        differing = np.flatnonzero((samples != new_samples).any(1))
        largest = np.abs(samples - new_samples).max()
        yield Difference(name, f"{len(differing)} samples from {differing[0]} on, by at most {largest:.3g}")
    for tag in sorted(tags.keys() | new_tags.keys()):
        one, other = tags.get(tag, ""), new_tags.get(tag, "")
        if one != other:
            found += 1
            yield from comment_differences(name, one, other) if tag == "comment" else [Difference(name, f"tag {tag}")]
    if not found:
        yield Difference(name, "bytes that are neither samples nor tags")


def comment_differences(name: str, before: str, after: str) -> Iterator[Difference]:
    """What differs between two comment tags, which are JSON."""
    try:
        yield from json_differences(name, {"comment": json.loads(before)}, {"comment": json.loads(after)})
    except ValueError:
        yield Difference(name, f"the comment: {before[:LONGEST]} became {after[:LONGEST]}", note=True)


def tensor_difference(before: Path, after: Path) -> str:
    """Which tensors of two safetensors files differ, and by how much the first one does."""
    from safetensors.numpy import load_file

    old, new = load_file(before), load_file(after)
    if (names := old.keys() ^ new.keys()) or any(old[name].shape != new[name].shape for name in old):
        return f"names or shapes of tensors{': ' + ', '.join(sorted(names)[:5]) if names else ''}"
    differing = [name for name in old if old[name].tobytes() != new[name].tobytes()]
    if not differing:
        return "only the header"
    first = differing[0]
    largest = np.abs(old[first].astype(np.float64) - new[first].astype(np.float64)).max()
    return f"{len(differing)} of {len(old)} tensors, as {first} by at most {largest:.3g}"
