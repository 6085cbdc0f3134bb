"""The chunks of a WAV, RF64, W64, AIFF or CAF beside its samples, byte for byte, and how they get into another file.

Knows nothing about what stands in them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from audiolm_cli.audio.headers import LAYOUTS, Layout, iter_chunks, overwrite, read_at, replace_bytes

MOST_BYTES = 1 << 26
"""So much of a file's chunks is kept."""
W64_SUFFIX = bytes.fromhex("f3acd3118cd100c04f8edb8a")
"""The end of the names of those chunks of a W64 that a WAV has as well."""
OWN = {
    "RIFF": (b"fmt ", b"fact", b"PEAK", b"ds64", b"data", b"levl"),
    "W64": (b"fmt ", b"fact", b"data", b"levl"),
    "AIFF": (b"COMM", b"SSND", b"FVER", b"PEAK", b"CHAN", b"NAME", b"AUTH", b"ANNO", b"(c) "),
    "CAF": (b"desc", b"data", b"chan", b"peak", b"pakt", b"kuki", b"ovvw", b"edct", b"free"),
}
"""What is made anew for every file: it describes its samples, or holds tags, for which others are responsible."""
ID3_CHUNKS = (b"id3 ", b"ID3 ")
"""Chunks that hold an ID3 2 tag, by their names in a WAV and in an AIFF."""
FILLERS = (b"JUNK", b"junk", b"PAD ", b"FLLR", b"free")
"""Chunks that hold room, and nothing else."""


@dataclass(frozen=True)
class Chunk:
    """A chunk, or a block of metadata of a FLAC."""

    name: bytes
    """Four bytes; sixteen of a W64 where no WAV has such a chunk; the number of the kind of a FLAC's block."""
    content: bytes
    """What stands in it."""
    behind: bool = False
    """Whether it follows the samples."""

    @property
    def kind(self) -> bytes:
        """Its name, and of a list what is in the list."""
        return self.name + self.content[:4] if self.name == b"LIST" else self.name


def read_other_chunks(stream: BinaryIO, family: str) -> tuple[tuple[Chunk, ...], tuple[str, ...]]:
    """The chunks of a file but that of its samples, and the names of those that are too large to be kept.

    Of a chunk that is made anew for every file there is the place alone. Reading ends where something stands that is no
    chunk: sizes may be wrong.
    """
    length = stream.seek(0, os.SEEK_END)
    layout = LAYOUTS[read_at(stream, 0, 4)]
    found: list[Chunk] = []
    large: list[str] = []
    behind, room = False, MOST_BYTES
    for name, start, size in list(iter_chunks(stream)):
        if name == layout.data:
            behind = True
            continue
        is_name = layout.id_bytes > 4 or all(32 <= byte < 127 for byte in name)
        if not is_name or size < 0 or start + size > length:
            break
        if name in OWN[family]:
            found.append(Chunk(name, b"", behind))
            continue
        if size > room:
            large.append(name.decode("latin-1").strip())
            continue

        room -= size
        found.append(Chunk(_full_name(stream, layout, name, start), read_at(stream, start, size), behind))
    return tuple(found), tuple(large)


