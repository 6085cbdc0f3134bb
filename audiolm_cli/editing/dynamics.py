"""Keeps new codes as loud as their context, where a codec says in a code of its own how loud a frame is.

A model that draws such a code from what it made itself drifts, downwards more often than not: in a quarter of a minute
by several decibels, where recordings move by less than one. Knows nothing about files.
"""

from __future__ import annotations

import torch
from torch import Tensor

from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.level import step_db
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.model.decoders import Decoders

SOFTEST_SHARE = 0.1
"""Share of the context that may be softer than all that is made: a rest is no reason to fade away."""
LEAST_RANGE_DB = 3.0
"""Room between softest and loudest at least: a context of one level may go on a little softer or louder."""


def keep_dynamics(model: Decoders, codec: Codec, left: Tensor, right: Tensor) -> Decoders:
    """The model as one that is neither louder than the loudest of its contexts nor much softer than the softest.

    That is the model itself where the codec has no code for the level, or where there is no context.

    Args:
        model: the decoders.
        codec: whose codes they make.
        left: codes [B, L, K] before a gap.
        right: codes [B, R, K] after it.
    """
    levels = torch.cat([side[..., -1].flatten() for side in (left, right)]).double()
    if not isinstance(codec, SpectralCodec) or not codec.has_level or not len(levels):
        return model

    low, high = float(levels.quantile(SOFTEST_SHARE)), float(levels.max())
    room = max(0.0, LEAST_RANGE_DB / step_db(codec.codebook_size) - (high - low)) / 2
    return model.with_range(codec.num_codebooks - 1, round(low - room), round(high + room))
