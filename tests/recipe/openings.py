"""Render the openings of some piano pieces, written down by hand, as candidates for the prompt of `audiolm demo`.

    python tests/recipe/openings.py OUT --pianos FOLDER

The pieces are in the public domain, and so are the samples of the grand `splendid`, which plays them: Bach's Prelude in
C (BWV 846, 1722), Mozart's Sonata in C (K. 545, 1788), Beethoven's Sonata in C sharp minor (op. 27 no. 2, 1801) and
Satie's first Gymnopédie (1888). No training heard that piano. Needs `sox`, which adds a room and makes 44.1 kHz stereo.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parent))

from instruments import open_table
from render import RATE_HZ, run
from sampler import Note
from withheld import PIANO

Played = tuple[str, float, float, int]
"""A note: its name, where it begins and ends in quarters, and its velocity."""
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The first bars of a piece."""

    name: str
    quarters_per_minute: float
    seconds: float
    """Where it is cut."""
    notes: list[Played]


def key_of(name: str) -> int:
    """MIDI key of a note such as "C#4" (61)."""
    return SEMITONES[name[0]] + name.count("#") + 12 * (int(name[-1]) + 1)


def play_figure(figure: str, at: float, step: float, held: float, velocity: int) -> Iterator[Played]:
    """Notes of one length after another; each is held as long as `held` says."""
    for i, name in enumerate(figure.split()):
        yield name, at + i * step, at + i * step + held, velocity + (4 if i == 0 else 0)


def bach() -> list[Played]:
    """Sixteenths; the two lowest notes of each half bar are held."""
    found: list[Played] = []
    for bar, chord in enumerate(["C4 E4 G4 C5 E5", "C4 D4 A4 D5 F5", "B3 D4 G4 D5 F5", "C4 E4 G4 C5 E5"]):
        names = chord.split()
        for half in (4.0 * bar, 4.0 * bar + 2):
            found += [(names[0], half, half + 2, 64), (names[1], half + 0.25, half + 2, 56)]
            found += play_figure(" ".join(names[i] for i in (2, 3, 4, 2, 3, 4)), half + 0.5, 0.25, 0.3, 54)
    return found


def mozart() -> list[Played]:
    """A melody over broken chords in eighths."""
    melody = [
        ("C5", 0, 2), ("E5", 2, 3), ("G5", 3, 4), ("B4", 4, 5.5), ("C5", 5.5, 5.75), ("D5", 5.75, 6), ("C5", 6, 7),
        ("A5", 8, 10), ("G5", 10, 11), ("C6", 11, 12), ("G5", 12, 13), ("F5", 13, 13.5), ("E5", 13.5, 14),
        ("F5", 14, 14.5), ("E5", 14.5, 16),
    ]  # fmt: skip
    chords = ["C4 G4 E4 G4", "C4 G4 E4 G4", "D4 G4 F4 G4", "C4 G4 E4 G4"]
    chords += ["C4 A4 F4 A4", "C4 G4 E4 G4", "B3 G4 D4 G4", "C4 G4 E4 G4"]
    found: list[Played] = [(name, start, end, 70) for name, start, end in melody]
    for half, chord in enumerate(chords):
        found += play_figure(chord, 2.0 * half, 0.5, 0.5, 48)
    return found


def beethoven() -> list[Played]:
    """Triplets over octaves in the bass, under the pedal."""
    bars = [
        (["G#3 C#4 E4"] * 4, [("C#2 C#3", 0, 4)]),
        (["G#3 C#4 E4"] * 4, [("B1 B2", 0, 4)]),
        (["A3 C#4 E4"] * 2 + ["A3 D4 F#4"] * 2, [("A1 A2", 0, 2), ("F#1 F#2", 2, 4)]),
    ]
    found: list[Played] = []
    for bar, (triplets, basses) in enumerate(bars):
        for names, start, end in basses:
            found += [(name, 4 * bar + start, 4 * bar + end, 52) for name in names.split()]
        for beat, triplet in enumerate(triplets):
            found += play_figure(triplet, 4 * bar + beat, 1 / 3, 1 - 1e-3, 44)
    return found


def satie() -> list[Played]:
    """A bass note and a chord in each bar of three; the melody comes after two bars."""
    found: list[Played] = []
    for bar in range(6):
        bass, chord = (("G2", "B3 D4 F#4"), ("D2", "A3 C#4 F#4"))[bar % 2]
        found.append((bass, 3.0 * bar, 3.0 * bar + 3, 50))
        found += [(name, 3.0 * bar + 1, 3.0 * bar + 3, 42) for name in chord.split()]
    melody = [("F#5", 7, 8), ("A5", 8, 9), ("G5", 9, 10), ("F#5", 10, 11), ("C#5", 11, 12)]
    melody += [("B4", 12, 13), ("C#5", 13, 14), ("D5", 14, 15), ("A4", 15, 18)]
    return found + [(name, start, end, 62) for name, start, end in melody]


OPENINGS = [
    Opening(name="bach", quarters_per_minute=80, seconds=10.5, notes=bach()),
    Opening(name="mozart", quarters_per_minute=120, seconds=8.0, notes=mozart()),
    Opening(name="beethoven", quarters_per_minute=58, seconds=12.0, notes=beethoven()),
    Opening(name="satie", quarters_per_minute=84, seconds=12.5, notes=satie()),
]


def main() -> None:
    """Write `bach.flac`, `mozart.flac`, `beethoven.flac` and `satie.flac`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("--pianos", type=Path, required=True)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    grand = open_table(given.pianos, PIANO, RATE_HZ)

    for opening in OPENINGS:
        quarter_s = 60 / opening.quarters_per_minute
        notes = [
            Note(key=key_of(name), velocity=velocity, start_s=start * quarter_s, end_s=end * quarter_s)
            for name, start, end, velocity in sorted(opening.notes, key=lambda note: note[1])
        ]
        wav = grand.render(notes)
        with tempfile.TemporaryDirectory() as folder:
            dry, wet = Path(folder) / "dry.wav", Path(folder) / "wet.wav"
            soundfile.write(dry, 0.3 * wav / np.abs(wav).max(), RATE_HZ, subtype="FLOAT")
            words = ["sox", "-D", dry, "-b", 16, wet, "channels", 2, "reverb", 25, 50, 40, 60, "rate", 44100]
            words += ["trim", 0, opening.seconds, "gain", "-n", -3]
            run([str(word) for word in words])
            audio, rate = soundfile.read(wet, dtype="int16")
        soundfile.write(given.output / f"{opening.name}.flac", audio, rate, subtype="PCM_16")


if __name__ == "__main__":
    main()
