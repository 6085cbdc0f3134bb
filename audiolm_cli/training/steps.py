"""One optimizer step: a batch drawn from (seed, step), its losses in pieces that fit, and the update.

Knows nothing about runs, states or files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from audiolm_cli.config import TrainConfig
from audiolm_cli.data.batching import WindowBuckets, Windows
from audiolm_cli.data.manifest import TokenClip
from audiolm_cli.model.audiolm import AudioLM, Predictions
from audiolm_cli.model.geometry import Geometry, TaskMix, draw_geometry
from audiolm_cli.training.average import start_average, update_average
from audiolm_cli.training.optim import build_optimizers
from audiolm_cli.training.schedules import rate_factor

STAGE_SHARES = (0.4, 0.3, 0.3)
"""How often codebooks 2, 3 and 4 are the NAR target; more codebooks share evenly."""
SPIKE_MEMORY = 0.98
"""Decay of the running mean and variance of the loss that spikes are measured against."""
SPIKE_FROM = 100
"""Losses that must be in that mean before a step is called a spike."""
NATS_PER_BIT = math.log(2)


@dataclass(frozen=True, kw_only=True)
class DecoderReport:
    """What one decoder did in a step."""

    codebook: int
    """Which one it predicted, from 0."""
    bits: float
    """Cross-entropy in bits per labelled frame."""
    top1: float
    """Share of labelled frames whose code was the likeliest."""
    top10: float
    """Share of labelled frames whose code was among the ten likeliest."""


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one step did."""

    loss: float
    """Mean of the trained decoders' losses, in nats."""
    decoders: list[DecoderReport]
    """The AR's, the NAR's, or both."""
    frames: int
    """Frames of the batch, context included."""
    learning_rate: float
    """Of the first parameter group."""
    gradient_norm: float
    """Before clipping."""
    used: bool
    """False where the loss or the gradient was not usable and nothing changed."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one step trains on; a function of (seed, step)."""

    windows: Windows
    geometry: Geometry
    codebook: int
    """The NAR decoder's target, from 1; 0 where the AR alone is trained."""
    ar_labels: int
    """Labelled steps of the AR decoder; 0 where it is not trained."""
    known: np.ndarray
    """bool [B, M], frames whose code of `codebook` is given."""
    nar_labels: int
    """Labelled frames of the NAR decoder, the others of `known`; 0 where it is not trained."""


