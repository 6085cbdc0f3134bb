"""What the first bytes of a file say: its format, and how much audio it promises; and how they are changed.

Knows nothing about samples.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

SNIFF_BYTES = 64
"""Enough of a file for `sniff`."""
NIST_MAGIC = b"NIST_1A\n"
"""The first line of a SPHERE file, which many collections of speech consist of."""
AFTER_DATA = (b"LIST", b"fact", b"PEAK", b"bext", b"cue ", b"smpl", b"id3 ", b"ID3 ", b"iXML", b"JUNK", b"PAD ")
"""Chunks that may follow the samples of a WAV."""
FLAC_HEAD_BYTES = 26
"""Enough of a FLAC for `states_flac_length`."""
FIRST_FRAME_BYTES = 64
"""What an encoder says about an MP3 begins within so many bytes of its first frame."""
ASF_MAGIC = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
"""The name of the object of an ASF that holds the size of the file."""
ASF_HEAD_BYTES = 1 << 16
"""Enough of an ASF to find that object."""
OGG_PAGE_BYTES = 27 + 255 + 255 * 255
"""The longest page of an Ogg."""
READ_BYTES = 512
"""Of a file with chunks, at first."""
MOST_CHUNKS = 10_000
"""A header with more chunks than this is not searched further."""
MOVED_BYTES = 1 << 20
"""How much of a file is moved at a time."""


@dataclass(frozen=True)
class Layout:
    """How a chunked format lays out its chunks: an id, a size, the content, padding."""

    first: int
    """Offset of the first chunk."""
    id_bytes: int
    """Length of a chunk's id, of which the first four bytes count."""
    size: str
    """The size field, as `struct` names it."""
    counted: int
    """How many bytes of its own head a chunk's size includes."""
    align: int
    """Chunks start at multiples of this."""
    data: bytes
    """Id of the chunk that holds the samples."""


LAYOUTS = {
    b"RIFF": Layout(12, 4, "<I", 0, 2, b"data"),
    b"RIFX": Layout(12, 4, ">I", 0, 2, b"data"),
    b"RF64": Layout(12, 4, "<I", 0, 2, b"data"),
    b"FORM": Layout(12, 4, ">I", 0, 2, b"SSND"),
    b"riff": Layout(40, 16, "<Q", 24, 8, b"data"),
    b"caff": Layout(8, 4, ">Q", 0, 1, b"data"),
}


def sniff(head: bytes) -> str | None:
    """The format libsndfile should read ("WAV", "FLAC", ...), judged by a file's first bytes; None if it is another."""
    magic, form = head[:4], head[8:12]
    if magic in (b"RIFF", b"RIFX", b"RF64"):
        return "WAV" if form == b"WAVE" else None
    if magic == b"FORM":
        return "AIFF" if form in (b"AIFF", b"AIFC") else None
    if magic == b"riff":
        return "W64" if head[24:28] == b"wave" else None

    known = {b"fLaC": "FLAC", b"OggS": "OGG", b"caff": "CAF", b".snd": "AU", b"dns.": "AU"}
    if magic in known:
        return known[magic]

    return "MP3" if head[:3] == b"ID3" or _is_mpeg_frame(head) else None


def is_text(head: bytes) -> bool:
    """Whether a file's first bytes read as text, and are not those of a recording whose header is text."""
    if head.startswith(NIST_MAGIC):
        return False

    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)

    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return control == 0 and error.start >= len(head) - 3  # a character may be cut at the end
    return control == 0


def states_flac_length(head: bytes) -> bool:
    """Whether the first bytes of a FLAC say how many samples it has: 36 bits, which are 0 where that was not known."""
    return head[21:22] != b"" and (head[21] & 15 > 0 or any(head[22:26]))


def states_mpeg_length(stream: BinaryIO) -> bool:
    """Whether an MP3 says in its first frame, as encoders write it, of how many frames it is made."""
    start = 0
    stream.seek(0)
    while (head := stream.read(10))[:3] == b"ID3":
        start += 10 + read_synchsafe(head[6:])
        stream.seek(start)

    frame = head + stream.read(FIRST_FRAME_BYTES)
    found = re.search(rb"(Xing|Info)\0\0\0(.)|VBRI", frame, re.DOTALL)
    return found is not None and (found[1] is None or bool(found[2][0] & 1))


