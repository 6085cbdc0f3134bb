"""Drawing codes from logits, as pure functions. Knows nothing about models.

Codes are drawn on the device of the uniform numbers, which are float64, and are given on that of the logits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from audiolm_cli.config.generation import AR_TEMPERATURE, NAR_TEMPERATURE, SamplingConfig


def draw_uniforms(generators: list[torch.Generator], steps: int) -> Tensor:
    """Uniform numbers float64 [B, steps] in [0, 1), row i from generator i alone: takes do not depend on each other."""
    return torch.stack([torch.rand(steps, generator=g, dtype=torch.float64) for g in generators])


def filter_probabilities(
    logits: Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> Tensor:
    """Probabilities float32 [B, V] after temperature and filters; temperature 0 leaves the most likely code alone.

    Example:
        >>> filter_probabilities(torch.tensor([[0.0, 1.0, 2.0]]), temperature=1.0, top_k=1)
        tensor([[0., 0., 1.]])
    """
    logits = logits.float()
    if temperature == 0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)

    logits = logits / temperature
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))

    probabilities = logits.softmax(-1)
    if min_p > 0:
        least = min_p * probabilities.amax(-1, keepdim=True)
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)

    if top_p < 1:
        descending, order = probabilities.sort(-1, descending=True)
        before = descending.cumsum(-1) - descending  # mass of the more likely codes
        keep = torch.zeros_like(probabilities, dtype=torch.bool).scatter_(-1, order, before < top_p)
        probabilities = probabilities.masked_fill(~keep, 0.0)

    return probabilities / probabilities.sum(-1, keepdim=True)


def guide_logits(logits: Tensor, null: Tensor, guidance: float) -> Tensor:
    """Log-probabilities [..., V] moved away from those without context: `null + guidance * (logits - null)`.

    Classifier-free guidance (Ho and Salimans 2022, eq. 6) on normalised logits; 1 changes nothing.
    """
    log_null = null.float().log_softmax(-1)
    return log_null + guidance * (logits.float().log_softmax(-1) - log_null)


def draw_codes(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Codes int64 [B] by inverse transform: the first whose cumulative probability [B, V] exceeds `uniform` [B]."""
    cumulative = probabilities.double().cumsum(-1)
    threshold = uniform[:, None].to(cumulative) * cumulative[:, -1:]  # of the sum, which is only about 1

    index = (cumulative <= threshold).sum(-1)
    return index.clamp(max=probabilities.shape[-1] - 1)


def sample_first(logits: Tensor, sampling: SamplingConfig, uniform: Tensor) -> Tensor:
    """First-codebook codes int64 [B] of logits [B, V], one uniform number [B] each."""
    temperature = AR_TEMPERATURE if sampling.temperature is None else sampling.temperature
    if temperature == 0:
        return logits.argmax(-1)

    own = logits.to(uniform.device)
    probabilities = filter_probabilities(own, temperature, sampling.top_k, sampling.top_p, sampling.min_p)
    return draw_codes(probabilities, uniform).to(logits.device)


def sample_fine(logits: Tensor, sampling: SamplingConfig, uniform: Tensor) -> Tensor:
    """Codes int64 [B, M] of a further codebook's logits [B, M, V]; greedy at NAR temperature 0."""
    temperature = NAR_TEMPERATURE if sampling.nar_temperature is None else sampling.nar_temperature
    if temperature == 0:
        return logits.argmax(-1)

    probabilities = filter_probabilities(logits.flatten(0, 1).to(uniform.device), temperature)
    return draw_codes(probabilities, uniform.flatten()).view(logits.shape[:-1]).to(logits.device)
