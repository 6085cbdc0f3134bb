"""Decoded magnitudes are steadied: what is held, and not where a sound begins."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from audiolm_cli.codec.smoothing import smooth_columns

REACH, COLUMNS, BINS = 6, 60, 33


def trembling(deviation_db: float = 2.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Steady magnitudes [1, COLUMNS, BINS], and the same with a jitter."""
    generator = torch.Generator().manual_seed(seed)
    steady = torch.rand(1, 1, BINS, generator=generator).expand(1, COLUMNS, BINS) + 0.1
    jitter_db = deviation_db * torch.randn(1, COLUMNS, BINS, generator=generator)
    return steady, steady * 10 ** (jitter_db / 20)


def spread_db(magnitudes: Tensor) -> float:
    """Deviation over the columns, the mean of all bins."""
    return (20 * magnitudes.log10()).std(1).mean().item()


def test_what_is_held_trembles_less() -> None:
    steady, jittery = trembling(1.0)
    smooth = smooth_columns(jittery, REACH)
    assert spread_db(smooth) < spread_db(jittery) / 2
    assert (smooth / steady).log().abs().mean() < (jittery / steady).log().abs().mean() / 2


def test_an_onset_stays_where_it_is() -> None:
    """Twenty decibels from one column to the next, to within half a decibel; energy before it does not rise."""
    magnitudes = trembling(0.0)[0].clone()
    magnitudes[:, 30:] *= 10.0
    smooth = smooth_columns(magnitudes, REACH)
    assert (20 * (smooth / magnitudes).log10()).abs().max() < 0.5
    steps_db = 20 * (smooth[:, 1:] / smooth[:, :-1]).log10().mean(-1)[0]
    assert int(steps_db.argmax()) == 29 and steps_db.max() > 19


def test_the_whole_is_as_loud_as_before() -> None:
    _, jittery = trembling(3.0)
    was, now = (own.square().sum().item() for own in (jittery, smooth_columns(jittery, REACH)))
    assert abs(10 * math.log10(now / was)) < 0.05


def test_steady_magnitudes_and_silence_stay() -> None:
    steady, _ = trembling()
    torch.testing.assert_close(smooth_columns(steady, REACH), steady)
    assert torch.equal(smooth_columns(torch.zeros(1, COLUMNS, BINS), REACH), torch.zeros(1, COLUMNS, BINS))
    for columns in (1, 2, REACH, REACH + 2):
        assert smooth_columns(steady[:, :columns], REACH).shape == (1, columns, BINS)


def test_nothing_counts_beyond_its_reach() -> None:
    """A column changes only what is within the reach, and the same as in a part of the recording."""
    _, jittery = trembling()
    other = jittery.clone()
    other[:, 20] *= 1.1
    moved = (smooth_columns(other, REACH) != smooth_columns(jittery, REACH)).any(-1)[0].nonzero()[:, 0]
    assert moved.min() == 20 - REACH and moved.max() == 20 + REACH

    part = smooth_columns(jittery[:, 10:50], REACH)
    torch.testing.assert_close(part[:, REACH:-REACH], smooth_columns(jittery, REACH)[:, 10 + REACH : 50 - REACH])


def test_items_of_a_batch_do_not_touch_each_other() -> None:
    both = torch.cat([trembling(seed=seed)[1] for seed in (0, 1)])
    alone = torch.cat([smooth_columns(one[None], REACH) for one in both])
    torch.testing.assert_close(smooth_columns(both, REACH), alone)