def read_data_size(stream: BinaryIO) -> tuple[int, int] | None:
    """(promised, present) bytes of samples in a WAV, RF64, W64, AIFF, CAF or AU file.

    None for other formats, and where the header leaves the size open, as programs do that write to a pipe. When the
    number that means "open" is less than what the file holds, that number counts as present: libsndfile reads no
    further.
    """
    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(12)
    layout = LAYOUTS.get(head[:4])

    # AU has no chunks but a fixed head.
    if head[:4] in (b".snd", b"dns.") and len(head) == 12:
        start, size = struct.unpack(">4xII" if head[:4] == b".snd" else "<4xII", head)
        return None if is_open(size, 4) else (size, max(0, length - start))

    wide = None
    for name, start, size in iter_chunks(stream):
        if name == b"ds64":  # RF64 keeps the size of its data chunk here
            stream.seek(start)
            field = stream.read(16)[8:]
            wide = struct.unpack("<Q", field)[0] if len(field) == 8 else None

        if layout and name == layout.data:
            width = struct.calcsize(layout.size)
            if wide is not None and size == 2**32 - 1:
                size, width = wide, 8

            if is_open(size + layout.counted, width):
                return (length - start, size) if 0 < size < length - start else None
            return size, length - start
    return None


def lacks_bytes(stream: BinaryIO, head: bytes) -> bool:
    """Whether an AVI or an ASF (WMA, WMV) says that it is longer than it is, or the last page of an Ogg does."""
    length = stream.seek(0, os.SEEK_END)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        (size,) = struct.unpack("<I", head[4:8])
        return not is_open(size, 4) and size + 8 > length
    if head[:4] == b"OggS":
        return _is_page_cut_off(stream, length)
    if not head.startswith(ASF_MAGIC):
        return False

    stream.seek(0)
    start = stream.read(ASF_HEAD_BYTES)
    found = start.find(ASF_PROPERTIES)
    size = start[found + 40 : found + 48]  # behind the name of the object, its size, and the name of the file
    return found > 0 and len(size) == 8 and struct.unpack("<Q", size)[0] > length


def find_mends(stream: BinaryIO) -> list[tuple[int, bytes]]:
    """What libsndfile has to find in a file so that it reads it right: positions, and the bytes that belong there."""
    stream.seek(0)
    magic = stream.read(4)

    # A WAV may say that it holds 0 bytes of samples although there are some, as interrupted recorders do.
    if magic == b"RIFF" and (start := find_chunk(stream, b"data")) is not None:
        stream.seek(start - 4)
        size, following = stream.read(4), stream.read(4)
        if size == bytes(4) and len(following) == 4 and following not in AFTER_DATA:
            return [(start - 4, b"\xff" * 4)]  # which means: up to the end

    # A BW64 is an RF64 that may say where each channel comes from; libsndfile knows the older name.
    if magic == b"BW64":
        return [(0, b"RF64")]

    # libsndfile takes all samples of a W64 with a mask for integers: it gets their encoding without the mask.
    if magic == b"riff" and (start := find_chunk(stream, b"fmt ")) is not None:
        stream.seek(start)
        form = stream.read(40)
        if len(form) == 40 and form[:2] == b"\xfe\xff" and form[24:26] != b"\x01\x00":
            return [(start, form[24:26])]
    return []


