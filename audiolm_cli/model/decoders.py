"""The network of AudioLM: an AR decoder for the first codebooks and a NAR decoder for the others, over audio codes.

VALL-E (Wang et al. 2023, section 4.2) with prompt audio in place of text. Knows nothing about audio files, codecs or
training; `decode.py` generates.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.errors import ModelError
from audiolm_cli.model.copying import Copying, Holding, gather_frames
from audiolm_cli.model.geometry import ELSEWHERE, LEFT, TARGET, Geometry
from audiolm_cli.model.layers import Decoder

IGNORE = -100
"""Label of a step without a target."""
OUT_OF_RANGE = -1e4
"""Logit of a code that is not to be drawn, in every number format. It is finite: guidance takes differences."""
WEIGHT_STD, AR_EMBEDDING_STD = 0.02, 1.0
"""Deviations of first weights. Small AR embeddings would be drowned by what the first layers add to them.
`training/optim.py` has the learning rates that belong to these deviations."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Logits of one decoder and what they should have been."""

    codebook: int
    """Which codebook is predicted, from 0."""
    logits: Tensor
    """[B, S, V] or, for the first codebook, [B, S, V + 1] with end-of-sequence last."""
    labels: Tensor
    """int64 [B, S]; IGNORE where there is nothing to predict."""

    def loss(self) -> Tensor:
        """Mean cross-entropy in nats over the labelled steps."""
        return F.cross_entropy(self.logits.flatten(0, 1).float(), self.labels.flatten(), ignore_index=IGNORE)

    def losses(self) -> Tensor:
        """Cross-entropy in nats of each step [B, S], 0 where there is no label."""
        flat = F.cross_entropy(
            self.logits.flatten(0, 1).float(), self.labels.flatten(), ignore_index=IGNORE, reduction="none"
        )
        return flat.view(self.labels.shape)

    @torch.no_grad()
    def ranks(self) -> Tensor:
        """int64 [B, S]: how many codes are likelier than the label; means nothing where there is no label.

        Of codes that are equally likely, the first is the likelier one. The end of the sequence is no code, so it is
        never counted.
        """
        codes = self.logits[..., :-1] if self.codebook == 0 else self.logits  # [B, S, V]
        labels = self.labels.clamp(min=0)[..., None]  # [B, S, 1]
        own = self.logits.gather(-1, labels)

        before = torch.arange(codes.shape[-1], device=codes.device) < labels
        return ((codes > own) | ((codes == own) & before)).sum(-1)


