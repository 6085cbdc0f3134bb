"""Residual vector quantizer with k-means initialisation and moving-average codebooks. Knows nothing about audio.

Residual quantization after Zeghidour et al., "SoundStream" (2021), section III-C; moving-average codebooks after van
den Oord et al., "Neural Discrete Representation Learning" (2017), appendix A.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

BLOCK = 4096
"""Vectors compared with a codebook at once: faster than all of them at once, in a fraction of the memory."""


class ResidualVectorQuantizer(nn.Module):
    """K codebooks of V vectors; each quantizes what the ones before it left over."""

    codebooks: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, num_codebooks: int, codebook_size: int, dim: int) -> None:
        super().__init__()
        shape = (num_codebooks, codebook_size, dim)
        self.register_buffer("codebooks", torch.zeros(shape))  # [K, V, D]
        self.register_buffer("counts", torch.zeros(shape[:2]), persistent=False)  # [K, V] moving average of use
        self.register_buffer("sums", torch.zeros(shape), persistent=False)  # [K, V, D] moving average of vectors

    def encode(self, latents: Tensor, steady: Sequence[Tensor] = ()) -> Tensor:
        """Codes int64 [..., K] of latents [..., D]: the nearest vector, stage by stage.

        Args:
            latents: what to encode.
            steady: latents [..., D] without their fast changes, one for each of the first stages, which look at them
                instead. The last stage always looks at the latents themselves.
        """
        views, codes = self._list_views(latents, steady), []

        for codebook in self.codebooks:
            index = find_nearest(views[0], codebook)
            views = _subtract(codebook[index], views)
            codes.append(index)

        return torch.stack(codes, dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Latents [..., D] of codes [..., k], for any k <= K leading codebooks."""
        latents = self.codebooks[0][codes[..., 0]]
        for k in range(1, codes.shape[-1]):
            latents = latents + self.codebooks[k][codes[..., k]]
        return latents

    @torch.no_grad()
    def initialise(
        self, latents: Tensor, iterations: int, generator: torch.Generator, steady: Sequence[Tensor] = ()
    ) -> None:
        """Set every codebook by k-means on latents [M, D] and the residuals that follow; `steady` as in `encode`.

        Few frames collapse many codes into one (M should be 15 times the codebook size or more).
        """
        views = self._list_views(latents, steady)

        for codebook in self.codebooks:
            residual = views[0]
            start = torch.randperm(len(residual), generator=generator)[: len(codebook)]
            codebook.copy_(residual[start.to(residual.device)])

            for _ in range(iterations):
                counts, sums = self._count_and_sum(residual, find_nearest(residual, codebook))
                used = counts > 0
                codebook[used] = sums[used] / counts[used, None]

            views = _subtract(codebook[find_nearest(residual, codebook)], views)
        self.start_averages(latents, steady)

    @torch.no_grad()
    def start_averages(self, latents: Tensor, steady: Sequence[Tensor] = ()) -> None:
        """Begin the moving averages at the use that latents [M, D] make of the codebooks, which stay as they are."""
        for k, index in enumerate(self.encode(latents, steady).unbind(-1)):
            counts = torch.bincount(index, minlength=self.codebook_size).clamp(min=1).to(latents.dtype)
            self.counts[k] = counts * (self.codebook_size / counts.sum())
            self.sums[k] = self.codebooks[k] * self.counts[k, :, None]

    @torch.no_grad()
    def update(
        self,
        latents: Tensor,
        decay: float,
        revive: int,
        generator: torch.Generator,
        steady: Sequence[Tensor] = (),
    ) -> Tensor:
        """Move the codebooks towards latents [M, D] and return their codes [M, K] from before the move.

        `steady` as in `encode`. At most `revive` unused vectors per codebook are put on random residuals; more at once
        makes training diverge.
        """
        views, codes = self._list_views(latents, steady), []
        scale = self.codebook_size / len(latents)  # counts average one per vector

        for k, codebook in enumerate(self.codebooks):
            residual = views[0]
            index = find_nearest(residual, codebook)
            counts, sums = self._count_and_sum(residual, index)
            views = _subtract(codebook[index], views)  # of the codebook before the move

            self.counts[k].mul_(decay).add_(counts * scale, alpha=1 - decay)
            self.sums[k].mul_(decay).add_(sums * scale, alpha=1 - decay)
            codebook.copy_(self.sums[k] / self.counts[k, :, None].clamp(min=1e-5))

            # Vectors that hardly anything is nearest to start anew on a random residual.
            dead = torch.nonzero(self.counts[k] < 0.03)[:revive, 0]
            if len(dead):
                chosen = torch.randint(len(residual), (len(dead),), generator=generator).to(residual.device)
                codebook[dead] = residual[chosen]
                self.counts[k][dead] = 1.0
                self.sums[k][dead] = residual[chosen]

            codes.append(index)

        return torch.stack(codes, dim=-1)

    def _list_views(self, latents: Tensor, steady: Sequence[Tensor]) -> list[Tensor]:
        """What the stages look at, one after the other: the steady latents, then the latents themselves."""
        return [*steady[: len(self.codebooks) - 1], latents]

    @property
    def codebook_size(self) -> int:
        """V."""
        return self.codebooks.shape[1]

    def perplexities(self) -> list[float]:
        """Exponentiated entropy of each codebook's use in training, from the moving averages; V when all are equal."""
        shares = self.counts / self.counts.sum(-1, keepdim=True).clamp(min=1e-9)
        return (-(shares * shares.clamp(min=1e-12).log()).sum(-1)).exp().tolist()

    def _count_and_sum(self, latents: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """How many of latents [M, D] have each index [M], and their sum: [V] and [V, D]."""
        counts = torch.bincount(index, minlength=self.codebook_size).to(latents.dtype)
        sums = torch.zeros_like(self.codebooks[0]).index_add_(0, index, latents)
        return counts, sums


def _subtract(quantized: Tensor, views: list[Tensor]) -> list[Tensor]:
    """What a stage leaves over for the stages after it; the last view serves all stages that are left."""
    return [view - quantized for view in (views[1:] or views)]


def find_nearest(latents: Tensor, codebook: Tensor) -> Tensor:
    """Index int64 [...] of the vector of codebook [V, D] nearest to each of latents [..., D]."""
    half_norms = 0.5 * codebook.square().sum(-1)
    blocks = latents.reshape(-1, latents.shape[-1]).split(BLOCK)

    # The vector c nearest to x has the largest x . c - |c|^2 / 2.
    found = torch.cat([(block @ codebook.T - half_norms).argmax(-1) for block in blocks])
    return found.reshape(latents.shape[:-1])
