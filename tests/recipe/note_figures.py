"""What can be counted in lists of notes. Knows nothing about audio, files or models.

Notes are float [n, 4]: start in s, end in s, MIDI key, amplitude; in order of start.
"""

from __future__ import annotations

import numpy as np

INTERVALS = np.arange(-24.5, 25)
"""Edges of the bins of intervals between notes that follow each other, in semitones."""
LENGTHS_S = 0.08 * 2 ** (np.arange(0, 13) / 2)
"""Edges of the bins of lengths: two an octave, from 0.08 to 5.1 s."""
ONSETS_S = np.concatenate([[0.0], 0.03 * 2 ** (np.arange(0, 15) / 2)])
"""Edges of the bins of times from one onset to the next: together, and two an octave from 0.03 to 3.8 s."""
TOLERANCE_S = 0.05
"""A note is the same where its key is, and it starts within this."""
PENALTY = 1.0
"""Of squared weights of the classifier, in units of the log likelihood of one example."""
FOLDS = 5


def in_window(notes: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    """The notes that start in [start_s, end_s), with times from its start on; they end with it at the latest."""
    chosen = notes[(notes[:, 0] >= start_s) & (notes[:, 0] < end_s)].copy()
    chosen[:, 1] = chosen[:, 1].clip(max=end_s)
    chosen[:, :2] -= start_s
    return chosen


def repeat_notes(notes: np.ndarray, period_s: float, seconds: float) -> np.ndarray:
    """Notes of a window of `period_s`, over and over for some seconds."""
    times = np.arange(0, seconds, period_s)
    again = [notes + np.array([start, start, 0, 0]) for start in times]
    return in_window(np.concatenate(again), 0.0, seconds)


def pitch_classes(notes: np.ndarray) -> np.ndarray:
    """Share of the sounding time in each of the 12 pitch classes, [12]; zeros of no notes."""
    sounding = np.bincount(notes[:, 2].astype(int) % 12, weights=notes[:, 1] - notes[:, 0], minlength=12)
    return sounding / max(sounding.sum(), 1e-9)


def share_pitch_classes(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of the pitch classes of two lists of notes: 1 is the same shares, 0 none in common."""
    return float(np.minimum(pitch_classes(a), pitch_classes(b)).sum())


def polyphony(notes: np.ndarray, seconds: float) -> float:
    """How many notes sound at a time, on average."""
    return float((notes[:, 1] - notes[:, 0]).sum() / seconds)


def histograms(notes: np.ndarray) -> dict[str, np.ndarray]:
    """Counts of intervals, lengths and times between onsets, by the bins above; what is beyond them is in the last."""
    values = {
        "intervals": (np.diff(notes[:, 2]), INTERVALS),
        "lengths": (notes[:, 1] - notes[:, 0], LENGTHS_S),
        "onsets": (np.diff(notes[:, 0]), ONSETS_S),
    }
    return {
        name: np.histogram(found.clip(edges[0], edges[-1] - 1e-9), edges)[0] for name, (found, edges) in values.items()
    }


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Common share of two histograms, 0 to 1."""
    return float(np.minimum(a / max(a.sum(), 1), b / max(b.sum(), 1)).sum())


def describe(notes: np.ndarray, seconds: float, prompt: np.ndarray, prompt_s: float) -> np.ndarray:
    """What a classifier is told of a take and of the prompt before it, [19]."""
    half = seconds / 2
    parts = in_window(notes, 0, half), in_window(notes, half, seconds)
    rates = [np.log((len(own) + 1) / length) for own, length in ((notes, seconds), (prompt, prompt_s))]
    many = [polyphony(own, length) for own, length in ((notes, seconds), (prompt, prompt_s))]
    features = [
        rates[0],
        rates[0] - rates[1],
        np.log((len(parts[1]) + 1) / (len(parts[0]) + 1)),
        many[0],
        many[0] - many[1],
        share_pitch_classes(notes, prompt),
        share_pitch_classes(*parts),
        _entropy(pitch_classes(notes)),
    ]
    for own in (notes, prompt):
        keys, lengths, loud = own[:, 2], np.log(own[:, 1] - own[:, 0] + 1e-3), own[:, 3]
        steps, onsets = np.abs(np.diff(keys)), np.log(np.diff(own[:, 0]) + 0.02)
        features += [
            _mean(keys), _deviation(keys), _mean(steps), _mean(lengths), _deviation(lengths), _mean(onsets),
            _deviation(onsets), _mean(loud), _deviation(loud),
        ]  # fmt: skip
    own, before = np.array(features[8:17]), np.array(features[17:])
    return np.concatenate([features[:8], own, own[[0, 7]] - before[[0, 7]]])


def match_notes(true: np.ndarray, found: np.ndarray) -> int:
    """How many notes of two lists are the same, each taken once: the most that can be."""
    hits = 0
    for key in np.intersect1d(true[:, 2], found[:, 2]):
        a, b = (np.sort(notes[notes[:, 2] == key, 0]) for notes in (true, found))
        i = j = 0
        while i < len(a) and j < len(b):
            if abs(a[i] - b[j]) <= TOLERANCE_S:
                hits, i, j = hits + 1, i + 1, j + 1
            elif a[i] < b[j]:
                i += 1
            else:
                j += 1
    return hits


def f1(hits: float, true: float, found: float) -> float:
    """Harmonic mean of the share of true notes that were found and the share of found ones that are true."""
    return 2 * hits / max(true + found, 1)


def tell_apart(a: np.ndarray, b: np.ndarray, groups: np.ndarray, seed: int = 0) -> np.ndarray:
    """Which of features a [n, D] and b [n, D] a logistic classifier calls by the right name, [2, n] of 0 and 1.

    It learns on four fifths of the groups and is asked about the others: `groups` [n] are those of both.
    """
    x, y = np.concatenate([a, b]), np.repeat([0.0, 1.0], [len(a), len(b)])
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    fold = {name: number % FOLDS for number, name in enumerate(names)}
    folds = np.array([fold[name] for name in np.concatenate([groups, groups])])

    right = np.zeros(len(x))
    for number in range(FOLDS):
        train, test = folds != number, folds == number
        mean, deviation = x[train].mean(0), x[train].std(0) + 1e-6
        scaled = np.column_stack([(x - mean) / deviation, np.ones(len(x))])
        weights = _fit_logistic(scaled[train], y[train])
        right[test] = (scaled[test] @ weights > 0) == (y[test] > 0.5)
    return right.reshape(2, -1)


def _fit_logistic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights [D] of x [n, D], the last of which is the constant, by Newton's method."""
    penalty = PENALTY * np.eye(x.shape[1])
    penalty[-1, -1] = 1e-6
    weights = np.zeros(x.shape[1])
    for _ in range(25):
        likely = 1 / (1 + np.exp(-(x @ weights).clip(-30, 30)))
        gradient = x.T @ (likely - y) + penalty @ weights
        curvature = (x * (likely * (1 - likely))[:, None]).T @ x + penalty
        weights = weights - np.linalg.solve(curvature, gradient)
    return weights


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _deviation(values: np.ndarray) -> float:
    return float(values.std()) if len(values) else 0.0


def _entropy(shares: np.ndarray) -> float:
    return float(-(shares * np.log(shares + 1e-9)).sum())
