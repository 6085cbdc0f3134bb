"""Metrics against known answers: identity, symmetry, gains, octaves, clicks, planted repetitions and runs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from audiolm_cli.evaluation.metrics import (
    Match,
    chroma_correlation,
    chromagram,
    fixed_features,
    longest_match,
    mel_distance,
    repetition_rate,
    seam_jump,
    spectral_distance,
    spectral_flux_z,
)

RATE_HZ = 32000
DISTANCES = (mel_distance, spectral_distance)


def noise(seconds: float = 1.0, rms: float = 0.1, seed: int = 0) -> Tensor:
    """White noise [N]."""
    return rms * torch.randn(round(seconds * RATE_HZ), generator=torch.Generator().manual_seed(seed))


def tone(*pitches_hz: float, seconds: float = 1.0, amplitude: float = 0.3) -> Tensor:
    """Sines one after the other [N]."""
    t = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return torch.cat([amplitude * torch.sin(2 * math.pi * hz * t) for hz in pitches_hz])


def longest_by_search(codes: np.ndarray, corpus: list[np.ndarray]) -> int:
    """Length of the longest common run, the slow way: every clip against every shift."""
    best = 0
    for clip in corpus:
        run = np.zeros(len(clip) + 1, int)
        for code in codes:
            run[1:] = np.where(clip == code, run[:-1] + 1, 0)
            best = max(best, int(run.max()))
    return best


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_distance_is_zero_to_itself_and_symmetric(distance: Callable[[Tensor, Tensor], Tensor]) -> None:
    """The first two properties of a metric."""
    a, b = noise(seed=1), tone(440)
    assert distance(a, a) == 0
    assert distance(a, b) > 0.1
    assert distance(a, b) == pytest.approx(distance(b, a).item(), rel=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
def test_twice_as_loud_is_log10_of_2(distance: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Of noise well above the floor; and the floor hides what is far below it."""
    assert distance(noise(rms=0.3), 2 * noise(rms=0.3)).item() == pytest.approx(math.log10(2), rel=0.03)
    assert distance(noise(rms=1e-6), 2 * noise(rms=1e-6)).item() < 0.01


def test_a_semitone_is_seen_above_a_faint_noise() -> None:
    """Notes a semitone off are farther away than noise 80 dB below them, by both distances and by chroma."""
    a, b = tone(440, 494), tone(466, 523)
    faint = a + noise(2.0, rms=2e-5)
    assert spectral_distance(a, b) > 5 * spectral_distance(a, faint)
    assert mel_distance(a, b) > 2 * mel_distance(a, faint)
    assert chroma_correlation(a, b) < 0.6 < 0.999 < chroma_correlation(a, faint)


@pytest.mark.parametrize("measure", [*DISTANCES, chroma_correlation])
def test_a_batch_is_its_items(measure: Callable[[Tensor, Tensor], Tensor]) -> None:
    """[B, N] gives [B], the same figures as one by one; down to one sample."""
    a, b = torch.stack([noise(0.5), tone(330, seconds=0.5)]), torch.stack([noise(0.5, seed=2), noise(0.5, seed=3)])
    together = measure(a, b)
    assert together.shape == (2,)
    for i in range(2):
        assert together[i].item() == pytest.approx(measure(a[i], b[i]).item(), rel=1e-4, abs=1e-6)
    assert measure(a[0, :1], b[0, :1]).isfinite()


def test_chroma_has_the_peak_at_the_note() -> None:
    """Class 0 is A, class 3 is C, in any octave."""
    for hz, pitch_class in ((440.0, 0), (880.0, 0), (523.25, 3), (1046.5, 3), (739.99, 9)):
        assert chromagram(tone(hz)).mean(-1).argmax() == pitch_class


def test_chroma_correlation_knows_octaves_from_tritones() -> None:
    """C against the octave above is near 1, C against F sharp is not; both silent is 1, one silent is 0."""
    c, c_above, f_sharp = tone(523.25), tone(1046.5), tone(739.99)
    assert chroma_correlation(c, c) == pytest.approx(1, abs=1e-6)
    assert chroma_correlation(c, c_above) > 0.95
    assert chroma_correlation(c, f_sharp) < 0.1
    silence = torch.zeros_like(c)
    assert chroma_correlation(silence, silence) == 1
    assert chroma_correlation(c, silence) == 0


def test_a_click_at_the_seam_stands_out() -> None:
    """A cut through a tone jumps and has a high flux z-score; the uncut tone has neither."""
    at = RATE_HZ
    smooth = tone(220, seconds=2.0) + noise(2.0, rms=1e-3)
    broken = torch.cat([smooth[:at], -smooth[at + 36 :]])  # a quarter of a period on: from a zero to a peak
    assert seam_jump(smooth, at, RATE_HZ) < 0.1
    assert seam_jump(broken, at, RATE_HZ) > 1
    assert abs(spectral_flux_z(smooth, at, RATE_HZ)) < 4
    assert spectral_flux_z(broken, at, RATE_HZ) > 20
    both = spectral_flux_z(torch.stack([smooth[: len(broken)], broken]), at, RATE_HZ)
    assert both[1].item() == pytest.approx(spectral_flux_z(broken, at, RATE_HZ).item(), rel=1e-3)


