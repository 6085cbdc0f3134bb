"""Two samples of one distribution are at no distance, whatever is alike within groups."""

from __future__ import annotations

import numpy as np
import pytest
from figures import ends

from audiolm_cli.evaluation.discrepancy import Discrepancy, Kernel, compare_halves, halve

GROUPS = 30


def sample(seed: int, shift: float = 0.0, each: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, (GROUPS * each, 4))


def estimate(a: np.ndarray, b: np.ndarray, groups: np.ndarray | None = None, other: np.ndarray | None = None) -> float:
    own = np.arange(len(a)) if groups is None else groups
    apart = Discrepancy(Kernel(a), a, own, b, own if other is None else other)
    return apart.estimate(np.ones(1 + int(own.max() if other is None else max(own.max(), other.max()))))


def test_one_distribution_is_at_zero_and_two_are_not() -> None:
    """Without bias: the mean of many estimates is 0, and about half of them are below."""
    same = np.array([estimate(sample(seed), sample(1000 + seed)) for seed in range(200)])
    assert abs(same.mean()) < 3 * same.std() / np.sqrt(len(same))
    assert 0.3 < (same < 0).mean() < 0.8
    apart = np.array([estimate(sample(seed), sample(1000 + seed, shift=0.7)) for seed in range(20)])
    assert apart.min() > same.max()


def test_the_estimate_is_that_of_the_kernel() -> None:
    """Mean likeness within a, and within b, less twice the one across; never of a pair of one group."""
    a, b = sample(1)[:3], sample(2)[:3]
    kernel = Kernel(a)
    off = ~np.eye(3, dtype=bool)
    expected = kernel(a, a)[off].mean() + kernel(b, b)[off].mean() - 2 * kernel(a, b)[off].mean()
    apart = Discrepancy(kernel, a, np.arange(3), b, np.arange(3))
    assert apart.estimate(np.ones(3)) == pytest.approx(expected, abs=1e-9)
    first_two = np.array([1, 1, 0])
    pairs = kernel(a, a)[0, 1] + kernel(b, b)[0, 1] - kernel(a, b)[0, 1] - kernel(a, b)[1, 0]
    assert apart.estimate(first_two) == pytest.approx(pairs, abs=1e-9)


def test_the_kernel_is_as_wide_as_the_median_distance() -> None:
    """A point is wholly like itself; one at the median distance is at exp(-1/2); scale and place make no difference."""
    line = np.array([[0.0], [1.0], [3.0]])
    kernel = Kernel(line)
    assert np.diag(kernel(line, line)) == pytest.approx(1)
    assert kernel(line[1:2], line[2:3])[0, 0] == pytest.approx(np.exp(-0.5))  # of 1, 2 and 3
    assert Kernel(5 + 10 * line)(5 + 10 * line, 5 + 10 * line) == pytest.approx(kernel(line, line), abs=1e-6)
    assert np.isfinite(Kernel(np.zeros((4, 2)))(np.zeros((4, 2)), np.ones((4, 2)))).all()


def test_what_is_alike_within_groups_makes_no_distance() -> None:
    """Three near copies of each of 30 points, against three of each of 30 others: as far as single points are."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(GROUPS), 3)
        a, b = (np.repeat(sample(seed + at), 3, 0) + 0.01 * rng.normal(size=(3 * GROUPS, 4)) for at in (0, 1000))
        found.append(estimate(a, b, groups, GROUPS + groups))
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))


def test_it_grows_with_what_differs() -> None:
    """A shift of a tenth of a deviation hardly shows, each larger one more, up to wholly other features."""
    found = [estimate(sample(1), sample(2, shift=shift)) for shift in (0.1, 0.5, 1.0, 2.0, 8.0)]
    assert found == sorted(found) and abs(found[0]) < 0.1 and found[-1] > 1


def test_a_set_beside_itself_says_what_two_halves_say() -> None:
    """With weights of one half in a and of the other in b, it is what the halves alone make of it."""
    features, groups = sample(5, each=3), np.repeat(np.arange(GROUPS), 3)
    kernel = Kernel(features)
    whole = Discrepancy(kernel, features, groups, features, groups)
    found = []
    for half in halve(GROUPS):
        a, b = half[groups], ~half[groups]
        alone = Discrepancy(kernel, features[a], groups[a], features[b], groups[b]).estimate(np.ones(GROUPS))
        assert whole.estimate(half.astype(int), (~half).astype(int)) == pytest.approx(alone, abs=1e-9)
        found.append(alone)
    figure = compare_halves(kernel, features, groups, GROUPS)
    assert figure.value == pytest.approx(np.mean(found)) and figure[1:] == pytest.approx(
        np.quantile(found, [0.025, 0.975])
    )
    assert ends(figure)[0] < 0 < ends(figure)[1] and abs(figure.value) < 0.02


def test_halves_are_halves() -> None:
    ways = halve(9, ways=12)
    assert len(ways) == 12 and {int(way.sum()) for way in ways} == {5} and len({way.tobytes() for way in ways}) > 6
