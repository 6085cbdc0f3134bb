"""How like the originals a codec in training gives held-out clips back, in the figures of `audiolm evaluate`.

The same clips at every step, so that two steps compare. Knows nothing about how the codec is trained.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from audiolm_cli.codec.base import Codec
from audiolm_cli.data.files import AudioFile
from audiolm_cli.evaluation.compared import compare
from audiolm_cli.evaluation.excerpts import SILENCE_PEAK, Excerpt
from audiolm_cli.events import Activity, Note, OnEvent, ignore
from audiolm_cli.training.codec.round_trips import read_middles

CLIPS, CLIP_S = 8, 6.0
SHORTEST_S = 1.0
"""Shorter clips are left out: their spectra say little."""


class LikenessReport:
    """Measures mel distance and chroma correlation of round trips, and tells them."""

    def __init__(self, codec: Codec, dev: list[AudioFile], on_event: OnEvent) -> None:
        """Clips from the middle of the first recordings of `dev`."""
        self.codec, self.files, self.on_event = codec, dev[:CLIPS], on_event
        self.step: int | None = None
        """The step after which it was measured last."""
        self.distances: dict[str, float] | None = None
        """What was measured then, by name; None where there is nothing to measure on."""

    def __call__(self, step: int) -> None:
        """Measure the codec as it now is, after `step` steps."""
        self.on_event(Activity(stage="compare round trips"))
        rate = self.codec.sample_rate_hz
        clips = [wav for wav in read_middles(self.files, CLIP_S, rate) if _says_something(wav, rate)]
        wavs = [torch.from_numpy(wav)[None, None].to(self.codec.device) for wav in clips]

        with torch.no_grad():
            excerpts = [Excerpt(name="", recording="", wav=wav) for wav in wavs]
            found = compare(excerpts, self.codec, None, 0, ignore).levels()
        distances = {name: figure.value for name, figure in found.get("round_trip_whole", {}).items()}
        self.step = step
        self.distances = distances if distances and all(map(math.isfinite, distances.values())) else None
        if self.distances is not None:
            mel, chroma = self.distances["mel"], self.distances["chroma"]
            self.on_event(
                Note(message=f"step {step}: round trips: mel distance {mel:.3f}, chroma correlation {chroma:.2f}")
            )


def _says_something(wav: np.ndarray, sample_rate_hz: int) -> bool:
    """Whether a clip [N] is long and loud enough to measure on."""
    return len(wav) >= SHORTEST_S * sample_rate_hz and bool(np.abs(wav).max() > SILENCE_PEAK)
