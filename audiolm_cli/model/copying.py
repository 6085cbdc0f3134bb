"""What the NAR decoder may copy: at every frame the nearest known codes of the codebook, before and after.

Two fifths of a piano's codes of the second codebook are those of the frame before. Attention and embeddings are slow to
find that out: with every other frame known, 3 million frames of training brought the others to 7.4 bits, and a term of
the logits for these two codes, before it was trained itself, to 4.8 (pointers: See et al., "Get To The Point", 2017,
section 2.2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

REACH = 32
"""Frames to the farthest code that may be copied: 0.64 s."""
SCALE = 10.0
"""Logits of a weight of 1 in `Copying.scores`, which would learn too slowly in their own units."""


class Copying(nn.Module):
    """Adds to the logits of the nearest known codes what their distance, their agreement and the state say for them."""

    def __init__(self, width: int, num_stages: int) -> None:
        super().__init__()
        self.gates = nn.Linear(width, 2)
        self.scores = nn.Parameter(torch.empty(num_stages, 2, REACH, 2, 2))
        """By stage, side, distance, whether the codebooks before agree there, and whether both sides have one code;
        `reset` sets them."""

    @torch.no_grad()
    def reset(self) -> None:
        """Scores that fall with the distance, high where the codebooks before agree; gates that say nothing yet."""
        nn.init.zeros_(self.gates.weight)
        nn.init.zeros_(self.gates.bias)
        agree, same = torch.tensor([0.3, 0.6], device="cpu"), torch.tensor([1.0, 0.5], device="cpu")  # of two
        distance = torch.tensor([math.log(d) for d in range(1, REACH + 1)], device="cpu") / SCALE
        self.scores.copy_((agree[:, None] - distance[:, None, None]) * same)

    def forward(
        self, logits: Tensor, states: Tensor, target: Tensor, known: Tensor, edges: Tensor, places: Tensor
    ) -> Tensor:
        """The logits [B, n, V] with the terms of both sides.

        Args:
            logits: of one codebook, [B, n, V].
            states: of the decoder, [B, n, D].
            target: int64 [B, M, k + 1], its codes of the codebooks before and, where known, of this one.
            known: bool [B, M].
            edges: int64 [1 or B, 2, k + 1], the context's codes just before and just after the target; -1 is none.
            places: int64 [B, n], the frames of the target that the logits are of.
        """
        B, M, width = target.shape
        edges = edges.expand(B, -1, -1)
        row = torch.cat([edges[:, :1], target, edges[:, 1:]], dim=1)  # [B, 1 + M + 1, k + 1]
        there = torch.cat([edges[:, :1, 0] >= 0, known, edges[:, 1:, 0] >= 0], dim=1)
        frames = torch.arange(M + 2, device=target.device).expand(B, -1)
        before = torch.where(there, frames, -REACH).cummax(dim=1).values[:, :-2]
        after = torch.where(there, frames, M + 1 + REACH).flip(1).cummin(dim=1).values.flip(1)[:, 2:]
        nearest = torch.stack([before.gather(1, places), after.gather(1, places)], dim=-1)  # [B, n, 2]
        distance = (nearest - (places + 1)[..., None]).abs()
        found = taken(row, nearest.clamp(0, M + 1).flatten(1)).unflatten(1, (-1, 2))  # [B, n, 2, k + 1]
        agree = (found[..., :-1] == taken(target, places)[:, :, None, :-1]).all(-1).long()
        codes, near = found[..., -1].clamp(min=0), distance <= REACH
        same = ((codes[..., 0] == codes[..., 1]) & near.all(-1)).long()[..., None]
        sides = torch.arange(2, device=target.device)
        scores = SCALE * self.scores[width - 2, sides, distance.clamp(max=REACH) - 1, agree, same] + self.gates(states)
        terms = (scores * near).to(logits.dtype)
        for side in range(2):  # one after the other: both may add to one code, and a GPU would do so in any order
            logits = logits.scatter_add(-1, codes[..., side : side + 1], terms[..., side : side + 1])
        return logits


def taken(row: Tensor, places: Tensor) -> Tensor:
    """Frames [B, n, ...] at places [B, n] of row [B, M, ...]."""
    return row.gather(1, places[..., None].expand(-1, -1, row.shape[-1]))
