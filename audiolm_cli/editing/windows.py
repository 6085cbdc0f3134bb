"""New codes for a gap of any length: one window where it fits, sliding windows where it does not.

A step that went wrong is sampled again. Knows nothing about audio.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.cores import Cores
from audiolm_cli.editing.guards import Fault, retry_generator
from audiolm_cli.model.decode import Timing, generate
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.geometry import Geometry, count_frames

BACK = (0.2, 1.0, 1.0, 1.0, 1.0, 1.0)
"""How far before its fault a step that went wrong is sampled again, at each attempt, as shares of the step: at first,
what went well stays."""
RETRIES = len(BACK)
"""How often that is done."""
PROMPT_SHARE = 0.8
"""How much of its context a step keeps for the end of the prompt, once that would be out of reach. Without it, what is
made drifts away from the prompt's key, level and density within minutes."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How far a step is that went wrong and is drawn again."""

    take: int
    """Whose step it is, from 0."""
    fault: Fault
    """What was wrong with what is there so far."""
    attempt: int
    """1 to `RETRIES`."""
    done: int
    """AR frames done of it; the fine codes follow the last."""
    frames: int
    """AR frames in all."""


@dataclass(frozen=True, kw_only=True)
class GapFiller:
    """Draws codes for gaps, and draws a step that went wrong again."""

    model: Decoders
    """The decoders, in eval mode."""
    sampling: SamplingConfig
    """How codes are drawn."""
    elsewhere: Tensor | None = None
    """Codes [1, E, K] of a prompt from elsewhere, which every window begins with; None is none."""
    until_end: bool = False
    """Whether the model may end the piece."""
    judge: Callable[[Tensor], Fault | None] | None = None
    """Says what is wrong with the codes [M, K] of a step of one take. Such a step is drawn again from shortly before
    the fault, with seeds derived from the take's, up to `RETRIES` times, and the least bad one stays. None takes every
    step."""
    on_fault: Callable[[int, Fault, bool], None] | None = None
    """Called with the take, what was wrong at first, and whether that is mended."""
    on_retry: Callable[[Retry], None] | None = None
    """Called before a step is drawn again, and after each of its AR frames."""
    on_frame: Callable[[int, int], None] | None = None
    """Called with the number of AR frames done, and the number after which this step's fine codes follow."""
    timing: Timing | None = None
    """Where the seconds are added."""
    cores: Cores = field(default_factory=Cores)
    """What knows which cores are free."""

    def fill(self, left: Tensor, right: Tensor, frames: int, generators: list[torch.Generator]) -> Tensor:
        """Codes int64 [takes, frames, K] between left [1 or takes, L, K] and right [1 or takes, R, K] context codes.

        A gap that does not fit into the model's window, beside what comes from elsewhere, is filled in steps: onwards
        from the left context, or, where there is only a right one, backwards from it. Each step hears what was made
        last, and before that the end of the context that all began with. With `until_end` a take may end early: the
        result is then as long as its longest take, and shorter takes are filled with -1 after their end.

        Args:
            left: codes before the gap.
            right: codes after it.
            frames: length of the gap.
            generators: one per take; a take depends on its own alone.
        """
        takes, window = len(generators), self.model.config.max_frames - count_frames(self.elsewhere)
        shared = len(left) == 1 and len(right) == 1  # then one prefill serves all takes
        left, right = left.expand(takes, -1, -1), right.expand(takes, -1, -1)
        backwards = left.shape[1] == 0 and right.shape[1] > 0

        near = right[:, :window] if backwards else _last_frames(left, window)  # context that grows by what is made
        pieces: list[Tensor] = []
        done, running = 0, list(range(takes))
        while done < frames and running:
            before, after = (left, near) if backwards else (near, right)
            geometry = plan_step(before.shape[1], frames - done, after.shape[1], window)
            if backwards:
                after = recall(right.flip(1), near.flip(1), done, geometry.right).flip(1)
            else:
                before = recall(left, near, done, geometry.left)
            geometry = dataclasses.replace(geometry, elsewhere=count_frames(self.elsewhere))
            context = geometry.gather(before, after, self.elsewhere)
            context = context[:1] if shared and not done else context[running]  # [1 or running, context frames, K]

            drawing = {take: generators[take] for take in running}
            codes = self._draw(context, geometry, list(drawing.values()), done)  # [running, M, K]
            if self.judge is not None:
                codes = self._mend_takes(codes, context, geometry, drawing, done)

            # Takes that have ended are filled up with -1.
            new = left.new_full((takes, codes.shape[1], left.shape[-1]), -1)
            new[running] = codes
            pieces.append(new)
            done += new.shape[1]
            near = (
                torch.cat([new, near], dim=1)[:, :window]
                if backwards
                else _last_frames(torch.cat([near, new], dim=1), window)
            )

            # A step that is shorter than its gap ended all of its takes.
            last = codes[:, -1, 0].tolist() if codes.shape[1] == geometry.gap else [-1] * len(running)
            running = [take for take, code in zip(running, last, strict=True) if code >= 0]
        return torch.cat(pieces[::-1] if backwards else pieces, dim=1) if pieces else near[:, :0]

    def _draw(self, context: Tensor, geometry: Geometry, generators: list[torch.Generator], done: int) -> Tensor:
        """Codes [takes, M, K] of one step, after `done` frames of the gap."""

        def report(count: int) -> None:
            if self.on_frame is not None:
                self.on_frame(done + count, done + geometry.gap)

        return generate(
            self.model,
            context,
            geometry,
            self.sampling,
            generators,
            until_end=self.until_end,
            on_frame=None if self.on_frame is None else report,
            timing=self.timing,
            cores=self.cores,
        )

    def _mend_takes(
        self, codes: Tensor, context: Tensor, geometry: Geometry, generators: dict[int, torch.Generator], done: int
    ) -> Tensor:
        """The codes [running, M, K] of a step, with those of a take that went wrong drawn again.

        Args:
            codes: what was drawn.
            context: what it was drawn after, [1 or running, L, K].
            geometry: context and gap of the step.
            generators: those of the running takes, in the order of the codes.
            done: frames of the gap that were there before.
        """
        codes = codes.clone()
        for row, (take, generator) in enumerate(generators.items()):
            own = context if len(context) == 1 else context[row : row + 1]
            codes[row], fault, mended = self._mend(codes[row], own, geometry, generator, done, take)
            if fault is not None and self.on_fault is not None:
                self.on_fault(take, fault, mended)
        return codes

    def _mend(
        self,
        codes: Tensor,
        context: Tensor,
        geometry: Geometry,
        generator: torch.Generator,
        done: int,
        take: int,
    ) -> tuple[Tensor, Fault | None, bool]:
        """The codes [M, K] of a take or better ones, what was wrong at first, and whether nothing is wrong any more."""
        assert self.judge is not None
        first = fault = self.judge(codes)

        for attempt in range(RETRIES):
            if fault is None:
                break
            again = retry_generator(generator, done, attempt)
            other = self._redraw(codes, context, geometry, again, take, fault, attempt)
            wrong = self.judge(other)
            if wrong is None or wrong.share < fault.share:
                codes, fault = other, wrong
        return codes, first, fault is None

    def _redraw(
        self,
        codes: Tensor,
        context: Tensor,
        geometry: Geometry,
        generator: torch.Generator,
        take: int,
        fault: Fault,
        attempt: int,
    ) -> Tensor:
        """Other codes [M, K] for a step of a take that has a fault: the first ones stay, as a longer left context."""
        kept = max(0, fault.start - round(BACK[attempt] * geometry.gap))
        rest = dataclasses.replace(geometry, left=geometry.left + kept, gap=geometry.gap - kept)

        def report(count: int) -> None:
            if self.on_retry is not None:
                done = kept + count
                self.on_retry(Retry(take=take, fault=fault, attempt=attempt + 1, done=done, frames=geometry.gap))

        report(0)
        new = generate(
            self.model,
            torch.cat([context, codes[None, :kept]], dim=1),
            rest,
            self.sampling,
            [generator],
            on_frame=None if self.on_retry is None else report,
            timing=self.timing,
            cores=self.cores,
        )[0]
        return torch.cat([codes[:kept], new])


