"""Where recordings begin in a file that holds several, one behind the other: dumps of a radio, files that were joined.

Decoders stop at the end of the first and say nothing. Knows nothing about decoders.
"""

from __future__ import annotations

import os
import re
import struct
from typing import BinaryIO

from audiolm_cli.audio.headers import LAYOUTS, is_open, iter_chunks, read_data_size
from audiolm_cli.audio.opening import cut_out

READ_BYTES = 1 << 20
OGG_PAGE = struct.Struct("<4sBBqIIIB")
"""Magic, version, flags, position in samples, serial number, page number, checksum, number of segments."""
OGG_BEGINS = 2
"""The flag of the first page of a stream."""
WAVPACK_BLOCK = struct.Struct("<4sIHBBIIII")
"""Magic, size, version, upper bits of two of the numbers to come, samples in all, first sample, samples, flags."""
WAVPACK_BEGINS = 0x800
"""The flag of the first of the blocks that hold the channels of the same samples."""
HEADS = (
    (b"fLaC", re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")),
    (b"TTA1", re.compile(rb"TTA1[\x01\x02]\x00[\x01-\x40]\x00[\x08\x10\x18]\x00")),
    (b"MAC ", re.compile(rb"MAC [\x00-\xff]\x0f(?=\x00\x00\x34\x00\x00\x00)")),
    (b"DSD ", re.compile(rb"DSD \x1c\x00\x00\x00\x00\x00\x00\x00")),
    (b"\x30\x26\xb2\x75", re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c")),
    (b"FLV\x01", re.compile(rb"FLV\x01[\x01\x04\x05]\x00\x00\x00\x09\x00\x00\x00\x00")),
    (b"Creative Voice File", re.compile(rb"Creative Voice File\x1a\x1a\x00")),
    (b"nut/multimedia ", re.compile(rb"nut/multimedia container\x00N")),
    (b"#!AMR", re.compile(rb"#!AMR(-WB)?\n")),
    (b"\x1aE\xdf\xa3", re.compile(rb"\x1aE\xdf\xa3.{1,40}\x42\x82.(?=matroska|webm)", re.DOTALL)),
)
"""Formats without a table of their contents, by their first bytes, and what stands at the start of each recording."""
LONGEST_MAGIC = max(len(magic) for magic, _ in HEADS)
OGG = re.compile(b"OggS\\0")
WAVPACK = re.compile(rb"wvpk.{4}.\x04", re.DOTALL)
OPEN_WAV = re.compile(rb"RIFF.{4}WAVEfmt ", re.DOTALL)
LONGEST_HEAD = 64
"""More bytes than any of these matches."""
UNPADDED = (b"riff", b"caff")
"""Formats that some programs leave without the padding behind the samples, or pad although they need none."""
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""What an MPEG-4 or QuickTime file may begin with."""
MOST_PARTS = 10_000_000
"""Pages, blocks or boxes that are followed."""


def find_links(stream: BinaryIO) -> list[int]:
    """Where the recordings in a file begin: [0] where it holds one, which is nearly always."""
    stream.seek(0)
    head = stream.read(LONGEST_MAGIC)

    if head[:4] == b"OggS":
        return _find_in_ogg(stream)
    if head[:4] == b"wvpk":
        return _find_in_wavpack(stream)
    if head[4:8] in BOXES:
        return _find_in_boxes(stream)
    if head[:4] in LAYOUTS or head[:4] in (b".snd", b"dns."):
        return _follow_sizes(stream)

    for magic, pattern in HEADS:
        if head.startswith(magic):
            return [0, *_search(stream, pattern, len(magic))]
    if head[:3] == b"ID3":  # a FLAC may have such a tag in front
        return [0, *_search(stream, HEADS[0][1], 4)[1:]]
    return [0]


def _follow_sizes(stream: BinaryIO) -> list[int]:
    """A recording begins where the one before it ends, by the sizes that it states."""
    found, rest, begins_open = [0], stream, False
    while len(found) < MOST_PARTS:
        rest.seek(0)
        head = rest.read(12)
        if rest is stream:
            begins_open = head[:4] == b"RIFF" and is_open(int.from_bytes(head[4:8], "little"), 4)

        following = _end_of_au(rest, head) if head[:4] in (b".snd", b"dns.") else _end_of_chunks(rest, head)
        if following is None:
            break
        found.append(found[-1] + following)
        rest = cut_out(stream, found[-1], stream.seek(0, os.SEEK_END))

    # Nothing says where the samples of a WAV end that was written to a pipe.
    if begins_open:
        return [0, *_search(stream, OPEN_WAV, 12)]
    return found


def _end_of_chunks(stream: BinaryIO, head: bytes) -> int | None:
    """Where a chunk has the name that the file begins with: there the next recording begins."""
    layout = LAYOUTS.get(head[:4])
    if layout is None:
        return None

    form = head[8:12] if layout.first == 12 else b""  # what kind of RIFF or AIFF it is
    length = stream.seek(0, os.SEEK_END)
    for name, content, size in iter_chunks(stream):
        ends = [content - layout.id_bytes - struct.calcsize(layout.size)] if name == head[:4] else []
        if name == layout.data and head[:4] in UNPADDED:
            ends += [content + size, content + size + 1]

        for end in ends:
            if end >= length:  # a header may state sizes that no file has
                continue
            stream.seek(end)
            following = stream.read(12)
            if following[:4] == head[:4] and (not form or following[8:] == form):
                return end
    return None


def _end_of_au(stream: BinaryIO, head: bytes) -> int | None:
    """Where the samples end, and the next recording begins."""
    sizes = read_data_size(stream)
    if sizes is None or sizes[0] >= sizes[1]:
        return None

    end = stream.seek(0, os.SEEK_END) - sizes[1] + sizes[0]
    stream.seek(end)
    return end if stream.read(4) == head[:4] else None


def _find_in_ogg(stream: BinaryIO) -> list[int]:
    """A recording begins with first pages of streams, behind other pages; those without any samples do not count."""
    found: list[int] = []
    position, beginning, sounds = 0, False, True
    for _ in range(MOST_PARTS):
        stream.seek(position)
        page = stream.read(OGG_PAGE.size + 255)
        if len(page) < OGG_PAGE.size:
            break

        magic, _, flags, at, _, _, _, segments = OGG_PAGE.unpack_from(page)
        if magic != b"OggS":  # foreign bytes between pages
            following = _search(stream, OGG, position, most=1)
            if not following:
                break
            position = following[0]
            continue

        if flags & OGG_BEGINS and not beginning:
            if not sounds:
                found.pop()
            found.append(position)
            sounds = False
        beginning, sounds = bool(flags & OGG_BEGINS), sounds or at > 0
        position += OGG_PAGE.size + segments + sum(page[OGG_PAGE.size : OGG_PAGE.size + segments])

    if not sounds and len(found) > 1:
        found.pop()
    return [0, *found[1:]]


def _find_in_wavpack(stream: BinaryIO) -> list[int]:
    """A recording begins with a block whose first sample is number 0."""
    found: list[int] = []
    position = 0
    for _ in range(MOST_PARTS):
        stream.seek(position)
        block = stream.read(WAVPACK_BLOCK.size)
        if len(block) < WAVPACK_BLOCK.size:
            break
        if block[:4] != b"wvpk":  # a tag behind the samples
            following = _search(stream, WAVPACK, position, most=1)
            if not following:
                break
            position = following[0]
            continue

        _, size, _, upper, _, _, index, count, flags = WAVPACK_BLOCK.unpack(block)
        if index == 0 and upper == 0 and count and flags & WAVPACK_BEGINS:
            found.append(position)
        position += 8 + size
    return [0, *found[1:]]


def _find_in_boxes(stream: BinaryIO) -> list[int]:
    """A recording begins where a box says the type of the file again."""
    found = [0]
    position = 0
    for _ in range(MOST_PARTS):
        stream.seek(position)
        box = stream.read(16)
        if len(box) < 8:
            break

        size, kind = struct.unpack(">I4s", box[:8])
        if position and kind == b"ftyp":
            found.append(position)
        if size == 1 and len(box) == 16:
            (size,) = struct.unpack(">Q", box[8:])
        if size < 8:  # 0: up to the end
            break
        position += size
    return found


def _search(stream: BinaryIO, pattern: re.Pattern[bytes], start: int, most: int = MOST_PARTS) -> list[int]:
    """Where a pattern matches behind byte `start`, at most so often."""
    found: list[int] = []
    while len(found) < most:
        stream.seek(start)
        data = stream.read(READ_BYTES + LONGEST_HEAD)
        found += [start + match.start() for match in pattern.finditer(data) if match.start() < READ_BYTES]
        if len(data) <= READ_BYTES:
            break
        start += READ_BYTES
    return found[:most]
