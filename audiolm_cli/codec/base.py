"""The codec protocol: audio to codes and back. Knows nothing about models, files or checkpoints on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

OnShare = Callable[[float], None]
"""Called now and then with the share of a piece of work that is done, and at its end with 1."""


def ignore_share(share: float) -> None:
    """What is called where nobody wants to know."""


@dataclass(frozen=True, kw_only=True)
class KnownSamples:
    """Samples of a decoded stretch that are already fixed, so that decoding can run on from them."""

    wav: Tensor
    """float32 [B, C, N], the true samples; anything where `mask` is False."""
    mask: Tensor
    """bool [N], True where `wav` holds the true sample."""


@runtime_checkable
class Codec(Protocol):
    """Audio to codes and back.

    `wav` is float32 [B, C, N] in [-1, 1] at `sample_rate_hz`; `codes` is int64 [B, T, K], `T = ceil(N / hop_samples)`.
    """

    name: str
    sample_rate_hz: int
    hop_samples: int
    channels: int
    num_codebooks: int
    codebook_size: int
    receptive_field_frames: int | None
    """Frames on each side of a frame that its codes depend on; None when unbounded (recurrent codecs)."""

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        ...

    def encode(self, wav: Tensor) -> Tensor:
        """Codes [B, T, K] of `wav` [B, C, N]; items of a batch have equal length, nothing is padded between them."""
        ...

    def decode(self, codes: Tensor, known: KnownSamples | None = None, on_share: OnShare = ignore_share) -> Tensor:
        """Audio [B, C, T * hop_samples] of `codes` [B, T, K].

        Codecs that choose a phase run it on from `known` samples; others ignore it. Those that work in rounds call
        `on_share` after each, others at the end.
        """
        ...

    def matched(self, heard: Sequence[tuple[Tensor, Tensor]]) -> Codec:
        """This codec, decoding without its errors in stretches of a recording; itself where it cannot tell.

        Args:
            heard: codes [1, T, K] and wav [1, C, T * hop_samples] of each stretch. Without any, nothing is put right.
        """
        ...
