"""One target frame after the other through the AR decoder: the same few operations on the same shapes each time.

Which frame it is comes as a tensor and nothing is read back from the device, so that a CUDA graph can hold a step. On a
CPU most of a small model's step is the time between operations, so there are few. Knows nothing about sampling.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.geometry import Geometry
from audiolm_cli.model.layers import Decoder, Layer

VISIBLE_MULTIPLE = 128
"""Target frames that attention looks at are a multiple of this: few shapes, and what is not there yet costs little."""
FEWEST_CAPTURED = 32
"""Fewer target frames are not worth the capture of a CUDA graph."""


class Cache:
    """Keys and values of one layer while a target is generated, of fixed size.

    A context of its own stands in front of each take's target. One that several takes share is kept apart, once, and
    read by all of them together.
    """

    def __init__(self, keys: Tensor, values: Tensor, takes: int, size: int, dtype: torch.dtype) -> None:
        """Keep the context's keys and values [1 or takes, H, L, Dh], and room for `size` target frames.

        `dtype` is best float32 on a CPU: products of one row by keys in bf16 take longer there, although bf16 is read
        in half the time.
        """
        both = torch.stack([keys, values]).to(dtype).transpose(1, 2)  # [2, H, 1 or takes, L, Dh]
        _, H, contexts, L, Dh = both.shape

        # A context that all takes share is kept once; a context of each take's own stands in front of its target.
        self.shared = both[:, :, 0] if contexts < takes else None  # [2, H, L, Dh]
        self.start = 0 if contexts < takes else L

        own = both.new_zeros(2, H, takes, self.start + size, Dh)
        if self.start:
            own[..., :L, :] = both
        self._own = own.flatten(0, 2)  # [2 * H * takes, S, Dh]
        self.show(size)

    def show(self, frames: int) -> None:
        """Let attention look at the first `frames` frames of the target."""
        keys, values = self._own[:, : self.start + frames].chunk(2)
        self._keys, self._values = keys, values  # [H * takes, S, Dh]

    def attend(self, qkv: Tensor, slot: Tensor, hidden: Tensor) -> Tensor:
        """What the queries of one frame attend to, [B, H * Dh], after its keys and values have been kept.

        Args:
            qkv: [3, H, B, Dh], the queries scaled.
            slot: int64 [1], where the keys and values go.
            hidden: [S], -inf where there is nothing yet, 0 elsewhere.
        """
        _, H, B, Dh = qkv.shape
        self._own.index_copy_(1, slot, qkv[1:].reshape(2 * H * B, 1, Dh))

        scores = torch.baddbmm(hidden, qkv[0].reshape(H * B, 1, Dh), self._keys.mT)  # [H * B, 1, S]
        if self.shared is None:
            out = torch.bmm(scores.softmax(-1), self._values)  # [H * B, 1, Dh]
        else:
            # One softmax over the shared context and each take's own frames, then the sum of both products.
            keys, values = self.shared
            L = keys.shape[1]
            scores = torch.cat([torch.bmm(qkv[0], keys.mT), scores.view(H, B, -1)], dim=-1)  # [H, B, L + S]
            weights = scores.softmax(-1)

            out = torch.bmm(weights[..., L:].reshape(H * B, 1, -1), self._values)
            out = torch.baddbmm(out.view(H, B, Dh), weights[..., :L], values)  # [H, B, Dh]

        return out.view(H, B, Dh).transpose(0, 1).reshape(B, H * Dh)


class AR:
    """One AR generation in progress."""

    def __init__(self, model: Decoders, context: Tensor, geometry: Geometry, takes: int) -> None:
        """Read context codes [1 or takes, L, K] (memory order); one context serves all takes."""
        device, decoder = context.device, model.ar_decoder
        self.model = model
        self.done = 0
        """Target frames stepped through."""

        # The context is read once; its keys and values stay.
        embedded, first = model.ar_context(context, geometry)  # [1 or takes, L, D], [1 or takes, 1, D]
        kept = decoder.prefill(embedded, geometry.context_positions(device), model.ar_free(geometry))
        self._cache_dtype = torch.float32 if device.type == "cpu" else kept[0][0].dtype
        self.caches = [Cache(keys, values, takes, geometry.gap, self._cache_dtype) for keys, values in kept]

        # Every input there can be, in a table: the codes, and behind them what begins the gap, of each context.
        every_code = torch.arange(model.eos, device=device)
        N = model.config.ar_codebooks
        self._inputs = [torch.cat([model.ar_input(every_code[:, None]), first[:, 0]])]  # [V + 1, D] or [V + takes, D]
        start = model.eos + torch.arange(takes, device=device) % len(first)
        self._first = start[:, None].expand(-1, N)

        # Those of further codebooks are added. What begins the gap is whole already.
        self._inputs += [F.pad(model.ar_embeddings[k].weight, (0, 0, 0, len(first))) for k in range(1, N)]  # type: ignore[arg-type]

        # The code that each input stands for. What begins the gap stands for that of the frame before, if it hears one.
        hears_one = geometry.context > model.ar_free(geometry)
        last = context[:, -1, :N] if hears_one else context.new_full((len(first), N), -1)
        self._codes = [torch.cat([every_code, codes]) for codes in last.unbind(-1)]

        # How far the frame in progress is: the codes it was asked with, the states, and how many codebooks it has.
        self._heard, self._states, self._depth = self._first, embedded[:, :0], 0

        # And everything that depends on the position, by target frame.
        positions = geometry.target_positions(device)
        self._added = None if decoder.sine is None else decoder.sine(torch.zeros_like(first[0]), positions)  # [M, D]
        self._cos, self._sin = _rotation_factors(decoder, positions, embedded.dtype)
        self._order = torch.arange(self.caches[0].start + geometry.gap, device=device)

        self._size, self._shown = geometry.gap, geometry.gap
        self._graph: Graph | None = None

    def step(self, previous: Tensor | None) -> Tensor:
        """Logits [takes, V + 1] of the next frame's first codebook, after `previous` [takes, N] (None at the first)."""
        frame = self.done
        self.done += 1
        if self.model.device.type == "cpu":
            self.show(min(self._size, (frame // VISIBLE_MULTIPLE + 1) * VISIBLE_MULTIPLE))

        self._heard, self._depth = self._first if previous is None else previous, 1
        where = self._order[frame : frame + 1]  # [1]
        if self.model.device.type == "cuda" and self._size >= FEWEST_CAPTURED:
            self._graph = self._graph or Graph(self.predict_frame, self._first.clone(), where.clone())
            logits, self._states = self._graph(self._heard, where)
        else:
            logits, self._states = self.predict_frame(self._heard, where)
        return logits

    def deepen(self, made: Tensor) -> Tensor:
        """Logits [takes, V] of the frame's next codebook, after its codes [takes] of the one before."""
        k = self._depth
        self._depth += 1

        self._states = self.model.ar_deepen(self._states, k, made)
        return self.model.ar_logits(self._states, self._codes[k].index_select(0, self._heard[:, k]), k)

    def show(self, frames: int) -> None:
        """Let attention look at the first `frames` target frames; those that are not there yet are hidden."""
        if frames != self._shown:
            self._shown = frames
            for cache in self.caches:
                cache.show(frames)

    def predict_frame(self, codes: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [takes, V + 1] and states [takes, D] of frame `at` (int64 [1]) after codes [takes, N] before it."""
        first, *further = codes.unbind(-1)
        x = self._inputs[0].index_select(0, first)  # [B, D]
        for table, column in zip(self._inputs[1:], further, strict=True):
            x = x + table.index_select(0, column)
        if self._added is not None:
            x = x + self._added.index_select(0, at)
        cos, sin = self._cos.index_select(0, at)[0], self._sin.index_select(0, at)[0]

        # Comparing on the device keeps the frame a tensor, so that a graph serves all of them.
        start = self.caches[0].start
        slot = at + start
        later = self._order[: start + self._shown] > slot
        hidden = torch.zeros_like(later, dtype=self._cache_dtype).masked_fill_(later, float("-inf"))  # [S]

        for layer, cache in zip(self.model.ar_decoder.layers, self.caches, strict=True):
            x = _step_layer(layer, x, cos, sin, cache, slot, hidden)  # type: ignore[arg-type]

        states = self.model.ar_decoder.norm(x)
        return self.model.ar_logits(states, self._codes[0].index_select(0, first)), states

    def rewind(self, done: int) -> None:
        """Forget the target frames from `done` on."""
        self.done = done


class Graph:
    """A function of two tensors that gives two, as a CUDA graph: one launch in place of hundreds, of fixed shapes.

    After torch's notes on CUDA semantics, "CUDA Graphs": the function is warmed up on a stream of its own and captured
    with tensors whose place in memory stays; a replay follows after new values are copied into them. The function runs
    three times more often than it is asked for, which must not matter.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], *given: Tensor) -> None:
        """Capture `function` of these tensors, which become its own."""
        self._given = given

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                function(*given)
        torch.cuda.current_stream().wait_stream(stream)

        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._made = function(*given)

    def __call__(self, *values: Tensor) -> tuple[Tensor, Tensor]:
        """What the function gives for these values."""
        for own, value in zip(self._given, values, strict=True):
            own.copy_(value)
        self._graph.replay()
        first, second = self._made
        return first.clone(), second.clone()


def _step_layer(
    layer: Layer, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache, slot: Tensor, hidden: Tensor
) -> Tensor:
    """One frame x [B, D] through a layer."""
    B, attention = len(x), layer.attention
    qkv = attention.qkv(layer.norm1(x)).view(B, 3, attention.heads, -1).permute(1, 2, 0, 3)  # [3, H, B, Dh]
    rotated = torch.addcmul(qkv * cos, qkv.roll(qkv.shape[-1] // 2, -1), sin).to(hidden.dtype)

    x = x + attention.out(cache.attend(rotated, slot, hidden))
    return x + layer.down(F.gelu(layer.up(layer.norm2(x))))


def _rotation_factors(decoder: Decoder, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Factors [M, 3, 1, 1, Dh] of queries, keys and values, and of the same with their halves exchanged.

    Together they do what `Rotation` does at timeline frames [M]. They also scale the queries; the values stay.
    """
    Dh = decoder.head_dim
    cos = torch.ones(len(positions), 3, 1, 1, Dh, device=positions.device, dtype=dtype)
    sin = torch.zeros_like(cos)

    rotation = decoder.rotation(positions, dtype)
    if rotation is not None:
        cos[:, :2] = rotation.cos.repeat(1, 2)[:, None, None, None]
        sin[:, :2] = torch.cat([-rotation.sin, rotation.sin], dim=-1)[:, None, None, None]

    for factors in (cos, sin):
        factors[:, 0] *= Dh**-0.5
    return cos, sin
