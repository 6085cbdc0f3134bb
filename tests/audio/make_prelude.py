"""The notes of the demo's `prelude.flac`, written down by hand, as a MIDI file.

J. S. Bach, Prelude in C major, BWV 846 (1722), bars 1-3: in the public domain. The recording was made from it with

    python tests/audio/make_prelude.py prelude.mid
    fluidsynth -ni -r 44100 -g 0.7 -F prelude.wav FluidR3_GM.sf2 prelude.mid
    sox prelude.wav -b 16 prelude.flac trim 0 8.5 gain -n -3

FluidR3_GM.sf2 is Debian's `fluid-soundfont-gm` (MIT licence).
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

BARS = [
    ("C4", "E4", "G4", "C5", "E5"),
    ("C4", "D4", "A4", "D5", "F5"),
    ("B3", "D4", "G4", "D5", "F5"),
]
PATTERN = (0, 1, 2, 3, 4, 2, 3, 4)
"""Sixteenths of half a bar, as indices into the bar's notes."""
TICKS = 120
"""Ticks per sixteenth."""
MICROSECONDS_PER_QUARTER = 720_000
PITCHES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def midi_number(name: str) -> int:
    """MIDI number of a note such as "C4" (60)."""
    return PITCHES[name[0]] + 12 * (int(name[1:]) + 1)


def events() -> list[tuple[int, int, int, int]]:
    """(tick, status, note, velocity): the two lowest notes of each half bar are held, the others are short."""
    found = []
    for half in range(2 * len(BARS)):
        notes = BARS[half // 2]
        for step, index in enumerate(PATTERN):
            start = (8 * half + step) * TICKS
            end = (8 * half + 8) * TICKS if step < 2 else start + TICKS
            note = midi_number(notes[index])
            found.append((start, 0x90, note, 62 + 6 * (step % 4 == 0)))
            found.append((end - 1, 0x80, note, 0))
    return sorted(found)


def variable_length(value: int) -> bytes:
    """A delta time as MIDI writes it: seven bits a byte."""
    out = bytes([value & 0x7F])
    while value := value >> 7:
        out = bytes([0x80 | value & 0x7F]) + out
    return out


def midi_file() -> bytes:
    """The whole file: one track, piano."""
    track = b"\x00\xff\x51\x03" + MICROSECONDS_PER_QUARTER.to_bytes(3, "big") + b"\x00\xc0\x00"
    now = 0
    for tick, status, note, velocity in events():
        track += variable_length(tick - now) + bytes([status, note, velocity])
        now = tick
    track += b"\x00\xff\x2f\x00"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 4 * TICKS) + b"MTrk" + struct.pack(">I", len(track)) + track


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(midi_file())
