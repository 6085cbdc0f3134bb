"""The markers, regions and loops that a WAV holds, as sequencers, editors and samplers write them.

Knows nothing about samples, nor about what a marker is for.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from audiolm_cli.audio.headers import read_chunks
from audiolm_cli.audio.tags import decode_text

CUE = struct.Struct("<II4sIII")
"""A cue point: its id, its place in a playlist, the chunk that it lies in, two offsets of that, and the sample."""
LABELLED_TEXT = struct.Struct("<II4sHHHH")
"""The id of a cue point, how many samples its region has, its purpose, country, language, dialect and code page."""
LOOP = struct.Struct("<IIIIII")
"""The id of a loop, its kind, its first and its last sample, a fraction, and how often it is played."""
LOOPS_AT, LOOP_COUNT_AT = 36, 28
"""Where in a smpl chunk its loops and their number stand."""
MOST_BYTES = 1 << 24
"""Chunks are read so far."""


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


def read_markers(stream: BinaryIO) -> tuple[Marker, ...]:
    """The markers of a WAV or RF64 in order; none for other files, and as far as they are whole.

    Args:
        stream: the open file.
    """
    cues: dict[int, int] = {}
    names: dict[int, str] = {}
    lengths: dict[int, int] = {}
    loops: list[tuple[int, int, int]] = []
    for name, content in read_chunks(stream, MOST_BYTES, (b"cue ", b"LIST", b"smpl")):
        if name == b"cue ":
            cues |= {point[0]: point[5] for point in _unpack_all(CUE, content[4:])}
        elif name == b"smpl" and len(content) >= LOOPS_AT:
            (count,) = struct.unpack_from("<I", content, LOOP_COUNT_AT)
            loops += [(loop[0], loop[2], loop[3] + 1) for loop in _unpack_all(LOOP, content[LOOPS_AT:])[:count]]
        elif content[:4] == b"adtl":
            _read_labels(content, names, lengths)

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
