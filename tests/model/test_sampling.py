"""Drawing codes: what each filter keeps, and that drawing is the inverse transform of the probabilities."""

from __future__ import annotations

import doctest
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.model import sampling
from audiolm_cli.model.sampling import draw_codes, draw_uniforms, filter_probabilities, sample_fine, sample_first

V = 12
seeds = st.integers(0, 10_000)


def logits(seed: int, rows: int = 3) -> Tensor:
    """Logits without ties."""
    return 3 * torch.randn(rows, V, generator=torch.Generator().manual_seed(seed))


def test_doctests() -> None:
    assert doctest.testmod(sampling, extraglobs={"torch": torch}).attempted > 0
    assert doctest.testmod(sampling).failed == 0


@given(seeds, st.floats(0.05, 20), st.integers(0, V + 2), st.floats(0.01, 1), st.floats(0, 0.99))
@settings(deadline=None)
def test_probabilities_sum_to_one_and_keep_their_order(
    seed: int, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    """Whatever the filters, the most likely code stays, and what stays keeps its proportions."""
    given_logits = logits(seed)
    filtered = filter_probabilities(given_logits, temperature, top_k, top_p, min_p)
    torch.testing.assert_close(filtered.sum(-1), torch.ones(3))
    full = (given_logits / temperature).softmax(-1)
    best = given_logits.argmax(-1, keepdim=True)
    ratio = filtered / filtered.gather(-1, best)
    expected = torch.where(filtered > 0, full / full.gather(-1, best), torch.zeros_like(full))
    torch.testing.assert_close(ratio, expected, atol=1e-6, rtol=1e-4)


@given(seeds, st.integers(1, V))
@settings(deadline=None)
def test_top_k_keeps_the_k_most_likely(seed: int, top_k: int) -> None:
    given_logits = logits(seed)
    kept = filter_probabilities(given_logits, 1.0, top_k=top_k) > 0
    assert (kept.sum(-1) == top_k).all()
    assert (given_logits.masked_fill(~kept, 1e9).amin(-1) > given_logits.masked_fill(kept, -1e9).amax(-1)).all()


@given(seeds, st.floats(0.05, 0.95))
@settings(deadline=None)
def test_top_p_keeps_the_smallest_set_with_that_mass(seed: int, top_p: float) -> None:
    given_logits = logits(seed)
    full = given_logits.softmax(-1)
    kept = filter_probabilities(given_logits, 1.0, top_p=top_p) > 0
    mass = (full * kept).sum(-1)
    least = full.masked_fill(~kept, 2.0).amin(-1)
    assert (mass >= top_p - 1e-5).all()
    assert (mass - least < top_p + 1e-5).all()
    assert (full.masked_fill(kept, 0.0).amax(-1) <= least).all()


@given(seeds, st.floats(0.01, 0.95))
@settings(deadline=None)
def test_min_p_drops_what_is_unlikely_beside_the_best(seed: int, min_p: float) -> None:
    full = logits(seed).softmax(-1)
    share = full / full.amax(-1, keepdim=True)
    kept = filter_probabilities(logits(seed), 1.0, min_p=min_p) > 0
    assert kept[share > min_p + 1e-5].all() and not kept[share < min_p - 1e-5].any()


@given(seeds)
@settings(deadline=None)
def test_temperature_zero_is_greedy(seed: int) -> None:
    given_logits, uniform = logits(seed), torch.rand(3, dtype=torch.float64)
    assert torch.equal(filter_probabilities(given_logits, 0.0).argmax(-1), given_logits.argmax(-1))
    assert filter_probabilities(given_logits, 0.0).amax(-1).tolist() == [1.0] * 3
    assert torch.equal(sample_first(given_logits, SamplingConfig(temperature=0), uniform), given_logits.argmax(-1))


def test_a_lower_temperature_is_surer() -> None:
    best = [filter_probabilities(logits(0), t).amax(-1) for t in (0.1, 0.5, 1.0, 3.0, 100.0)]
    assert all((a > b).all() for a, b in pairwise(best))
    assert (best[-1] < 1.3 / V).all()


@given(seeds, st.floats(0, 1, exclude_max=True))
@settings(deadline=None)
def test_draw_is_the_inverse_of_the_cumulative_distribution(seed: int, uniform: float) -> None:
    probabilities = filter_probabilities(logits(seed), 1.0, top_k=5)
    codes = draw_codes(probabilities, torch.full((3,), uniform, dtype=torch.float64))
    cumulative = probabilities.double().cumsum(-1)
    for row, code in enumerate(codes.tolist()):
        threshold = uniform * cumulative[row, -1]
        assert probabilities[row, code] > 0
        assert cumulative[row, code] > threshold
        assert code == 0 or cumulative[row, code - 1] <= threshold


@pytest.mark.parametrize("uniform", [0.0, 1.0 - 2**-53])
def test_the_ends_of_the_unit_interval_draw_the_outermost_possible_codes(uniform: float) -> None:
    probabilities = torch.tensor([[0.0, 0.25, 0.5, 0.25, 0.0]])
    assert draw_codes(probabilities, torch.tensor([uniform], dtype=torch.float64)).item() == (1 if uniform == 0 else 3)


def test_codes_come_as_often_as_they_are_likely() -> None:
    draws = 20_000
    probabilities = filter_probabilities(logits(7, rows=1), 1.0, top_p=0.9)
    uniform = draw_uniforms([torch.Generator().manual_seed(0)], draws)[0]
    counts = torch.bincount(draw_codes(probabilities.expand(draws, -1), uniform), minlength=V)
    spread = (probabilities[0] * (1 - probabilities[0]) / draws).sqrt()
    assert ((counts / draws - probabilities[0]).abs() <= 4 * spread).all()


def test_a_row_of_numbers_comes_from_its_own_generator() -> None:
    """Take i of n is the same as that take alone."""
    together = draw_uniforms([torch.Generator().manual_seed(seed) for seed in (1, 2, 3)], 50)
    for i, seed in enumerate((1, 2, 3)):
        assert torch.equal(together[i], draw_uniforms([torch.Generator().manual_seed(seed)], 50)[0])
    assert together.dtype == torch.float64 and together.min() >= 0 and together.max() < 1


def test_nar_codes_are_drawn_frame_by_frame() -> None:
    """Greedy at temperature 0; with a temperature, frame t of take i depends on its own logits and number alone."""
    given_logits = torch.stack([logits(seed, rows=4) for seed in range(3)])  # [takes, M, V]
    numbers = draw_uniforms([torch.Generator().manual_seed(seed) for seed in range(3)], 4)
    assert torch.equal(sample_fine(given_logits, SamplingConfig(nar_temperature=0), numbers), given_logits.argmax(-1))
    warm = SamplingConfig(nar_temperature=0.8)
    codes = sample_fine(given_logits, warm, numbers)
    assert codes.shape == (3, 4)
    for take in range(3):
        for t in range(4):
            alone = sample_fine(given_logits[take, t][None, None], warm, numbers[take, t][None, None])
            assert alone.item() == codes[take, t]


def test_ar_codes_pass_through_the_filters() -> None:
    given_logits = logits(11, rows=1).expand(400, -1)
    numbers = draw_uniforms([torch.Generator().manual_seed(0)], 400)[0]
    drawn = sample_first(given_logits, SamplingConfig(top_k=3, temperature=2.0), numbers)
    assert set(drawn.tolist()) == set(given_logits[0].topk(3).indices.tolist())
