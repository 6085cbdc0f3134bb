"""How likely codes are to the AR decoder: what candidates are ranked by. Knows nothing about audio or files."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.geometry import Geometry, count_frames

FOLLOWING_SHARE = 0.25
"""Share of the window that is scored of what follows a gap: its first 2.5 s with a window of 10 s."""


@torch.inference_mode()
def continuation_score(model: Decoders, left: Tensor, made: Tensor, elsewhere: Tensor | None = None) -> Tensor:
    """Mean log2 likelihood [B] of the AR decoder's codebooks of made [B, M, K] after left [1 or B, L, K], per frame.

    Longer stretches are scored in steps of half a window. Each step sees the half window in front of it, and the prompt
    from elsewhere [1, E, K], if there is one, which takes its part of the window.
    """
    B, M, _ = made.shape
    half = (model.config.max_frames - count_frames(elsewhere)) // 2
    past = torch.cat([left.expand(B, -1, -1), made], dim=1)  # [B, L + M, K]

    total = torch.zeros(B, device=made.device)
    for start in range(0, M, half):
        target = made[:, start : start + half]
        total += _losses_after(model, past[:, : left.shape[1] + start], target, elsewhere, half).sum(1)

    return -total / (max(M, 1) * math.log(2))


@torch.inference_mode()
def following_score(
    model: Decoders, left: Tensor, made: Tensor, right: Tensor, elsewhere: Tensor | None = None
) -> Tensor:
    """Mean log2 likelihood [B] per frame of the AR decoder's codebooks of what follows a gap, after what is in it.

    Args:
        model: the decoders, in eval mode.
        left: codes [1 or B, L, K] before the gap.
        made: codes [B, M, K] in the gap.
        right: codes [1 or B, R, K] after it, R at least 1.
        elsewhere: codes [1, E, K] of a prompt from elsewhere; None is none.
    """
    B, window = len(made), model.config.max_frames
    target = right[:, : max(1, int(window * FOLLOWING_SHARE))].expand(B, -1, -1)

    # The context is as much of what comes before as fits into the window beside the target.
    past = torch.cat([left.expand(B, -1, -1), made], dim=1)  # [B, L + M, K]
    losses = _losses_after(model, past, target, elsewhere, window - target.shape[1] - count_frames(elsewhere))
    return -losses.mean(1) / math.log(2)


def _losses_after(model: Decoders, past: Tensor, target: Tensor, elsewhere: Tensor | None, most: int) -> Tensor:
    """Losses [B, M] of the AR decoder's codebooks of target [B, M, K] after the last `most` frames of past."""
    geometry = Geometry(min(most, past.shape[1]), target.shape[1], elsewhere=count_frames(elsewhere))
    context = geometry.gather(past, elsewhere=elsewhere)
    predictions = model.ar_predict(context.to(model.device), target.to(model.device), geometry)
    return torch.stack([own.losses() for own in predictions]).sum(0).to(past.device)
