"""Transformer layers for a context that sees itself and a target that sees both. Knows nothing about codes or sampling.

The prompt block of VALL-E (Wang et al. 2023, section 4.2) without a mask tensor: two fused attention calls, context on
context and target on everything.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AdaptiveNorm(nn.Module):
    """Layer norm whose gain and bias depend on the NAR stage: `(1 + w) * norm(x) + b`, identity at the start.

    VALL-E (2023), section 4.2.2.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.project = nn.Linear(width, 2 * width)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor, stage: Tensor) -> Tensor:
        """x [B, S, D], stage [D]."""
        weight, bias = self.project(stage).chunk(2, dim=-1)
        return (1 + weight) * self.norm(x) + bias


class PlainNorm(nn.LayerNorm):
    """Layer norm with the call of `AdaptiveNorm`; the stage is ignored."""

    def forward(self, x: Tensor, stage: Tensor | None = None) -> Tensor:
        """x [B, S, D]."""
        return super().forward(x)


class Rotation:
    """Rotary position embedding (Su et al., "RoFormer", 2021, section 3.4) at given timeline frames."""

    def __init__(self, positions: Tensor, head_dim: int, dtype: torch.dtype) -> None:
        frequencies = 10_000 ** (-torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float64) / head_dim)
        angles = positions.to(torch.float64)[:, None] * frequencies  # [S, Dh / 2]
        self.cos, self.sin = angles.cos().to(dtype), angles.sin().to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Rotated x [B, H, S, Dh], of the same type: under autocast, x is narrower than the angles."""
        even, odd = x.chunk(2, dim=-1)
        rotated = torch.cat([even * self.cos - odd * self.sin, even * self.sin + odd * self.cos], dim=-1)
        return rotated.to(x.dtype)


class Cache:
    """Keys and values of one layer, of fixed size [B, H, S, Dh]."""

    def __init__(self, batch: int, heads: int, size: int, head_dim: int, like: Tensor) -> None:
        self.keys = torch.zeros(batch, heads, size, head_dim, dtype=like.dtype, device=like.device)
        self.values = torch.zeros_like(self.keys)


class Attention(nn.Module):
    """Multi-head attention with one projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def project(self, x: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, H, S, Dh] of x [B, S, D]."""
        B, S, D = x.shape
        q, k, v = self.qkv(x).view(B, S, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)  # 3 x [B, H, S, Dh]
        return (q, k, v) if rotation is None else (rotation(q), rotation(k), v)

    def merge(self, heads: Tensor) -> Tensor:
        """Output [B, S, D] of attended values [B, H, S, Dh]."""
        return self.out(heads.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, context: int, rotation: Rotation | None, causal: bool, last: bool) -> Tensor:
        """x [B, S, D]: the first `context` positions see each other, the rest see all (if causal, what came before)."""
        q, k, v = self.project(x, rotation)
        S = x.shape[1]
        if not causal:
            rest = F.scaled_dot_product_attention(q[:, :, context:], k, v)
        elif context == 0:
            rest = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            from torch.nn.attention.bias import (
                causal_lower_right,
            )  # brings torch.compile: a second that only this needs

            mask = causal_lower_right(S - context, S)
            rest = F.scaled_dot_product_attention(q[:, :, context:], k, v, attn_mask=mask)
        if context == 0 or last:
            return self.merge(rest)
        own = F.scaled_dot_product_attention(q[:, :, :context], k[:, :, :context], v[:, :, :context])
        return self.merge(torch.cat([own, rest], dim=2))

    def prefill(self, x: Tensor, rotation: Rotation | None, cache: Cache) -> Tensor:
        """Context x [B, S, D] on itself, its keys and values left in the cache."""
        q, k, v = self.project(x, rotation)
        cache.keys[:, :, : x.shape[1]] = k
        cache.values[:, :, : x.shape[1]] = v
        return self.merge(F.scaled_dot_product_attention(q, k, v))

    def step(self, x: Tensor, rotation: Rotation | None, cache: Cache, slot: Tensor, visible: Tensor) -> Tensor:
        """One target position x [B, 1, D] at cache index `slot` [1]; `visible` [1, 1, 1, S] is True up to it."""
        q, k, v = self.project(x, rotation)
        cache.keys.index_copy_(2, slot, k)
        cache.values.index_copy_(2, slot, v)
        return self.merge(F.scaled_dot_product_attention(q, cache.keys, cache.values, attn_mask=visible))


class Layer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, width: int, heads: int, dropout: float, adaptive: bool) -> None:
        super().__init__()
        norm = AdaptiveNorm if adaptive else PlainNorm
        self.norm1, self.norm2 = norm(width), norm(width)
        self.attention = Attention(width, heads)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def feed_forward(self, x: Tensor, stage: Tensor | None) -> Tensor:
        """x [B, S, D] plus its feed-forward."""
        return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x, stage)))))

    def forward(
        self, x: Tensor, context: int, rotation: Rotation | None, causal: bool, stage: Tensor | None, last: bool
    ) -> Tensor:
        """x [B, S, D], context first; the `last` layer leaves the context out, since nothing reads it any more."""
        attended = self.attention(self.norm1(x, stage), context, rotation, causal, last)
        x = (x[:, context:] if last else x) + self.dropout(attended)
        return self.feed_forward(x, stage)

    def prefill(self, x: Tensor, rotation: Rotation | None, cache: Cache) -> Tensor:
        """Context x [B, S, D], cached."""
        return self.feed_forward(x + self.attention.prefill(self.norm1(x, None), rotation, cache), None)

    def step(self, x: Tensor, rotation: Rotation | None, cache: Cache, slot: Tensor, visible: Tensor) -> Tensor:
        """One target position x [B, 1, D]."""
        return self.feed_forward(x + self.attention.step(self.norm1(x, None), rotation, cache, slot, visible), None)


class SinePositions(nn.Module):
    """Sinusoids added to the input, with a learned scale (VALL-E's SinePositionalEmbedding)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.alpha = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """x [B, S, D] plus the sinusoids of timeline frames [S]."""
        half = torch.arange(0, self.width, 2, device=x.device, dtype=torch.float32)
        angles = positions[:, None].float() * torch.exp(-math.log(10_000.0) * half / self.width)
        table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)  # [S, D]
        return x + self.alpha * table.to(x.dtype)


