"""Audio beside originals that it need not equal: how its sound is distributed, and whether it keeps a harmony.

A good continuation may be far from the true one. Knows nothing about files, codecs or models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from audiolm_cli.evaluation.discrepancy import Discrepancy, Kernel, compare_halves
from audiolm_cli.evaluation.intervals import Figure, Groups
from audiolm_cli.evaluation.metrics import fixed_features, pitch_class_profile

FEWEST = 8
"""Recordings that a distance of distributions needs: of fewer, two halves of one set differ as much as a model's."""


@dataclass(frozen=True, kw_only=True)
class SoundDistance:
    """Maximum mean discrepancies between the sound of originals and of what was made in their place, as in KAD."""

    recordings: int
    """Recordings that all is of; two seconds of the same one are never compared."""
    rows: dict[str, int]
    """Seconds of audio of each version, "original" among them: each gives one row of features."""
    figures: dict[str, Figure]
    """By version; of "original", what two halves of the originals are from each other: what no difference looks like.
    Empty with fewer than FEWEST recordings."""


def compare_sound(versions: Mapping[str, Sequence[Tensor]], groups: Groups, sample_rate_hz: int) -> SoundDistance:
    """How far the level, timbre and density of each version are from the originals', as distributions.

    Args:
        versions: by name, audio of every clip, float32 [N] or [takes, N]; "original" is what the others are beside.
        groups: which recordings the clips are of.
        sample_rate_hz: rate of the audio.
    """
    features: dict[str, np.ndarray] = {}
    owners: dict[str, np.ndarray] = {}
    for name, wavs in versions.items():
        rows = [fixed_features(wav, sample_rate_hz).cpu().double().numpy() for wav in wavs]
        features[name] = np.concatenate(rows)
        owners[name] = np.repeat(groups.of, [len(own) for own in rows])

    figures: dict[str, Figure] = {}
    if len(groups) >= FEWEST:
        originals, of = features["original"], owners["original"]
        kernel = Kernel(originals)
        figures["original"] = compare_halves(kernel, originals, of, len(groups))
        for name in features.keys() - {"original"}:
            apart = Discrepancy(kernel, originals, of, features[name], owners[name])
            figures[name] = groups.bootstrap(apart.estimate)
    return SoundDistance(
        recordings=len(groups),
        rows={name: len(own) for name, own in features.items()},
        figures={name: figures[name] for name in features if name in figures},
    )


def compare_harmony(
    prompts: Sequence[Tensor], versions: Mapping[str, Sequence[Tensor]], groups: Groups, sample_rate_hz: int
) -> dict[str, Figure]:
    """How well what follows a prompt keeps its pitch classes: correlation of the two profiles, 1 is the same.

    Args:
        prompts: of every clip, float32 [N].
        versions: by name, what follows, float32 [N'] or [takes, N']; "original" is what truly follows.
        groups: which recordings the clips are of.
        sample_rate_hz: rate of the audio.

    Returns:
        Figures of each version; and of "another", the true continuations of other recordings, which is what chance
        makes of it, where there are other recordings.
    """
    before = np.stack([_standardize(pitch_class_profile(wav, sample_rate_hz)) for wav in prompts])  # [clips, 12]
    kept: dict[str, np.ndarray] = {}
    for name, wavs in versions.items():
        after = [_standardize(pitch_class_profile(wav, sample_rate_hz)) for wav in wavs]  # [..., 12] each
        kept[name] = np.array([(own @ prompt).mean() for prompt, own in zip(before, after, strict=True)])
        if name == "original" and len(groups) > 1:
            is_other = groups.of[:, None] != groups.of
            every = np.where(is_other, before @ np.stack(after).T, 0.0)  # [clips, clips]
            kept["another"] = every.sum(1) / is_other.sum(1)
    return {name: groups.mean(values) for name, values in kept.items()}


def _standardize(profile: Tensor) -> np.ndarray:
    """Profiles [..., 12] without their mean and of length 1, so that their products are correlations; silence is 0."""
    values = profile.cpu().double().numpy()
    values = values - values.mean(-1, keepdims=True)
    return np.asarray(values / np.linalg.norm(values, axis=-1, keepdims=True).clip(min=1e-12))
