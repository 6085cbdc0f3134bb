"""What a person sees of a training while it runs: running means, speed, time left, memory.

Knows nothing about how a step is made.
"""

from __future__ import annotations

import math
import sys
import time

import torch

from audiolm_cli.events import TrainStep
from audiolm_cli.training.steps import DecoderReport, StepReport

MEAN_DECAY = 0.95
"""Decay of the running means, per step in which the codebook was predicted."""
SPEED_S = 600.0
"""The time left follows from the speed of the last ten minutes: a computer that becomes busy, or free, is seen."""


class Running:
    """Running means per codebook and the speed of this process."""

    def __init__(self, num_quantizers: int, device: torch.device) -> None:
        self.device = device
        self.means: list[tuple[float, float, float]] = [(math.nan,) * 3] * num_quantizers
        """Bits, top-1 and top-10 accuracy of each codebook."""
        self.started, self.frames = time.monotonic(), 0
        self._last, self._recent_steps, self._recent_s = self.started, 0.0, 0.0

    def add(self, report: StepReport, step: int, steps: int, skipped: int) -> TrainStep:
        """Count a step that has just been done, and return its event."""
        self.frames += report.frames
        for decoder in report.decoders:
            self.means[decoder.codebook] = _update_mean(self.means[decoder.codebook], decoder)

        # Older steps count less and less, with all that came between them.
        now = time.monotonic()
        kept = math.exp(-(now - self._last) / SPEED_S)
        self._recent_steps = kept * self._recent_steps + 1
        self._recent_s = kept * self._recent_s + now - self._last
        self._last, elapsed_s = now, max(now - self.started, 1e-9)

        bits, top1, top10 = (list(column) for column in zip(*self.means, strict=True))
        return TrainStep(
            step=step,
            steps=steps,
            loss=report.loss,
            learning_rate=report.learning_rate,
            gradient_norm=report.gradient_norm,
            skipped=skipped,
            bits=bits,
            top1=top1,
            top10=top10,
            frames_per_s=self.frames / elapsed_s,
            eta_s=(steps - step) * self._recent_s / self._recent_steps,
            memory_bytes=peak_memory_bytes(self.device),
        )


def peak_memory_bytes(device: torch.device) -> int:
    """The largest amount of memory in use so far: that of a GPU, this process's on a CPU; 0 where unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":  # which keeps what was freed, so that this hardly falls
        return torch.mps.driver_allocated_memory()
    try:
        import resource
    except ImportError:  # Windows
        return 0

    # macOS counts in bytes, Linux in KiB.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _update_mean(mean: tuple[float, float, float], decoder: DecoderReport) -> tuple[float, float, float]:
    """The running means of one codebook after a step; what is no number is left out."""
    new = (decoder.bits, decoder.top1, decoder.top10)
    if not all(map(math.isfinite, new)):
        return mean
    if math.isnan(mean[0]):  # the first step that predicted this codebook
        return new

    bits, top1, top10 = (MEAN_DECAY * old + (1 - MEAN_DECAY) * now for old, now in zip(mean, new, strict=True))
    return bits, top1, top10
