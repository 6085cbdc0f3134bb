"""The comments of an Ogg file. Knows nothing about its samples, nor about what the comments say."""

from __future__ import annotations

from typing import BinaryIO

from audiolm_cli.audio.flac import name_comments
from audiolm_cli.audio.links import OGG_PAGE

MOST_PAGES = 300
"""Comments, which may hold a picture, reach over so many pages at most: 16 MB and more."""
MAGICS = (b"\x03vorbis", b"OpusTags")
"""What the packet of comments begins with."""


def read_ogg_comments(stream: BinaryIO) -> dict[str, str]:
    """The comments of an Ogg Vorbis or Opus file, by their names in capitals; of several with one name the first."""
    packet = _read_second_packet(stream)
    for magic in MAGICS:
        if packet.startswith(magic):
            return name_comments(packet[len(magic) :])
    return {}


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
