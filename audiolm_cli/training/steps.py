"""One optimizer step: a batch drawn from (seed, step), its losses in pieces that fit, and the update.

Knows nothing about runs, states or files.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.tokens import TokenClip
from audiolm_cli.distributed import Ranks
from audiolm_cli.errors import MemoryLimitError
from audiolm_cli.model.decoders import Decoders, Predictions
from audiolm_cli.model.quantize import check_dtype, multiplies_bf16
from audiolm_cli.training.average import start_average, update_average
from audiolm_cli.training.batches import Batch, Batches
from audiolm_cli.training.optim import build_optimizers
from audiolm_cli.training.schedules import rate_factor
from audiolm_cli.training.spikes import SpikeGuard

NATS_PER_BIT = math.log(2)
FURTHER_WEIGHTS = (0.5, 0.25)
"""What the second codebook of the AR decoder counts in its loss, and each one after it; the first counts 1.

The first ones carry the notes and have few bits, so that a plain sum would hardly hear them.
"""


@dataclass(frozen=True, kw_only=True)
class DecoderReport:
    """What one decoder did for one codebook in a step."""

    name: Literal["ar", "nar"]
    codebook: int
    """Which one it predicted, from 0."""
    bits: float
    """Cross-entropy in bits per labelled frame."""
    top1: float
    """Share of labelled frames whose code was the likeliest."""
    top10: float
    """Share of labelled frames whose code was among the ten likeliest."""
    labels: int
    """Labelled frames: what it learned from."""


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one step did."""

    loss: float
    """Mean of the trained decoders' losses, in nats; that of the AR decoder weighs its codebooks."""
    decoders: list[DecoderReport]
    """The AR's for each of its codebooks, the NAR's, or both."""
    frames: int
    """Frames of the batch, context included."""
    learning_rate: float
    """Of the first parameter group."""
    gradient_norm: float
    """Before clipping."""
    used: bool
    """False where the loss or the gradient was not usable and nothing changed."""


class BatchLoss(nn.Module):
    """The training loss of part of a batch, as one module, whose gradients several processes can average."""

    def __init__(self, model: Decoders) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, codes: Tensor, ends: Tensor, known: Tensor, styles: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """This part's share of the batch's loss, and sums [N + 1, 3] over it.

        Args:
            codes: int64 [b, T, K], some windows of the batch.
            ends: bool [b], theirs.
            known: bool [b, M], theirs.
            styles: int64 [b], theirs.
            batch: the whole batch; its label counts make the shares of its parts add up to its mean.

        Returns:
            The share in nats, and of each codebook of the AR decoder and of that of the NAR decoder: nats, likeliest
            codes hit, ten likeliest hit.
        """
        context, target = batch.geometry.split(codes)
        sums = codes.new_zeros(self.model.config.ar_codebooks + 1, 3, dtype=torch.float32)
        loss = sums.new_zeros(())
        decoders = bool(batch.ar_labels) + (batch.nar_labels > 0)

        if batch.ar_labels:
            known_ends = ends if batch.geometry.right == 0 else None
            of_codebooks = self.model.ar_predict(
                context, target, batch.geometry, known_ends, with_context=True, styles=styles
            )
            for predictions, labels in zip(of_codebooks, batch.ar_labels, strict=True):
                k, nats = predictions.codebook, predictions.losses().sum()
                weight = 1.0 if k == 0 else FURTHER_WEIGHTS[min(k, len(FURTHER_WEIGHTS)) - 1]
                loss = loss + weight * nats / (labels * decoders)
                sums[k] = torch.stack([nats.detach(), *_count_hits(predictions)])

        if batch.nar_labels:
            predictions = self.model.nar_predict(context, target, batch.geometry, batch.codebook, known, styles)
            nats = predictions.losses().sum()
            loss = loss + nats / (batch.nar_labels * decoders)
            sums[-1] = torch.stack([nats.detach(), *_count_hits(predictions)])
        return loss, sums


