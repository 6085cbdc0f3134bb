"""How the parent code decodes: the whole sequence again for every frame, under a dense mask. The oracle of the engine.

VALL-E's inference in its published form, on the weights of an `AudioLM`: no cache, no batch, no fused attention.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from audiolm_cli.model.copying import REACH, SCALE
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.geometry import TARGET, Geometry
from audiolm_cli.model.layers import Decoder, Rotation


@torch.inference_mode()
def greedy_codes(model: Decoders, context: Tensor, geometry: Geometry) -> Tensor:
    """The likeliest codes [1, M, K] for the gap after context codes [1, L, K], with no end of the piece."""
    N = model.config.ar_codebooks
    first = greedy_first(model, context, geometry, geometry.gap)
    target = first.new_zeros(1, geometry.gap, model.config.num_quantizers)
    target[..., :N] = first
    L, M = geometry.context, geometry.gap
    positions = torch.cat([geometry.context_positions(), geometry.target_positions()])
    sees = torch.ones(L + M, L + M, dtype=torch.bool)
    sees[:L, L:] = False
    segments = torch.cat([geometry.segments(), torch.full((M,), TARGET)])
    for k in range(N, model.config.num_quantizers):
        known = [_embed(model.nar_embeddings, codes) for codes in (context, target[..., :k])]
        x = torch.cat(known, dim=1) + model.nar_segments(segments)
        states = _decode(model.nar_decoder, x, positions, sees, model.nar_stages.weight[k - N])
        logits = model.nar_heads[k - N](states[:, L:])
        for t in range(M):
            logits[0, t] += copied(model, k, states[0, L + t], target[0, t, :k], _edges(context[0], geometry, t))
        target[..., k] = logits.argmax(-1)
    return target


@torch.inference_mode()
def greedy_first(model: Decoders, context: Tensor, geometry: Geometry, frames: int) -> Tensor:
    """The likeliest codes [1, frames, N] of the gap in the AR decoder's codebooks."""
    # A causal left context is what a target is: a start, then one frame after the other, each seeing its past.
    free = geometry.elsewhere + geometry.right if model.config.context_attention == "causal" else geometry.context
    L = geometry.context
    N = model.config.ar_codebooks
    made = context.new_zeros(1, 0, N)
    x = _embed(model.ar_embeddings, context[..., : len(model.ar_embeddings)]) + model.ar_segments(geometry.segments())
    start = (model.ar_start + model.ar_segments.weight[TARGET]).expand(1, 1, -1)
    x = torch.cat([x[:, :free], start, x[:, free:]], dim=1)
    positions = torch.cat([geometry.context_positions(), geometry.target_positions()])
    for t in range(frames):
        S = L + t + 1
        sees = torch.ones(S, S, dtype=torch.bool).tril()
        sees[:free, :free] = True
        state = _decode(model.ar_decoder, x, positions[:S], sees, None)[:, -1]
        frame = context.new_zeros(1, 1, N)
        for k in range(N):
            if k > 0:
                layer = model.ar_depth_decoder[k - 1]
                state = state + model.ar_embeddings[k - 1](frame[:, 0, k - 1])
                state = state + layer.down(F.gelu(layer.up(layer.norm(state))))
            logits = model.ar_depth_heads[k - 1](state) if k else model.ar_head(state)
            if model.ar_holding is not None and (t > 0 or free < L):
                before = made[0, -1, k] if t else context[0, -1, k]
                holding = model.ar_depth_holding[k - 1] if k else model.ar_holding
                logits[0, before] += holding.gate(state)[0, 0]
            frame[..., k] = logits[:, : model.eos].argmax(-1)
        made = torch.cat([made, frame], dim=1)
        x = torch.cat([x, _embed(model.ar_embeddings, frame) + model.ar_segments.weight[TARGET]], dim=1)
    return made


Known = tuple[int, Tensor] | None
"""The frame nearest to one on one side, if any is near: how far it is, and its codes [K]."""


def copied(model: Decoders, k: int, state: Tensor, before: Tensor, sides: tuple[Known, Known]) -> Tensor:
    """What is added to the logits [V] of codebook k at a frame with codes [k] of the codebooks before."""
    added = torch.zeros(model.config.codebook_size)
    codes = [None if side is None else int(side[1][k]) for side in sides]
    same = int(codes[0] is not None and codes[0] == codes[1])
    for i, side in enumerate(sides):
        if side is not None:
            distance, there = side
            agree = int(torch.equal(there[:k], before))
            score = SCALE * model.nar_copying.scores[k - model.config.ar_codebooks, i, distance - 1, agree, same]
            added[int(there[k])] += score + model.nar_copying.gates(state)[i]
    return added


def _edges(context: Tensor, geometry: Geometry, t: int) -> tuple[Known, Known]:
    """The context's frames [L, K] on both sides of frame t of the gap, where they are near enough to be copied."""
    left, right = t + 1, geometry.gap - t
    return (
        (left, context[-1]) if geometry.left and left <= REACH else None,
        (right, context[geometry.elsewhere]) if geometry.right and right <= REACH else None,
    )


def _embed(embeddings: torch.nn.ModuleList, codes: Tensor) -> Tensor:
    """Sum [B, T, D] over the codebooks of codes [B, T, k]."""
    return torch.stack([embeddings[k](codes[..., k]) for k in range(codes.shape[-1])]).sum(0)


def _decode(decoder: Decoder, x: Tensor, positions: Tensor, sees: Tensor, stage: Tensor | None) -> Tensor:
    """Every state [B, S, D]; each position attends where sees [S, S] is True."""
    assert decoder.sine is None
    rotation = Rotation(positions, decoder.head_dim, x.dtype)
    B, S = x.shape[:2]
    bias = torch.zeros(B, decoder.layers[0].attention.heads, S, S).masked_fill(~sees, float("-inf"))  # type: ignore[union-attr]
    for layer in decoder.layers:
        q, k, v = layer.attention.project(layer.norm1(x, stage), rotation)  # type: ignore[operator, union-attr]
        weights = (q @ k.mT / decoder.head_dim**0.5 + bias).softmax(-1)
        x = x + layer.attention.out((weights @ v).transpose(1, 2).flatten(2))  # type: ignore[operator, union-attr]
        x = x + layer.down(F.gelu(layer.up(layer.norm2(x, stage))))  # type: ignore[operator]
    return decoder.norm(x, stage)
