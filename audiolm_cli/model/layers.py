"""Transformer layers for positions that see each other freely and others, after them, that see what came before.

The prompt block of VALL-E (Wang et al. 2023, section 4.2) without a mask tensor: two fused attention calls, the free
positions on themselves and the others on everything. Knows nothing about codes or sampling.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiolm_cli.devices import float64_device


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
        device, exact = positions.device, float64_device(positions.device)
        frequencies = 10_000 ** (-torch.arange(0, head_dim, 2, device=exact, dtype=torch.float64) / head_dim)
        angles = positions.to(exact).to(torch.float64)[:, None] * frequencies  # [S, Dh / 2]

        self.cos, self.sin = angles.cos().to(dtype).to(device), angles.sin().to(dtype).to(device)

    def __call__(self, x: Tensor) -> Tensor:
        """Rotated x [..., S, Dh], of the same type: under autocast, x is narrower than the angles."""
        even, odd = x.chunk(2, dim=-1)
        rotated = torch.cat([even * self.cos - odd * self.sin, even * self.sin + odd * self.cos], dim=-1)
        return rotated.to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """What queries [B, H, M, Dh] attend to of keys and values [B, H, S, Dh].

    If causal, the last query sees all, and each one before it sees one less.
    """
    M, S = q.shape[2], k.shape[2]
    if M == 0:  # GPUs of Apple refuse to compute with nothing
        return q

    # A training on a CPU that needs gradients in bf16: plain products are faster there than the fused call.
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad:
        scores = (q * q.shape[-1] ** -0.5) @ k.mT  # [B, H, M, S]
        if causal:
            scores += scores.new_zeros(M, S).masked_fill_(~_sees(M, S), float("-inf"))
        return scores.softmax(-1) @ v

    if not causal or M == S:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    if q.device.type != "cuda":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=_sees(M, S).to(q.device))

    # Without a mask in memory; brings torch.compile, a second that only this needs.
    from torch.nn.attention.bias import causal_lower_right

    return F.scaled_dot_product_attention(q, k, v, attn_mask=causal_lower_right(M, S))


def _sees(queries: int, keys: int) -> Tensor:
    """bool [queries, keys] on the processor: the last query sees all keys, and each one before it sees one less."""
    return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)


def attend_in_blocks(q: Tensor, k: Tensor, v: Tensor, free: int, causal: bool) -> Tensor:
    """What all positions attend to, of their queries, keys and values [B, H, S, Dh].

    The first `free` positions see each other. The rest see all, or, if causal, what came before and themselves.
    """
    if free == 0:
        return attend(q, k, v, causal)

    own = attend(q[:, :, :free], k[:, :, :free], v[:, :, :free])
    if free == q.shape[2]:
        return own
    return torch.cat([own, attend(q[:, :, free:], k, v, causal)], dim=2)


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
        qkv = self.qkv(x).view(B, S, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)  # [3, B, H, S, Dh]

        q, k = qkv[:2] if rotation is None else rotation(qkv[:2])
        return q, k, qkv[2]

    def merge(self, heads: Tensor) -> Tensor:
        """Output [B, S, D] of attended values [B, H, S, Dh]."""
        return self.out(heads.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, free: int, rotation: Rotation | None, causal: bool, last: bool) -> Tensor:
        """x [B, S, D] in the blocks of `attend_in_blocks`; the `last` layer leaves the free positions out."""
        q, k, v = self.project(x, rotation)
        if last:
            return self.merge(attend(q[:, :, free:], k, v, causal))
        return self.merge(attend_in_blocks(q, k, v, free, causal))

    def prefill(self, x: Tensor, free: int, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """Context x [B, S, D] on itself, causal after its free positions; and its keys and values [B, H, S, Dh]."""
        q, k, v = self.project(x, rotation)
        return self.merge(attend_in_blocks(q, k, v, free, causal=True)), k, v

    def read(self, x: Tensor, rotation: Rotation | None, keys: Tensor, values: Tensor) -> Tensor:
        """Target x [B, S, D] on itself and on a context's keys and values [1 or B, H, L, Dh]."""
        q, k, v = self.project(x, rotation)

        k = torch.cat([keys.expand(len(x), -1, -1, -1), k], dim=2)
        v = torch.cat([values.expand(len(x), -1, -1, -1), v], dim=2)

        return self.merge(attend(q, k, v))


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
        self, x: Tensor, free: int, rotation: Rotation | None, causal: bool, stage: Tensor | None, last: bool
    ) -> Tensor:
        """x [B, S, D], `free` positions first; the `last` layer leaves these out, since nothing reads them any more."""
        attended = self.attention(self.norm1(x, stage), free, rotation, causal, last)

        x = (x[:, free:] if last else x) + self.dropout(attended)
        return self.feed_forward(x, stage)

    def prefill(
        self, x: Tensor, free: int, rotation: Rotation | None, stage: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Context x [B, S, D], causal after its free positions; and its keys and values."""
        attended, k, v = self.attention.prefill(self.norm1(x, stage), free, rotation)
        return self.feed_forward(x + attended, stage), k, v

    def read(self, x: Tensor, rotation: Rotation | None, stage: Tensor | None, keys: Tensor, values: Tensor) -> Tensor:
        """Target x [B, S, D] with a context's keys and values."""
        return self.feed_forward(x + self.attention.read(self.norm1(x, stage), rotation, keys, values), stage)


class SinePositions(nn.Module):
    """Sinusoids added to the input, with a learned scale (VALL-E's SinePositionalEmbedding)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.alpha = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """x [B, S, D] plus the sinusoids of timeline frames [S]."""
        half = torch.arange(0, self.width, 2, device=x.device, dtype=torch.float32)
        angles = positions[:, None].float() * torch.exp(-math.log(10_000.0) * half / self.width)  # [S, D / 2]

        table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)  # [S, D], sines and cosines in turns
        return x + self.alpha * table.to(x.dtype)


class Decoder(nn.Module):
    """A stack of layers over free positions and those that follow them."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float, adaptive: bool, positions: str) -> None:
        super().__init__()
        self.head_dim = width // heads
        self.sine = SinePositions(width) if positions == "sine" else None
        self.layers = nn.ModuleList(Layer(width, heads, dropout, adaptive) for _ in range(layers))
        self.norm = (AdaptiveNorm if adaptive else PlainNorm)(width)
        self.dropout = nn.Dropout(dropout)

    def add_positions(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Rotation | None]:
        """x [B, S, D] with timeline frames [S] added, or with the rotation that its queries and keys need."""
        return x if self.sine is None else self.sine(x, positions), self.rotation(positions, x.dtype)

    def rotation(self, positions: Tensor, dtype: torch.dtype) -> Rotation | None:
        """The rotation of queries and keys at timeline frames [S]; None where positions are added to the input."""
        return Rotation(positions, self.head_dim, dtype) if self.sine is None else None

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        free: int,
        causal: bool,
        stage: Tensor | None = None,
    ) -> Tensor:
        """States [B, S - free, D] of x [B, S, D] at timeline frames [S], for all but the first `free` positions.

        Those see each other. The others see all, or, if causal, what came before.
        """
        x, rotation = self.add_positions(self.dropout(x), positions)
        for layer in self.layers:
            x = layer(x, free, rotation, causal, stage, last=layer is self.layers[-1])
        return self.norm(x, stage)

    def prefill(
        self, context: Tensor, positions: Tensor, free: int, stage: Tensor | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Keys and values [B, H, L, Dh] of each layer for context [B, L, D] at timeline frames [L].

        The first `free` positions see each other, and each of the others what came before.
        """
        x, rotation = self.add_positions(context, positions)
        kept: list[tuple[Tensor, Tensor]] = []

        for layer in self.layers[:-1]:
            x, keys, values = layer.prefill(x, free, rotation, stage)  # type: ignore[operator]
            kept.append((keys, values))

        # Nothing reads what the last layer makes of the context, so its attention is not computed.
        last = self.layers[-1]
        _, keys, values = last.attention.project(last.norm1(x, stage), rotation)  # type: ignore[operator, union-attr]
        return [*kept, (keys, values)]

    def read(
        self, target: Tensor, positions: Tensor, context: list[tuple[Tensor, Tensor]], stage: Tensor | None = None
    ) -> Tensor:
        """What `forward` gives for target [B, M, D], not causal, with a context [1 or B] that is prefilled already."""
        x, rotation = self.add_positions(target, positions)
        for layer, (keys, values) in zip(self.layers, context, strict=True):
            x = layer.read(x, rotation, stage, keys, values)  # type: ignore[operator]
        return self.norm(x, stage)
