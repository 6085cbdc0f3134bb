"""The comments of an Ogg file, read and written, and its serial number.

Knows nothing about its samples, nor about what the comments say.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from audiolm_cli.audio.flac import join_comments, merge_comments, name_comments, split_comments
from audiolm_cli.audio.headers import overwrite
from audiolm_cli.audio.links import OGG_PAGE

MOST_PAGES = 300
"""Comments, which may hold a picture, reach over so many pages at most: 16 MB and more."""
MAGICS = (b"\x03vorbis", b"OpusTags")
"""What the packet of comments begins with."""
CONTINUED = 1
"""The flag of a page that begins inside a packet."""
NOWHERE = (1 << 64) - 1
"""The position of a page in which no packet ends."""
MOST_SEGMENTS, SEGMENT_BYTES = 255, 255
"""Parts of a page, and bytes of a part; a shorter part ends a packet."""
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Every byte with its bits the other way round."""


def read_ogg_comments(stream: BinaryIO) -> dict[str, str]:
    """The comments of an Ogg Vorbis or Opus file, by their names in capitals; of several with one name the first."""
    packet = _read_second_packet(stream)
    for magic in MAGICS:
        if packet.startswith(magic):
            return name_comments(packet[len(magic) :])
    return {}


def list_ogg_comments(stream: BinaryIO) -> tuple[bytes, ...]:
    """All comments of an Ogg Vorbis or Opus file, as they are."""
    packet = _read_second_packet(stream)
    magic = next((magic for magic in MAGICS if packet.startswith(magic)), None)
    return () if magic is None else tuple(split_comments(packet[len(magic) :])[1])


def settle_ogg(stream: BinaryIO, comments: list[bytes]) -> None:
    """Give an Ogg file that has been written more comments, and a serial number that follows from its content.

    libsndfile takes a random number.
    """
    stream.seek(0)
    data = bytearray(stream.read())
    if comments:
        data = _put_comments(data, comments)

    # Every page starts with a head of 27 bytes and a table of its segments' lengths. Blank its serial and checksum.
    pages = list(_iter_pages(data))
    for position, _ in pages:
        data[position + 14 : position + 18] = data[position + 22 : position + 26] = bytes(4)

    serial = struct.pack("<I", zlib.crc32(data))
    for position, size in pages:
        data[position + 14 : position + 18] = serial
        data[position + 22 : position + 26] = struct.pack("<I", _checksum(data[position : position + size]))
    overwrite(stream, 0, data)


def _put_comments(data: bytearray, comments: list[bytes]) -> bytearray:
    """The same file with more comments: the pages in front of the sound anew, those of the sound with new numbers."""
    pages = list(_iter_pages(data))
    first, body = pages[0][1], bytes(data[27 + data[26] : pages[0][1]])
    wanted = 1 if body.startswith(b"OpusHead") else 2  # Vorbis has the tables of its codec behind the comments

    packets, used = [b""], 1
    while len(packets) <= wanted and used < len(pages):
        position = pages[used][0]
        lengths = data[position + 27 : position + 27 + data[position + 26]]
        at = position + 27 + len(lengths)
        for length in lengths:
            packets[-1] += data[at : at + length]
            at += length
            if length < SEGMENT_BYTES:
                packets.append(b"")
        used += 1

    magic = next(magic for magic in MAGICS if packets[0].startswith(magic))
    program, own = split_comments(packets[0][len(magic) :])
    packets[0] = magic + join_comments(program, merge_comments(own, comments)) + (b"\1" if wanted == 2 else b"")

    heads = _make_pages(packets[:wanted])
    sound = data[pages[used][0] :] if used < len(pages) else bytearray()
    out = data[:first] + b"".join(heads) + sound
    for number, (position, _) in enumerate(_iter_pages(out)):
        out[position + 18 : position + 22] = struct.pack("<I", number)
    return out


def _make_pages(packets: list[bytes]) -> Iterator[bytes]:
    """Pages with these packets, without serial, number and checksum."""
    parts: list[tuple[bytes, bool]] = []  # what stands in a segment, and whether a packet begins there
    for packet in packets:
        cuts = range(0, len(packet) + 1, SEGMENT_BYTES)
        parts += [(packet[cut : cut + SEGMENT_BYTES], cut == 0) for cut in cuts]

    for start in range(0, len(parts), MOST_SEGMENTS):
        page = parts[start : start + MOST_SEGMENTS]
        flags = 0 if page[0][1] else CONTINUED
        position = 0 if any(len(part) < SEGMENT_BYTES for part, _ in page) else NOWHERE
        head = struct.pack("<4sBBQIIIB", b"OggS", 0, flags, position, 0, 0, 0, len(page))
        yield head + bytes(len(part) for part, _ in page) + b"".join(part for part, _ in page)


def _iter_pages(data: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Where each page begins, and its size."""
    position = 0
    while position < len(data):
        segments = data[position + 26]
        size = 27 + segments + sum(data[position + 27 : position + 27 + segments])
        yield position, size
        position += size


def _checksum(page: bytearray) -> int:
    """Ogg's CRC-32: zlib's polynomial with the bits of every byte the other way round, and no inversions."""
    return int(f"{zlib.crc32(page.translate(MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF:032b}"[::-1], 2)


def _read_second_packet(stream: BinaryIO) -> bytes:
    """The packet behind the first page, as far as it is there."""
    packet, position = b"", 0
    for number in range(MOST_PAGES):
        stream.seek(position)
        head = stream.read(OGG_PAGE.size)
        if len(head) < OGG_PAGE.size or head[:4] != b"OggS":
            break
        sizes = stream.read(head[-1])
        position += OGG_PAGE.size + len(sizes) + sum(sizes)
        if number == 0:  # which holds the first packet alone
            continue

        # A packet goes on as long as its parts are as long as they can be.
        end = next((place for place, size in enumerate(sizes) if size < 255), None)
        packet += stream.read(sum(sizes if end is None else sizes[: end + 1]))
        if end is not None:
            break
    return packet
