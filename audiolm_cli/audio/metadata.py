"""What a file holds beside samples: read as it is, moved with the samples, and put into another file.

Knows nothing about where a recording comes from, nor what is done with it.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from audiolm_cli.audio.chunks import FILLERS, ID3_CHUNKS, OWN, Chunk, list_foreign_chunks, put_chunks, read_other_chunks
from audiolm_cli.audio.flac import (
    CUE_SHEET,
    LONGEST_BLOCK,
    PICTURE,
    pack_picture,
    put_flac_blocks,
    read_flac_blocks,
    unpack_picture,
)
from audiolm_cli.audio.headers import overwrite, read_synchsafe, replace_bytes
from audiolm_cli.audio.id3 import (
    FRAMES,
    Picture,
    list_timed_frames,
    make_frames,
    merge_id3,
    other_frames,
    read_fields,
    read_pictures,
)
from audiolm_cli.audio.markers import Marker, read_aiff_markers, read_riff_markers
from audiolm_cli.audio.moves import Moves
from audiolm_cli.audio.ogg import list_ogg_comments, settle_ogg
from audiolm_cli.audio.placed import (
    move_aiff_chunks,
    move_caf_chunks,
    move_flac_blocks,
    move_id3,
    move_riff_chunks,
    pack_aiff_markers,
    pack_riff_markers,
)
from audiolm_cli.audio.tags import BPM_COMMENTS, INFO, MOST_TAG_BYTES, iter_info, list_ape_texts
from audiolm_cli.audio.tempo import Tempo

FAMILIES = {"WAV": "RIFF", "WAVEX": "RIFF", "RF64": "RIFF"} | {
    name: name for name in ("W64", "AIFF", "CAF", "FLAC", "OGG", "MP3", "AU")
}
"""Formats that hold the same in the same way, by libsndfile's names."""
MARKS = (b"cue ", b"plst", b"smpl", b"MARK", b"mark", b"strg")
"""Chunks that hold markers, which other formats may hold in their own way."""
W64_MARKERS = bytes.fromhex("5662f7ab2d39d21186c700c04f8edb8a")
"""The name of the chunk with the markers of a W64."""
UNKNOWN_PLACES = {"W64": (W64_MARKERS, "the markers of a W64"), "CAF": (b"regn", "the regions of a CAF")}
"""Chunks that name places in a way that nobody describes, by family, and what they are called."""
PICTURE_COMMENT = b"METADATA_BLOCK_PICTURE"
"""The comment of an Ogg that holds a picture."""
KNOWN_COMMENTS = (
    *(key.upper().encode() for key in (*FRAMES.values(), "encoder") if key != "bpm"),
    PICTURE_COMMENT,
)
"""Comments that go from format to format in other ways."""
CAF_NAMES = {
    b"track number": b"TRACKNUMBER",
    b"recorded date": b"DATE",
    b"year": b"DATE",
    b"comments": b"COMMENT",
    b"tempo": b"BPM",
    b"encoding application": b"ENCODER",
}
"""The entries of a CAF whose names are not those of FLAC and Ogg in small letters."""
AU_HEAD = 24
"""Where in an AU its text begins."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a file holds beside its samples and what their header says; byte for byte where nothing has moved."""

    family: str
    """What it is for, one of the values of `FAMILIES`."""
    chunks: tuple[Chunk, ...] = ()
    """Chunks of a file that consists of them, blocks of a FLAC, the text of an AU."""
    comments: tuple[bytes, ...] = ()
    """Comments of a FLAC or an Ogg."""
    id3: bytes = b""
    """The ID3 2 tag of an MP3."""
    left_out: tuple[str, ...] = ()
    """What is not here, although the file has it or had it: no file made from it will have it, of whatever format."""

    def on_side(self, *, behind: bool) -> Metadata:
        """The same with all chunks behind the samples, or in front of them."""
        return replace(self, chunks=tuple(replace(chunk, behind=behind) for chunk in self.chunks))

    @property
    def markers(self) -> tuple[Marker, ...]:
        """The named places and stretches, in order."""
        readers = {"RIFF": read_riff_markers, "AIFF": read_aiff_markers}
        return readers[self.family](self.chunks) if self.family in readers else ()

    @property
    def tag(self) -> bytes:
        """The ID3 2 tag, wherever in the file it is."""
        inside = (chunk.content for chunk in self.chunks if chunk.name in ID3_CHUNKS)
        return self.id3 or next(inside, b"")

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Text beyond that which libsndfile knows, by the names that FLAC and Ogg have for it."""
        pairs = [(name.upper(), text) for name, _, text in (comment.partition(b"=") for comment in self.comments)]
        for chunk in self.chunks if self.family == "CAF" else ():
            pairs += [
                (CAF_NAMES.get(name, name.upper()), text)
                for name, text in (_caf_entries(chunk.content) if chunk.name == b"info" else [])
            ]
        own = [pair for pair in pairs if pair[0] not in KNOWN_COMMENTS]
        texts = [(name.decode("ascii", "replace"), text.decode("utf-8", "replace")) for name, text in own]
        return texts or read_fields(self.tag)

    @property
    def pictures(self) -> list[Picture]:
        """The pictures."""
        blocks = [chunk.content for chunk in self.chunks if self.family == "FLAC" and chunk.name[0] == PICTURE]
        for comment in self.comments:
            name, _, text = comment.partition(b"=")
            if name.upper() == PICTURE_COMMENT:
                try:
                    blocks.append(base64.b64decode(text))
                except binascii.Error:
                    continue
        found = [picture for picture in map(unpack_picture, blocks) if picture is not None]
        return found or read_pictures(self.tag)


def read_metadata(stream: BinaryIO, format: str) -> Metadata | None:
    """What a file of this format, one of libsndfile's names, holds beside its samples; None of other formats."""
    family = FAMILIES.get(format)
    stream.seek(0)
    head = stream.read(10)
    if family in OWN and head[:4] in (b"RIFF", b"RF64", b"riff", b"FORM", b"caff"):
        chunks, large = read_other_chunks(stream, family)
        return Metadata(family=family, chunks=chunks, left_out=large)
    if family == "RIFF" and head[:4] == b"RIFX":
        return Metadata(family=family, left_out=list_foreign_chunks(stream))

    if family == "FLAC":
        blocks, comments, left_out = read_flac_blocks(stream)
        return Metadata(family=family, chunks=blocks, comments=comments, left_out=left_out)
    if family == "OGG":
        return Metadata(family=family, comments=list_ogg_comments(stream))
    if family == "MP3":
        stream.seek(0)
        has_tag = head[:3] == b"ID3"
        tag = stream.read(min(MOST_TAG_BYTES, 10 + read_synchsafe(head[6:]))) if has_tag else b""
        return Metadata(family=family, id3=tag, left_out=tuple(f"APE {name}" for name in list_ape_texts(stream)))
    if family == "AU" and head[:4] == b".snd":
        stream.seek(AU_HEAD)
        text = stream.read(max(0, min(MOST_TAG_BYTES, int.from_bytes(head[4:8], "big") - AU_HEAD))).rstrip(b"\0")
        return Metadata(family=family, chunks=(Chunk(b"text", text),) if text else ())
    return None


