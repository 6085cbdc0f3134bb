"""Geometries: which frames of a window are context and which are to be generated. Knows nothing about networks.

Continuation, prepend, infill and unconditional generation differ in the geometry alone. Memory order is right context,
left context, target, so that the target always comes last and one cache path serves every task.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LEFT, RIGHT, TARGET = 0, 1, 2
"""Segments of a window, as embedding indices."""
SHORTEST_INFILL = 10
"""Frames of the shortest gap drawn for training: 0.2 s."""
LONGEST_INFILL = 500
"""Frames of the longest infill gap drawn for training: 10 s."""
SHORTEST_SIDE = 25
"""Frames that each present side of a drawn infill has at least: 0.5 s."""


@dataclass(frozen=True)
class Geometry:
    """`left` context frames, `gap` target frames, `right` context frames, in that order on the timeline."""

    left: int
    gap: int
    right: int = 0

    def __post_init__(self) -> None:
        assert self.left >= 0 and self.gap >= 1 and self.right >= 0, self

    @property
    def frames(self) -> int:
        """Length of the window."""
        return self.left + self.gap + self.right

    @property
    def context(self) -> int:
        """Context frames on both sides."""
        return self.left + self.right

    def free(self, attention: str) -> int:
        """How many context frames, from the first one in memory order on, see each other whatever comes first.

        All frames after them see what stands before them. So each of those can be asked for its code, while a free
        frame would be asked for what its neighbours have told it.
        """
        return self.right if attention == "causal" else self.context

    def labelled(self, attention: str) -> int:
        """How many frames of the window the AR decoder learns to predict: all but the free ones."""
        return self.frames - self.free(attention)

    def context_positions(self, device: torch.device | None = None) -> Tensor:
        """Timeline frames [right + left] of the context, in memory order."""
        right = torch.arange(self.left + self.gap, self.frames, device=device)
        return torch.cat([right, torch.arange(self.left, device=device)])

    def target_positions(self, device: torch.device | None = None) -> Tensor:
        """Timeline frames [gap] of the target."""
        return torch.arange(self.left, self.left + self.gap, device=device)

    def segments(self, device: torch.device | None = None) -> Tensor:
        """Segment indices [right + left] of the context, in memory order."""
        return torch.tensor([RIGHT] * self.right + [LEFT] * self.left, dtype=torch.long, device=device)

    def edges(self, context: Tensor) -> Tensor:
        """The frames just before and just after the gap [B, 2, k]; -1 where there is none.

        Args:
            context: [B, right + left, k], in memory order.
        """
        none = context.new_full((len(context), 1, context.shape[2]), -1)
        before = context[:, -1:] if self.left else none
        after = context[:, :1] if self.right else none
        return torch.cat([before, after], dim=1)

    def split(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Context [B, right + left, K] in memory order and target [B, gap, K] of a window [B, frames, K]."""
        end = self.left + self.gap
        context = torch.cat([codes[:, end:], codes[:, : self.left]], dim=1)
        return context, codes[:, self.left : end]

    def join(self, context: Tensor, target: Tensor) -> Tensor:
        """The window [B, frames, K]: inverse of `split`."""
        return torch.cat([context[:, self.right :], target, context[:, : self.right]], dim=1)


@dataclass(frozen=True, kw_only=True)
class TaskMix:
    """Shares of the tasks that training draws; they sum to 1."""

    continuation: float = 0.45
    infill: float = 0.35
    prepend: float = 0.10
    unconditional: float = 0.10


def draw_geometry(frames: int, mix: TaskMix, rng: np.random.Generator) -> Geometry:
    """A random geometry of `frames`, or of fewer for an infill; the prompt takes 5..80 % of a continuation or prepend.

    A window that is too short for an infill becomes a continuation.
    """
    tasks = ["continuation", "infill", "prepend", "unconditional"]
    task = rng.choice(tasks, p=[mix.continuation, mix.infill, mix.prepend, mix.unconditional])
    if task == "infill" and frames >= 2 * SHORTEST_SIDE + SHORTEST_INFILL:
        return _draw_infill(frames, rng)

    prompt = min(frames - 1, max(1, round(frames * rng.uniform(0.05, 0.8))))
    if task == "unconditional":
        return Geometry(0, frames)
    return Geometry(0, frames - prompt, prompt) if task == "prepend" else Geometry(prompt, frames - prompt)


def _draw_infill(frames: int, rng: np.random.Generator) -> Geometry:
    """A random infill within `frames`: gap and sides are log-uniform.

    The sides are cut back because a short gap in a full window is a few labels for the price of many frames, and most
    of what a gap needs is near it.
    """
    longest = min(LONGEST_INFILL, frames - 2 * SHORTEST_SIDE)
    gap = int(np.exp(rng.uniform(np.log(SHORTEST_INFILL), np.log(longest))))
    left = int(rng.integers(SHORTEST_SIDE, frames - gap - SHORTEST_SIDE + 1))

    shortest, most = np.log(SHORTEST_SIDE), np.log([left, frames - gap - left])
    sides = np.exp(rng.uniform(shortest, most)).round().astype(int).tolist()
    return Geometry(sides[0], gap, sides[1])
