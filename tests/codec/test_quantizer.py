"""The residual quantizer: nearest vectors, initialisation, moving codebooks, revival."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from audiolm_cli.codec.quantizer import ResidualVectorQuantizer, find_nearest

K, V, D = 3, 8, 4


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_quantizer() -> ResidualVectorQuantizer:
    """Codebooks whose spread halves from stage to stage, as residuals do."""
    quantizer = ResidualVectorQuantizer(K, V, D)
    scales = 0.5 ** torch.arange(K)[:, None, None]
    quantizer.codebooks.copy_(torch.randn(K, V, D, generator=seeded()) * scales)
    return quantizer


def clusters(frames: int, seed: int = 0) -> Tensor:
    """Latents [frames, D] around V well separated centres."""
    centres = 10 * torch.cat([torch.eye(D), -torch.eye(D)])  # V = 2 D of them
    chosen = torch.randint(V, (frames,), generator=seeded(seed))
    return centres[chosen] + 0.1 * torch.randn(frames, D, generator=seeded(seed + 1))


def initialised(latents: Tensor, seed: int = 0) -> ResidualVectorQuantizer:
    quantizer = ResidualVectorQuantizer(K, V, D)
    quantizer.initialise(latents, 10, seeded(seed))
    return quantizer


def error(quantizer: ResidualVectorQuantizer, latents: Tensor, stages: int = K) -> float:
    return (quantizer.decode(quantizer.encode(latents)[..., :stages]) - latents).square().mean().item()


def test_nearest_is_the_vector_at_the_smallest_distance() -> None:
    latents, codebook = torch.randn(5, 7, D, generator=seeded(1)), torch.randn(V, D, generator=seeded(2))
    assert torch.equal(find_nearest(latents, codebook), torch.cdist(latents, codebook).argmin(-1))
    assert find_nearest(latents[:0], codebook).shape == (0, 7)
    many = latents.repeat(300, 1, 1)  # more than one block
    assert torch.equal(find_nearest(many, codebook), find_nearest(latents, codebook).repeat(300, 1))


def test_each_stage_takes_what_is_nearest_to_what_is_left() -> None:
    quantizer = random_quantizer()
    latents = torch.randn(2, 9, D, generator=seeded(3))
    codes = quantizer.encode(latents)
    assert codes.shape == (2, 9, K) and codes.dtype == torch.int64
    left = latents
    for k in range(K):
        assert torch.equal(codes[..., k], torch.cdist(left, quantizer.codebooks[k]).argmin(-1))
        left = left - quantizer.codebooks[k][codes[..., k]]
    torch.testing.assert_close(latents - quantizer.decode(codes), left)


def test_decoding_leading_codebooks_sums_them_alone() -> None:
    quantizer = random_quantizer()
    codes = torch.randint(V, (5, K), generator=seeded(4))
    for stages in range(1, K + 1):
        expected = sum(quantizer.codebooks[k][codes[:, k]] for k in range(stages))
        torch.testing.assert_close(quantizer.decode(codes[:, :stages]), expected)


def test_coding_again_what_was_decoded_costs_nothing_where_stages_stand_apart() -> None:
    """With later codebooks small beside the distances of earlier ones, every code is its own code."""
    quantizer = random_quantizer()
    quantizer.codebooks.copy_(torch.randn(K, V, D, generator=seeded(5)) * 0.01 ** torch.arange(K)[:, None, None])
    codes = torch.randint(V, (200, K), generator=seeded(6))
    assert torch.equal(quantizer.encode(quantizer.decode(codes)), codes)


def test_coding_twice_is_no_better_than_once() -> None:
    """In general the second pass may choose other codes, but stays about as near to the first pass' vectors."""
    latents = torch.randn(3000, D, generator=seeded(7))
    quantizer = initialised(latents)
    decoded = quantizer.decode(quantizer.encode(latents))
    assert error(quantizer, decoded) < 0.2 * error(quantizer, latents)


def test_k_means_gives_every_code_something_to_do() -> None:
    latents = clusters(1000)
    quantizer = initialised(latents)
    codes = quantizer.encode(latents)
    for k in range(K):
        assert torch.bincount(codes[:, k], minlength=V).min() > 0
    assert max(quantizer.perplexities()) <= V + 1e-3
    assert min(quantizer.perplexities()) > V / 2


def test_the_same_generator_initialises_alike() -> None:
    latents = torch.randn(500, D, generator=seeded(8))
    assert torch.equal(initialised(latents, 1).codebooks, initialised(latents, 1).codebooks)
    assert not torch.equal(initialised(latents, 1).codebooks, initialised(latents, 2).codebooks)


def test_each_codebook_lowers_the_error() -> None:
    latents = torch.randn(4000, D, generator=seeded(9))
    quantizer = initialised(latents)
    errors = [latents.square().mean().item()] + [error(quantizer, latents, stages) for stages in range(1, K + 1)]
    for before, after in pairwise(errors):
        assert after < 0.7 * before, errors


def test_updates_lower_the_error_of_fixed_data() -> None:
    latents = torch.randn(2000, D, generator=seeded(10))
    quantizer = initialised(latents[:200])
    before = error(quantizer, latents)
    for step in range(100):
        quantizer.update(latents, 0.9, revive=1, generator=seeded(step))
    assert error(quantizer, latents) < 0.97 * before


def test_an_update_returns_the_codes_from_before_it() -> None:
    latents = torch.randn(300, D, generator=seeded(11))
    quantizer = initialised(latents)
    expected = quantizer.encode(latents)
    assert torch.equal(quantizer.update(latents + 0.0, 0.5, revive=0, generator=seeded()), expected)


@pytest.mark.parametrize("revive", [0, 1, 3])
def test_few_dead_codes_are_revived_at_a_time(revive: int) -> None:
    """Vectors far from all data come back, onto residuals of the batch, `revive` per codebook and step."""
    latents = torch.randn(400, D, generator=seeded(12))
    quantizer = initialised(latents)
    dead = torch.tensor([1, 3, 4, 6, 7])
    for k in range(K):
        quantizer.codebooks[k][dead] = 1e3
        quantizer.sums[k][dead] = 0.0
        quantizer.counts[k][dead] = 0.0
    first = quantizer.codebooks[0].clone()
    quantizer.update(latents, 0.99, revive=revive, generator=seeded())
    assert (quantizer.counts > 0.03).sum(-1).tolist() == [V - len(dead) + revive] * K
    living = [i for i in range(V) if i not in dead]
    torch.testing.assert_close(quantizer.codebooks[0][living], first[living], atol=0.1, rtol=0)
    for index in dead[:revive].tolist():
        assert (quantizer.codebooks[0][index] == latents).all(-1).any()


def test_all_codes_serve_after_enough_updates() -> None:
    """Also when they all start in one place."""
    latents = clusters(1000)
    quantizer = ResidualVectorQuantizer(1, V, D)
    quantizer.codebooks[0].copy_(latents[:1].expand(V, -1))
    before = error(quantizer, latents, 1)
    for step in range(200):
        quantizer.update(latents, 0.9, revive=1, generator=seeded(step))
    assert error(quantizer, latents, 1) < 0.2 * before
    assert quantizer.perplexities()[0] > 0.6 * V
    assert torch.bincount(quantizer.encode(latents)[:, 0], minlength=V).min() > 0
