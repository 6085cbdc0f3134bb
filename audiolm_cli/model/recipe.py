"""AudioLM as the recipes of VALL-E call it: a loss of prompts and targets, and continuations of prompts.

The network, its loss for every geometry and its decoding are in the other files; these two methods are for padded
batches of codes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.errors import UsageError
from audiolm_cli.model.decode import generate
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.frame_bar import show_frames
from audiolm_cli.model.geometry import Geometry


class AudioLM(Decoders):
    """The two decoders behind two methods of which `x` and `y` are prompt and target codes [B, T, K]."""

    def __init__(
        self,
        d_model: int = 1024,
        nhead: int = 16,
        num_layers: int = 12,
        num_quantizers: int = 4,
        **shape: Any,
    ) -> None:
        """An untrained model; `shape` takes the further fields of `ModelConfig` by name."""
        super().__init__(
            ModelConfig(d_model=d_model, nhead=nhead, num_layers=num_layers, num_quantizers=num_quantizers, **shape)
        )

    def forward(
        self, x: Tensor, x_lens: Tensor, y: Tensor, y_lens: Tensor, codebook: int | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of target codes y given prompt codes x, and what it is made of.

        It is of the target alone, also where the context is causal: `audiolm train` then learns from prompts, too.

        Args:
            x: prompt codes [B, Tx, K], padded at the end.
            x_lens: int [B], frames of each prompt.
            y: target codes [B, Ty, K], padded at the end.
            y_lens: int [B], frames of each target.
            codebook: which codebook the NAR decoder predicts, from those after the AR decoder's; None takes their mean.

        Returns:
            `(ar + nar) / 2` in nats, each a mean over real frames, and `{"ar": ..., "nar": ...}` in bits per frame.
        """
        N, K = self.config.ar_codebooks, self.config.num_quantizers
        stages = [codebook] if codebook is not None else list(range(N, K))
        frames = y_lens.sum()

        ar, nar = y.new_zeros((), dtype=torch.float32), y.new_zeros((), dtype=torch.float32)
        for items, geometry in _equal_lengths(x_lens, y_lens):
            context, target = x[items, : geometry.left], y[items, : geometry.gap]

            for predictions in self.ar_predict(context, target, geometry):
                ar = ar + predictions.losses().sum() / frames
            for stage in stages:
                predictions = self.nar_predict(context, target, geometry, stage)
                nar = nar + predictions.losses().sum() / (frames * len(stages))

        nats_per_bit = torch.log(torch.tensor(2.0)).item()
        loss = (ar + nar) / 2 if stages else ar
        return loss, {"ar": ar.item() / nats_per_bit, "nar": nar.item() / nats_per_bit}

    def inference(
        self,
        x: Tensor,
        x_lens: Tensor,
        max_new_tokens: int = 500,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Codes [B, max_new_tokens, K] that continue the prompts x [B, T, K] of x_lens [B] frames.

        Both decoders draw at `temperature`; 0 takes the likeliest codes. A terminal shows how far it is when there are
        many frames.
        """
        sampling = SamplingConfig(temperature=temperature, nar_temperature=temperature)
        generator = generator or torch.Generator().manual_seed(torch.initial_seed())

        out = x.new_zeros(len(x), max_new_tokens, self.config.num_quantizers)
        with show_frames(len(x) * max_new_tokens) as on_frames:
            for i, length in enumerate(x_lens.tolist()):
                geometry = Geometry(length, max_new_tokens)
                on_frame = functools.partial(on_frames, i * max_new_tokens)
                out[i] = generate(self, x[i : i + 1, :length], geometry, sampling, [generator], on_frame=on_frame)[0]

        return out


def get_model(name: str, **fields: int | float | str) -> AudioLM:
    """An untrained model by its name, "audiolm" or "audio-lm".

    Raises:
        UsageError: there is no such model.
        ModelError: a field is unknown.
    """
    if name.lower() not in ("audiolm", "audio-lm"):
        raise UsageError(f'no model is called {name!r}; expected "audiolm" or "audio-lm"')

    config = ModelConfig.from_dict(dict(fields))
    return AudioLM(**config.to_dict())


def _equal_lengths(x_lens: Tensor, y_lens: Tensor) -> Iterator[tuple[Tensor, Geometry]]:
    """Items of a batch by their lengths, so that padding never enters a computation."""
    lengths = torch.stack([x_lens, y_lens], dim=1).cpu()  # [B, 2]

    for pair in torch.unique(lengths, dim=0):
        items = (lengths == pair).all(dim=1).nonzero()[:, 0]
        yield items.to(x_lens.device), Geometry(int(pair[0]), int(pair[1]))
