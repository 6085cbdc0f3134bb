"""How well codes are predicted without a network: uniform, unigram, bigram, repeat-last and n-gram baselines.

Every baseline is fitted on training clips and measured on held-out clips, each an integer array [T, K]; all frames
of the held-out clips count, the first ones with the shorter context they have. Orders are interpolated (Jelinek and
Mercer 1980): P(c | h) = w P_ml(c | h) + (1 - w) P(c | shorter h), down to the uniform distribution, so that every
probability is above zero. The weights w, one for each power of two of the count of h, are fitted by expectation
maximisation on every tenth *training* clip with the counts of the others; then the counts are taken from all training
clips. The held-out clips are never used to fit anything.

Knows nothing about audio, codecs or networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from audiolm_cli.errors import DataError

FIT_EVERY = 10
"""One training clip in this many fits the interpolation weights."""
EM_STEPS = 50
CHUNK = 512
"""Rows of V probabilities held at once while scoring."""
DENSE = 1 << 24
"""Up to so many possible keys are counted in a table of them all, which is several times faster than sorting."""
MISSING = -1
"""Context code before the start of a clip."""

Clips = Sequence[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class BaselineResult:
    """Means over all held-out frames; one entry per codebook that the baseline predicts."""

    name: str
    """Which baseline."""
    bits: list[float]
    """Cross-entropy in bits per frame."""
    top1: list[float]
    """Share of frames whose code is the most likely one; codes of equal probability share their places."""
    top10: list[float]
    """Share of frames whose code is among the ten most likely."""

    @property
    def total_bits(self) -> float:
        """Bits per frame over the codebooks listed."""
        return sum(self.bits)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {**asdict(self), "total_bits": self.total_bits}


@dataclass(frozen=True)
class _Samples:
    """What is predicted from what: contexts int64 [M, n], nearest code first, and targets int64 [M]."""

    contexts: np.ndarray
    targets: np.ndarray

    def keys(self, columns: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """One integer for the first `columns` context codes of each row, and whether all of them are there."""
        used = self.contexts[:, :columns]
        return used @ size ** np.arange(columns, dtype=np.int64), (used != MISSING).all(1)

    def distinct(self, size: int) -> tuple[_Samples, np.ndarray]:
        """Each row once, and how often it is there."""
        columns = self.contexts.shape[1]
        assert (size + 1) ** (columns + 1) < 2**63, "rows do not fit in an integer"
        keys = (self.contexts - MISSING) @ (size + 1) ** np.arange(1, columns + 1, dtype=np.int64) + self.targets

        _, first, times = np.unique(keys, return_index=True, return_counts=True)
        return _Samples(self.contexts[first], self.targets[first]), times

    def part(self, start: int, stop: int) -> _Samples:
        """Rows [start, stop)."""
        return _Samples(self.contexts[start:stop], self.targets[start:stop])


@dataclass(frozen=True)
class _Split:
    """The training samples, those that fit the weights, and those whose counts are used for it."""

    train: _Samples
    fit: _Samples
    rest: _Samples

    @classmethod
    def of(cls, train: list[np.ndarray], samples: Callable[[Clips], _Samples]) -> _Split:
        """Every tenth clip fits the weights; of a single clip, its last tenth."""
        fit, rest = train[::FIT_EVERY], [clip for i, clip in enumerate(train) if i % FIT_EVERY]
        if not rest:
            cut = math.ceil(len(train[0]) * (1 - 1 / FIT_EVERY))
            fit, rest = [train[0][cut:]], [train[0][:cut]]
        return cls(samples(train), samples(fit), samples(rest))


def _predict_from_previous(clips: Clips, k: int, frames: int) -> _Samples:
    """Codebook k, to be predicted from its own last `frames` frames."""
    contexts, targets = [], []
    for clip in clips:
        codes = clip[:, k].astype(np.int64)  # [T]
        padded = np.concatenate([np.full(frames, MISSING), codes])
        windows = np.lib.stride_tricks.sliding_window_view(padded, frames)[: len(codes)] if frames else codes[:, None]

        contexts.append(windows[:, :frames][:, ::-1])
        targets.append(codes)
    return _Samples(np.concatenate(contexts), np.concatenate(targets))


def _predict_from_below(clips: Clips, k: int) -> _Samples:
    """Codebook k, to be predicted from codebook k - 1 of the same frame."""
    codes = np.concatenate([clip[:, k - 1 : k + 1] for clip in clips]).astype(np.int64)  # [frames, 2]
    return _Samples(codes[:, :1], codes[:, 1])


def _bucket(totals: np.ndarray) -> np.ndarray:
    """Index of the weight for a context seen this often: its power of two."""
    return np.log2(np.maximum(totals, 1)).astype(np.int64)


def _count_keys(keys: np.ndarray, possible: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct keys of 0..possible - 1, sorted, and how often each occurs."""
    if possible > DENSE:
        return np.unique(keys, return_counts=True)

    counts = np.bincount(keys)
    found = np.flatnonzero(counts)
    return found, counts[found]


