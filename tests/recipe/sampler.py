"""A sampled piano: notes to audio from one recording per third and velocity layer, in the manner of a SoundFont player.

Knows nothing about MIDI files. Made for the Salamander Grand Piano V3 (Alexander Holm, CC BY 3.0), whose recordings
the npm packages `@audio-samples/piano-mp3-velocity1` to `16` hold as `C4v8.mp3`, `D#4v8.mp3`, ...
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio.functional as AF

SEMITONES = {"C": 0, "D#": 3, "F#": 6, "A": 9}
LAYERS = 16
"""Velocity layers of the whole instrument, of which some may be present."""
LONGEST_S = 12.0
"""A note sounds no longer than this."""
RELEASE_S = 0.25
"""Time in which a damped string falls by 60 dB."""
DYNAMIC_DB = 6.0
"""How much louder the loudest velocity of a layer is than the softest; the layers themselves differ by more."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """A struck key."""

    key: int
    """MIDI key, 60 is middle C."""
    velocity: int
    """1 to 127."""
    start_s: float
    end_s: float
    """When the string is damped: the key is up and the sustain pedal too."""


class SampledPiano:
    """The recordings found in a folder, resampled to every key as they are needed."""

    def __init__(self, folder: Path, sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.files: dict[int, dict[int, Path]] = {}
        """Of each layer, by key."""
        for path in sorted(folder.rglob("*.mp3")):
            match = re.fullmatch(r"([A-G]#?)(\d)v(\d+)", path.stem)
            if match and match[1] in SEMITONES:
                key = 12 * (int(match[2]) + 1) + SEMITONES[match[1]]
                self.files.setdefault(int(match[3]), {})[key] = path
        if not self.files:
            raise SystemExit(f"{folder}: no file like C4v8.mp3")
        self.recording = lru_cache(maxsize=None)(self._recording)
        self.sample = lru_cache(maxsize=2000)(self._sample)

    def render(self, notes: list[Note]) -> np.ndarray:
        """float32 [n] of all notes, with two seconds after the last; not normalised."""
        rate = self.sample_rate_hz
        out = np.zeros(round((max(note.end_s for note in notes) + 2.0) * rate) + 1, dtype=np.float32)
        for note in notes:
            wanted = note.velocity * LAYERS / 127
            layer = min(self.files, key=lambda own: abs(own - wanted))
            sound = self.sample(layer, note.key)
            held = round((note.end_s - note.start_s) * rate)
            released = sound[: held + round(RELEASE_S * rate)].copy()
            tail = released[held:]
            tail *= 10.0 ** (-3 * np.arange(len(tail), dtype=np.float32) / (RELEASE_S * rate))
            released *= 10.0 ** (DYNAMIC_DB / 20 * (wanted - layer) * len(self.files) / LAYERS)
            start = round(note.start_s * rate)
            length = min(len(released), len(out) - start)
            out[start : start + length] += released[:length]
        return out

    def _recording(self, layer: int, key: int) -> tuple[np.ndarray, int]:
        """Mono float32 [n] without the silence before the hammer, and its rate."""
        audio, rate = soundfile.read(self.files[layer][key], dtype="float32", always_2d=True)
        mono = audio.mean(axis=1)
        loud = np.abs(mono) > 0.02 * np.abs(mono).max()
        return mono[max(0, int(loud.argmax()) - 64) :], rate

    def _sample(self, layer: int, key: int) -> np.ndarray:
        nearest = min(self.files[layer], key=lambda own: abs(own - key))
        mono, rate = self.recording(layer, nearest)
        # Playing faster by the interval is resampling from a rate that is higher by it.
        source = round(rate * 2 ** ((key - nearest) / 12) / 50) * 50
        cut = torch.from_numpy(mono[: round(LONGEST_S * source)])
        return AF.resample(cut, source, self.sample_rate_hz).numpy()