def test_the_flux_of_an_ordinary_place_is_ordinary() -> None:
    """At places of stationary noise that mean nothing, the z-scores have mean 0 and deviation 1."""
    wav = noise(4.0)
    scores = torch.tensor([spectral_flux_z(wav, at, RATE_HZ).item() for at in range(3000, 125000, 2500)])
    assert abs(scores.mean()) < 0.6
    assert 0.5 < scores.std() < 1.6


@pytest.mark.parametrize("at", [1, 100, 799, 15999])
def test_seams_near_the_ends_and_in_silence(at: int) -> None:
    """Finite everywhere; in digital silence there is no jump and nothing above the ordinary."""
    for wav in (noise(0.5), torch.zeros(16000)):
        assert seam_jump(wav, at, RATE_HZ).isfinite()
        assert spectral_flux_z(wav, at, RATE_HZ).isfinite()
    assert seam_jump(torch.zeros(16000), at, RATE_HZ) == 0
    assert spectral_flux_z(torch.zeros(16000), at, RATE_HZ) == 0


def test_a_file_too_short_to_compare_with_scores_0() -> None:
    """Without two other places there is no z-score."""
    assert spectral_flux_z(noise(0.05), 800, RATE_HZ) == 0


def test_features_are_one_row_a_second() -> None:
    """The rest is dropped, shorter audio is one row, a batch is its items in order; level moves the means alone."""
    wav = noise(3.4)
    rows = fixed_features(wav)
    assert rows.shape == (3, 96)
    assert fixed_features(noise(0.01)).shape == (1, 96)
    assert torch.allclose(fixed_features(torch.stack([wav, 2 * wav]))[:3], rows, atol=1e-5)
    louder = fixed_features(2 * wav) - rows
    assert louder[:, :32].mean().item() == pytest.approx(math.log10(2), rel=0.03)
    assert louder[:, 32:].abs().max() < 0.02


def test_repetition_rate() -> None:
    """Nothing recurs in distinct codes; a loop of p frames leaves p n-grams that are new."""
    assert repetition_rate(np.arange(100)) == 0
    looped = np.tile(np.arange(20), 10)
    assert repetition_rate(looped, n=8) == pytest.approx(1 - 20 / 193)
    assert repetition_rate(torch.from_numpy(looped)[:, None].expand(-1, 4), n=8) == repetition_rate(looped, n=8)
    assert repetition_rate(np.zeros(5, np.int16), n=8) == 0


def test_longest_match_finds_a_planted_run() -> None:
    """Its length and both places, in int16 codes [T, K] of a larger corpus."""
    rng = np.random.default_rng(0)
    corpus = [rng.integers(0, 2048, (5000, 4)).astype(np.int16) for _ in range(20)]
    codes = rng.integers(0, 2048, (300, 4)).astype(np.int16)
    codes[40:121, 0] = corpus[7][3000:3081, 0]
    codes[121, 0] = (corpus[7][3081, 0] + 1) % 2048
    codes[39, 0] = (corpus[7][2999, 0] + 1) % 2048
    match = longest_match(torch.from_numpy(codes), corpus)
    run = len(np.unique(codes[40:121, 0]))
    assert match == Match(frames=81, at=40, clip=7, clip_at=3000, distinct_codes=run)
    assert longest_match(corpus[3], corpus).frames == 5000


def test_longest_match_equals_a_search() -> None:
    """On small alphabets, where matches overlap and abound; never across clips."""
    rng = np.random.default_rng(1)
    for trial in range(40):
        corpus = [rng.integers(0, 3, rng.integers(0, 40)) for _ in range(4)]
        codes = rng.integers(0, 3, rng.integers(1, 30))
        match = longest_match(codes, corpus)
        assert match.frames == longest_by_search(codes, corpus), trial
        found = corpus[match.clip][match.clip_at : match.clip_at + match.frames]
        assert np.array_equal(found, codes[match.at : match.at + match.frames])
    assert longest_match(np.array([1, 2]), [np.array([0, 1]), np.array([2, 0])]).frames == 1


def test_longest_match_of_nothing() -> None:
    """No codes, no corpus, no code in common."""
    for codes, corpus in (([], [[1]]), ([1], []), ([1], [[]]), ([1, 2], [[3, 4, 5]])):
        match = longest_match(np.array(codes, int), [np.array(clip, int) for clip in corpus])
        assert match.frames == 0
