"""Chunks that name places in the sound, or its length, as they belong into a file whose samples have moved.

Knows nothing about files, nor about why samples moved.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import replace

from audiolm_cli.audio.chunks import ID3_CHUNKS, Chunk, pack_riff_chunk
from audiolm_cli.audio.id3 import CHAPTER, OF_THE_FILE, TIMED, Frame, counts_samples, join_id3, split_id3
from audiolm_cli.audio.markers import (
    AIFF_LOOP,
    AIFF_LOOPS_AT,
    CUE,
    LABELLED_TEXT,
    LOOP,
    LOOP_COUNT_AT,
    LOOPS_AT,
    MARK,
    Marker,
    iter_aiff_marks,
    list_aiff_loops,
    read_places,
    read_riff_markers,
)
from audiolm_cli.audio.moves import Moves
from audiolm_cli.audio.tempo import ACID, ONE_SHOT
from audiolm_cli.config.musical import FASTEST_BPM, SLOWEST_BPM

ORIGIN = struct.Struct("<Q")
ORIGIN_AT = 338
"""Where a bext chunk has the place of its first sample in time, in samples since midnight."""
_TIMES = re.compile(
    rb"<(BWF_TIME_REFERENCE|TIMESTAMP_SAMPLES_SINCE_MIDNIGHT)_(LOW|LO|HIGH|HI)>\s*(\d+)\s*</\1_\2>", re.IGNORECASE
)
"""The same in an iXML chunk, in two halves of 32 bits."""
SEGMENT = struct.Struct("<III")
"""Of a playlist: the id of a cue point, a length, and how often it is played."""
CAF_MARKER = struct.Struct(">Id")
"""What the marker of a CAF begins with: its kind, and its place."""
CAF_MARKER_BYTES, CAF_MARKERS_AT = 28, 8
"""The size of such a marker, and where in their chunk they begin."""
FORWARD = 1
"""How a loop of an AIFF is played."""
ANY_NOTE = struct.pack(">6Bh", 60, 0, 0, 127, 1, 127, 0)
"""What an INST chunk begins with: a base note, and all notes at all velocities."""
TRACK_INDEX = struct.Struct(">QB3x")
TRACK = struct.Struct(">QB12sB13xB")
"""Of the cue sheet of a FLAC: where a track begins, its number, its code, its kind, and how many indices it has."""
TRACKS_AT, LEAD_OUT = 396, (170, 255)
"""Where its tracks begin, and the numbers of the one that is behind all others, on a disc and elsewhere."""


def move_marker(marker: Marker, moves: Moves) -> Marker | None:
    """A marker at its new place; None where it lay in what was replaced."""
    if marker.stop is None:
        place = moves.point(marker.start)
        return None if place is None else replace(marker, start=place)
    span = (moves.loop if marker.loops else moves.stretch)(marker.start, marker.stop)
    return None if span is None else replace(marker, start=span[0], stop=span[1])


def move_riff_chunks(chunks: Sequence[Chunk], moves: Moves) -> tuple[list[Chunk], list[str]]:
    """The chunks of a WAV or a W64, and the names of what lay in what was replaced."""
    lost = [marker.name for marker in read_riff_markers(chunks) if move_marker(marker, moves) is None]
    starts, lengths = read_places(chunks)
    places: dict[int, tuple[int, int]] = {}
    for id_, start in starts.items():
        span = start, start + lengths.get(id_, 0)
        moved = moves.stretch(*span) if span[1] > start else (moves.point(start),) * 2
        if moved is not None and moved[0] is not None and moved[1] is not None:
            places[id_] = moved[0], moved[1]
    gone = starts.keys() - places.keys()

    found = []
    for chunk in chunks:
        content: bytes | None = chunk.content
        if chunk.name == b"cue ":
            content = _move_cues(chunk.content, places)
        elif chunk.name == b"plst":
            content = _move_playlist(chunk.content, places, gone)
        elif chunk.kind == b"LISTadtl":
            content = _move_labels(chunk.content, places, gone)
        elif chunk.name == b"smpl":
            content = _move_loops(chunk.content, moves)
        elif chunk.name == b"acid":
            content = _count_beats(chunk.content, moves)
        elif chunk.name == b"bext":
            content = _move_origin(chunk.content, moves)
        elif chunk.name == b"iXML":
            content = _move_ixml(chunk.content, moves)
        elif chunk.name in ID3_CHUNKS:
            content, names = move_id3(chunk.content, moves)
            lost += names
        if content is not None:
            found.append(replace(chunk, content=content))
    return found, lost


def move_aiff_chunks(chunks: Sequence[Chunk], moves: Moves) -> tuple[list[Chunk], list[str]]:
    """The chunks of an AIFF, and the names of the markers that lay in what was replaced."""
    marks = [mark for chunk in chunks if chunk.name == b"MARK" for mark in iter_aiff_marks(chunk.content)]
    ends = {last for chunk in chunks if chunk.name == b"INST" for _, _, last in list_aiff_loops(chunk.content)}
    places = {id_: (moves.stop if id_ in ends else moves.point)(place) for id_, place, _ in marks}
    lost = [name for id_, _, name in marks if places[id_] is None]

    found = []
    for chunk in chunks:
        content = chunk.content
        if chunk.name == b"MARK":
            kept = [(id_, place, name) for id_, _, name in marks if (place := places[id_]) is not None]
            content = pack_aiff_marks(kept)
        elif chunk.name == b"INST":
            content = _drop_aiff_loops(content, {id_ for id_, place in places.items() if place is not None})
        elif chunk.name in ID3_CHUNKS:
            content, names = move_id3(content, moves)
            lost += names
        found.append(replace(chunk, content=content))
    return found, lost


def move_caf_chunks(chunks: Sequence[Chunk], moves: Moves) -> tuple[list[Chunk], list[str]]:
    """The chunks of a CAF, and what lay in what was replaced."""
    found, lost = [], []
    for chunk in chunks:
        content = chunk.content
        if chunk.name == b"mark":
            content, gone = _move_caf_markers(content, moves)
            lost += [f"marker {number}" for number in gone]
        found.append(replace(chunk, content=content))
    return found, lost


def move_flac_blocks(blocks: Sequence[Chunk], moves: Moves, cue_sheet: bytes) -> tuple[list[Chunk], list[str]]:
    """The metadata blocks of a FLAC, where those of the kind `cue_sheet` name tracks, and the tracks that are gone."""
    found, lost = [], []
    for block in blocks:
        content = block.content
        if block.name == cue_sheet:
            content, names = _move_tracks(content, moves)
            lost += names
        found.append(replace(block, content=content))
    return found, lost


def move_id3(data: bytes, moves: Moves) -> tuple[bytes, list[str]]:
    """An ID3 2 tag with its chapters at their new places, and the names of those that lay in what was replaced.

    Other frames that name moments in the sound stay where no place has changed.
    """
    version, frames = split_id3(data)
    lost: list[str] = []
    kept: list[Frame] = []
    gone: set[bytes] = set()
    for frame in frames:
        if frame.name in OF_THE_FILE or counts_samples(frame, version):
            continue
        if frame.name in TIMED and moves.changes_places:
            continue
        if frame.name == "CHAP":
            moved = _move_chapter(frame, moves)
            if moved is None:
                id_ = frame.content.partition(b"\0")[0]
                gone.add(id_)
                lost.append(f"chapter {id_.decode('latin-1')}")
                continue
            frame = moved
        kept.append(frame)

    if gone:
        kept = [_drop_chapters(frame, gone) if frame.name == "CTOC" else frame for frame in kept]
    return (data, []) if kept == frames else (join_id3(version, kept), lost)


def pack_riff_markers(markers: Sequence[Marker], rate_hz: int) -> list[Chunk]:
    """Chunks of a WAV that hold these markers."""
    points, labels, loops = b"", b"", b""
    for number, marker in enumerate(markers, start=1):
        points += CUE.pack(number, marker.start, b"data", 0, 0, marker.start)
        labels += pack_riff_chunk(b"labl", struct.pack("<I", number) + marker.name.encode("utf-8", "replace") + b"\0")
        if marker.loops and marker.stop is not None:
            loops += LOOP.pack(number, 0, marker.start, marker.stop - 1, 0, 0)
        elif marker.stop is not None:
            labels += pack_riff_chunk(
                b"ltxt", LABELLED_TEXT.pack(number, marker.stop - marker.start, b"rgn ", 0, 0, 0, 0)
            )
    if not markers:
        return []

    found = [Chunk(b"cue ", struct.pack("<I", len(markers)) + points, True), Chunk(b"LIST", b"adtl" + labels, True)]
    if loops:
        head = struct.pack("<9I", 0, 0, round(1e9 / rate_hz), 60, 0, 0, 0, len(loops) // LOOP.size, 0)
        found.append(Chunk(b"smpl", head + loops, True))
    return found


def pack_aiff_markers(markers: Sequence[Marker]) -> list[Chunk]:
    """Chunks of an AIFF that hold these markers, of which loops and regions have two places; there are two loops."""
    marks: list[tuple[int, int, str]] = []
    loops: list[tuple[int, int, int]] = []
    for marker in markers:
        # Of a loop, the place where it begins is often a marker already.
        first = next((id_ for id_, *own in marks if own == [marker.start, marker.name]), len(marks) + 1)
        if first > len(marks):
            marks.append((first, marker.start, marker.name))
        if marker.stop is not None:
            marks.append((len(marks) + 1, marker.stop, f"{marker.name} end"))
        if marker.loops and len(loops) < len(AIFF_LOOPS_AT):
            loops.append((FORWARD, first, len(marks)))

    found = [Chunk(b"MARK", pack_aiff_marks(marks), True)] if marks else []
    if loops:
        none = [(0, 0, 0)] * (len(AIFF_LOOPS_AT) - len(loops))
        found.append(Chunk(b"INST", ANY_NOTE + b"".join(AIFF_LOOP.pack(*loop) for loop in [*loops, *none]), True))
    return found


def pack_aiff_marks(marks: Sequence[tuple[int, int, str]]) -> bytes:
    """The content of a MARK chunk: (id, place, name) of each."""
    content = struct.pack(">H", len(marks))
    for id_, place, name in marks:
        text = name.encode("utf-8", "replace")[:254]
        content += MARK.pack(id_, place, len(text)) + text + bytes((len(text) + 1) % 2)
    return content


def _move_cues(content: bytes, places: dict[int, tuple[int, int]]) -> bytes | None:
    """A cue chunk without the points that are gone; None where none is left."""
    points = []
    for point in CUE.iter_unpack(content[4 : 4 + (len(content) - 4) // CUE.size * CUE.size]):
        id_, order, chunk, chunk_at, block_at, place = point
        if id_ in places:
            start = places[id_][0]
            points.append(CUE.pack(id_, start if order == place else order, chunk, chunk_at, block_at, start))
    return struct.pack("<I", len(points)) + b"".join(points) if points else None


def _move_playlist(content: bytes, places: dict[int, tuple[int, int]], gone: set[int]) -> bytes | None:
    """A playlist without the points that are gone; None where none is left."""
    segments = [
        SEGMENT.pack(*segment)
        for segment in SEGMENT.iter_unpack(content[4 : 4 + (len(content) - 4) // SEGMENT.size * SEGMENT.size])
        if segment[0] not in gone
    ]
    return struct.pack("<I", len(segments)) + b"".join(segments) if segments else None


def _move_labels(content: bytes, places: dict[int, tuple[int, int]], gone: set[int]) -> bytes | None:
    """A list of what belongs to cue points, with the new lengths of regions; None where nothing is left."""
    kept, position = b"", 4
    while position + 12 <= len(content):
        kind, size, id_ = struct.unpack_from("<4sII", content, position)
        body = content[position + 8 : position + 8 + size]
        if kind == b"ltxt" and id_ in places and len(body) >= LABELLED_TEXT.size:
            body = body[:4] + struct.pack("<I", places[id_][1] - places[id_][0]) + body[8:]
        if id_ not in gone:
            kept += pack_riff_chunk(kind, body)
        position += 8 + size + size % 2
    return content[:4] + kept if kept else None


def _move_loops(content: bytes, moves: Moves) -> bytes:
    """A smpl chunk without the loops that are gone."""
    if len(content) < LOOPS_AT:
        return content
    (count,) = struct.unpack_from("<I", content, LOOP_COUNT_AT)
    count = min(count, (len(content) - LOOPS_AT) // LOOP.size)
    end = LOOPS_AT + count * LOOP.size

    loops = []
    for id_, kind, first, last, fraction, times in LOOP.iter_unpack(content[LOOPS_AT:end]):
        span = moves.loop(first, last + 1) if last >= first else None
        if span is not None:
            loops.append(LOOP.pack(id_, kind, span[0], span[1] - 1, fraction, times))
    head = content[:LOOP_COUNT_AT] + struct.pack("<I", len(loops)) + content[LOOP_COUNT_AT + 4 : LOOPS_AT]
    return head + b"".join(loops) + content[end:]


def _count_beats(content: bytes, moves: Moves) -> bytes:
    """An acid chunk with the beats of the new length: programs take the tempo from these."""
    if len(content) < ACID.size or moves.length == moves.was_long:
        return content
    fields = list(ACID.unpack_from(content))
    if not fields[0] & ONE_SHOT and SLOWEST_BPM <= fields[7] <= FASTEST_BPM:
        fields[4] = round(fields[7] * moves.length / moves.rate_hz / 60)
    return ACID.pack(*fields) + content[ACID.size :]


def _move_origin(content: bytes, moves: Moves) -> bytes:
    """A bext chunk whose first sample is where it is now in time; never before midnight."""
    if len(content) < ORIGIN_AT + ORIGIN.size or not moves.begins_at:
        return content
    (origin,) = ORIGIN.unpack_from(content, ORIGIN_AT)
    origin = min(max(0, origin + moves.begins_at), 2**64 - 1)
    return content[:ORIGIN_AT] + ORIGIN.pack(origin) + content[ORIGIN_AT + ORIGIN.size :]


def _move_ixml(content: bytes, moves: Moves) -> bytes:
    """An iXML chunk, likewise."""
    if not moves.begins_at:
        return content
    halves: dict[bytes, dict[bool, int]] = {}
    for name, half, text in _TIMES.findall(content):
        halves.setdefault(name.upper(), {})[half.upper().startswith(b"H")] = int(text)

    def write(match: re.Match[bytes]) -> bytes:
        known = halves[match[1].upper()]
        origin = max(0, (known.get(True, 0) << 32) + known.get(False, 0) + moves.begins_at)
        number = origin >> 32 if match[2].upper().startswith(b"H") else origin & 0xFFFFFFFF
        return b"<%b_%b>%d</%b_%b>" % (match[1], match[2], number, match[1], match[2])

    return _TIMES.sub(write, content)


def _drop_aiff_loops(content: bytes, kept: set[int]) -> bytes:
    """An INST chunk that plays no loop of which a marker is gone."""
    for at, (mode, *ids) in zip(AIFF_LOOPS_AT, list_aiff_loops(content), strict=False):
        if mode and not set(ids) <= kept:
            content = content[:at] + bytes(AIFF_LOOP.size) + content[at + AIFF_LOOP.size :]
    return content


def _move_caf_markers(content: bytes, moves: Moves) -> tuple[bytes, list[int]]:
    """A mark chunk of a CAF, and the numbers of the markers that are gone."""
    kept, gone = b"", []
    for number, at in enumerate(range(CAF_MARKERS_AT, len(content) - CAF_MARKER_BYTES + 1, CAF_MARKER_BYTES), start=1):
        kind, place = CAF_MARKER.unpack_from(content, at)
        moved = moves.point(int(place)) if 0 <= place < 2**62 else None
        if moved is None:
            gone.append(number)
        else:
            kept += CAF_MARKER.pack(kind, moved + place % 1) + content[at + CAF_MARKER.size : at + CAF_MARKER_BYTES]
    return content[:4] + struct.pack(">I", len(kept) // CAF_MARKER_BYTES) + kept, gone


def _move_tracks(content: bytes, moves: Moves) -> tuple[bytes, list[str]]:
    """A cue sheet of a FLAC, of no disc any more, whose tracks begin at every 588th sample."""
    if len(content) < TRACKS_AT or not (moves.changes_places or moves.length != moves.was_long):
        return content, []
    tracks, lost, at = [], [], TRACKS_AT
    while at + TRACK.size <= len(content):
        place, number, *_, count = TRACK.unpack_from(content, at)
        end = at + TRACK.size + count * TRACK_INDEX.size
        moved = moves.length if number in LEAD_OUT else moves.point(place)
        if moved is None:
            lost.append(f"track {number}")
        else:
            tracks.append(struct.pack(">Q", moved) + content[at + 8 : end])
        at = end
    head = content[: TRACKS_AT - 260] + bytes([0]) + content[TRACKS_AT - 259 : TRACKS_AT - 1]
    return head + bytes([len(tracks)]) + b"".join(tracks), lost


def _move_chapter(frame: Frame, moves: Moves) -> Frame | None:
    """A chapter at its new place, or None."""
    id_, _, rest = frame.content.partition(b"\0")
    if len(rest) < CHAPTER.size:
        return frame
    start_ms, end_ms, *_ = CHAPTER.unpack_from(rest)
    samples = [round(time_ms * moves.rate_hz / 1000) for time_ms in (start_ms, end_ms)]
    span = moves.stretch(samples[0], max(samples[0] + 1, min(samples[1], moves.was_long)))
    if span is None:
        return None
    if not moves.changes_places:
        return frame
    times = [round(place * 1000 / moves.rate_hz) for place in span]
    unknown = 2**32 - 1
    return frame._replace(content=id_ + b"\0" + CHAPTER.pack(*times, unknown, unknown) + rest[CHAPTER.size :])


def _drop_chapters(frame: Frame, gone: set[bytes]) -> Frame:
    """A table of contents without the chapters that are gone."""
    id_, _, rest = frame.content.partition(b"\0")
    if len(rest) < 2:
        return frame
    names = rest[2:].split(b"\0")
    listed, more = names[: rest[1]], names[rest[1] :]
    kept = [name for name in listed if name not in gone]
    head = id_ + b"\0" + rest[:1] + bytes([len(kept)])
    return frame._replace(content=head + b"".join(name + b"\0" for name in kept) + b"\0".join(more))
