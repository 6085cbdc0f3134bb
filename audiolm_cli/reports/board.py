"""TensorBoard events of a training run. Knows nothing about how the numbers come about."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiolm_cli.events import TrainStep

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

BOARD = "tensorboard"
"""Folder of the event files in a run folder."""


class Board:
    """Writes event files; nothing is imported or made before the first number comes."""

    def __init__(self, run: Path, every: int) -> None:
        """Write training steps that are multiples of `every`, and all validations and sounds."""
        self.folder, self.every = run / BOARD, every
        self._opened: SummaryWriter | None = None

    def add_step(self, event: TrainStep) -> None:
        """The running means of training, its speed and its memory."""
        if event.step % self.every:
            return
        values = {
            "train/loss": event.loss,
            "train/learning rate": event.learning_rate,
            "train/gradient norm": event.gradient_norm,
            "train/skipped steps": float(event.skipped),
            "speed/frames per s": event.frames_per_s,
            "speed/memory GB": event.memory_bytes / 1e9,
        }
        for k in range(len(event.bits)):
            values[f"train bits/codebook {k + 1}"] = event.bits[k]
            values[f"train top-10/codebook {k + 1}"] = event.top10[k]
        self._scalars(event.step, values)

    def add_validation(self, step: int, scores: Mapping[str, Any]) -> None:
        """Held-out scores: "bits", "top1" and "top10" per codebook, and "total_bits"."""
        values = {"held-out/bits per frame": scores["total_bits"]}
        for name, label in (("bits", "bits"), ("top1", "top-1"), ("top10", "top-10")):
            for k, value in enumerate(scores[name]):
                values[f"held-out {label}/codebook {k + 1}"] = value
        self._scalars(step, values)
        self._writer(step).flush()

    def add_sound(self, step: int, name: str, wav: np.ndarray, sample_rate_hz: int) -> None:
        """A sample as audio: wav float32 [n]."""
        self._writer(step).add_audio(f"samples/{name}", wav[None].clip(-1, 1), step, sample_rate=sample_rate_hz)

    def close(self) -> None:
        """Write what is still in memory."""
        if self._opened is not None:
            self._opened.close()

    def _scalars(self, step: int, values: Mapping[str, float]) -> None:
        writer = self._writer(step)
        for name, value in values.items():
            if math.isfinite(value):
                writer.add_scalar(name, value, step)

    def _writer(self, step: int) -> SummaryWriter:
        """The writer; what an earlier process wrote of `step` and later ones is done again, and no longer counts."""
        if self._opened is None:
            from torch.utils.tensorboard import SummaryWriter

            self._opened = SummaryWriter(str(self.folder), purge_step=step)
        return self._opened
