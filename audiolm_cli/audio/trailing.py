"""What lies behind the last sample of a FLAC or an MP3: tags and zeros, which are no damage, or more sound.

Knows nothing about decoders.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from audiolm_cli.audio.headers import read_synchsafe

ID3V1_BYTES = 128
ID3V1_MORE_BYTES = 227
"""An extension that some programs put in front of the tag."""
APE_FOOTER_BYTES = 32
LYRICS_V1_BYTES = 5100
"""The longest text of Lyrics3 version 1, which does not say how long it is."""
READ_BYTES = 1 << 16
LONGEST_FRAME_BYTES = 2881
"""Of MPEG audio, of layer 2 at 160 kbit/s and 8 kHz."""
FRAMES_IN_A_ROW = 3
"""So many frames of the same kind, each where the last one ends, are sound: one alone may be chance."""
KBPS = {
    (True, 3): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 3): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates by whether the version is 1, and by the two bits of the layer, which are 3 for layer 1."""
RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
"""Sample rates by the two bits of the version."""
_SYNC = re.compile(rb"\xff[\xe2-\xff]")


def find_sound_end(stream: BinaryIO, *, skip_zeros: bool = True) -> int:
    """Where the tags (ID3, APE, Lyrics3) and zeros at the end of a file begin; its length where there are none."""
    stop = stream.seek(0, os.SEEK_END)
    while stop:
        shorter = stop - _measure_tag(stream, stop)
        if shorter == stop and skip_zeros:
            shorter = _skip_zeros(stream, stop)
        if shorter in (stop, 0):
            break
        stop = shorter
    return stop


def find_mpeg_end(stream: BinaryIO) -> int:
    """Where the last frame of an MP3 ends, by what `find_sound_end` says: frames of silence end in zeros themselves."""
    stop = find_sound_end(stream)
    start = max(0, stop - READ_BYTES)
    stream.seek(start)
    data = stream.read(stop - start + LONGEST_FRAME_BYTES)

    first = next((at for at in _iter_syncs(data) if _count_frames(data, at) >= FRAMES_IN_A_ROW), len(data))
    end = first
    while start + end < stop and (size := _frame_bytes(data, end)):
        end += size
    return max(stop, start + end) if end > first else stop


def holds_mpeg_audio(stream: BinaryIO, start: int) -> bool:
    """Whether there are frames of MPEG audio behind byte `start` of a file."""
    stop = find_sound_end(stream)
    overlap = LONGEST_FRAME_BYTES * FRAMES_IN_A_ROW
    while start < stop:
        stream.seek(start)
        data = stream.read(min(READ_BYTES + overlap, stop - start))
        if any(_count_frames(data, at) >= FRAMES_IN_A_ROW for at in _iter_syncs(data)):
            return True
        start += READ_BYTES
    return False


def _measure_tag(stream: BinaryIO, stop: int) -> int:
    """How long the tag is that ends at byte `stop`; 0 if none does."""
    stream.seek(max(0, stop - ID3V1_BYTES - ID3V1_MORE_BYTES))
    tail = stream.read(min(stop, ID3V1_BYTES + ID3V1_MORE_BYTES))

    if tail[-ID3V1_BYTES:].startswith(b"TAG") and len(tail) >= ID3V1_BYTES:
        more = tail.startswith(b"TAG+") and len(tail) == ID3V1_BYTES + ID3V1_MORE_BYTES
        return ID3V1_BYTES + (ID3V1_MORE_BYTES if more else 0)

    footer = tail[-APE_FOOTER_BYTES:]
    if footer.startswith(b"APETAGEX") and len(footer) == APE_FOOTER_BYTES:
        _, size, _, flags = struct.unpack("<4I", footer[8:24])
        return _fitting(size + (APE_FOOTER_BYTES if flags >> 31 else 0), stop)

    if tail.endswith(b"LYRICS200") and tail[-15:-9].isdigit():
        return _fitting(int(tail[-15:-9]) + 15, stop)
    if tail.endswith(b"LYRICSEND"):
        stream.seek(max(0, stop - LYRICS_V1_BYTES))
        text = stream.read(min(stop, LYRICS_V1_BYTES))
        found = text.rfind(b"LYRICSBEGIN")
        return 0 if found < 0 else len(text) - found

    if tail[-10:-7] == b"3DI" and max(tail[-4:]) < 128:  # ID3v2 at the end, with seven bits of its size in each byte
        return _fitting(read_synchsafe(tail[-4:]) + 20, stop)
    return 0


def _fitting(size: int, stop: int) -> int:
    """A size of a tag, or 0 if it would be larger than the file."""
    return size if size <= stop else 0


def _skip_zeros(stream: BinaryIO, stop: int) -> int:
    """Where the zeros begin that end at byte `stop`."""
    while stop:
        size = min(stop, READ_BYTES)
        stream.seek(stop - size)
        kept = len(stream.read(size).rstrip(b"\0"))
        stop -= size - kept
        if kept:
            break
    return stop


def _iter_syncs(data: bytes) -> Iterator[int]:
    """Where frames of MPEG audio may begin."""
    return (match.start() for match in _SYNC.finditer(data))


def _count_frames(data: bytes, at: int) -> int:
    """How many frames of one kind, FRAMES_IN_A_ROW at most, follow each other from `at` on."""
    kind, count = data[at + 1 : at + 2], 0
    while count < FRAMES_IN_A_ROW and data[at + 1 : at + 2] == kind and (size := _frame_bytes(data, at)):
        at, count = at + size, count + 1
    return count


def _frame_bytes(data: bytes, at: int) -> int:
    """How long the frame is whose header is at `at`; 0 if there is none, or one of a bit rate of its own."""
    if len(data) < at + 3 or data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return 0

    # Bit fields: version 2, layer 2, one bit, bit rate 4, sample rate 2, padding 1.
    version, layer = data[at + 1] >> 3 & 3, data[at + 1] >> 1 & 3
    rate_index, bits_index, padding = data[at + 2] >> 2 & 3, data[at + 2] >> 4, data[at + 2] >> 1 & 1
    if version == 1 or layer == 0 or rate_index == 3 or bits_index in (0, 15):
        return 0

    bits_per_s, rate_hz = 1000 * KBPS[version == 3, layer][bits_index], RATES_HZ[version][rate_index]
    if layer == 3:
        return (12 * bits_per_s // rate_hz + padding) * 4
    return (72 if version != 3 and layer == 1 else 144) * bits_per_s // rate_hz + padding