def move_metadata(metadata: Metadata, moves: Moves) -> tuple[Metadata, list[str]]:
    """The same for a file whose samples have moved, and the names of the markers that lay in what was replaced."""
    metadata = _leave_out_unmovable(metadata, moves)
    if metadata.family == "MP3":
        tag, lost = move_id3(metadata.id3, moves)
        return replace(metadata, id3=tag), lost
    if metadata.family == "FLAC":
        chunks, lost = move_flac_blocks(metadata.chunks, moves, bytes([CUE_SHEET]))
        return replace(metadata, chunks=tuple(chunks)), lost

    movers: dict[str, Callable[[Sequence[Chunk], Moves], tuple[list[Chunk], list[str]]]] = {
        "RIFF": move_riff_chunks,
        "W64": move_riff_chunks,
        "AIFF": move_aiff_chunks,
        "CAF": move_caf_chunks,
    }
    if metadata.family not in movers:
        return metadata, []
    chunks, lost = movers[metadata.family](metadata.chunks, moves)
    return replace(metadata, chunks=tuple(chunks)), lost


def fit_metadata(
    metadata: Metadata, format: str, markers: Sequence[Marker], tempo: Tempo | None, rate_hz: int
) -> Metadata:
    """What a file of another format can hold of it.

    Args:
        metadata: of the recording.
        format: of the file, by libsndfile's names.
        markers: of the recording, where they belong in the file.
        tempo: of the recording.
        rate_hz: its sample rate, in Hz.
    """
    family = FAMILIES[format]
    if family == metadata.family:
        return metadata

    fields, pictures = metadata.fields, metadata.pictures
    if tempo is not None and not any(name in BPM_COMMENTS for name, _ in fields):
        fields.append(("BPM", f"{tempo.bpm:.10g}"))
    comments = tuple(f"{name}={text}".encode("utf-8", "replace") for name, text in fields)
    if metadata.family in ("FLAC", "OGG"):
        comments = tuple(each for each in metadata.comments if each.partition(b"=")[0].upper() != PICTURE_COMMENT)
    blocks = [pack_picture(picture) for picture in pictures]

    if family == "FLAC":
        kept = tuple(Chunk(bytes([PICTURE]), block) for block in blocks if len(block) <= LONGEST_BLOCK)
        return Metadata(family=family, comments=comments, chunks=kept)
    if family == "OGG":
        return Metadata(family=family, comments=(*comments, *(_picture_comment(block) for block in blocks)))
    if family in ("W64", "AU"):
        return Metadata(family=family)
    if family == "CAF":
        names = {name: entry for entry, name in CAF_NAMES.items()}
        entries = [
            (names.get(name.upper(), name.lower()), text)
            for name, _, text in (each.partition(b"=") for each in comments)
            if name.upper() not in KNOWN_COMMENTS
        ]
        return Metadata(family=family, chunks=(Chunk(b"info", _pack_caf_entries(entries)),) if entries else ())

    tag = metadata.tag or make_frames(fields, pictures)
    if family == "MP3":
        return Metadata(family=family, id3=tag)
    found = pack_riff_markers(markers, rate_hz) if family == "RIFF" else pack_aiff_markers(markers)
    inside = [Chunk(ID3_CHUNKS[0] if family == "RIFF" else ID3_CHUNKS[1], tag, True)] if tag else []
    return Metadata(family=family, chunks=(*found, *inside))