class Stepper:
    """Weights, their average and optimizers, moved on step by step."""

    def __init__(
        self, model: Decoders, config: TrainConfig, clips: list[TokenClip], ranks: Ranks | None = None
    ) -> None:
        self.model, self.config, self.ranks = model, config, ranks or Ranks()
        check_dtype(config.dtype, model.device)
        self.batch_loss = self.ranks.wrap(BatchLoss(model), model.device)
        self.micro_frames = config.micro_frames
        """Most frames at once; falls where memory runs out. 0 is all."""
        self.batches = Batches(clips, model.config, config)
        self.bf16 = config.dtype == "bf16" or (config.dtype == "auto" and multiplies_bf16(model.device))
        self.optimizers = build_optimizers(model, config, bf16=self.bf16)
        self.average = start_average(model)
        self.spikes = SpikeGuard(config.spike_deviations)

    def step(self, step: int, attempt: int = 0) -> StepReport:
        """Train on the batch of `step`."""
        self._set_rates(step)
        self._drop_gradients()
        batch = self.batches.draw(step, attempt, least=self.ranks.size)

        self.model.train()
        loss, sums = self.compute_gradients(batch, step, attempt)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)

        # One bad batch would undo many good ones.
        used = math.isfinite(norm.item()) and self.spikes.accept(loss.item())
        if used:
            for optimizer in self.optimizers:
                optimizer.step()
        update_average(self.average, self.model, self.config.ema_decay, step)

        B, T, _ = batch.windows.codes.shape
        return StepReport(
            loss=loss.item(),
            decoders=_report_decoders(batch, sums),
            frames=B * T,
            learning_rate=self.optimizers[0].param_groups[0]["lr"],
            gradient_norm=norm.item(),
            used=used,
        )

    def _set_rates(self, step: int) -> None:
        factor = rate_factor(self.config, step, self.batches.epoch(step))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor

    def _drop_gradients(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def compute_gradients(self, batch: Batch, step: int, attempt: int) -> tuple[Tensor, Tensor]:
        """The loss and the sums [N + 1, 3] of a batch, over all processes, with its gradients in the parameters.

        Raises:
            MemoryLimitError: not even one window fits into memory.
        """
        own = self.ranks.part(len(batch.windows.codes))
        windows = batch.windows
        arrays = [torch.from_numpy(a[own]) for a in (windows.codes, windows.ends, batch.known, batch.styles)]
        B, T, _ = arrays[0].shape

        while True:
            rows = max(1, self.micro_frames // T) if self.micro_frames else B
            parts = list(zip(*(array.to(self.model.device).split(rows) for array in arrays), strict=True))
            self._seed_dropout(step, attempt)
            try:
                total = sum((self._add_part(part, batch, last=part is parts[-1]) for part in parts), torch.zeros(()))
                break
            except torch.OutOfMemoryError as error:
                rows = min(rows, B)
                if rows == 1 or self.ranks.size > 1:  # the others wait for gradients that do not come
                    raise MemoryLimitError(
                        f"a step of {rows} windows of {T} frames does not fit into memory on {self.model.device}; give "
                        "fewer --micro-frames, or a smaller --preset"
                    ) from error

            # Again from the beginning, in parts of half the size; outside `except`, whose error holds on to memory.
            self.micro_frames = rows // 2 * T
            self._drop_gradients()

        total = self.ranks.total(total.to(self.model.device)).cpu()
        return total[0], total[1:].view(-1, 3)

    def _seed_dropout(self, step: int, attempt: int) -> None:
        """Make what dropout draws a function of (seed, step, attempt, process)."""
        if self.model.config.dropout > 0:
            words = [self.config.seed, step, attempt + 1, *([self.ranks.rank] if self.ranks.rank else [])]
            torch.manual_seed(int(np.random.default_rng(words).integers(2**62)))

    def _add_part(self, part: tuple[Tensor, ...], batch: Batch, last: bool) -> Tensor:
        """Add the gradients of part of a batch; its loss and sums, flat [1 + 3 (N + 1)], on the processor."""
        alone = isinstance(self.batch_loss, BatchLoss)

        # Processes exchange their gradients once, with the last part.
        with nullcontext() if alone or last else self.batch_loss.no_sync():  # type: ignore[operator]
            with torch.autocast(self.model.device.type, torch.bfloat16) if self.bf16 else nullcontext():
                loss, sums = self.batch_loss(*part, batch)
            (loss * self.ranks.size).backward()  # the average over processes is to be the sum
        return torch.cat([loss.detach()[None], sums.flatten()]).cpu()


def _count_hits(predictions: Predictions) -> list[Tensor]:
    """How many labels were the likeliest code, and among the ten likeliest."""
    ranks, labelled = predictions.ranks(), predictions.labels >= 0
    return [((ranks < n) & labelled).sum().float() for n in (1, 10)]


def _report_decoders(batch: Batch, sums: Tensor) -> list[DecoderReport]:
    """What each trained decoder did for each codebook, from the sums [N + 1, 3] over a batch."""
    rows: list[tuple[Literal["ar", "nar"], int, int, list[float]]]
    rows = [("ar", k, labels, sums[k].tolist()) for k, labels in enumerate(batch.ar_labels)]
    rows.append(("nar", batch.codebook, batch.nar_labels, sums[-1].tolist()))
    return [
        DecoderReport(
            name=name,
            codebook=codebook,
            bits=nats / labels / NATS_PER_BIT,
            top1=top1 / labels,
            top10=top10 / labels,
            labels=labels,
        )
        for name, codebook, labels, (nats, top1, top10) in rows
        if labels
    ]