def _fit_weights(buckets: np.ndarray, high: np.ndarray, low: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Weights [64] of `high` over `low` that make held-out codes most likely, per bucket.

    Row i counts `times[i]` times.
    Expectation maximisation with half a code added to each side, so that a weight is never 0 or 1. Buckets without data
    lie between their neighbours that have some (the final counts are higher than those fitted with); 0.5 if none has.
    """
    frames = np.bincount(buckets, times, 64)
    weights = np.full(64, 0.5)
    for _ in range(EM_STEPS):
        mixed = weights[buckets]
        credit = times * mixed * high / (mixed * high + (1 - mixed) * low)
        weights = (np.bincount(buckets, credit, 64) + 0.5) / (frames + 1)

    fitted = np.flatnonzero(frames)
    return np.interp(np.arange(64), fitted, weights[fitted]) if len(fitted) else weights


class _Order:
    """Counts of codes after contexts of `columns` codes: sorted contexts, and the codes of each in one flat list."""

    def __init__(self, samples: _Samples, columns: int, size: int) -> None:
        self.columns, self.size = columns, size
        contexts, whole = samples.keys(columns, size)
        keys = contexts[whole] * size + samples.targets[whole]
        self.keys, self.counts = _count_keys(keys, size ** (columns + 1))
        self.contexts, first = np.unique(self.keys // size, return_index=True)
        self.starts = np.append(first, len(self.keys))
        self.totals = np.add.reduceat(self.counts, first) if len(first) else np.zeros(0, np.int64)

    def find(self, samples: _Samples) -> tuple[np.ndarray, np.ndarray]:
        """Index of each row's context, and whether it was ever seen."""
        contexts, whole = samples.keys(self.columns, self.size)
        if not len(self.contexts):
            return np.zeros(len(contexts), np.int64), np.zeros(len(contexts), bool)

        rows = np.searchsorted(self.contexts, contexts).clip(max=len(self.contexts) - 1)
        return rows, whole & (self.contexts[rows] == contexts)

    def likelihood(self, samples: _Samples, rows: np.ndarray) -> np.ndarray:
        """Relative frequency of each row's target after its (seen) context `rows`."""
        wanted = self.contexts[rows] * self.size + samples.targets
        places = np.searchsorted(self.keys, wanted).clip(max=len(self.keys) - 1)
        return np.where(self.keys[places] == wanted, self.counts[places], 0) / self.totals[rows]


class _Interpolated:
    """P(code | context), interpolated from the full context down to the uniform distribution."""

    def __init__(self, split: _Split, size: int) -> None:
        (fit, times), columns = split.fit.distinct(size), split.train.contexts.shape[1]
        assert size ** (columns + 1) < 2**62, "contexts do not fit in an integer"
        self.size = size

        # The weights, from the shortest context on: each mixes an order into what the shorter ones make likely.
        self.weights: list[np.ndarray] = []
        likely = np.full(len(fit.targets), 1 / size)
        for order in (_Order(split.rest, n, size) for n in range(columns + 1)):
            rows, seen = order.find(fit)
            known = _Samples(fit.contexts[seen], fit.targets[seen])
            high, buckets = order.likelihood(known, rows[seen]), _bucket(order.totals[rows[seen]])
            weights = _fit_weights(buckets, high, likely[seen], times[seen])
            likely[seen] = weights[buckets] * high + (1 - weights[buckets]) * likely[seen]
            self.weights.append(weights)

        # The counts of all training clips, and what they say without a context.
        self.orders = [_Order(split.train, n, size) for n in range(columns + 1)]
        unigram = self.orders[0]
        weight = self.weights[0][_bucket(unigram.totals)[0]]
        self.base = np.full(size, (1 - weight) / size)  # [V]
        self.base[unigram.keys] += weight * unigram.counts / unigram.totals[0]

    def probabilities(self, samples: _Samples) -> np.ndarray:
        """P of every code [M, V]; the rows' targets are not looked at."""
        p = np.tile(self.base, (len(samples.targets), 1))
        for order, weights in zip(self.orders[1:], self.weights[1:], strict=True):
            rows, seen = order.find(samples)
            into, rows = np.flatnonzero(seen), rows[seen]
            weight = weights[_bucket(order.totals[rows])]
            p[into] *= 1 - weight[:, None]

            # The flat list's entries of every row's context, one after the other.
            lengths = order.starts[rows + 1] - order.starts[rows]
            offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            entries = np.repeat(order.starts[rows], lengths) + offsets
            share = np.repeat(weight / order.totals[rows], lengths) * order.counts[entries]
            p[np.repeat(into, lengths), order.keys[entries] % self.size] += share
        return p


class _RepeatLast:
    """w [code is the previous one] + (1 - w) unigram."""

    def __init__(self, split: _Split, size: int) -> None:
        self.size = size
        train, fit, rest = (_Samples(s.contexts[:, :0], s.targets) for s in (split.train, split.fit, split.rest))
        self.base = _Interpolated(_Split(train, fit, rest), size).base
        base = _Interpolated(_Split(rest, fit, rest), size).base  # without the codes that fit the weight

        fit = split.fit
        has = fit.contexts[:, 0] != MISSING
        same = (fit.contexts[has, 0] == fit.targets[has]).astype(np.float64)
        low, nothing = base[fit.targets[has]], np.zeros(len(same), np.int64)
        self.weight = float(_fit_weights(nothing, same, low, np.ones(len(same)))[0])

    def probabilities(self, samples: _Samples) -> np.ndarray:
        """P of every code [M, V]; the rows' targets are not looked at."""
        p = np.tile(self.base, (len(samples.targets), 1))
        into = np.flatnonzero(samples.contexts[:, 0] != MISSING)
        p[into] *= 1 - self.weight
        p[into, samples.contexts[into, 0]] += self.weight
        return p


def _score(model: _Interpolated | _RepeatLast, samples: _Samples) -> tuple[float, float, float]:
    """Bits per frame, top-1 and top-10 share; equal rows are scored once."""
    distinct, repeats = samples.distinct(model.size)
    sums = np.zeros(3)
    for start in range(0, len(repeats), CHUNK):
        part, times = distinct.part(start, start + CHUNK), repeats[start : start + CHUNK]
        p = model.probabilities(part)
        true = p[np.arange(len(p)), part.targets][:, None]  # [rows, 1]

        # Codes of equal probability share their places.
        above, equal = (p > true).sum(1), (p == true).sum(1)
        hits = [((n - above) / equal).clip(0, 1) for n in (1, 10)]
        sums += [(times * values).sum() for values in (-np.log2(true[:, 0]), *hits)]
    bits, top1, top10 = sums / len(samples.targets)
    return float(bits), float(top1), float(top10)


def _score_codebooks(name: str, pairs: Iterable[tuple[_Interpolated | _RepeatLast, _Samples]]) -> BaselineResult:
    """The result of one model and its held-out samples per codebook."""
    bits, top1, top10 = (list(column) for column in zip(*(_score(*pair) for pair in pairs), strict=True))
    return BaselineResult(name=name, bits=bits, top1=top1, top10=top10)


def _check_clips(clips: Clips, codebook_size: int, what: str) -> list[np.ndarray]:
    """The clips that hold frames.

    Raises:
        DataError: there is none, or a code is not one of the codebook's.
    """
    kept = [np.asarray(clip) for clip in clips if len(clip)]
    if not kept:
        raise DataError(f"no {what} codes: baselines need at least one clip with one frame")

    low, high = min(int(clip.min()) for clip in kept), max(int(clip.max()) for clip in kept)
    if low < 0 or high >= codebook_size:
        raise DataError(f"{what} codes reach from {low} to {high}, but a codebook has codes 0..{codebook_size - 1}")
    return kept


def uniform(train: Clips, test: Clips, codebook_size: int) -> BaselineResult:
    """Every code equally likely: log2 V bits; the expected shares of a blind guess. Nothing is fitted.

    Args:
        train: integer arrays [T, K].
        test: integer arrays [T, K] that are not in `train`.
        codebook_size: V; codes are 0..V-1.

    Raises:
        DataError: no frames, or codes outside the codebook. The same holds for every baseline here.
    """
    K = _check_clips(test, codebook_size, "held-out")[0].shape[1]
    bits, top1, top10 = math.log2(codebook_size), 1 / codebook_size, min(10, codebook_size) / codebook_size
    return BaselineResult(name="uniform", bits=[bits] * K, top1=[top1] * K, top10=[top10] * K)


def unigram(train: Clips, test: Clips, codebook_size: int) -> BaselineResult:
    """P(ck[t]): how often each code of each codebook occurs. Arguments as for `uniform`."""
    train, test = _check_clips(train, codebook_size, "training"), _check_clips(test, codebook_size, "held-out")
    views = [partial(_predict_from_previous, k=k, frames=0) for k in range(test[0].shape[1])]
    return _score_codebooks(
        "unigram", ((_Interpolated(_Split.of(train, view), codebook_size), view(test)) for view in views)
    )


def bigram(train: Clips, test: Clips, codebook_size: int) -> BaselineResult:
    """P(c1[t] | c1[t-1]) for codebook 1 and P(ck[t] | c(k-1)[t]) for the others. Arguments as for `uniform`."""
    train, test = _check_clips(train, codebook_size, "training"), _check_clips(test, codebook_size, "held-out")
    views = [
        partial(_predict_from_below, k=k) if k else partial(_predict_from_previous, k=0, frames=1)
        for k in range(test[0].shape[1])
    ]
    return _score_codebooks(
        "bigram", ((_Interpolated(_Split.of(train, view), codebook_size), view(test)) for view in views)
    )


def repeat_last(train: Clips, test: Clips, codebook_size: int) -> BaselineResult:
    """w [ck[t] = ck[t-1]] + (1 - w) P(ck[t]), with one w per codebook. Arguments as for `uniform`."""
    train, test = _check_clips(train, codebook_size, "training"), _check_clips(test, codebook_size, "held-out")
    views = [partial(_predict_from_previous, k=k, frames=1) for k in range(test[0].shape[1])]
    return _score_codebooks(
        "repeat-last", ((_RepeatLast(_Split.of(train, view), codebook_size), view(test)) for view in views)
    )


def ngram_backoff(train: Clips, test: Clips, codebook_size: int, order: int = 5) -> BaselineResult:
    """P(c1[t] | c1[t-1], ..., c1[t-order+1]) for codebook 1 alone: its lists have one entry.

    Args:
        train: integer arrays [T, K].
        test: integer arrays [T, K] that are not in `train`.
        codebook_size: V; codes are 0..V-1.
        order: codes of an n-gram, 1 or more; V ** order must stay below 2 ** 62.
    """
    train, test = _check_clips(train, codebook_size, "training"), _check_clips(test, codebook_size, "held-out")
    view = partial(_predict_from_previous, k=0, frames=order - 1)
    return _score_codebooks(f"{order}-gram", [(_Interpolated(_Split.of(train, view), codebook_size), view(test))])


def measure_baselines(train: Clips, test: Clips, codebook_size: int) -> list[BaselineResult]:
    """Uniform, unigram, repeat-last, bigram and 5-gram, in this order. Arguments as for `uniform`."""
    return [measure(train, test, codebook_size) for measure in (uniform, unigram, repeat_last, bigram, ngram_backoff)]