def pack_riff_chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a WAV, or a part of one, with its name, its size, and padding to an even number of bytes."""
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def list_foreign_chunks(stream: BinaryIO) -> tuple[str, ...]:
    """The names of the chunks of a RIFX, whose numbers are the other way round, that are not made anew for every file.

    Text is not among them: libsndfile reads it.
    """
    names = []
    for name, start, _ in list(iter_chunks(stream)):
        kind = read_at(stream, start, 4) if name == b"LIST" else name
        if kind not in (*OWN["RIFF"], *FILLERS, b"INFO"):
            names.append(kind.decode("latin-1").strip())
    return tuple(dict.fromkeys(names))


def put_chunks(stream: BinaryIO, family: str, chunks: Sequence[Chunk], join: Callable[[Chunk, Chunk], Chunk]) -> None:
    """Put chunks into a file that has been written, in front of its samples or behind them, in their order.

    Args:
        stream: the open file.
        family: what it is, as in `OWN`.
        chunks: as `read_other_chunks` returns them. Where the file has one of its own of that kind, that one comes at
            this place.
        join: what such a one becomes, given the one of the recording as well.
    """
    magic = read_at(stream, 0, 4)
    layout = LAYOUTS[magic]
    written, (data_at, data_end) = _read_written(stream, layout)

    placed: list[Chunk] = []
    for chunk in chunks:
        own = next((each for each in written if each.kind == chunk.kind), None)
        if own is not None:
            written.remove(own)
            placed.append(join(own, chunk))
        elif chunk.name not in OWN[family]:
            placed.append(chunk)

    # What describes the samples comes first, that of an RF64 or a CAF before all others.
    heads = [chunk for chunk in written if chunk.name in OWN[family]]
    placed = [*heads, *placed, *(chunk for chunk in written if chunk not in heads)]
    placed.sort(key=lambda chunk: chunk.name not in (b"ds64", b"desc"))
    if magic == b"RF64":  # behind one of an odd size, libsndfile finds no others
        placed = [replace(chunk, content=chunk.content + bytes(len(chunk.content) % 2)) for chunk in placed]

    front, back = (
        b"".join(_frame(layout, chunk) for chunk in placed if chunk.behind == side) for side in (False, True)
    )
    # At the end of a W64, libsndfile takes padding for sound.
    padding = bytes(-data_end % layout.align) if back or layout.align == 2 else b""
    stream.truncate(data_end)
    stream.seek(0, os.SEEK_END)
    stream.write(padding + back)
    replace_bytes(stream, layout.first, data_at, front)
    _state_size(stream, magic)


def _read_written(stream: BinaryIO, layout: Layout) -> tuple[list[Chunk], tuple[int, int]]:
    """The chunks of a file, and from where to where the one of its samples reaches, with its head."""
    found: list[Chunk] = []
    place = (0, 0)
    head_bytes = layout.id_bytes + struct.calcsize(layout.size)
    for name, start, size in list(iter_chunks(stream)):
        if name == layout.data:
            place = start - head_bytes, start + size if size < 2**32 - 1 else _wide_end(stream, start)
        else:
            content = read_at(stream, start, size)
            found.append(Chunk(_full_name(stream, layout, name, start), content, place != (0, 0)))
    return found, place


def _wide_end(stream: BinaryIO, start: int) -> int:
    """Where the samples of an RF64 end."""
    content = next(start for name, start, _ in iter_chunks(stream) if name == b"ds64")
    return start + struct.unpack("<Q", read_at(stream, content + 8, 8))[0]


def _full_name(stream: BinaryIO, layout: Layout, name: bytes, start: int) -> bytes:
    """The name of a chunk whose first four bytes and whose place are known."""
    if layout.id_bytes == 4:
        return name
    head = start - layout.id_bytes - struct.calcsize(layout.size)
    full = read_at(stream, head, layout.id_bytes)
    return name if full[4:] == W64_SUFFIX else full


def _frame(layout: Layout, chunk: Chunk) -> bytes:
    """A chunk with its name, its size and its padding."""
    name = chunk.name if len(chunk.name) == layout.id_bytes else chunk.name + W64_SUFFIX
    size = struct.pack(layout.size, len(chunk.content) + layout.counted)
    framed = name + size + chunk.content
    return framed + bytes(-len(framed) % layout.align)


def _state_size(stream: BinaryIO, magic: bytes) -> None:
    """Say in the head of a file how long it is."""
    total = stream.seek(0, os.SEEK_END)
    if magic == b"riff":
        overwrite(stream, 16, struct.pack("<Q", total))
    elif magic == b"RF64":
        overwrite(stream, 20, struct.pack("<Q", total - 8))  # in the chunk ds64, which is the first
    elif magic in (b"RIFF", b"FORM"):
        overwrite(stream, 4, struct.pack(LAYOUTS[magic].size, total - 8))