def recall(prompt: Tensor, near: Tensor, made: int, frames: int) -> Tensor:
    """Context codes [B, frames, K] of a step: the last ones, and before them the end of the prompt.

    The jump from one to the other is like a cut in a piece: little to learn, as against a key that is forgotten.

    Args:
        prompt: [B, L, K], what all began with.
        near: [B, n, K], the last codes of the prompt and of what was made after it.
        made: how many frames were made.
        frames: how many are wanted, at most n.
    """
    kept = min(round(PROMPT_SHARE * frames), prompt.shape[1])
    if made + kept <= frames:  # the last ones reach back that far
        return _last_frames(near, frames)
    return torch.cat([_last_frames(prompt, kept), _last_frames(near, frames - kept)], dim=1)


def _last_frames(codes: Tensor, count: int) -> Tensor:
    """The last `count` frames of codes [B, T, K]; all where there are fewer."""
    return codes[:, max(0, codes.shape[1] - count) :]


def plan_step(left: int, missing: int, right: int, window: int) -> Geometry:
    """The next window: how much context of `left` and `right` to use, and how many of the `missing` frames to make.

    Half of the window is context at least where there is that much. Right context counts only when the step reaches
    it, since the distance to it tells the model when to end.
    """
    # All that is missing fits: both sides share the room that is left.
    gap = min(missing, window - min(left + right, window // 2))
    if gap == missing:
        room = window - gap
        near_right = min(right, max(room // 2, room - left))
        return Geometry(min(left, room - near_right), gap, near_right)

    # Else a step goes on from one side, and does not hear the other.
    if left == 0:
        return Geometry(0, gap, min(right, window - gap))
    gap = min(missing, window - min(left, window // 2))
    if right > 0:  # leave the last step a full one, so that the right context is heard before the end
        gap = min(gap, missing - (window - window // 2))
    return Geometry(min(left, window - gap), gap, 0)
