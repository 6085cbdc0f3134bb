"""What the decoders may copy: the AR decoder the code before, the NAR decoder the nearest known ones on both sides.

Codes often repeat those of the frames around them, which attention and embeddings are slow to find out. So the logits
get a term for these codes (pointers: See et al., "Get To The Point", 2017, section 2.2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

REACH = 32
"""Frames to the farthest code that may be copied: 0.64 s."""
SCALE = 10.0
"""Logits of a weight of 1 in `Copying.scores`, which would learn too slowly in their own units."""


class Holding(nn.Module):
    """Adds to the logit of the code before what the AR decoder's state says for it: a sound that goes on keeps it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, 1)

    @torch.no_grad()
    def reset(self) -> None:
        """Set a gate that adds nothing."""
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, logits: Tensor, states: Tensor, before: Tensor) -> Tensor:
        """The logits [..., V] of states [..., D] with the term of the code before, int64 [...]; -1 is none."""
        term = self.gate(states) * (before >= 0)[..., None]
        return logits.scatter_add(-1, before.clamp(min=0)[..., None], term.to(logits.dtype))


class Copying(nn.Module):
    """Adds to the logits of the nearest known codes what their distance, their agreement and the state say for them."""

    def __init__(self, width: int, num_stages: int, first: int = 1) -> None:
        """A model's terms for `num_stages` codebooks from `first` on."""
        super().__init__()
        self.first = first
        self.gates = nn.Linear(width, 2)
        self.scores = nn.Parameter(torch.empty(num_stages, 2, REACH, 2, 2))
        """By stage, side, distance, whether the codebooks before agree there, and whether both sides have one code;
        `reset` sets them."""

    @torch.no_grad()
    def reset(self) -> None:
        """Set scores that fall with the distance and are high where codebooks agree; set gates that add nothing."""
        nn.init.zeros_(self.gates.weight)
        nn.init.zeros_(self.gates.bias)

        agree, same = torch.tensor([0.3, 0.6], device="cpu"), torch.tensor([1.0, 0.5], device="cpu")  # of (no, yes)
        distance = torch.tensor([math.log(d) for d in range(1, REACH + 1)], device="cpu") / SCALE
        self.scores.copy_((agree[:, None] - distance[:, None, None]) * same)  # [REACH, 2, 2], for all stages and sides

    def forward(
        self, logits: Tensor, states: Tensor, target: Tensor, known: Tensor, edges: Tensor, frames: Tensor
    ) -> Tensor:
        """The logits [B, n, V] with the terms of both sides.

        Args:
            logits: of one codebook, [B, n, V].
            states: of the decoder, [B, n, D].
            target: int64 [B, M, k + 1], its codes of the codebooks before and, where known, of this one.
            known: bool [B, M].
            edges: int64 [1 or B, 2, k + 1], the context's codes just before and just after the target; -1 is none.
            frames: int64 [B, n], the frames of the target that the logits are of.
        """
        B, _, width = target.shape
        edges = edges.expand(B, -1, -1)
        row = torch.cat([edges[:, :1], target, edges[:, 1:]], dim=1)  # [B, 1 + M + 1, k + 1]
        is_known = torch.cat([edges[:, :1, 0] >= 0, known, edges[:, 1:, 0] >= 0], dim=1)  # [B, 1 + M + 1]

        nearest = _nearest_known(is_known, frames)  # [B, n, 2]
        distance = (nearest - (frames + 1)[..., None]).abs()
        is_near = distance <= REACH

        # What stands there: the code, whether the codebooks before are those of the frame, whether both sides agree.
        found = gather_frames(row, nearest.clamp(0, row.shape[1] - 1).flatten(1)).unflatten(1, (-1, 2))
        codes = found[..., -1].clamp(min=0)  # [B, n, 2], of [B, n, 2, k + 1]
        agree = (found[..., :-1] == gather_frames(target, frames)[:, :, None, :-1]).all(-1).long()  # [B, n, 2]
        same = ((codes[..., 0] == codes[..., 1]) & is_near.all(-1)).long()[..., None]  # [B, n, 1]

        sides = torch.arange(2, device=target.device)
        scores = SCALE * self.scores[
            width - 1 - self.first, sides, distance.clamp(max=REACH) - 1, agree, same
        ] + self.gates(states)
        terms = (scores * is_near).to(logits.dtype)  # [B, n, 2]

        for side in range(2):  # one after the other: both may add to one code, and a GPU would do so in any order
            logits = logits.scatter_add(-1, codes[..., side : side + 1], terms[..., side : side + 1])
        return logits


def gather_frames(row: Tensor, frames: Tensor) -> Tensor:
    """The frames [B, n] of row [B, M, ...]: [B, n, ...]."""
    return row.gather(1, frames[..., None].expand(-1, -1, row.shape[-1]))


def _nearest_known(is_known: Tensor, frames: Tensor) -> Tensor:
    """Where in is_known [B, 1 + M + 1] the nearest known frames before and after `frames` [B, n] are: [B, n, 2].

    Where there is none on a side, the index lies farther than REACH beyond that end.
    """
    size = is_known.shape[1]
    index = torch.arange(size, device=is_known.device).expand(len(is_known), -1)

    # Columns without the edges: [B, M] of frames strictly before and strictly after each frame of the target.
    before = torch.where(is_known, index, -REACH).cummax(dim=1).values[:, :-2]
    after = torch.where(is_known, index, size - 1 + REACH).flip(1).cummin(dim=1).values.flip(1)[:, 2:]
    return torch.stack([before.gather(1, frames), after.gather(1, frames)], dim=-1)
