"""Sampled instruments beside the Salamander grand: pianos of a table, a trumpet of single notes, and drum kits.

Knows nothing about MIDI files or soundfonts. Each is played by `render`, as `sampler.SampledPiano` is.
"""

from __future__ import annotations

import csv
import re
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr
from sampler import RELEASE_S, SEMITONES, Note

FINE_HZ = 50
"""Rates are rounded to this: an error of a few cents, and few filters to make."""
ROLES = {
    "kick": r"kick|bass ?drum|\bbd\b|bass",
    "snare": r"snare|\bsd\b|clap|rim|stick",
    "closed": r"clos|hat|hh|shaker|maraca",
    "open": r"open",
    "crash": r"crash|splash|china|cymbal",
    "ride": r"ride|bell|cowbell",
    "tom": r"tom|floor|conga|bongo|djemb|cuica|timbal|udu|tumba",
}
"""What a drum is for, by the first of these that its name matches; any other sound may stand in for any of them."""


class SampledKeys:
    """Recordings of single keys, each serving the keys nearest to it, in layers of velocity."""

    def __init__(self, samples: list[KeySample], sample_rate_hz: int, release_s: float = RELEASE_S) -> None:
        self.samples, self.sample_rate_hz, self.release_s = samples, sample_rate_hz, release_s
        self.sound: Callable[[KeySample, int], np.ndarray] = lru_cache(maxsize=1500)(self._sound)

    def render(self, notes: list[Note]) -> np.ndarray:
        """float32 [n] of all notes, with two seconds after the last; not normalised."""
        rate = self.sample_rate_hz
        out = np.zeros(round((max(note.end_s for note in notes) + 2.0) * rate) + 1, dtype=np.float32)
        for note in notes:
            fitting = [s for s in self.samples if s.velocities[0] <= note.velocity <= s.velocities[1]]
            chosen = min(fitting or self.samples, key=lambda own: abs(own.key - note.key))
            sound = self.sound(chosen, note.key)

            held = round((note.end_s - note.start_s) * rate)
            played = sound[: held + round(self.release_s * rate)].copy()
            tail = played[held:]
            tail *= 10.0 ** (-3 * np.arange(len(tail), dtype=np.float32) / (self.release_s * rate))
            played *= (note.velocity / chosen.velocities[1]) ** 1.2

            start = round(note.start_s * rate)
            length = min(len(played), len(out) - start)
            out[start : start + length] += played[:length]
        return out

    def _sound(self, sample: KeySample, key: int) -> np.ndarray:
        """float32 [n] of a key: playing faster by the interval is resampling from a rate that is higher by it."""
        audio, rate = soundfile.read(sample.path, dtype="float32", always_2d=True)
        mono = audio.mean(axis=1) * 10 ** (sample.gain_db / 20)
        source = round(rate * 2 ** ((key - sample.key) / 12) / FINE_HZ) * FINE_HZ
        return soxr.resample(mono, source, self.sample_rate_hz, quality="MQ").astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class KeySample:
    """The recording of one key in one layer."""

    path: Path
    key: int
    velocities: tuple[int, int]
    """The softest and the loudest that it serves."""
    gain_db: float


def open_table(folder: Path, piano: str, sample_rate_hz: int) -> SampledKeys:
    """A piano of a `samples.csv`: `splendid`, `headroom-close` or `headroom-decca` of the recipe's sampled grands."""
    with (folder / "samples.csv").open() as table:
        rows = [row for row in csv.DictReader(table) if row["piano"] == piano]
    samples = [
        KeySample(
            path=folder / row["file"],
            key=int(row["key"]),
            velocities=(int(row["lowest_velocity"]), int(row["highest_velocity"])),
            gain_db=float(row["gain_db"]) - 13.0,
        )
        for row in rows
    ]
    return SampledKeys(samples, sample_rate_hz)


def open_notes(folder: Path, sample_rate_hz: int) -> SampledKeys:
    """An instrument of files named by note, `A3.mp3` and `Ds4.mp3`, as in `tonejs-instrument-trumpet-mp3` of npm."""
    samples = []
    for path in sorted(folder.rglob("*.mp3")):
        match = re.fullmatch(r"([A-G]s?)(\d)", path.stem)
        if match:
            semitone = {**SEMITONES, "D": 2, "F": 5, "G": 7, "As": 10, "Ds": 3, "Fs": 6}[match[1]]
            samples.append(
                KeySample(path=path, key=12 * (int(match[2]) + 1) + semitone, velocities=(1, 127), gain_db=0.0)
            )
    if not samples:
        raise SystemExit(f"{folder}: no file like A3.mp3")
    return SampledKeys(samples, sample_rate_hz, release_s=0.12)


class DrumKit:
    """A drum kit in Hydrogen's format: `drumkit.xml` and recordings."""

    def __init__(self, folder: Path, sample_rate_hz: int) -> None:
        self.name, self.sample_rate_hz = folder.name, sample_rate_hz
        self.drums: dict[str, list[list[Path]]] = {role: [] for role in ROLES}
        """Layers from soft to loud, of each drum that has the role."""
        others = []
        text = re.sub(r' xmlns="[^"]+"', "", (folder / "drumkit.xml").read_text(errors="replace"), count=1)
        for drum in ElementTree.fromstring(text).iter("instrument"):
            files = [folder / str(found.text) for found in drum.iter("filename") if found.text]
            layers = [file for file in files if file.is_file()]
            if layers:
                name = f"{drum.findtext('name', '')} {layers[0].stem}".lower()
                role = next((role for role, pattern in ROLES.items() if re.search(pattern, name)), None)
                (others if role is None else self.drums[role]).append(layers)
        fallback = others or [layers for drums in self.drums.values() for layers in drums]
        for role, drums in self.drums.items():
            if not drums:
                self.drums[role] = [fallback[zlib.crc32(role.encode()) % len(fallback)]]
        self.sound = lru_cache(maxsize=None)(self._sound)

    def render(self, hits: list[tuple[float, str, int, int]]) -> np.ndarray:
        """float32 [n] of hits (time in s, role, which drum of that role, velocity); not normalised."""
        rate = self.sample_rate_hz
        out = np.zeros(round((max(hit[0] for hit in hits) + 2.0) * rate), dtype=np.float32)
        for time_s, role, which, velocity in hits:
            layers = self.drums[role][which % len(self.drums[role])]
            sound = self.sound(layers[min(len(layers) - 1, velocity * len(layers) // 128)])
            start = round(time_s * rate)
            length = min(len(sound), len(out) - start)
            out[start : start + length] += sound[:length] * (velocity / 127) ** 1.5
        return out

    def _sound(self, path: Path) -> np.ndarray:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return soxr.resample(audio.mean(axis=1), rate, self.sample_rate_hz).astype(np.float32)