def list_unheld(metadata: Metadata, format: str, markers: Sequence[Marker]) -> list[str]:
    """What of a recording's metadata a file of this format does not hold, in the words of those who wrote it.

    What no file would hold is in `Metadata.left_out`.
    """
    family = FAMILIES[format]
    if family == metadata.family:
        return []
    found: list[str] = []

    holds_tags = family in ("FLAC", "OGG", "MP3", "RIFF", "AIFF")
    if markers and family not in ("RIFF", "AIFF"):
        found.append(f"{len(markers)} markers" if len(markers) > 1 else "1 marker")
    if not holds_tags:
        found += [name for name, _ in metadata.fields if family != "CAF"]
        found += ["pictures"] if metadata.pictures else []
    elif family in ("FLAC", "OGG"):
        found += other_frames(metadata.tag)

    known = {*ID3_CHUNKS, *FILLERS, *OWN.get(metadata.family, ()), b"acid", b"info"}
    known |= set(MARKS) if metadata.family in ("RIFF", "AIFF") else set()  # others' are not read
    for chunk in metadata.chunks:
        if metadata.family == "FLAC":
            found += (
                [] if chunk.name[0] == PICTURE else ["cue sheet" if chunk.name[0] == CUE_SHEET else "application data"]
            )
        elif chunk.kind == b"LISTINFO":
            found += [name.decode("latin-1") for name, _, _ in iter_info(chunk.content) if name not in INFO]
        elif chunk.name == W64_MARKERS:
            found.append(UNKNOWN_PLACES["W64"][1])
        elif chunk.name not in known and chunk.kind != b"LISTadtl":
            found.append(chunk.name[:4].decode("latin-1").strip())
    return list(dict.fromkeys(found))


