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
        """By stage, side, distance, whether the codebooks before agree there, and whether both sides have one code."""
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Scores that fall with the distance, high where the codebooks before agree; gates that say nothing yet."""
        nn.init.zeros_(self.gates.weight)
        nn.init.zeros_(self.gates.bias)
        agree, same = torch.tensor([0.3, 0.6], device="cpu"), torch.tensor([1.0, 0.5], device="cpu")  # of two
        distance = torch.tensor([math.log(d) for d in range(1, REACH + 1)], device="cpu") / SCALE
        self.scores.copy_((agree[:, None] - distance[:, None, None]) * same)

    def forward(self, logits: Tensor, states: Tensor, target: Tensor, known: Tensor, edges: Tensor) -> Tensor:
        """The logits [B, M, V] with the terms of both sides.

        Args:
            logits: of one codebook, [B, M, V].
            states: of the decoder, [B, M, D].
            target: int64 [B, M, k + 1], its codes of the codebooks before and, where known, of this one.
            known: bool [B, M].
            edges: int64 [1 or B, 2, k + 1], the context's codes just before and just after the target; -1 is none.
        """
        B, M, width = target.shape
        edges = edges.expand(B, -1, -1)
        row = torch.cat([edges[:, :1], target, edges[:, 1:]], dim=1)  # [B, 1 + M + 1, k + 1]
        there = torch.cat([edges[:, :1, 0] >= 0, known, edges[:, 1:, 0] >= 0], dim=1)
        places = torch.arange(M + 2, device=target.device).expand(B, -1)
        before = torch.where(there, places, -REACH).cummax(dim=1).values[:, :-2]
        after = torch.where(there, places, M + 1 + REACH).flip(1).cummin(dim=1).values.flip(1)[:, 2:]
        here, sides = places[:, 1:-1], []
        for nearest, distance in ((before, here - before), (after, after - here)):
            found = row.gather(1, nearest.clamp(0, M + 1)[..., None].expand(-1, -1, width))  # [B, M, k + 1]
            agree = (found[..., :-1] == target[..., :-1]).all(-1).long()
            sides.append((found[..., -1].clamp(min=0), distance, distance <= REACH, agree))
        same = ((sides[0][0] == sides[1][0]) & sides[0][2] & sides[1][2]).long()
        gates = self.gates(states)
        for side, (code, distance, near, agree) in enumerate(sides):
            score = SCALE * self.scores[width - 2, side, distance.clamp(max=REACH) - 1, agree, same] + gates[..., side]
            logits = logits.scatter_add(-1, code[..., None], (score * near)[..., None].to(logits.dtype))
        return logits