class DepthLayer(nn.Module):
    """From what the AR decoder knows when it makes one codebook of a frame to what it knows when it makes the next.

    A residual feed-forward of the state and the code just made: the depth transformer of RQ-Transformer (Lee et al.,
    2022, section 3.2), without attention, since the state before already holds the codes made earlier.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, states: Tensor, made: Tensor) -> Tensor:
        """States [..., D] after the embeddings [..., D] of the codes just made."""
        x = states + made
        return x + self.down(F.gelu(self.up(self.norm(x))))


class RangedHead(nn.Module):
    """A head whose logits of codes outside a range are so low that they are never drawn."""

    outside: Tensor

    def __init__(self, head: nn.Module, low: int, high: int, codebook_size: int, device: torch.device) -> None:
        super().__init__()
        codes = torch.arange(codebook_size, device=device)
        self.head = head
        self.register_buffer("outside", (codes < low) | (codes > high), persistent=False)

    def forward(self, states: Tensor) -> Tensor:
        """Logits [..., V] of states [..., D]."""
        logits: Tensor = self.head(states)
        return logits.masked_fill(self.outside, OUT_OF_RANGE)


class NarMemory(NamedTuple):
    """What the NAR decoder keeps of a context for one codebook."""

    layers: list[tuple[Tensor, Tensor]]
    """Keys and values of each layer."""
    edges: Tensor
    """int64 [B, 2, k + 1], the codes just before and just after the target up to the codebook; -1 is none."""


class Decoders(nn.Module):
    """The two decoders and their losses; each has weights of its own."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        D, K, V = config.d_model, config.num_quantizers, config.codebook_size
        segments = 4 if config.knows_elsewhere else 3  # the fourth is that of prompts from elsewhere

        N = config.ar_codebooks
        heard = K if config.context_codebooks == "all" else N
        self.ar_embeddings = nn.ModuleList(nn.Embedding(V, D) for _ in range(heard))
        self.ar_segments = nn.Embedding(segments, D)
        self.ar_start = nn.Parameter(torch.zeros(D))
        self.ar_decoder = Decoder(
            D, config.nhead, config.num_layers, config.dropout, adaptive=False, positions=config.positions
        )
        self.ar_head = nn.Linear(D, V + 1, bias=False)
        self.ar_holding = Holding(D) if config.ar_holding else None

        # What makes further codebooks of a frame: a step deeper, and a head and a term as of the first, for each.
        self.ar_depth_decoder = nn.ModuleList(DepthLayer(D) for _ in range(1, N))
        self.ar_depth_heads = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(D), nn.Linear(D, V, bias=False)) for _ in range(1, N)
        )
        self.ar_depth_holding = nn.ModuleList(Holding(D) for _ in range(1, N)) if config.ar_holding else None

        # Where the AR decoder makes all codebooks, no layer is there for the others.
        depth, tables = (config.num_layers, K) if config.has_nar else (0, 0)
        self.nar_embeddings = nn.ModuleList(nn.Embedding(V, D) for _ in range(tables))
        self.nar_segments = nn.Embedding(segments, D)
        self.nar_stages = nn.Embedding(max(K - N, 1), D)
        self.nar_decoder = Decoder(D, config.nhead, depth, config.dropout, adaptive=True, positions=config.positions)
        self.nar_heads = nn.ModuleList(nn.Linear(D, V, bias=False) for _ in range(N, K))
        self.nar_copying = Copying(D, max(K - N, 1), first=N)

        styles = len(config.styles)
        self.ar_styles = nn.Embedding(styles, D) if styles else None
        self.nar_styles = nn.Embedding(styles, D) if styles else None

        self._initialise()

    def _initialise(self) -> None:
        """Normal weights, residual outputs scaled down by depth (GPT-2, section 2.3)."""
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2 or "project" in name:
                continue
            scale = (2 * self.config.num_layers) ** -0.5 if name.endswith(("out.weight", "down.weight")) else 1.0
            std = AR_EMBEDDING_STD if name.startswith("ar_embeddings") else WEIGHT_STD * scale
            nn.init.normal_(parameter, std=std)

        nn.init.normal_(self.ar_start, std=WEIGHT_STD)
        self.nar_copying.reset()
        for holding in (self.ar_holding, *(self.ar_depth_holding or ())):
            if holding is not None:
                holding.reset()
        for styles in (self.ar_styles, self.nar_styles):
            if styles is not None:
                nn.init.zeros_(styles.weight)

        for name, parameter in self.named_parameters():
            if name.endswith("bias") and "norm" not in name:
                nn.init.zeros_(parameter)

    @torch.no_grad()
    def adopt_codebooks(self, codebooks: Tensor) -> None:
        """Start embeddings and heads as a random projection of the codec's codebooks [K, V, D].

        Codes that sound alike then begin alike, which saves an untrained model from finding that out code by code.
        """
        D = self.config.d_model
        if codebooks.shape[-1] > D:
            return

        frame = torch.linalg.qr(torch.randn(D, codebooks.shape[-1]))[0].to(codebooks)  # orthonormal columns
        vectors = codebooks @ frame.T  # [K, V, D]
        vectors = vectors / codebooks[0].std() * (D / codebooks.shape[-1]) ** 0.5

        for table, vector in zip(self.ar_embeddings, vectors, strict=False):
            table.weight.copy_(vector * AR_EMBEDDING_STD)  # type: ignore[operator]
        for table, vector in zip(self.nar_embeddings, vectors, strict=False):
            table.weight.copy_(vector * WEIGHT_STD)  # type: ignore[operator]
        self.ar_head.weight[: self.eos].copy_(vectors[0] * WEIGHT_STD)
        further = [*(head[-1] for head in self.ar_depth_heads), *self.nar_heads]  # type: ignore[index]
        for head, vector in zip(further, vectors[1:], strict=False):
            head.weight.copy_(vector / vector.std() * WEIGHT_STD)

    @property
    def eos(self) -> int:
        """The class that ends a piece."""
        return self.config.codebook_size

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.ar_start.device

    @property
    def unstyled(self) -> Decoders:
        """The model that `with_style` was asked of; this one itself where it was not."""
        own: Decoders = self.__dict__.get("_unstyled", self)
        return own

    def with_style(self, style: str) -> Decoders:
        """This model as it is for windows of one of its styles, with the same layers.

        The vector of a style is added to all that a decoder reads, and so is that of a segment. So a model of a style
        is one whose segments have other vectors, and nothing that generates has to know of styles.
        """
        styled, at = copy.copy(self), self.config.styles.index(style)
        styled._modules = {**self._modules}
        for segments, styles in (("ar_segments", self.ar_styles), ("nar_segments", self.nar_styles)):
            assert styles is not None
            vectors = getattr(self, segments).weight + styles.weight[at]
            setattr(styled, segments, nn.Embedding.from_pretrained(vectors.detach()))
        styled.__dict__["_unstyled"] = self
        return styled

    def with_range(self, codebook: int, low: int, high: int) -> Decoders:
        """This model as one that draws codes of a further codebook from `low` to `high` alone, with the same layers.

        Args:
            codebook: from 1 on, whichever decoder makes it.
            low: the lowest code that is drawn.
            high: the highest.
        """
        limited, N = copy.copy(self), self.config.ar_codebooks
        limited._modules = {**self._modules}
        name, at = ("ar_depth_heads", codebook - 1) if codebook < N else ("nar_heads", codebook - N)
        heads = nn.ModuleList(getattr(self, name))
        heads[at] = RangedHead(heads[at], low, high, self.config.codebook_size, self.device)
        setattr(limited, name, heads)
        return limited

    def ar_free(self, geometry: Geometry) -> int:
        """How many context frames see each other in the AR decoder, from the first one on, and are not predicted."""
        return geometry.free(self.config.context_attention)

    def ar_context(self, context: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
        """What the AR decoder reads of context codes [B, L, K] in memory order, and what the gap's first step hears.

        A step that predicts a frame hears the frame before it, and the first one hears a start. So the start stands
        behind the free frames, and all frames after it move on by one step; the last of them begins the gap. With full
        attention all frames are free, and the start itself begins the gap.

        Returns:
            Embeddings [B, L, D] and [B, 1, D].
        """
        heard = context[..., : len(self.ar_embeddings)]
        frames = _sum_embeddings(self.ar_embeddings, heard) + self.ar_segments(geometry.segments(context.device))
        start = (self.ar_start + self.ar_segments.weight[TARGET]).expand(len(context), 1, -1)

        free = self.ar_free(geometry)
        steps = torch.cat([frames[:, :free], start, frames[:, free:]], dim=1)  # [B, L + 1, D]
        return steps[:, :-1], steps[:, -1:]

    def ar_input(self, previous: Tensor) -> Tensor:
        """AR embeddings [B, S, D] of the target frames before, the codes [B, S, N] that the AR decoder made of them."""
        return _sum_embeddings(self.ar_embeddings, previous) + self.ar_segments.weight[TARGET]

    def ar_predict(
        self,
        context: Tensor,
        target: Tensor,
        geometry: Geometry,
        ends: Tensor | None = None,
        *,
        with_context: bool = False,
        styles: Tensor | None = None,
    ) -> list[Predictions]:
        """Teacher-forced predictions of the AR decoder's codebooks, the first one first, in one pass.

        Args:
            context: codes [B, L, K] in memory order.
            target: codes [B, M, K].
            geometry: where both lie on the timeline.
            ends: bool [B], True where the piece truly ends after the target; adds a step whose label is end-of-sequence
                there and nothing elsewhere.
            with_context: predict, in front of the target, the frames of the context that are not free, as in training.
            styles: int64 [B], the style of each item, -1 where it has none; None is none of any.

        Returns:
            Predictions of M steps, or of `geometry.labelled` steps with the context; one more with `ends`.
        """
        N, free = self.config.ar_codebooks, self.ar_free(geometry)
        made = target[..., :N]  # [B, M, N]
        positions = torch.cat([geometry.context_positions(target.device), geometry.target_positions(target.device)])

        # Free frames have no label: they see the frames after them, so they would be asked for what they were told.
        labels = torch.cat([context[:, free:, :N], made], dim=1)  # [B, L - free + M, N]
        before = labels if ends is not None else labels[:, :-1]
        before = F.pad(before, (0, 0, 1, 0), value=-1)  # the codes of the frame before

        # Each step hears the frame before it; of target frames the AR decoder's own codebooks alone.
        inputs = [*self.ar_context(context, geometry), self.ar_input(made if ends is not None else made[:, :-1])]
        if ends is not None:
            positions = torch.cat([positions, positions[-1:] + 1])
            end_label = F.pad(torch.where(ends, self.eos, IGNORE)[:, None], (0, N - 1), value=IGNORE)  # [B, N]
            labels = torch.cat([labels, end_label[:, None]], dim=1)

        read = _add_styles(torch.cat(inputs, dim=1), self.ar_styles, styles)
        states = self.ar_decoder(read, positions, free, causal=True)
        if not with_context:
            skipped = geometry.context - free
            states, labels, before = states[:, skipped:], labels[:, skipped:], before[:, skipped:]

        predictions = []
        for k in range(N):
            if k > 0:  # the code of a step without one is not asked for
                states = self.ar_deepen(states, k, labels[..., k - 1].clamp(0, self.eos - 1))
            logits = self.ar_logits(states, before[..., k], k)
            predictions.append(Predictions(codebook=k, logits=logits, labels=labels[..., k]))
        return predictions

    def ar_deepen(self, states: Tensor, codebook: int, codes: Tensor) -> Tensor:
        """States [..., D] for one codebook more of the same frames, after their codes [...] of the codebook before."""
        deeper: Tensor = self.ar_depth_decoder[codebook - 1](states, self.ar_embeddings[codebook - 1](codes))
        return deeper

    def ar_logits(self, states: Tensor, before: Tensor, codebook: int = 0) -> Tensor:
        """AR logits [..., V + 1] of the states [..., D] for the first codebook, [..., V] for another.

        `before` [...] are the codes of the same codebook in the frame before; -1 is none.
        """
        head = self.ar_depth_heads[codebook - 1] if codebook else self.ar_head
        holding = self.ar_depth_holding[codebook - 1] if codebook and self.ar_depth_holding else self.ar_holding

        logits: Tensor = head(states)
        return logits if holding is None else holding(logits, states, before)

    def nar_predict(
        self,
        context: Tensor,
        target: Tensor,
        geometry: Geometry,
        codebook: int,
        known: Tensor | None = None,
        styles: Tensor | None = None,
    ) -> Predictions:
        """Predictions of one further codebook, all frames at once.

        Args:
            context: codes [B, L, K] in memory order.
            target: codes [B, M, K], of which those of the codebooks before `codebook` are read.
            geometry: where both lie on the timeline.
            codebook: which one is predicted, N..K-1 after the N of the AR decoder.
            known: bool [B, M], frames whose code of `codebook` itself is read as well and not predicted: masked
                training and decoding (Chang et al., "MaskGIT", 2022, section 3); None is no frame.
            styles: int64 [B], as in `ar_predict`.
        """
        given = [self._nar_context(context, geometry), self._nar_target(target, codebook, known)]
        places = [geometry.context_positions(target.device), geometry.target_positions(target.device)]
        states = self.nar_decoder(
            _add_styles(torch.cat(given, dim=1), self.nar_styles, styles),
            torch.cat(places),
            geometry.context,
            causal=False,
            stage=self._nar_stage(codebook),
        )
        logits = self._nar_logits(states, target, codebook, known, geometry.edges(context[..., : codebook + 1]))

        own = target[..., codebook]  # [B, M]
        labels = own if known is None else own.masked_fill(known, IGNORE)
        return Predictions(codebook=codebook, logits=logits, labels=labels)

    def nar_memory(self, context: Tensor, geometry: Geometry, codebook: int) -> NarMemory:
        """What `nar_read` needs of context codes [B, L, K]: the same for every target and every pass."""
        positions, stage = geometry.context_positions(context.device), self._nar_stage(codebook)
        layers = self.nar_decoder.prefill(self._nar_context(context, geometry), positions, geometry.context, stage)
        return NarMemory(layers, geometry.edges(context[..., : codebook + 1]))

    def nar_read(
        self,
        memory: NarMemory,
        target: Tensor,
        geometry: Geometry,
        codebook: int,
        known: Tensor | None = None,
        frames: Tensor | None = None,
    ) -> Tensor:
        """The logits [B, n, V] of `nar_predict` for a context [1 or B] that is read already.

        Args:
            memory: what `nar_memory` kept of the context.
            target: codes [B, M, K].
            geometry: where context and target lie on the timeline.
            codebook: which one is predicted, as in `nar_predict`.
            known: bool [B, M], as in `nar_predict`.
            frames: int64 [B, n], the frames of the target whose logits are wanted; None is all of them.
        """
        states = self.nar_decoder.read(
            self._nar_target(target, codebook, known),
            geometry.target_positions(target.device),
            memory.layers,
            self._nar_stage(codebook),
        )
        return self._nar_logits(states, target, codebook, known, memory.edges, frames)

    def _nar_stage(self, codebook: int) -> Tensor:
        """What tells the NAR decoder which codebook it predicts, [D]."""
        return self.nar_stages.weight[codebook - self.config.ar_codebooks]

    def _nar_context(self, context: Tensor, geometry: Geometry) -> Tensor:
        """NAR embeddings [B, L, D] of context codes [B, L, K] in memory order."""
        return _sum_embeddings(self.nar_embeddings, context) + self.nar_segments(geometry.segments(context.device))

    def _nar_target(self, target: Tensor, codebook: int, known: Tensor | None) -> Tensor:
        """NAR embeddings [B, M, D] of what is known of target codes [B, M, K] when `codebook` is predicted."""
        embedded = _sum_embeddings(self.nar_embeddings, target[..., :codebook])
        if known is not None:
            given = self.nar_embeddings[codebook](target[..., codebook].masked_fill(~known, 0))
            embedded = embedded + given * known[..., None]
        return embedded + self.nar_segments.weight[TARGET]

    def _nar_logits(
        self,
        states: Tensor,
        target: Tensor,
        codebook: int,
        known: Tensor | None,
        edges: Tensor,
        frames: Tensor | None = None,
    ) -> Tensor:
        """NAR logits [B, n, V] of `codebook` at `frames` [B, n], from the decoder's states [B, M, D]."""
        B, M, _ = target.shape
        known = torch.zeros_like(target[..., 0], dtype=torch.bool) if known is None else known

        # Only the states that are asked for are multiplied by the head.
        if frames is None:
            frames = torch.arange(M, device=states.device).expand(B, -1)
        else:
            states = gather_frames(states, frames)  # [B, n, D]

        logits = self.nar_heads[codebook - self.config.ar_codebooks](states)
        return self.nar_copying(logits, states, target[..., : codebook + 1], known, edges, frames)


def least_weights(config: ModelConfig) -> tuple[int, int]:
    """The fewest (tensors, numbers) that a model of this shape has; to judge a file before anything is built."""
    D, K, V = config.d_model, config.num_quantizers, config.codebook_size
    layers = config.num_layers * (1 + config.has_nar)  # of both decoders

    tables = (K if config.context_codebooks == "all" else config.ar_codebooks) + K * config.has_nar
    tensors = 8 * layers + tables
    numbers = 4 * layers * D**2 + tables * V * D + 2 * len(config.styles) * D
    return tensors, numbers


def build(config: ModelConfig) -> Decoders:
    """An untrained model of this shape."""
    return Decoders(config)


def load_weights(model: Decoders, state: dict[str, Tensor]) -> None:
    """Put a state dict into the model, every tensor of it.

    Raises:
        ModelError: a tensor is missing, unexpected or of another shape.
    """
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ModelError(f"the weights do not fit the model's config.json: {error}") from error


def extend_weights(model: Decoders, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a model of the same shape but for what it does not know yet, with that added.

    To a model that knew no prompts from elsewhere they are what came before, as far as segments tell; and a style is
    nothing yet.
    """
    state, own = dict(state), model.state_dict()
    for name in ("ar_segments.weight", "nar_segments.weight"):
        if name in state and len(state[name]) == ELSEWHERE < len(own[name]):
            state[name] = torch.cat([state[name], state[name][LEFT : LEFT + 1]])

    for name in ("ar_styles.weight", "nar_styles.weight"):
        if name in own:
            known = state.get(name, own[name][:0])
            state[name] = torch.cat([known, torch.zeros_like(own[name][len(known) :], device=known.device)])
    return state


def _add_styles(x: Tensor, vectors: nn.Embedding | None, styles: Tensor | None) -> Tensor:
    """x [B, S, D] with the vector of each item's style [B] added; nothing where it has none, -1."""
    if vectors is None or styles is None:
        return x
    return x + (vectors(styles.clamp(min=0)) * (styles >= 0)[:, None])[:, None]


def _sum_embeddings(embeddings: nn.ModuleList, codes: Tensor) -> Tensor:
    """Sum [B, T, D] of the embeddings of the leading k codebooks, codes [B, T, k]."""
    total = embeddings[0](codes[..., 0])
    for k in range(1, codes.shape[-1]):
        total = total + embeddings[k](codes[..., k])
    return total