def write_metadata(stream: BinaryIO, metadata: Metadata | None, format: str, tags: dict[str, str]) -> None:
    """Put metadata into a file that has been written, beside what it holds already.

    Args:
        stream: the open file.
        metadata: of the same family; None is none.
        format: of the file, by libsndfile's names.
        tags: its own text, as far as the format has a place for it.
    """
    if format == "OGG":
        settle_ogg(stream, list(metadata.comments) if metadata else [])
    if metadata is None or not (metadata.chunks or metadata.comments):
        return

    if metadata.family == "W64":  # behind the samples, neither libsndfile nor ffmpeg understands any
        metadata = metadata.on_side(behind=False)
    chunks = list(metadata.chunks)
    if metadata.family == "FLAC":
        put_flac_blocks(stream, chunks, list(metadata.comments))
    elif metadata.family == "AU":
        _put_au_text(stream, chunks[0].content)
    elif metadata.family in OWN:
        if metadata.family == "RIFF":
            chunks = [
                replace(chunk, content=merge_id3(chunk.content, tags)) if chunk.name in ID3_CHUNKS else chunk
                for chunk in chunks
            ]
        put_chunks(stream, metadata.family, chunks, _join_texts)


def count_bytes(metadata: Metadata | None) -> int:
    """About how large it is in a file."""
    return 0 if metadata is None else sum(len(chunk.content) + 64 for chunk in metadata.chunks)


def _leave_out_unmovable(metadata: Metadata, moves: Moves) -> Metadata:
    """The same, where places have changed, without chunks that name some in a way that nobody describes.

    Frames of an ID3 tag that do so are named here, and left out by `move_id3`.
    """
    if not moves.changes_places:
        return metadata
    name, words = UNKNOWN_PLACES.get(metadata.family, (b"", ""))
    kept = tuple(chunk for chunk in metadata.chunks if chunk.name != name)
    gone = [*([words] if len(kept) < len(metadata.chunks) else []), *list_timed_frames(metadata.tag)]
    return replace(metadata, chunks=kept, left_out=(*metadata.left_out, *gone))


def _join_texts(own: Chunk, theirs: Chunk) -> Chunk:
    """A chunk of a file that has been written, with the text that the recording has in its own and the file has not."""
    if own.kind == b"LISTINFO":
        added = b"".join(raw for name, _, raw in iter_info(theirs.content) if name not in INFO)
        return replace(own, content=own.content + added)
    if own.name == b"info":
        entries = _caf_entries(own.content)
        names = {name for name, _ in entries}
        return replace(
            own, content=_pack_caf_entries([*entries, *(e for e in _caf_entries(theirs.content) if e[0] not in names)])
        )
    return own


def _caf_entries(content: bytes) -> list[tuple[bytes, bytes]]:
    """The names and texts in an info chunk."""
    parts = content[4:].split(b"\0")
    return [pair for pair in zip(parts[::2], parts[1::2], strict=False) if pair[0]]


def _pack_caf_entries(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    return struct.pack(">I", len(entries)) + b"".join(name + b"\0" + text + b"\0" for name, text in entries)


def _picture_comment(block: bytes) -> bytes:
    return PICTURE_COMMENT + b"=" + base64.b64encode(block)


def _put_au_text(stream: BinaryIO, text: bytes) -> None:
    """Put text into an AU, in front of its samples."""
    padded = text + bytes(8 - len(text) % 8)
    replace_bytes(stream, AU_HEAD, AU_HEAD, padded)
    overwrite(stream, 4, struct.pack(">I", AU_HEAD + len(padded)))