def find_data_chunks(stream: BinaryIO) -> list[tuple[int, int]]:
    """(where it starts, its size) of every chunk of samples in a WAV that is a single recording; [] for other files."""
    stream.seek(0)
    head = stream.read(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        return []

    chunks = list(iter_chunks(stream))
    if any(name == head[:4] for name, _, _ in chunks):
        return []
    return [(start, size) for name, start, size in chunks if name == b"data" and size > 0]


def find_chunk(stream: BinaryIO, name: bytes) -> int | None:
    """Where the content of the first chunk of this name starts; None if there is none."""
    return next((start for chunk, start, _ in iter_chunks(stream) if chunk == name), None)


def read_chunks(stream: BinaryIO, most: int, names: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of the chunks with one of these names, of each up to `most` bytes."""
    for name, start, size in list(iter_chunks(stream)):
        if name in names:
            stream.seek(start)
            yield name, stream.read(max(0, min(size, most)))


def read_at(stream: BinaryIO, position: int, size: int) -> bytes:
    """Up to `size` bytes of a file, from a position on."""
    stream.seek(position)
    return stream.read(size)


def overwrite(stream: BinaryIO, position: int, data: bytes | bytearray) -> None:
    """Write over as many bytes in the middle of a file."""
    stream.seek(position)
    stream.write(data)


def replace_bytes(stream: BinaryIO, start: int, stop: int, data: bytes) -> None:
    """Let `data` take the place of the bytes from `start` to `stop`; what follows them moves, in either direction."""
    end = stream.seek(0, os.SEEK_END)
    shift = start + len(data) - stop
    pieces = range(stop, end, MOVED_BYTES) if shift else range(0)
    for position in reversed(pieces) if shift > 0 else pieces:
        stream.seek(position)
        piece = _read_all(stream, min(MOVED_BYTES, end - position))
        stream.seek(position + shift)
        stream.write(piece)

    stream.seek(start)
    stream.write(data)
    if shift < 0:
        stream.truncate(end + shift)


def append_aiff_chunk(stream: BinaryIO, name: bytes, content: bytes) -> None:
    """Add a chunk at the end of an AIFF file."""
    end = stream.seek(0, os.SEEK_END)
    stream.write(bytes(end % 2) + name + struct.pack(">I", len(content)) + content + bytes(len(content) % 2))
    total = stream.tell()
    stream.seek(4)
    stream.write(struct.pack(">I", total - 8))


def read_synchsafe(field: bytes) -> int:
    """A number in bytes of seven bits each, as ID3 tags have them."""
    number = 0
    for byte in field:
        number = number << 7 | byte & 0x7F
    return number


def _read_all(stream: BinaryIO, size: int) -> bytes:
    """`size` bytes of an unbuffered file, which may give them in parts."""
    parts = []
    while size and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def iter_chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(name, where its content starts, size of its content as the file states it) of the chunks of a file."""
    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    beginning = stream.read(READ_BYTES)  # which holds most heads of chunks: the system is asked once for these
    layout = LAYOUTS.get(beginning[:4])
    if layout is None:
        return

    width = struct.calcsize(layout.size)
    position, wide = layout.first, 0
    for _ in range(MOST_CHUNKS):
        head = beginning[position : position + layout.id_bytes + width]
        if len(head) < layout.id_bytes + width:
            stream.seek(position)
            head = stream.read(layout.id_bytes + width)
        if len(head) < layout.id_bytes + width:
            return

        size = struct.unpack(layout.size, head[layout.id_bytes :])[0] - layout.counted
        position += len(head)
        yield head[:4], position, size

        # The size of the samples of an RF64 stands in a chunk in front of them.
        if head[:4] == b"ds64":
            stream.seek(position + 8)
            field = stream.read(8)
            wide = struct.unpack("<Q", field)[0] if len(field) == 8 else 0
        if head[:4] == layout.data and size == 2**32 - 1 and wide:
            size = wide

        # A size that makes no sense leads forward all the same, so that this ends.
        position += max(0, size)
        position += -position % layout.align
        if position >= length:
            return


def is_open(size: int, width: int) -> bool:
    """Whether a size field of `width` bytes holds what is written before the size is known."""
    top = 2 ** (8 * width)
    return size == 0 or size >= top - 2**16 or top // 2 - 2**16 <= size <= top // 2


def _is_page_cut_off(stream: BinaryIO, length: int) -> bool:
    """Whether the last page of an Ogg file is not all there."""
    stream.seek(max(0, length - OGG_PAGE_BYTES))
    tail = stream.read(OGG_PAGE_BYTES)
    page = tail[tail.rfind(b"OggS\0") :] if b"OggS\0" in tail else b""
    if len(page) < 27 + page[26:27].ljust(1, b"\xff")[0]:  # its head, which ends in the sizes of its parts
        return bool(page)
    return 27 + page[26] + sum(page[27 : 27 + page[26]]) > len(page)


def _is_mpeg_frame(head: bytes) -> bool:
    """Whether an MPEG audio frame (any layer) starts here; AAC frames have layer 0."""
    if len(head) < 3 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False

    # Bit fields of 2, 2, 4 and 2 bits: version 1, layer 0, bit rate 15 and sample rate 3 do not exist.
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    return version != 1 and layer != 0 and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3
