"""Geometries: which frames of a window are context and which are to be generated. Knows nothing about networks.

Continuation, prepend, infill and unconditional generation differ in the geometry alone, and so does a prompt from
elsewhere. Memory order is prompt from elsewhere, right context, left context, target, so that the target always comes
last and one cache path serves every task.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.config.shapes import PromptShares

LEFT, RIGHT, TARGET, ELSEWHERE = 0, 1, 2, 3
"""Segments of a window, as embedding indices."""
AWAY = 1000
"""Frames between a prompt from elsewhere and the timeline: farther than any frame of a preset's window is from another,
and always as far, so that rotary attention takes it for no neighbour of anything."""
SHORTEST_INFILL = 10
"""Frames of the shortest gap drawn for training: 0.2 s."""
LONGEST_INFILL = 500
"""Frames of the longest infill gap drawn for training: 10 s."""
SHORTEST_SIDE = 25
"""Frames that each present side of a drawn infill has at least, and a prompt from elsewhere: 0.5 s."""
APART = 25
"""Frames of a recording that lie at least between a drawn prompt from elsewhere and the window."""
ELSEWHERE_SHARES = (0.1, 0.5)
"""Least and greatest share of a window's frames that a prompt from elsewhere takes."""
ELSEWHERE_ALONE = 0.5
"""Share of windows with a prompt from elsewhere that have no other context, as where a recording is restyled."""


@dataclass(frozen=True)
class Geometry:
    """`left` context frames, `gap` target frames, `right` context frames, in that order on the timeline.

    Beside them, `elsewhere` frames that lie nowhere on it: they say how the target sounds, not what comes before it.
    """

    left: int
    gap: int
    right: int = 0
    elsewhere: int = 0

    def __post_init__(self) -> None:
        assert self.left >= 0 and self.gap >= 1 and self.right >= 0 and self.elsewhere >= 0, self

    @property
    def frames(self) -> int:
        """Length of the window, prompt from elsewhere included."""
        return self.context + self.gap

    @property
    def context(self) -> int:
        """Context frames on both sides and from elsewhere."""
        return self.elsewhere + self.left + self.right

    def free(self, attention: str) -> int:
        """How many context frames, from the first one in memory order on, see each other whatever comes first.

        All frames after them see what stands before them. So each of those can be asked for its code, while a free
        frame would be asked for what its neighbours have told it.
        """
        return self.elsewhere + self.right if attention == "causal" else self.context

    def labelled(self, attention: str) -> int:
        """How many frames of the window the AR decoder learns to predict: all but the free ones."""
        return self.frames - self.free(attention)

    def context_positions(self, device: torch.device | None = None) -> Tensor:
        """Timeline frames [context] of the context, in memory order; those from elsewhere lie far before 0."""
        elsewhere = torch.arange(-AWAY - self.elsewhere, -AWAY, device=device)
        right = torch.arange(self.left + self.gap, self.left + self.gap + self.right, device=device)
        return torch.cat([elsewhere, right, torch.arange(self.left, device=device)])

    def target_positions(self, device: torch.device | None = None) -> Tensor:
        """Timeline frames [gap] of the target."""
        return torch.arange(self.left, self.left + self.gap, device=device)

    def segments(self, device: torch.device | None = None) -> Tensor:
        """Segment indices [context] of the context, in memory order."""
        indices = [ELSEWHERE] * self.elsewhere + [RIGHT] * self.right + [LEFT] * self.left
        return torch.tensor(indices, dtype=torch.long, device=device)

    def edges(self, context: Tensor) -> Tensor:
        """The frames just before and just after the gap [B, 2, k]; -1 where there is none.

        Args:
            context: [B, context, k], in memory order.
        """
        none = context.new_full((len(context), 1, context.shape[2]), -1)
        before = context[:, -1:] if self.left else none
        after = context[:, self.elsewhere : self.elsewhere + 1] if self.right else none
        return torch.cat([before, after], dim=1)

    def split(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Context [B, context, K] in memory order and target [B, gap, K] of a window [B, frames, K].

        The frames from elsewhere come first in the window.
        """
        elsewhere, left, target, right = codes.split([self.elsewhere, self.left, self.gap, self.right], dim=1)
        return torch.cat([elsewhere, right, left], dim=1), target

    def join(self, context: Tensor, target: Tensor) -> Tensor:
        """The window [B, frames, K]: inverse of `split`."""
        elsewhere, right, left = context.split([self.elsewhere, self.right, self.left], dim=1)
        return torch.cat([elsewhere, left, target, right], dim=1)

    def gather(self, left: Tensor, right: Tensor | None = None, elsewhere: Tensor | None = None) -> Tensor:
        """Context [B, context, K] in memory order: of the codes on each side, the frames that are nearest to the gap.

        Args:
            left: [B, L, K], codes before the gap; L is at least `left`.
            right: [B, R, K], codes after it; None is none.
            elsewhere: [1 or B, E, K], codes from elsewhere; None is none.
        """
        parts = [left[:, left.shape[1] - self.left :]]
        if right is not None:
            parts.insert(0, right[:, : self.right])
        if elsewhere is not None:
            parts.insert(0, elsewhere[:, : self.elsewhere].expand(len(left), -1, -1))
        return torch.cat(parts, dim=1)


def count_frames(codes: Tensor | None) -> int:
    """Frames of codes [B, T, K]; 0 where there are none."""
    return 0 if codes is None else codes.shape[1]


@dataclass(frozen=True, kw_only=True)
class TaskMix:
    """Shares of the tasks that training draws; they sum to 1."""

    continuation: float = 0.45
    infill: float = 0.35
    prepend: float = 0.10
    unconditional: float = 0.10


USUAL = PromptShares()


def draw_geometry(frames: int, mix: TaskMix, rng: np.random.Generator, prompts: PromptShares = USUAL) -> Geometry:
    """A random geometry of `frames`, or of fewer; the prompt takes 5..80 % of a continuation or prepend.

    Windows with a `split` prompt are of all tasks. Those with a prompt from `elsewhere` are, too, beside it, and
    `APART` frames shorter. Those with `none` are unconditional. A window that is too short for what was drawn becomes a
    continuation.
    """
    shares = {
        "continuation": prompts.split * mix.continuation,
        "infill": prompts.split * mix.infill,
        "prepend": prompts.split * mix.prepend,
        "unconditional": prompts.split * mix.unconditional + prompts.none,
        "elsewhere": prompts.elsewhere,
    }
    task = rng.choice(list(shares), p=list(shares.values()))
    if task == "elsewhere" and frames >= 2 * SHORTEST_SIDE + APART:
        return _draw_elsewhere(frames, mix, rng)
    if task == "infill" and frames >= 2 * SHORTEST_SIDE + SHORTEST_INFILL:
        return _draw_infill(frames, rng)

    prompt = min(frames - 1, max(1, round(frames * rng.uniform(0.05, 0.8))))
    if task == "unconditional":
        return Geometry(0, frames)
    return Geometry(0, frames - prompt, prompt) if task == "prepend" else Geometry(prompt, frames - prompt)


def _draw_elsewhere(frames: int, mix: TaskMix, rng: np.random.Generator) -> Geometry:
    """A random geometry with a prompt from elsewhere: alone, or beside the context of another task."""
    prompt = max(SHORTEST_SIDE, round(frames * rng.uniform(*ELSEWHERE_SHARES)))
    rest = frames - prompt - APART

    alone = rng.random() < ELSEWHERE_ALONE
    inside = Geometry(0, rest) if alone else draw_geometry(rest, mix, rng)
    return dataclasses.replace(inside, elsewhere=prompt)


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
