"""New codes for a gap of any length: one window where it fits, sliding windows where it does not.

A step that went wrong is sampled again. Knows nothing about audio.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.editing.guards import Fault, again
from audiolm_cli.model.decode import Timing, generate
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.geometry import Geometry

RETRIES = 3
"""How often a step that went wrong is sampled again."""


def fill_gap(
    model: Decoders,
    left: Tensor,
    right: Tensor,
    frames: int,
    sampling: SamplingConfig,
    generators: list[torch.Generator],
    *,
    until_end: bool = False,
    judge: Callable[[Tensor], Fault | None] | None = None,
    on_fault: Callable[[int, Fault, bool], None] | None = None,
    on_frame: Callable[[int], None] | None = None,
    timing: Timing | None = None,
) -> Tensor:
    """Codes int64 [takes, frames, K] between left [1 or takes, L, K] and right [1 or takes, R, K] context codes.

    A gap that does not fit into the model's window is filled in steps: onwards from the left context, or, where there
    is only a right one, backwards from it. With `until_end` a take may end early: the result is then as long as its
    longest take, and shorter takes are filled with -1 after their end.

    Args:
        model: the decoders, in eval mode.
        left: codes before the gap.
        right: codes after it.
        frames: length of the gap.
        sampling: how codes are drawn.
        generators: one per take; a take depends on its own alone.
        until_end: whether the model may end the piece.
        judge: says what is wrong with the codes [M, K] of a step of one take. Such a step is sampled again from seeds
            derived from the take's, up to `RETRIES` times, and the least bad one stays. None takes every step.
        on_fault: called with the take, what was wrong at first, and whether that is mended.
        on_frame: called with the number of AR frames done.
        timing: where the seconds are added.
    """
    takes, window = len(generators), model.config.max_frames
    shared = len(left) == 1 and len(right) == 1  # then one prefill serves all takes
    left, right = left.expand(takes, -1, -1), right.expand(takes, -1, -1)
    backwards = left.shape[1] == 0 and right.shape[1] > 0
    near = right[:, :window] if backwards else left[:, max(0, left.shape[1] - window) :]  # to what is made, and grows
    pieces: list[Tensor] = []
    done = 0
    running = list(range(takes))
    while done < frames:
        report = (lambda count, done=done: on_frame(done + count)) if on_frame is not None else None
        if backwards:
            geometry = plan_step(0, frames - done, near.shape[1], window)
            context = near[:, : geometry.right]
        else:
            geometry = plan_step(near.shape[1], frames - done, right.shape[1], window)
            context = torch.cat([right[:, : geometry.right], near[:, near.shape[1] - geometry.left :]], dim=1)
        context = context[:1] if shared and not done else context[running]
        generated = generate(
            model,
            context,
            geometry,
            sampling,
            [generators[i] for i in running],
            until_end=until_end,
            on_frame=report,
            timing=timing,
        )
        if judge is not None:
            generated = generated.clone()
            for row, take in enumerate(running):
                own = context if len(context) == 1 else context[row : row + 1]
                retry = partial(generate, model, own, geometry, sampling, timing=timing)
                generated[row], found, mended = _mend(generated[row], retry, judge, generators[take], done)
                if found is not None and on_fault is not None:
                    on_fault(take, found, mended)
        new = left.new_full((takes, generated.shape[1], left.shape[-1]), -1)
        new[running] = generated
        pieces.append(new)
        done += new.shape[1]
        near = torch.cat([new, near] if backwards else [near, new], dim=1)
        near = near[:, :window] if backwards else near[:, max(0, near.shape[1] - window) :]
        last = generated[:, -1, 0].tolist() if generated.shape[1] == geometry.gap else [-1] * len(running)
        running = [i for i, code in zip(running, last, strict=True) if code >= 0]
        if not running:
            break
    return torch.cat(pieces[::-1] if backwards else pieces, dim=1) if pieces else near[:, :0]


def _mend(
    codes: Tensor,
    retry: Callable[[list[torch.Generator]], Tensor],
    judge: Callable[[Tensor], Fault | None],
    generator: torch.Generator,
    place: int,
) -> tuple[Tensor, Fault | None, bool]:
    """The codes [M, K] of a step or better ones, what was wrong at first, and whether nothing is wrong any more."""
    first = fault = judge(codes)
    for attempt in range(RETRIES):
        if fault is None:
            break
        other = retry([again(generator, place, attempt)])[0]
        wrong = judge(other)
        if wrong is None or wrong.share < fault.share:
            codes, fault = other, wrong
    return codes, first, fault is None


def plan_step(left: int, missing: int, right: int, window: int) -> Geometry:
    """The next window: how much context of `left` and `right` to use, and how many of the `missing` frames to make.

    Half of the window is context at least where there is that much. Right context counts only when the step reaches
    it, since the distance to it tells the model when to end.
    """
    gap = min(missing, window - min(left + right, window // 2))
    if gap == missing:
        room = window - gap
        near_right = min(right, max(room // 2, room - left))
        return Geometry(min(left, room - near_right), gap, near_right)
    if left == 0:
        return Geometry(0, gap, min(right, window - gap))
    gap = min(missing, window - min(left, window // 2))
    if right > 0:  # leave the last step a full one, so that the right context is heard before the end
        gap = min(gap, missing - (window - window // 2))
    return Geometry(min(left, window - gap), gap, 0)
