"""Intervals are those of theory, recordings are drawn and not clips, and one recording has none."""

from __future__ import annotations

import numpy as np
import pytest
from figures import ends, width

from audiolm_cli.evaluation.intervals import Figure, Groups


def test_an_interval_of_a_mean() -> None:
    """It is 1.96 deviations over the root of the number wide on each side, and the same again with one seed."""
    values = np.random.default_rng(3).normal(5, 2, 400)
    names = [str(clip) for clip in range(400)]
    figure = Groups(names).mean(values)
    assert figure.value == pytest.approx(values.mean())
    error = values.std() / 20
    low, high = ends(figure)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)
    assert Groups(names).mean(values) == figure != Groups(names, seed=1).mean(values)


def test_it_holds_the_truth_as_often_as_it_says() -> None:
    """In about 95 of 100 samples."""
    names = [str(clip) for clip in range(60)]
    hits = 0
    for seed in range(200):
        low, high = ends(Groups(names, seed).mean(np.random.default_rng(seed).normal(1.0, 3.0, 60)))
        hits += low <= 1.0 <= high
    assert 178 <= hits <= 198


def test_recordings_are_drawn_not_clips() -> None:
    """Ten copies of each clip make no figure surer."""
    values = np.random.default_rng(0).normal(size=30)
    once = Groups([str(clip) for clip in range(30)]).mean(values)
    copied = Groups([str(clip) for clip in np.repeat(np.arange(30), 10)]).mean(np.repeat(values, 10))
    alone = Groups([str(clip) for clip in range(300)]).mean(np.repeat(values, 10))
    assert width(copied) == pytest.approx(width(once), rel=0.15)
    assert width(alone) < 0.5 * width(once)


def test_ratios_and_medians() -> None:
    """A ratio is that of the sums, a median that of the values; both within their intervals."""
    groups = Groups(["a", "a", "b", "c", "c"])
    ratio = groups.ratio([1, 2, 3, 4, 5], [2, 2, 2, 2, 2])
    assert ratio.value == pytest.approx(1.5) and ends(ratio)[0] < 1.5 < ends(ratio)[1]
    assert groups.ratio([0, 0, 0, 0, 0], [0, 0, 0, 0, 0]) == (0, 0, 0)
    values = np.random.default_rng(1).normal(size=101)
    median = Groups([str(clip) for clip in range(101)]).median(values)
    assert median.value == np.median(values) and ends(median)[0] < median.value < ends(median)[1]
    assert width(median) == pytest.approx(2 * 1.96 * 1.2533 / np.sqrt(101), rel=0.35)


def test_one_recording_says_nothing_of_others() -> None:
    assert Groups(["a", "a"]).mean([1.0, 2.0]) == Figure(1.5, None, None)
    assert Groups(["a", "a"]).median([1.0, 2.0]) == Figure(1.5, None, None)
