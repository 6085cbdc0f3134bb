"""The tempo that a file says its music has: in a chunk of a WAV that sequencers write, or in its tags.

Knows nothing about samples, nor about what a tempo is for.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from audiolm_cli.audio.headers import read_chunks
from audiolm_cli.config.musical import FASTEST_BPM, SLOWEST_BPM, read_meter
from audiolm_cli.errors import UsageError

ACID = struct.Struct("<IHHfIHHf")
"""Flags, root note, two unknown fields, beats in the file, the meter's note, its beats, and the tempo."""
ONE_SHOT = 1
"""The flag of a sound that has no tempo, whatever stands there."""
MOST_BYTES = 1 << 20
"""A chunk is read so far."""
_NUMBER = re.compile(r"\s*(\d+(?:[.,]\d+)?)")
_ELEMENT = re.compile(rb"<(?:\w+:)?(BPM|TEMPO)\b[^>]*>\s*([\d.,]+)[^<]*</", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Tempo:
    """What a file says of its tempo."""

    bpm: float
    """Quarter notes per minute."""
    meter: str | None = None
    """As "3/4"; None where the file does not say it."""
    where: str
    """What of the file says it, for messages."""


def read_tempo(stream: BinaryIO, tags: dict[str, str]) -> Tempo | None:
    """The tempo that a file states; None where it states none that music can have.

    Args:
        stream: the open file.
        tags: its text, as `read_tags` gives it.
    """
    chunks = dict(read_chunks(stream, MOST_BYTES, (b"acid", b"iXML")))
    if (tempo := _parse_acid(chunks.get(b"acid", b""))) is not None:
        return tempo

    for _, text in _ELEMENT.findall(chunks.get(b"iXML", b"")):
        if (bpm := parse_bpm(text.decode("ascii", "replace"))) is not None:
            return Tempo(bpm=bpm, where="its iXML chunk")
    return tag_tempo(tags)


def tag_tempo(tags: dict[str, str]) -> Tempo | None:
    """The tempo that tags state; None where they state none."""
    bpm = parse_bpm(tags.get("bpm", ""))
    return None if bpm is None else Tempo(bpm=bpm, where="its BPM tag")


def parse_bpm(text: str) -> float | None:
    """A tempo that is written in a file; None for what no music has, as the 0 of programs that do not know it.

    >>> parse_bpm("97,3 BPM"), parse_bpm("0"), parse_bpm("fast")
    (97.3, None, None)
    """
    match = _NUMBER.match(text)
    bpm = float(match[1].replace(",", ".")) if match else 0.0
    return bpm if SLOWEST_BPM <= bpm <= FASTEST_BPM else None


def _parse_acid(content: bytes) -> Tempo | None:
    """What ACID and the many programs after it write into loops."""
    if len(content) < ACID.size:
        return None
    flags, _, _, _, _, note, beats, single = ACID.unpack_from(content)
    if flags & ONE_SHOT or not SLOWEST_BPM <= single <= FASTEST_BPM:
        return None

    # The chunk holds single precision: of all numbers that are stored alike, the one that a person would have typed.
    bpm, meter = float(str(np.float32(single))), f"{beats}/{note}"
    try:
        read_meter(meter)
    except UsageError:
        return Tempo(bpm=bpm, where="its acid chunk")
    return Tempo(bpm=bpm, meter=meter, where="its acid chunk")
