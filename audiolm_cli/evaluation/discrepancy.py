"""How far two sets of features are from being of one distribution: the maximum mean discrepancy, without bias.

Knows nothing about what the features are of.
"""

from __future__ import annotations

import numpy as np

from audiolm_cli.evaluation.intervals import INTERVAL, Figure

WAYS = 40
"""Ways of halving one set, for what chance makes of a measure."""


class Kernel:
    """The kernel of KAD (Chung et al. 2025, arXiv 2502.15602): Gaussian, as wide as the median distance in a reference.

    Features are scaled by mean and deviation of the reference first.
    """

    def __init__(self, reference: np.ndarray) -> None:
        """Fit to the reference, float [n, D]."""
        self.mean, self.deviation = reference.mean(0), reference.std(0) + 1e-6
        distances = np.sqrt(self._square_distances(reference, reference))
        self.width = max(float(np.median(distances[~np.eye(len(reference), dtype=bool)])), 1e-6)

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Likeness [n, m], 0 to 1, of features [n, D] and [m, D]."""
        return np.exp(-self._square_distances(a, b) / (2 * self.width**2))

    def _square_distances(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a, b = ((x - self.mean) / self.deviation for x in (a, b))
        squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
        return squares.clip(min=0)


class Discrepancy:
    """Squared maximum mean discrepancy of two sets of features, without bias (Gretton et al. 2012, lemma 6).

    Pairs of one group are not counted, within a set or across the two: excerpts of one piece are alike for another
    reason, and so are a continuation and the true one. What is left is 0 on average where both sets are of one
    distribution, and below 0 as often as above.
    """

    def __init__(
        self, kernel: Kernel, a: np.ndarray, a_groups: np.ndarray, b: np.ndarray, b_groups: np.ndarray
    ) -> None:
        """Compare features a [n, D] with b [m, D], of groups 0, 1, ... [n] and [m]."""
        count = int(max(a_groups.max(), b_groups.max())) + 1
        x, y = (np.eye(count)[groups] for groups in (a_groups, b_groups))  # [n, groups]: which is of which
        self._sums: list[np.ndarray] = []
        self._pairs: list[np.ndarray] = []
        for u, v, p, q in ((a, a, x, x), (b, b, y, y), (a, b, x, y)):
            for kept, values in ((self._sums, p.T @ kernel(u, v) @ q), (self._pairs, np.outer(p.sum(0), q.sum(0)))):
                np.fill_diagonal(values, 0)
                kept.append(values)

    def estimate(self, weights: np.ndarray, b_weights: np.ndarray | None = None) -> float:
        """The estimate where each group comes so many times, `weights` [groups]; in b, `b_weights` if given."""
        a, b = weights, weights if b_weights is None else b_weights
        within_a, within_b, across = (
            (u @ sums @ v) / max(u @ pairs @ v, 1e-9)
            for u, v, sums, pairs in zip((a, b, a), (a, b, b), self._sums, self._pairs, strict=True)
        )
        return float(within_a + within_b - 2 * across)


def compare_halves(kernel: Kernel, features: np.ndarray, groups: np.ndarray, count: int) -> Figure:
    """The discrepancy of two halves of one set, features [n, D] of groups [n]: what no difference looks like.

    Returns:
        The mean over ways of halving the `count` groups, and the quantiles of INTERVAL.
    """
    apart = Discrepancy(kernel, features, groups, features, groups)
    found = [apart.estimate(half.astype(int), (~half).astype(int)) for half in halve(count)]
    low, high = np.quantile(found, INTERVAL)
    return Figure(float(np.mean(found)), float(low), float(high))


def halve(groups: int, ways: int = WAYS) -> list[np.ndarray]:
    """Ways of drawing one half of some groups, bool [groups] each: what chance makes of a measure shows between them
    and the rest."""
    return [np.random.default_rng(seed).permutation(groups) % 2 == 0 for seed in range(ways)]
