"""What the NAR decoder is told of its own codebook: at every frame the nearest known codes on both sides.

Attention can find them, but takes long to learn to: half of a sustained sound's codes are those of the frame before,
and a decoder that has them at hand uses them at once, as the AR decoder does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

REACH = 32
"""Frames to the farthest code that is told: 0.64 s."""


class Neighbours(nn.Module):
    """Embeddings of the nearest known codes, each channel scaled by a learned factor of the distance."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before = nn.Parameter(torch.empty(REACH, width))
        self.after = nn.Parameter(torch.empty(REACH, width))
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Factors that fall as one over the distance."""
        for factors in (self.before, self.after):
            factors.copy_(1 / torch.arange(1, REACH + 1, device=factors.device)[:, None])

    def forward(self, embedding: nn.Module, codes: Tensor, known: Tensor, edges: Tensor) -> Tensor:
        """The sum [B, M, D] of both sides' embeddings.

        Args:
            embedding: of the codebook.
            codes: int64 [B, M] of the target; read where known.
            known: bool [B, M].
            edges: int64 [1 or B, 2], the context's codes just before and just after the target; -1 is none.
        """
        B, M = codes.shape
        edges = edges.expand(B, 2)
        row = torch.cat([edges[:, :1], codes, edges[:, 1:]], dim=1)  # [B, 1 + M + 1]
        there = torch.cat([edges[:, :1] >= 0, known, edges[:, 1:] >= 0], dim=1)
        places = torch.arange(M + 2, device=codes.device).expand(B, -1)
        before = torch.where(there, places, -REACH).cummax(dim=1).values[:, :-2]
        after = torch.where(there, places, M + 1 + REACH).flip(1).cummin(dim=1).values.flip(1)[:, 2:]
        here, total = places[:, 1:-1], codes.new_zeros((), dtype=torch.float32)
        for nearest, distance, factors in ((before, here - before, self.before), (after, after - here, self.after)):
            code = row.gather(1, nearest.clamp(0, M + 1)).clamp(min=0)
            near = (distance <= REACH)[..., None]
            total = total + embedding(code) * factors[distance.clamp(max=REACH) - 1] * near
        return total
