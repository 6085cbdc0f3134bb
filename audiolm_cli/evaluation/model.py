"""How well a model predicts held-out codes: bits per frame, top-1 and top-10, per codebook.

Knows nothing about audio or training.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from audiolm_cli.model.audiolm import AudioLM, Predictions
from audiolm_cli.model.decode import known_after
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

    def further(self) -> ModelScores:
        """The same without the first codebook."""
        return ModelScores(bits=self.bits[1:], top1=self.top1[1:], top10=self.top10[1:])

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
def predictions(model: AudioLM, codes: Tensor, geometry: Geometry, context: Tensor | None = None) -> list[Predictions]:
    """Teacher-forced predictions of every codebook of windows [B, T, K].

    Args:
        context: codes [B, L, K] in memory order to use in place of the windows' own.
    """
    own, target = geometry.split(codes)
    given = own if context is None else context
    ar = model.ar_predict(given, target, geometry)
    nar = [model.nar_predict(given, target, geometry, k) for k in range(1, model.config.num_quantizers)]
    return [ar, *nar]


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
def context_use(model: AudioLM, codes: Tensor, other: Tensor) -> ContextUse:
    """How much likelier the targets of windows [N, T, K] are after their own prompts than after those of `other`."""
    geometry = continuation_geometry(codes.shape[1])
    prompts, _ = geometry.split(other)
    saved = []  # [N, 2] bits per frame
    for start in range(0, len(codes), BATCH):
        part = codes[start : start + BATCH].to(model.device)
        own = predictions(model, part, geometry)
        foreign = predictions(model, part, geometry, prompts[start : start + BATCH].to(model.device))
        gain = [b.losses().mean(1) - a.losses().mean(1) for a, b in zip(own, foreign, strict=True)]
        saved.append(torch.stack([gain[0], torch.stack(gain[1:]).sum(0)], dim=1).cpu() / math.log(2))
    bits = torch.cat(saved)
    shares = (bits > 0).float().mean(0).tolist()
    return ContextUse(
        ar_share=shares[0], nar_share=shares[1], ar_bits=bits[:, 0].mean().item(), nar_bits=bits[:, 1].mean().item()
    )


@torch.no_grad()
def score_windows(model: AudioLM, codes: Tensor, geometry: Geometry | None = None) -> ModelScores:
    """Scores over windows [N, T, K], as continuations unless another geometry is given."""
    geometry = geometry or continuation_geometry(codes.shape[1])
    was_training = model.training
    model.eval()
    K = model.config.num_quantizers
    bits, top1, top10 = [0.0] * K, [0.0] * K, [0.0] * K
    for part in codes.to(model.device).split(BATCH):
        for k, p in enumerate(predictions(model, part, geometry)):
            places = p.places()
            bits[k] += p.losses().sum().item() / math.log(2)
            top1[k] += (places < 1).sum().item()
            top10[k] += (places < 10).sum().item()
    model.train(was_training)
    frames = len(codes) * geometry.gap
    return ModelScores(
        bits=[b / frames for b in bits], top1=[t / frames for t in top1], top10=[t / frames for t in top10]
    )


@torch.no_grad()
def score_passes(model: AudioLM, codes: Tensor, passes: int, seed: int = 0) -> ModelScores:
    """Scores of the further codebooks (2..K) over windows [N, T, K] when each comes in several passes.

    Every frame is scored in the pass that it comes in, with the true codes of those before it, in a random order: the
    bits are those of a proper likelihood (as of order-agnostic models: Uria et al., 2014, section 2), and an upper
    bound for the order by confidence that generating takes. With one pass this is what `score_windows` says of them.
    """
    geometry = continuation_geometry(codes.shape[1])
    generator = torch.Generator().manual_seed(seed)
    K, M = model.config.num_quantizers, geometry.gap
    bits, top1, top10 = [0.0] * (K - 1), [0.0] * (K - 1), [0.0] * (K - 1)
    for part in codes.split(BATCH):
        context, target = geometry.split(part.to(model.device))
        for k in range(1, K):
            place = torch.rand(len(part), M, generator=generator).argsort(-1).argsort(-1).to(model.device)
            for done in range(passes):
                known = place < (known_after(done, passes, M) if done else 0)
                p = model.nar_predict(context, target, geometry, k, known)
                now = ~known & (place < known_after(done + 1, passes, M))
                places = p.places()
                bits[k - 1] += (p.losses() * now).sum().item() / math.log(2)
                top1[k - 1] += ((places < 1) & now).sum().item()
                top10[k - 1] += ((places < 10) & now).sum().item()
    frames = len(codes) * M
    return ModelScores(
        bits=[b / frames for b in bits], top1=[t / frames for t in top1], top10=[t / frames for t in top10]
    )
