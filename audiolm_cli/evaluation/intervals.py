"""How sure figures over clips are: bootstrap intervals, for which recordings are drawn again, not clips.

Knows nothing about what the figures are of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

DRAWS = 1000
"""Resamples of a bootstrap (Efron 1979)."""
INTERVAL = (0.025, 0.975)
"""Quantiles that an interval is between."""


class Figure(NamedTuple):
    """A figure, and the ends of its interval of 95 %."""

    value: float
    low: float | None
    """None where all clips are of one recording, which says nothing about others."""
    high: float | None


class Groups:
    """Clips by the recording (or the piece) that they are of, so that figures can be had of recordings drawn again.

    Clips of one recording are alike: drawn one by one, they would make every figure look surer than it is.
    """

    def __init__(self, names: Sequence[str], seed: int = 0) -> None:
        """Of each clip, the name of its recording; `seed` is that of the drawing."""
        self.names, self.of = np.unique(names, return_inverse=True)
        """Names of the recordings, and the number of each clip's recording [clips]."""
        self._seed = seed

    def __len__(self) -> int:
        """How many recordings there are."""
        return len(self.names)

    @cached_property
    def _drawn(self) -> np.ndarray:
        """How often each recording comes in each of the resamples, int [DRAWS, recordings]."""
        drawn = np.random.default_rng(self._seed).integers(len(self), size=(DRAWS, len(self)))
        return np.stack([np.bincount(each, minlength=len(self)) for each in drawn])

    def mean(self, values: Sequence[float] | np.ndarray) -> Figure:
        """Mean of values [clips]."""
        return self.ratio(values, np.ones(len(values)))

    def ratio(self, above: Sequence[float] | np.ndarray, below: Sequence[float] | np.ndarray) -> Figure:
        """Sum of values [clips] over the sum of others [clips]."""
        sums = [np.bincount(self.of, np.asarray(each, dtype=float), minlength=len(self)) for each in (above, below)]
        return self.bootstrap(lambda weights: float(weights @ sums[0]) / max(float(weights @ sums[1]), 1e-9))

    def median(self, values: Sequence[float] | np.ndarray) -> Figure:
        """Median of values [clips]."""
        array = np.asarray(values, dtype=float)
        return self.bootstrap(lambda weights: float(np.median(np.repeat(array, weights[self.of]))))

    def bootstrap(self, figure: Callable[[np.ndarray], float]) -> Figure:
        """A figure of how often each recording comes, int [recordings]."""
        value = figure(np.ones(len(self), dtype=int))
        if len(self) == 1:
            return Figure(value, None, None)
        low, high = np.quantile([figure(weights) for weights in self._drawn], INTERVAL)
        return Figure(value, float(low), float(high))
