"""How far a mean may be off, for the tables of benchmarks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, level: float = 0.95, seed: int = 0, resamples: int = 2000
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron 1979).

    Args:
        values: one figure per independent item, such as one per file.
        level: share of the resampled means inside the interval, between 0 and 1.
        seed: of the resampling.
        resamples: how often the items are drawn again with replacement.

    Returns:
        (low, high).
    """
    items = np.asarray(values, dtype=np.float64)
    assert items.ndim == 1 and len(items) and 0 < level < 1, (items.shape, level)
    rng = np.random.default_rng(seed)
    means = [items[rng.integers(0, len(items), len(items))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
