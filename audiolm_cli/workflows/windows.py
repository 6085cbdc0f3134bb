"""New codes for a gap of any length: one window where it fits, sliding windows where it does not.

Knows nothing about audio.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from audiolm_cli.config import SamplingConfig
from audiolm_cli.model.audiolm import AudioLM
from audiolm_cli.model.decode import Timing, generate
from audiolm_cli.model.geometry import Geometry


def fill_gap(
    model: AudioLM,
    left: Tensor,
    right: Tensor,
    frames: int,
    sampling: SamplingConfig,
    generators: list[torch.Generator],
    *,
    until_end: bool = False,
    on_frame: Callable[[int], None] | None = None,
    timing: Timing | None = None,
) -> Tensor:
    """Codes int64 [takes, frames, K] between left [1 or takes, L, K] and right [1 or takes, R, K] context codes.

    A gap that does not fit into the model's window is filled in steps: onwards from the left context, or, where there
    is only a right one, backwards from it. With `until_end` a take may end early: the result is then as long as its
    longest take, and shorter takes are filled with -1 after their end.
    """
    takes, window = len(generators), model.config.max_frames
    shared = len(left) == 1 and len(right) == 1  # then one prefill serves all takes
    left, right = left.expand(takes, -1, -1), right.expand(takes, -1, -1)
    made = left.new_zeros(takes, 0, left.shape[-1])
    running = list(range(takes))
    backwards = left.shape[1] == 0 and right.shape[1] > 0
    while made.shape[1] < frames:
        missing = frames - made.shape[1]
        before = made.shape[1]
        report = (lambda done, before=before: on_frame(before + done)) if on_frame is not None else None
        if backwards:
            geometry = plan_step(0, missing, made.shape[1] + right.shape[1], window)
            context = torch.cat([made, right], dim=1)[:, : geometry.right]
        else:
            past = torch.cat([left, made], dim=1)
            geometry = plan_step(past.shape[1], missing, right.shape[1], window)
            context = torch.cat([right[:, : geometry.right], past[:, past.shape[1] - geometry.left :]], dim=1)
        generated = generate(
            model,
            context[:1] if shared and not made.shape[1] else context[running],
            geometry,
            sampling,
            [generators[i] for i in running],
            until_end=until_end,
            on_frame=report,
            timing=timing,
        )
        new = left.new_full((takes, generated.shape[1], left.shape[-1]), -1)
        new[running] = generated
        made = torch.cat([new, made] if backwards else [made, new], dim=1)
        last = generated[:, -1, 0].tolist() if generated.shape[1] == geometry.gap else [-1] * len(running)
        running = [i for i, code in zip(running, last, strict=True) if code >= 0]
        if not running:
            break
    return made


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