class Decoder(nn.Module):
    """A stack of layers over context and target positions."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float, adaptive: bool, positions: str) -> None:
        super().__init__()
        self.head_dim = width // heads
        self.sine = SinePositions(width) if positions == "sine" else None
        self.layers = nn.ModuleList(Layer(width, heads, dropout, adaptive) for _ in range(layers))
        self.norm = (AdaptiveNorm if adaptive else PlainNorm)(width)
        self.dropout = nn.Dropout(dropout)

    def place(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Rotation | None]:
        """x with its positions added, or the rotation that its queries and keys need."""
        if self.sine is not None:
            return self.sine(x, positions), None
        return x, Rotation(positions, self.head_dim, x.dtype)

    def forward(
        self,
        context: Tensor,
        target: Tensor,
        context_positions: Tensor,
        target_positions: Tensor,
        causal: bool,
        stage: Tensor | None = None,
    ) -> Tensor:
        """Target states [B, M, D] of context [B, L, D] and target [B, M, D] at timeline frames [L] and [M]."""
        L = context.shape[1]
        x = self.dropout(torch.cat([context, target], dim=1))
        x, rotation = self.place(x, torch.cat([context_positions, target_positions]))
        for layer in self.layers:
            x = layer(x, L, rotation, causal, stage, last=layer is self.layers[-1])
        return self.norm(x, stage)

    def new_cache(self, batch: int, size: int, like: Tensor) -> list[Cache]:
        """Empty caches, one per layer."""
        heads = self.layers[0].attention.heads  # type: ignore[union-attr]
        return [Cache(batch, heads, size, self.head_dim, like) for _ in self.layers]  # type: ignore[arg-type]

    def prefill(self, context: Tensor, positions: Tensor, caches: list[Cache]) -> None:
        """Put the keys and values of context [B, L, D] at timeline frames [L] into the caches."""
        if context.shape[1] == 0:
            return
        x, rotation = self.place(context, positions)
        for layer, cache in zip(self.layers, caches, strict=True):
            x = layer.prefill(x, rotation, cache)  # type: ignore[operator]

    def step(self, target: Tensor, position: Tensor, caches: list[Cache], slot: Tensor, visible: Tensor) -> Tensor:
        """State [B, 1, D] of one target position [B, 1, D] at timeline frame [1]; fixed shapes throughout."""
        x, rotation = self.place(target, position)
        for layer, cache in zip(self.layers, caches, strict=True):
            x = layer.step(x, rotation, cache, slot, visible)  # type: ignore[operator]
        return self.norm(x)
