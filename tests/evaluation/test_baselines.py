"""Token baselines on sources of known entropy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from audiolm_cli.errors import DataError
from audiolm_cli.evaluation import baselines
from audiolm_cli.evaluation.baselines import (
    BaselineResult,
    bigram,
    measure_baselines,
    ngram_backoff,
    repeat_last,
    uniform,
    unigram,
)

V = 32


def entropy(p: np.ndarray) -> float:
    """Bits of a distribution."""
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


def skewed(rng: np.random.Generator, size: int = V) -> np.ndarray:
    """A distribution far from uniform."""
    return rng.dirichlet(np.full(size, 0.3))


def independent(rng: np.random.Generator, p: np.ndarray, clips: int, frames: int, K: int = 2) -> list[np.ndarray]:
    """Clips [T, K] of independent codes."""
    return [rng.choice(len(p), size=(frames, K), p=p) for _ in range(clips)]


def chain(rng: np.random.Generator, rows: np.ndarray, clips: int, frames: int) -> list[np.ndarray]:
    """Clips [T, 2] of a Markov chain in codebook 1, and codebook 2 a fixed function of it."""
    cumulative, found = rows.cumsum(1), []
    for _ in range(clips):
        draws, codes = rng.random(frames), np.zeros((frames, 2), np.int64)
        for t in range(1, frames):
            codes[t, 0] = min(np.searchsorted(cumulative[codes[t - 1, 0]], draws[t]), len(rows) - 1)
        codes[:, 1] = (codes[:, 0] * 5 + 3) % len(rows)
        found.append(codes)
    return found


def stationary(rows: np.ndarray) -> np.ndarray:
    """The distribution that a chain settles to."""
    return np.linalg.matrix_power(rows, 500)[0]


def test_uniform_is_log2_of_the_codebook() -> None:
    """And a blind guess hits 1 and 10 of V codes; of fewer than ten codes, all."""
    test = [np.zeros((50, 4), np.int16)]
    result = uniform(test, test, 2048)
    assert result.bits == [11.0] * 4
    assert result.total_bits == 44
    assert result.top1[0] == pytest.approx(1 / 2048)
    assert result.top10[0] == pytest.approx(10 / 2048)
    assert uniform(test, test, 4).top10 == [1.0] * 4


def test_unigram_bits_are_the_entropy_of_independent_codes() -> None:
    """For unseen clips of the same source; the likeliest codes are the most frequent ones."""
    rng = np.random.default_rng(0)
    p = skewed(rng)
    result = unigram(independent(rng, p, 20, 2000), independent(rng, p, 5, 2000), V)
    assert result.bits == pytest.approx([entropy(p)] * 2, rel=0.02)
    assert result.top1 == pytest.approx([p.max()] * 2, abs=0.02)
    assert result.top10 == pytest.approx([np.sort(p)[-10:].sum()] * 2, abs=0.02)


def test_no_order_gains_on_independent_codes() -> None:
    """Contexts that tell nothing are weighted away: all stay within 2 % of the entropy."""
    rng = np.random.default_rng(1)
    p = skewed(rng)
    for result in measure_baselines(independent(rng, p, 20, 2000), independent(rng, p, 5, 2000), V)[1:]:
        assert result.bits == pytest.approx([entropy(p)] * len(result.bits), rel=0.02), result.name


def test_bigram_bits_are_the_entropy_rate_of_a_chain() -> None:
    """Codebook 1 from its last frame, codebook 2 from codebook 1; orders above find no more."""
    rng = np.random.default_rng(2)
    rows = np.stack([skewed(rng) for _ in range(V)])
    settled = stationary(rows)
    rate = float(settled @ [entropy(row) for row in rows])
    train, test = chain(rng, rows, 40, 2000), chain(rng, rows, 5, 2000)
    result = bigram(train, test, V)
    assert result.bits[0] == pytest.approx(rate, rel=0.03)
    assert result.bits[1] < 0.01
    assert result.top1[0] == pytest.approx(settled @ rows.max(1), abs=0.02)
    assert result.top1[1] > 0.999
    assert ngram_backoff(train, test, V).bits[0] == pytest.approx(rate, rel=0.05)
    assert ngram_backoff(train, test, V, order=2).bits[0] == pytest.approx(result.bits[0])
    assert ngram_backoff(train, test, V, order=1).bits[0] == pytest.approx(unigram(train, test, V).bits[0])
    assert unigram(train, test, V).bits[0] == pytest.approx(entropy(settled), rel=0.03)


def test_five_codes_of_context_see_what_two_cannot() -> None:
    """A code that is the sum of the last and the fourth last one is certain for a 5-gram only."""
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 8, 30000)
    for t in range(4, len(codes)):
        if t % 3:
            codes[t] = (codes[t - 1] + codes[t - 4]) % 8
    clips = [part[:, None] for part in np.split(codes, 30)]
    train, test = clips[:25], clips[25:]
    assert bigram(train, test, 8).bits[0] == pytest.approx(3, abs=0.05)
    assert ngram_backoff(train, test, 8).bits[0] < 2.5


@pytest.mark.parametrize("clips", [64, 65, 66, 67, 68, 69, 70])
def test_counts_just_over_a_power_of_two_keep_their_weight(clips: int) -> None:
    """The counts that weights are fitted with may fall short of a power of two that the final counts reach."""
    train = [np.arange(V)[:, None]] * clips  # every context is seen `clips` times, about 58 to 63 of them in the fit
    assert bigram(train, train[:1], V).bits[0] < 0.3


def test_repeat_last_finds_the_share_of_repeats() -> None:
    """Codes held with probability w, else drawn anew: the bits are those of that mixture."""
    rng = np.random.default_rng(4)
    w = 0.7
    rows = w * np.eye(V) + (1 - w) / V
    train, test = chain(rng, rows, 30, 2000), chain(rng, rows, 10, 2000)
    result = repeat_last(train, test, V)
    assert result.bits[0] == pytest.approx(entropy(rows[0]), rel=0.03)
    assert result.top1[0] == pytest.approx(rows[0, 0], abs=0.02)
    assert result.bits[0] < unigram(train, test, V).bits[0] - 1


def test_unseen_codes_cost_finite_bits() -> None:
    """Codes and contexts that training never showed, on tiny training sets; a clip of one frame; int16 codes."""
    train = [np.full((30, 2), 3, np.int16)]
    test = [np.array([[7, 9], [3, 7], [9, 3]], np.int16), np.array([[31, 0]], np.int16)]
    for clips in (train, [train[0][:1]], train * 2):
        for result in measure_baselines(clips, test, V):
            assert all(math.isfinite(bits) and bits > 0 for bits in result.bits), result.name
            assert all(0 <= share <= 1 for share in result.top1 + result.top10), result.name


def test_counting_in_a_table_and_by_sorting_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    train, test = independent(rng, skewed(rng), 12, 200), independent(rng, np.full(V, 1 / V), 2, 300)
    in_a_table = measure_baselines(train, test, V)
    monkeypatch.setattr(baselines, "DENSE", 0)
    assert measure_baselines(train, test, V) == in_a_table


def test_held_out_codes_fit_nothing() -> None:
    """The figure of two clips together is the mean of their figures apart, so neither changed the fit."""
    rng = np.random.default_rng(5)
    p = skewed(rng)
    train = independent(rng, p, 12, 200)
    odd, even = independent(rng, np.full(V, 1 / V), 1, 300), independent(rng, p, 1, 300)
    for together, one, two in zip(
        *(measure_baselines(train, test, V) for test in (odd + even, odd, even)), strict=True
    ):
        for name in ("bits", "top1", "top10"):
            mean = (np.array(getattr(one, name)) + np.array(getattr(two, name))) / 2
            assert getattr(together, name) == pytest.approx(mean.tolist()), (together.name, name)


def test_a_result_is_json_ready() -> None:
    """With the total beside the lists; the names are those that reports show."""
    result = BaselineResult(name="unigram", bits=[1.0, 2.5], top1=[0.5, 0.1], top10=[0.9, 0.4])
    assert result.to_dict() == {
        "name": "unigram",
        "bits": [1.0, 2.5],
        "top1": [0.5, 0.1],
        "top10": [0.9, 0.4],
        "total_bits": 3.5,
    }
    clips = independent(np.random.default_rng(6), np.full(V, 1 / V), 2, 20)
    names = [result.name for result in measure_baselines(clips, clips, V)]
    assert names == ["uniform", "unigram", "repeat-last", "bigram", "5-gram"]


@pytest.mark.parametrize(("clips", "told"), [([], "at least one clip"), ([np.full((3, 2), V)], "codes 0..31")])
def test_unusable_codes_are_an_error(clips: list[np.ndarray], told: str) -> None:
    """No frames, or codes of a larger codebook, in either set."""
    good = [np.zeros((5, 2), np.int64)]
    with pytest.raises(DataError, match=told):
        unigram(clips, good, V)
    with pytest.raises(DataError, match=told):
        unigram(good, clips, V)
