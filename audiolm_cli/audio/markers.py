"""The markers, regions and loops that a WAV or an AIFF holds, as sequencers, editors and samplers write them.

Knows nothing about samples, nor about what a marker is for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from audiolm_cli.audio.chunks import Chunk
from audiolm_cli.audio.id3 import decode_text

CUE = struct.Struct("<II4sIII")
"""A cue point: its id, its place in a playlist, the chunk that it lies in, two offsets of that, and the sample."""
LABELLED_TEXT = struct.Struct("<II4sHHHH")
"""The id of a cue point, how many samples its region has, its purpose, country, language, dialect and code page."""
LOOP = struct.Struct("<IIIIII")
"""The id of a loop, its kind, its first and its last sample, a fraction, and how often it is played."""
LOOPS_AT, LOOP_COUNT_AT = 36, 28
"""Where in a smpl chunk its loops and their number stand."""
MARK = struct.Struct(">HIB")
"""A marker of an AIFF: its id, its place, and how long its name is, which follows."""
AIFF_LOOP, AIFF_LOOPS_AT = struct.Struct(">HHH"), (8, 14)
"""A loop of an AIFF, as `list_aiff_loops` returns it, and where in an INST chunk the two loops stand."""


@dataclass(frozen=True, kw_only=True)
class Marker:
    """A named place in a recording, or a named stretch of it."""

    name: str
    """What the file calls it; its number where it has no name."""
    start: int
    """Its first sample."""
    stop: int | None = None
    """The first sample behind it; None where it is a place without length."""
    loops: bool = False
    """Whether it is a loop of a sampler."""


def read_riff_markers(chunks: Sequence[Chunk]) -> tuple[Marker, ...]:
    """The markers in the chunks of a WAV in order, as far as they are whole."""
    cues, lengths = read_places(chunks)
    names: dict[int, str] = {}
    loops: list[tuple[int, int, int]] = []
    for chunk in chunks:
        content = chunk.content
        if chunk.kind == b"LISTadtl":
            _read_labels(content, names, {})
        elif chunk.name == b"smpl" and len(content) >= LOOPS_AT:
            (count,) = struct.unpack_from("<I", content, LOOP_COUNT_AT)
            loops += [(loop[0], loop[2], loop[3] + 1) for loop in _unpack_all(LOOP, content[LOOPS_AT:])[:count]]

    markers = [
        Marker(
            name=names.get(id_) or str(number),
            start=start,
            stop=start + lengths[id_] if lengths.get(id_) else None,
        )
        for number, (id_, start) in enumerate(cues.items(), start=1)
    ]
    for number, (id_, start, stop) in enumerate(loops, start=1):
        # Editors write a loop's name as that of a cue point with its id, which is at its start.
        own = names.get(id_) if cues.get(id_) == start else None
        if stop > start:
            markers.append(Marker(name=own or f"loop {number}", start=start, stop=stop, loops=True))
    return tuple(sorted(markers, key=lambda marker: marker.start))


def read_places(chunks: Sequence[Chunk]) -> tuple[dict[int, int], dict[int, int]]:
    """The samples of the cue points of a WAV by their ids, and how long the regions are that begin at some of them."""
    cues: dict[int, int] = {}
    lengths: dict[int, int] = {}
    for chunk in chunks:
        if chunk.name == b"cue ":
            cues |= {point[0]: point[5] for point in _unpack_all(CUE, chunk.content[4:])}
        elif chunk.kind == b"LISTadtl":
            _read_labels(chunk.content, {}, lengths)
    return cues, lengths


def read_aiff_markers(chunks: Sequence[Chunk]) -> tuple[Marker, ...]:
    """The markers and loops in the chunks of an AIFF, likewise. A marker at which a loop ends is no other one."""
    marks = {mark[0]: mark[1:] for chunk in chunks if chunk.name == b"MARK" for mark in iter_aiff_marks(chunk.content)}
    loops: list[Marker] = []
    ends: set[int] = set()
    for chunk in chunks:
        for mode, first, last in list_aiff_loops(chunk.content) if chunk.name == b"INST" else ():
            if mode and first in marks and last in marks and marks[first][0] < marks[last][0]:
                name = marks[first][1] or f"loop {len(loops) + 1}"
                loops.append(Marker(name=name, start=marks[first][0], stop=marks[last][0], loops=True))
                ends.add(last)

    points = [
        Marker(name=name or str(number), start=place)
        for number, (id_, (place, name)) in enumerate(marks.items(), start=1)
        if id_ not in ends
    ]
    return tuple(sorted([*points, *loops], key=lambda marker: marker.start))


def iter_aiff_marks(content: bytes) -> Iterator[tuple[int, int, str]]:
    """The id, the place and the name of each marker in a MARK chunk, as far as they are whole."""
    position = 2
    while position + MARK.size <= len(content):
        id_, place, size = MARK.unpack_from(content, position)
        text = content[position + MARK.size : position + MARK.size + size]
        yield id_, place, decode_text(text).strip()
        position += MARK.size + size + (size + 1) % 2


def list_aiff_loops(content: bytes) -> list[tuple[int, int, int]]:
    """How each of the two loops of an INST chunk is played, 0 being not at all, and the ids of its two markers."""
    return [AIFF_LOOP.unpack_from(content, at) for at in AIFF_LOOPS_AT if len(content) >= at + AIFF_LOOP.size]


def _read_labels(content: bytes, names: dict[int, str], lengths: dict[int, int]) -> None:
    """Add the names of cue points, and the lengths of those that begin a region, in a list of associated data."""
    position = 4
    while position + 12 <= len(content):
        kind, size, id_ = struct.unpack_from("<4sII", content, position)
        body = content[position + 8 : position + 8 + size]
        if kind == b"labl":
            names[id_] = decode_text(body[4:]).strip()
        elif kind == b"ltxt" and len(body) >= LABELLED_TEXT.size:
            lengths[id_] = LABELLED_TEXT.unpack_from(body)[1]
            text = decode_text(body[LABELLED_TEXT.size :]).strip()
            if text:
                names.setdefault(id_, text)
        position += 8 + size + size % 2


def _unpack_all(kind: struct.Struct, content: bytes) -> list[tuple[int, ...]]:
    """All whole structures at the start of some bytes."""
    return list(kind.iter_unpack(content[: len(content) // kind.size * kind.size]))
