"""Distributions of sound and the harmony of a prompt, on noises and tones of which it is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from figures import ends, width
from torch import Tensor

from audiolm_cli.evaluation.discrepancy import Discrepancy, Kernel
from audiolm_cli.evaluation.intervals import Groups
from audiolm_cli.evaluation.metrics import chromagram, fixed_features
from audiolm_cli.evaluation.unpaired import FEWEST, compare_harmony, compare_sound

RATE_HZ = 32000


def noise(seed: int, rms: float = 0.1, seconds: float = 2.0) -> Tensor:
    return rms * torch.randn(round(seconds * RATE_HZ), generator=torch.Generator().manual_seed(seed))


def chord(*semitones: int) -> Tensor:
    """A second of notes above A4, all at once."""
    time_s = torch.arange(RATE_HZ) / RATE_HZ
    return torch.stack([0.1 * torch.sin(2 * math.pi * 440 * 2 ** (n / 12) * time_s) for n in semitones]).sum(0)


def test_the_same_sound_is_at_no_distance_and_another_is_far() -> None:
    """Of noises: others of the same level, and louder ones; seconds are counted, of every take."""
    count = 12
    groups = Groups([str(clip) for clip in range(count)])
    versions = {
        "original": [noise(seed) for seed in range(count)],
        "same": [noise(100 + seed) for seed in range(count)],
        "louder": [noise(200 + seed, rms=0.3) for seed in range(count)],
        "takes": [torch.stack([noise(300 + 3 * seed + take) for take in range(3)]) for seed in range(count)],
    }
    found = compare_sound(versions, groups, RATE_HZ)
    assert found.recordings == count
    assert found.rows == {"original": 24, "same": 24, "louder": 24, "takes": 72}
    assert compare_sound(versions, groups, RATE_HZ // 2).rows["original"] == 48, "twice as long at half the rate"
    assert list(found.figures) == list(versions)
    for name in ("original", "same", "takes"):
        assert abs(found.figures[name].value) < 0.05, name
    assert ends(found.figures["louder"])[0] > 0.5

    rows = {name: np.concatenate([fixed_features(own).double().numpy() for own in versions[name]]) for name in versions}
    kernel, of = Kernel(rows["original"]), np.repeat(groups.of, 2)
    alone = Discrepancy(kernel, rows["original"], of, rows["louder"], of)
    assert found.figures["louder"] == groups.bootstrap(alone.estimate)


def test_seconds_of_one_recording_are_not_compared() -> None:
    """Recordings that differ in level, each with two clips: its round trip is not nearer for being of it."""
    levels = np.repeat(np.linspace(0.02, 0.4, 12), 2)
    clips = [noise(seed, rms=rms) for seed, rms in enumerate(levels)]
    groups = Groups([f"{rms}" for rms in levels])
    same = compare_sound({"original": clips, "copy": clips}, groups, RATE_HZ).figures["copy"]
    assert same.value == pytest.approx(0, abs=1e-9), "within and across are the same pairs"
    every_clip = Groups([str(clip) for clip in range(24)])
    halves = compare_sound({"original": clips}, groups, RATE_HZ).figures["original"]
    naive = compare_sound({"original": clips}, every_clip, RATE_HZ).figures["original"]
    assert width(halves) > 1.3 * width(naive), "six recordings are fewer than twelve clips"


def test_too_few_recordings_have_no_distance() -> None:
    """However many clips; what there is of them is counted all the same."""
    clips = [noise(seed) for seed in range(30)]
    few = Groups([str(clip % (FEWEST - 1)) for clip in range(30)])
    found = compare_sound({"original": clips, "generated": clips}, few, RATE_HZ)
    assert (found.recordings, found.figures) == (FEWEST - 1, {})
    assert found.rows == {"original": 60, "generated": 60}
    enough = Groups([str(clip % FEWEST) for clip in range(30)])
    assert set(compare_sound({"original": clips, "generated": clips}, enough, RATE_HZ).figures) == set(found.rows)


def test_harmony_is_that_of_the_prompt() -> None:
    """1 for the same notes in any octave, near it for most of them, low for others; and by chance, another's."""
    prompts = [chord(0, 4, 7), chord(1, 5, 8), chord(2, 6, 9)]
    groups = Groups(["a", "b", "c"])
    versions = {
        "original": [chord(12, 16, 19), chord(13, 17, 20), chord(14, 18, 21)],
        "generated": [torch.stack([chord(0, 4, 9), chord(0, 4, 7)]) for _ in range(3)],
    }
    found = compare_harmony(prompts, versions, groups, RATE_HZ)
    assert list(found) == ["original", "another", "generated"]
    assert found["original"].value > 0.95 and ends(found["original"])[0] > 0.95
    assert found["another"].value < 0
    assert (
        0.3
        < compare_harmony(prompts[:1], {"original": [chord(0, 4, 9)]}, Groups(["a"]), RATE_HZ)["original"].value
        < 0.8
    )

    profiles = [chromagram(wav).mean(-1).double().numpy() for wav in (*prompts, *versions["original"])]
    each = np.corrcoef(profiles)[:3, 3:]
    assert found["original"].value == pytest.approx(np.diag(each).mean())
    assert found["another"].value == pytest.approx(each[~np.eye(3, dtype=bool)].mean())
    made = [chromagram(wav).mean(-1).double().numpy() for wav in versions["generated"][0]]
    pairs = [np.corrcoef(prompt, own)[0, 1] for prompt in profiles[:3] for own in made]
    assert found["generated"].value == pytest.approx(np.mean(pairs))


def test_silence_keeps_no_harmony() -> None:
    """And a single recording has no other one beside it, and no interval."""
    groups = Groups(["a", "a"])
    prompts = [chord(0, 4, 7), torch.zeros(RATE_HZ)]
    found = compare_harmony(prompts, {"original": [torch.zeros(RATE_HZ), chord(0, 4, 7)]}, groups, RATE_HZ)
    assert found == {"original": (0, None, None)}