class Losses(nn.Module):
    """The training loss of part of a batch, as one module."""

    def __init__(self, model: AudioLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, codes: Tensor, ends: Tensor, known: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """This part's share of the batch's loss, and sums [2, 3] over it.

        Args:
            codes: int64 [b, T, K], some windows of the batch.
            ends: bool [b], theirs.
            known: bool [b, M], theirs.
            batch: the whole batch; its label counts make the shares of its parts add up to its mean.

        Returns:
            The share in nats, and of each decoder (AR, NAR): nats, likeliest codes hit, ten likeliest hit.
        """
        context, target = batch.geometry.split(codes)
        sums = codes.new_zeros(2, 3, dtype=torch.float32)
        loss = sums.new_zeros(())
        decoders = (batch.ar_labels > 0) + (batch.nar_labels > 0)
        if batch.ar_labels:
            known_ends = ends if batch.geometry.right == 0 else None
            predictions = self.model.ar_predict(context, target, batch.geometry, known_ends)
            nats = predictions.losses().sum()
            loss = loss + nats / (batch.ar_labels * decoders)
            sums[0] = torch.stack([nats.detach(), *_hits(predictions)])
        if batch.nar_labels:
            predictions = self.model.nar_predict(context, target, batch.geometry, batch.codebook, known)
            nats = predictions.losses().sum()
            loss = loss + nats / (batch.nar_labels * decoders)
            sums[1] = torch.stack([nats.detach(), *_hits(predictions)])
        return loss, sums


class Stepper:
    """Weights, their average and optimizers, moved on step by step."""

    def __init__(self, model: AudioLM, config: TrainConfig, clips: list[TokenClip]) -> None:
        self.model, self.config = model, config
        self.losses = Losses(model)
        self.buckets = WindowBuckets(clips, model.config.max_frames, config.shortest_window, config.full_windows)
        self.frames = sum(len(clip.codes) for clip in clips)
        self.bf16 = config.dtype == "bf16" or (config.dtype == "auto" and multiplies_bf16(model.device))
        self.optimizers = build_optimizers(model, config, bf16=self.bf16)
        self.average = start_average(model)
        self.spikes = SpikeGuard(config.spike_deviations)

    def draw(self, step: int, attempt: int = 0) -> Batch:
        """The batch of `step`; another one for each attempt at it."""
        rng = np.random.default_rng([self.config.seed, step, *([attempt] if attempt else [])])
        windows = self.buckets.draw(self.config.batch_frames, rng)
        B, T, K = windows.codes.shape
        geometry = self._geometry(T, rng)
        has_ar, has_nar = self.config.train_stage != 2, self.config.train_stage != 1 and K > 1
        codebook = draw_codebook(K, rng) if has_nar else 0
        known = draw_known((B, geometry.gap), self.config.nar_known if has_nar else 0.0, rng)
        ends = int(windows.ends.sum()) if geometry.right == 0 else 0
        return Batch(
            windows=windows,
            geometry=geometry,
            codebook=codebook,
            known=known,
            ar_labels=B * geometry.gap + ends if has_ar else 0,
            nar_labels=int((~known).sum()) if has_nar else 0,
        )

    def step(self, step: int, attempt: int = 0) -> StepReport:
        """Train on the batch of `step`."""
        factor = rate_factor(self.config, step, step * self.config.batch_frames / self.frames)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            optimizer.zero_grad(set_to_none=True)
        batch = self.draw(step, attempt)
        if self.model.config.dropout > 0:
            torch.manual_seed(int(np.random.default_rng([self.config.seed, step, attempt + 1]).integers(2**62)))
        self.model.train()
        loss, sums = torch.zeros((), device=self.model.device), torch.zeros(2, 3, device=self.model.device)
        for codes, ends, known in self._parts(batch):
            with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.bf16):
                part, part_sums = self.losses(codes, ends, known, batch)
            part.backward()
            loss, sums = loss + part.detach(), sums + part_sums
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        used = math.isfinite(norm.item()) and self.spikes.accept(loss.item())
        if used:
            for optimizer in self.optimizers:
                optimizer.step()
        update_average(self.average, self.model, self.config.ema_decay, step)
        B, T, _ = batch.windows.codes.shape
        return StepReport(
            loss=loss.item(),
            decoders=_decoders(batch, sums),
            frames=B * T,
            learning_rate=self.optimizers[0].param_groups[0]["lr"],
            gradient_norm=norm.item(),
            used=used,
        )

    def _geometry(self, frames: int, rng: np.random.Generator) -> Geometry:
        if self.config.fixed_split:
            left = min(frames - 1, max(1, round(self.model.config.prompt_share * frames)))
            return Geometry(left, frames - left)
        return draw_geometry(frames, task_mix(self.config.infill_share), rng)

    def _parts(self, batch: Batch) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Codes, ends and known frames on the device, in parts of at most `micro_frames` frames, or of one window."""
        B, T, _ = batch.windows.codes.shape
        count = max(1, self.config.micro_frames // T) if self.config.micro_frames else B
        arrays = (batch.windows.codes, batch.windows.ends, batch.known)
        for start in range(0, B, count):
            codes, ends, known = (torch.from_numpy(a[start : start + count]).to(self.model.device) for a in arrays)
            yield codes, ends, known


class SpikeGuard:
    """Tells losses that no longer belong to the ones before them."""

    def __init__(self, deviations: float) -> None:
        self.deviations = deviations
        self.mean, self.variance, self.count = 0.0, 0.0, 0

    def accept(self, loss: float) -> bool:
        """False for a loss that is not finite, or far over the running mean, which then stays as it is."""
        if not math.isfinite(loss):
            return False
        if self.count >= SPIKE_FROM and loss > self.mean + self.deviations * math.sqrt(self.variance):
            return False
        self.count += 1
        weight = max(1 - SPIKE_MEMORY, 1 / self.count)
        difference = loss - self.mean
        self.mean += weight * difference
        self.variance = (1 - weight) * (self.variance + weight * difference * difference)
        return True

    def to_dict(self) -> dict[str, float]:
        """What `restore` takes."""
        return {"mean": self.mean, "variance": self.variance, "count": self.count}

    def restore(self, values: dict[str, float]) -> None:
        """Go on from what `to_dict` returned."""
        self.mean, self.variance, self.count = values["mean"], values["variance"], int(values["count"])


def task_mix(infill_share: float) -> TaskMix:
    """The tasks with this share of infills, the others in their usual proportions."""
    usual = TaskMix()
    if infill_share == usual.infill:
        return usual
    scale = (1 - infill_share) / (1 - usual.infill)
    return TaskMix(
        continuation=usual.continuation * scale,
        infill=infill_share,
        prepend=usual.prepend * scale,
        unconditional=usual.unconditional * scale,
    )


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16 products; without them, autocast is slower than fp32."""
    return torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()


def draw_codebook(num_quantizers: int, rng: np.random.Generator) -> int:
    """Which codebook the NAR decoder predicts in this step, from 1."""
    stages = num_quantizers - 1
    shares = np.array(STAGE_SHARES) if stages == len(STAGE_SHARES) else np.full(stages, 1 / stages)
    return 1 + int(rng.choice(stages, p=shares))


def draw_known(shape: tuple[int, int], share: float, rng: np.random.Generator) -> np.ndarray:
    """Which frames' codes are given, bool [B, M]: in `share` of the items some, in the others none.

    The masked part is the cosine of a uniform angle (Chang et al., "MaskGIT", 2022, section 3.3): mostly much.
    """
    B, M = shape
    given = 1 - np.cos(rng.uniform(0, np.pi / 2, size=B))
    given[rng.random(B) >= share] = 0
    known = rng.random((B, M)) < given[:, None]
    known[0, rng.integers(M)] = False  # something is left to predict
    return known


@torch.no_grad()
def _hits(predictions: Predictions) -> list[Tensor]:
    """How many labels were the likeliest class, and among the ten likeliest."""
    own = predictions.logits.gather(-1, predictions.labels.clamp(min=0)[..., None])
    better = (predictions.logits > own).sum(-1)
    labelled = predictions.labels >= 0
    return [((better < n) & labelled).sum().float() for n in (1, 10)]


def _decoders(batch: Batch, sums: Tensor) -> list[DecoderReport]:
    rows = zip((0, batch.codebook), (batch.ar_labels, batch.nar_labels), sums.tolist(), strict=True)
    return [
        DecoderReport(codebook=codebook, bits=nats / labels / NATS_PER_BIT, top1=top1 / labels, top10=top10 / labels)
        for codebook, labels, (nats, top1, top10) in rows
        if labels
    ]
