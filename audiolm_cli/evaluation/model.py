"""How well a model predicts held-out codes: bits per frame, top-1 and top-10, per codebook.

Knows nothing about audio or training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from audiolm_cli.model.decode import plan_passes
from audiolm_cli.model.decoders import Decoders, Predictions
from audiolm_cli.model.geometry import Geometry

CONTINUATION_PROMPT = 0.4
"""Share of a window that is prompt when a model is scored."""
BATCH = 8
"""Windows scored at once."""


@dataclass(frozen=True, kw_only=True)
class ModelScores:
    """Means over all target frames; one entry per codebook."""

    bits: list[float]
    """Cross-entropy in bits per frame."""
    top1: list[float]
    """Share of frames whose code is the most likely one."""
    top10: list[float]
    """Share of frames whose code is among the ten most likely."""

    @property
    def total_bits(self) -> float:
        """Bits per frame over all codebooks."""
        return sum(self.bits)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {**asdict(self), "total_bits": self.total_bits}

    def summary(self) -> str:
        """One line for a person."""
        bits = " ".join(f"{b:.2f}" for b in self.bits)
        top10 = " ".join(f"{100 * t:.0f}" for t in self.top10)
        return f"bits {bits} (sum {self.total_bits:.2f}), top-10 {top10} %"


def continuation_geometry(frames: int) -> Geometry:
    """The geometry that windows are scored with: 40 % prompt, no right context."""
    left = max(1, round(CONTINUATION_PROMPT * frames))
    return Geometry(left, frames - left)


@torch.no_grad()
def predictions(model: Decoders, codes: Tensor, geometry: Geometry, context: Tensor | None = None) -> list[Predictions]:
    """Teacher-forced predictions of every codebook of windows [B, T, K].

    Args:
        context: codes [B, L, K] in memory order to use in place of the windows' own.
    """
    own, target = geometry.split(codes)
    given = own if context is None else context

    ar = model.ar_predict(given, target, geometry)
    return [*ar, *(model.nar_predict(given, target, geometry, k) for k in range(len(ar), model.config.num_quantizers))]


@dataclass(frozen=True, kw_only=True)
class ContextUse:
    """Whether the context matters: the true target's likelihood with its own prompt against another clip's."""

    ar_share: float
    """Share of windows whose first codebook is likelier with their own prompt."""
    nar_share: float
    """The same for the other codebooks together."""
    ar_bits: float
    """Mean bits per frame saved by the own prompt, first codebook."""
    nar_bits: float
    """The same for the other codebooks together."""


@torch.no_grad()
def context_use(model: Decoders, pairs: Sequence[tuple[Tensor, Tensor]]) -> ContextUse:
    """How much likelier the targets of windows are after their own prompts than after those of others.

    Args:
        model: the decoders.
        pairs: windows [N, T, K] and as many others of the same shape; each pair may have another N and T.
    """
    saved = []  # [N, 2] bits per frame
    for codes, other in pairs:
        geometry = continuation_geometry(codes.shape[1])
        prompts, _ = geometry.split(other)
        for part, foreign_prompts in zip(codes.split(BATCH), prompts.split(BATCH), strict=True):
            own = predictions(model, part.to(model.device), geometry)
            foreign = predictions(model, part.to(model.device), geometry, foreign_prompts.to(model.device))

            gain = [b.losses().mean(1) - a.losses().mean(1) for a, b in zip(own, foreign, strict=True)]
            saved.append(torch.stack([gain[0], sum(gain[1:], torch.zeros_like(gain[0]))], dim=1).cpu() / math.log(2))

    bits = torch.cat(saved)
    shares = (bits > 0).float().mean(0).tolist()
    return ContextUse(
        ar_share=shares[0], nar_share=shares[1], ar_bits=bits[:, 0].mean().item(), nar_bits=bits[:, 1].mean().item()
    )


@torch.no_grad()
def score_windows(
    model: Decoders, codes: Tensor, geometry: Geometry | None = None, *, passes: int | None = None
) -> ModelScores:
    """Scores over windows [N, T, K], as continuations unless another geometry is given.

    With several NAR passes every frame is scored in the pass that it comes in, with the true codes of those before it,
    in a random order: the bits are those of a proper likelihood (as of order-agnostic models: Uria et al., 2014,
    section 2), the one that generating draws from.

    Args:
        model: the decoders.
        codes: int64 [N, T, K].
        geometry: what of each window is context and what target.
        passes: NAR passes per codebook; None is the model's own number.
    """
    geometry = geometry or continuation_geometry(codes.shape[1])
    was_training = model.training
    model.eval()

    generator = torch.Generator().manual_seed(0)  # of the order
    sums = torch.zeros(3, model.config.num_quantizers)  # bits, likeliest codes hit, ten likeliest hit
    for part in codes.split(BATCH):
        context, target = geometry.split(part.to(model.device))
        for own in model.ar_predict(context, target, geometry):
            sums[:, own.codebook] += _sum_scores(own)

        # Every frame in the pass that it comes in, after the true codes of those before it.
        for k in range(model.config.ar_codebooks, model.config.num_quantizers):
            memory = model.nar_memory(context, geometry, k)
            order = torch.rand(target.shape[:2], generator=generator).argsort(-1).argsort(-1).to(model.device)
            for known, now in plan_passes(order, passes or model.config.nar_passes):
                logits = model.nar_read(memory, target, geometry, k, known, now)
                sums[:, k] += _sum_scores(Predictions(codebook=k, logits=logits, labels=target[..., k].gather(1, now)))

    model.train(was_training)
    bits, top1, top10 = (sums / (len(codes) * geometry.gap)).tolist()
    return ModelScores(bits=bits, top1=top1, top10=top10)


def mean_scores(scores: Sequence[tuple[ModelScores, int]]) -> ModelScores:
    """The mean of scores, each with the number of target frames behind it."""
    frames = sum(count for _, count in scores)

    def mean(name: str) -> list[float]:
        rows = [[value * count / frames for value in getattr(each, name)] for each, count in scores]
        return [sum(column) for column in zip(*rows, strict=True)]

    return ModelScores(bits=mean("bits"), top1=mean("top1"), top10=mean("top10"))


def _sum_scores(predictions: Predictions) -> Tensor:
    """Bits, likeliest codes hit and ten likeliest hit, summed [3] over all frames."""
    ranks = predictions.ranks()
    return torch.stack([predictions.losses().sum() / math.log(2), (ranks < 1).sum(), (ranks < 10).sum()]).cpu()
