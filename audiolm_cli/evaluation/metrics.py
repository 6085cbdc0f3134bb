"""Measures of audio and of codes, as pure functions: paired distances, seams, distributions, repetition, memorisation.

Knows nothing about files, codecs or models, and downloads nothing. `wav` here is float32 [N] or [B, N] in [-1, 1];
measures of `wav` come back with its leading shape ([] or [B]), so that a caller can average over files.
The STFT of every measure has a periodic Hann window, is centred, zero-padded at the ends and *not* normalised: a
full-scale sine has a magnitude of a quarter of the window length. The sizes and floors are for 32 kHz.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from audiolm_cli.audio import mel_filters

SAMPLE_RATE_HZ = 32000
"""Rate that the window lengths below are meant for."""
MEL_WINDOWS = (32, 64, 128, 256, 512, 1024, 2048)
"""Window lengths of `mel_distance` in samples; the hop is a quarter of each."""
MEL_BANDS = (5, 10, 20, 40, 80, 120, 160)
"""Mel bands at each window length: as many as the window resolves, 160 at most."""
MEL_FLOOR_PER_SAMPLE = 0.5e-4
"""Added to each mel band, times the window length: 74 dB below the peak bin of a full-scale sine."""
SPECTRAL_WINDOW, SPECTRAL_HOP, SPECTRAL_FLOOR = 2048, 512, 0.1
CHROMA_WINDOW, CHROMA_HOP, CHROMA_RANGE_HZ = 4096, 1024, (60.0, 4000.0)
SEAM_RMS_S = 0.010
"""Time on each side of a seam whose RMS scales its jump."""
FLUX_WINDOW_S = 0.032
"""Window of `spectral_flux_z`."""
FEATURE_WINDOW, FEATURE_HOP, FEATURE_BANDS, FEATURE_SEGMENT_S = 1024, 512, 32, 1.0
REPETITION_FRAMES = 8
"""n of the n-grams of `repetition_rate`: 0.16 s at 50 frames/s, too long to recur by chance."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """The longest run that two sets of codes share."""

    frames: int
    """Its length; 0 when no code is shared."""
    at: int
    """Its first frame in the codes that were asked about."""
    clip: int
    """Index of the corpus clip that holds it."""
    clip_at: int
    """Its first frame in that clip."""
    distinct_codes: int
    """Different codes in it: a long match of one or two codes is silence, not music learnt by heart."""


NO_MATCH = Match(frames=0, at=0, clip=0, clip_at=0, distinct_codes=0)


def _magnitudes(wav: Tensor, window: int, hop: int) -> Tensor:
    """STFT magnitudes [..., window // 2 + 1, 1 + N // hop] of `wav` [..., N]."""
    assert wav.shape[-1] > 0, "no samples"
    hann = torch.hann_window(window, device=wav.device)
    flat = wav.reshape(-1, wav.shape[-1]).float()
    spectrum = torch.stft(flat, window, hop, window=hann, center=True, pad_mode="constant", return_complex=True)
    return spectrum.abs().reshape(*wav.shape[:-1], *spectrum.shape[-2:])


def _mel_bands(wav: Tensor, window: int, hop: int, bands: int, sample_rate_hz: int) -> Tensor:
    """Sums of STFT magnitudes [..., frames, bands] under triangles of height 1, HTK mel scale, 0 Hz to Nyquist."""
    triangles = torch.from_numpy(mel_filters(window, bands, sample_rate_hz))  # [bins, bands]
    return _magnitudes(wav, window, hop).transpose(-1, -2) @ triangles.to(wav.device)


def mel_distance(ref: Tensor, est: Tensor, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Tensor:
    """Mean absolute difference of log10 mel magnitudes, averaged over seven window lengths; lower is closer.

    For each window length w of 32, 64, ..., 2048 samples (hop w / 4; 5, 10, 20, 40, 80, 120, 160 bands), the mean over
    bands and frames of |log10(mel(ref) + 0.5e-4 w) - log10(mel(est) + 0.5e-4 w)|. Multi-scale mel distances are usual
    for neural codecs (Kumar et al. 2023, arXiv 2306.06546, with other bands). Most of its windows see no pitch: read
    it together with `spectral_distance` and `chroma_correlation`.

    Args:
        ref: float32 [N] or [B, N], the original.
        est: same shape, what is compared with it.
        sample_rate_hz: rate of both.

    Returns:
        [] or [B], in decades (0.1 is 2 dB).
    """
    assert ref.shape == est.shape, (ref.shape, est.shape)

    total = torch.zeros(ref.shape[:-1], device=ref.device)
    for window, bands in zip(MEL_WINDOWS, MEL_BANDS, strict=True):
        floor = MEL_FLOOR_PER_SAMPLE * window
        a, b = (_mel_bands(wav, window, window // 4, bands, sample_rate_hz) for wav in (ref, est))
        total += ((a + floor).log10() - (b + floor).log10()).abs().mean((-2, -1))
    return total / len(MEL_WINDOWS)


def spectral_distance(ref: Tensor, est: Tensor) -> Tensor:
    """Mean absolute difference of log10 STFT magnitudes at full resolution; lower is closer.

    Window 2048, hop 512, 0.1 added to the magnitudes (74 dB below a full-scale sine): every partial of a note counts.

    Args:
        ref: float32 [N] or [B, N], the original.
        est: same shape, what is compared with it.

    Returns:
        [] or [B], in decades.
    """
    assert ref.shape == est.shape, (ref.shape, est.shape)
    a, b = (_magnitudes(wav, SPECTRAL_WINDOW, SPECTRAL_HOP) for wav in (ref, est))
    return ((a + SPECTRAL_FLOOR).log10() - (b + SPECTRAL_FLOOR).log10()).abs().mean((-2, -1))


def chromagram(wav: Tensor, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Tensor:
    """Magnitude in each pitch class [..., 12, frames] of `wav` [..., N]; class 0 is A.

    Window 4096, hop 1024; each bin of 60..4000 Hz adds its magnitude to the nearest semitone of A = 440 Hz. Below
    about 250 Hz a bin is wider than a semitone, so the bass is blurred.
    """
    hz = torch.arange(CHROMA_WINDOW // 2 + 1, device=wav.device) * (sample_rate_hz / CHROMA_WINDOW)
    used = (hz >= CHROMA_RANGE_HZ[0]) & (hz <= CHROMA_RANGE_HZ[1])
    classes = (12 * (hz[used] / 440).log2()).round().long() % 12
    to_class = F.one_hot(classes, 12).to(torch.float32).T  # [12, bins]
    return to_class @ _magnitudes(wav, CHROMA_WINDOW, CHROMA_HOP)[..., used, :]


def chroma_correlation(ref: Tensor, est: Tensor, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Tensor:
    """Pearson correlation of two chromagrams over all classes and frames; 1 is the same harmony at the same times.

    Args:
        ref: float32 [N] or [B, N], the original.
        est: same shape, what is compared with it.
        sample_rate_hz: rate of both.

    Returns:
        [] or [B] in [-1, 1]; 1 where both are silent, 0 where one is.
    """
    assert ref.shape == est.shape, (ref.shape, est.shape)
    a, b = (chromagram(wav, sample_rate_hz).flatten(-2).double() for wav in (ref, est))  # [..., 12 x frames]
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    norms = a.norm(dim=-1), b.norm(dim=-1)
    correlation = (a * b).sum(-1) / (norms[0] * norms[1]).clamp_min(1e-12)
    return torch.where(norms[0] + norms[1] == 0, torch.ones_like(correlation), correlation).float()


def pitch_class_profile(wav: Tensor, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Tensor:
    """How much each pitch class sounds in all of `wav` [..., N]: the mean of its chromagram, [..., 12]."""
    return chromagram(wav, sample_rate_hz).mean(-1)


def seam_jump(wav: Tensor, position: int, sample_rate_hz: int) -> Tensor:
    """Step between the two samples that meet at a seam, over the RMS of the 10 ms on each side of it.

    Smooth low sounds stay well below 1, white noise is about 1, and a cut through a waveform reaches 2 and more.

    Args:
        wav: float32 [N] or [B, N].
        position: first sample after the seam, 1..N-1.
        sample_rate_hz: rate of `wav`.

    Returns:
        [] or [B], no unit; 0 in digital silence.
    """
    assert 1 <= position < wav.shape[-1], (position, wav.shape)

    side = max(1, round(SEAM_RMS_S * sample_rate_hz))
    local = wav[..., max(0, position - side) : position + side].double()
    step = (wav[..., position].double() - wav[..., position - 1].double()).abs()
    return (step / local.square().mean(-1).sqrt().clamp_min(1e-6)).float()


def spectral_flux_z(wav: Tensor, position: int, sample_rate_hz: int) -> Tensor:
    """Spectral change at a seam, in standard deviations above the mean of the same measure everywhere else.

    The flux at a sample is the mean absolute change of the log magnitudes from the 32-ms window ending there to the one
    centred there, and on to the one starting there. It is taken at the seam and at every 8 ms before and after
    it, except where a window reaches over the seam or over the ends. A note that starts at the seam raises it
    too: compare with the z-scores of true continuations.

    Args:
        wav: float32 [N] or [B, N], the whole file.
        position: first sample after the seam; closer than 32 ms to an end, it is compared with silence there.
        sample_rate_hz: rate of `wav`.

    Returns:
        [] or [B]; 0 where the file is too short for a comparison.
    """
    N = wav.shape[-1]
    assert 0 <= position <= N, (position, N)

    # Windows on a grid of quarter windows, one of which ends at the seam.
    hop = max(1, round(FLUX_WINDOW_S * sample_rate_hz / 4))
    window = 4 * hop
    before = -(-max(position, window) // hop)  # columns before the seam's own, enough for its flux
    after = -(-max(N - position, window) // hop)
    pad = before * hop - position + window // 2, after * hop - (N - position) + window // 2
    frames = F.pad(wav.float(), pad).unfold(-1, window, hop)  # [..., before + 1 + after, window]

    hann = torch.hann_window(window, device=wav.device)
    logs = (torch.fft.rfft(frames * hann).abs() + MEL_FLOOR_PER_SAMPLE * window).log10()
    change = (logs[..., 2:, :] - logs[..., :-2, :]).abs().mean(-1)  # over half a window
    flux = (change[..., :-2] + change[..., 2:]) / 2  # at columns 2 .. before + after - 2

    # Compared with the flux where no window reaches over the seam or over the ends.
    columns = torch.arange(2, before + after - 1, device=wav.device) - before  # 0 is the seam
    centre = columns * hop + position
    usable = (columns.abs() >= 4) & (centre >= window) & (centre <= N - window)
    if int(usable.sum()) < 2:
        return torch.zeros(wav.shape[:-1], device=wav.device)
    others = flux[..., usable]
    return (flux[..., before - 2] - others.mean(-1)) / others.std(-1).clamp_min(1e-4)


def fixed_features(wav: Tensor, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Tensor:
    """Log-mel statistics of each second of audio: a fixed stand-in for the learned features of other evaluations.

    For each whole second (the rest is dropped; shorter audio is one segment): mean and standard deviation over time of
    32 log10 mel bands (window 1024, hop 512), and the mean absolute change from frame to frame of each band. They
    tell level, timbre, density and decay apart, not melodies: compare figures of one feature set only.

    Args:
        wav: float32 [N] or [B, N].
        sample_rate_hz: rate of `wav`.

    Returns:
        float32 [segments, 96]; the segments of a batch one after the other.
    """
    bands = _mel_bands(wav, FEATURE_WINDOW, FEATURE_HOP, FEATURE_BANDS, sample_rate_hz)
    logs = (bands + MEL_FLOOR_PER_SAMPLE * FEATURE_WINDOW).log10().reshape(-1, *bands.shape[-2:])
    length = min(max(2, round(FEATURE_SEGMENT_S * sample_rate_hz / FEATURE_HOP)), logs.shape[1])
    logs = logs[:, : logs.shape[1] // length * length].reshape(-1, length, FEATURE_BANDS)  # [segments, frames, bands]

    motion = logs.diff(dim=1).abs().sum(1) / max(1, length - 1)
    return torch.cat([logs.mean(1), logs.std(1, correction=0), motion], dim=1)


def _first_codebook(codes: np.ndarray | Tensor) -> np.ndarray:
    """int64 [T] of codes [T] or [T, K]."""
    array = np.asarray(codes)
    return (array if array.ndim == 1 else array[:, 0]).astype(np.int64)


def repetition_rate(codes: np.ndarray | Tensor, n: int = REPETITION_FRAMES) -> float:
    """Share of the n-grams of codebook 1 that occurred before in the same codes.

    Args:
        codes: integers [T] or [T, K].
        n: frames of an n-gram; 8 is 0.16 s.

    Returns:
        0 (nothing recurs) to just below 1 (one n-gram throughout); 0 for fewer than n frames.

    >>> repetition_rate(np.array([1, 2, 3, 1, 2, 3, 1, 2]), n=3)
    0.5
    """
    first = _first_codebook(codes)
    if len(first) < n:
        return 0.0
    grams = np.lib.stride_tricks.sliding_window_view(first, n)
    return 1 - len(np.unique(grams, axis=0)) / len(grams)


class _WindowHashes:
    """64-bit hash of any window of a sequence in constant time: the sum of symbol[t] * base^t, moved to the origin."""

    def __init__(self, symbols: np.ndarray, base: np.uint64) -> None:
        inverse = np.uint64(pow(int(base), -1, 2**64))
        self._powers = np.cumprod(np.full(len(symbols), inverse, dtype=np.uint64))  # all arithmetic is modulo 2^64
        growing = np.cumprod(np.full(len(symbols), base, dtype=np.uint64))
        self._sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(symbols * growing, dtype=np.uint64)])

    def at(self, starts: np.ndarray, length: int) -> np.ndarray:
        """uint64 hash of [start, start + length) for each start."""
        return (self._sums[starts + length] - self._sums[starts]) * self._powers[starts]


class _SharedWindows:
    """Windows that a query and a corpus have in common, compared by hash."""

    def __init__(self, query: np.ndarray, corpus: np.ndarray, largest_code: int) -> None:
        rng = np.random.default_rng(0)
        table = rng.integers(0, 2**64, largest_code + 1, dtype=np.uint64)
        base = rng.integers(0, 2**63, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        self._query_frames, self._corpus_frames = len(query), len(corpus)
        self._query, self._corpus = _WindowHashes(table[query], base), _WindowHashes(table[corpus], base)

    def find(self, starts: np.ndarray, length: int) -> np.ndarray:
        """Those of the corpus frames `starts` at which a window of the query stands."""
        starts = starts[starts <= self._corpus_frames - length]
        wanted = np.sort(self._hash_query(length))
        hashes = self._corpus.at(starts, length)
        return starts[wanted[np.searchsorted(wanted, hashes).clip(max=len(wanted) - 1)] == hashes]

    def locate(self, start: int, length: int) -> int:
        """The first frame of the query at which the corpus window from `start` on stands."""
        return int(np.flatnonzero(self._hash_query(length) == self._corpus.at(np.array([start]), length))[0])

    def _hash_query(self, length: int) -> np.ndarray:
        """uint64 hash of every window of the query."""
        return self._query.at(np.arange(self._query_frames - length + 1), length)


def longest_match(codes: np.ndarray | Tensor, corpus_codes: Sequence[np.ndarray | Tensor]) -> Match:
    """The longest run of codebook-1 codes that also stands, exactly, in a corpus: does a model recite its training set?

    Windows are compared by hash (Karp and Rabin 1987); the length doubles, then is bisected, and only starts whose
    shorter window was found are looked at again. The match returned is checked code by code.
    Five million corpus frames take a second or two.

    Args:
        codes: integers [T] or [T, K].
        corpus_codes: clips of integers [T] or [T, K]; no match runs across two clips.

    Returns:
        The match; `frames` is 0 when there is none.
    """
    query, clips = _first_codebook(codes), [_first_codebook(clip) for clip in corpus_codes]
    if not len(query) or not sum(map(len, clips)):
        return NO_MATCH
    between = max(int(clip.max(initial=0)) for clip in [query, *clips]) + 1  # a code that no query holds
    corpus = np.concatenate([np.append(clip, between) for clip in clips])
    windows = _SharedWindows(query, corpus, between)

    # Where a run of `length` begins in the corpus; there is none of `too_long`.
    length, starts, too_long = 0, np.arange(len(corpus)), len(query) + 1
    while too_long - length > 1:
        trial = min(max(1, 2 * length), (length + too_long) // 2)
        longer = windows.find(starts, trial)
        if len(longer):
            length, starts = trial, longer
        else:
            too_long = trial
    if not length:
        return NO_MATCH

    start = int(starts[0])
    run = corpus[start : start + length]
    at = windows.locate(start, length)
    assert np.array_equal(query[at : at + length], run), "two different runs with one 64-bit hash"

    ends = np.cumsum([len(clip) + 1 for clip in clips])
    clip = int(np.searchsorted(ends, start, side="right"))
    clip_at = start - (int(ends[clip - 1]) if clip else 0)
    return Match(frames=length, at=at, clip=clip, clip_at=clip_at, distinct_codes=len(np.unique(run)))
