"""Batches of a training as functions of (seed, step): windows, geometry, NAR target. Knows nothing about networks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.batching import WindowBuckets, Windows, WindowSampler, full_window
from audiolm_cli.data.tokens import TokenClip
from audiolm_cli.model.geometry import APART, Geometry, TaskMix, draw_geometry

STAGE_SHARES = (0.4, 0.3, 0.3)
"""How often each of three codebooks is the NAR target. Where it has more or fewer, all are as likely."""

STYLES_DROPPED = 0.15
"""Share of windows with a style that are not told it."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one step trains on; a function of (seed, step)."""

    windows: Windows
    geometry: Geometry
    codebook: int
    """The NAR decoder's target, after the AR decoder's codebooks; 0 where the AR alone is trained."""
    ar_labels: list[int]
    """Labelled steps of the AR decoder for each of its codebooks; empty where it is not trained."""
    known: np.ndarray
    """bool [B, M], frames whose code of `codebook` is given."""
    styles: np.ndarray
    """int64 [B], which of the model's styles each window is told to have; -1 is none."""
    nar_labels: int
    """Labelled frames of the NAR decoder, the others of `known`; 0 where it is not trained."""


class Batches:
    """Draws the batches of a training."""

    def __init__(self, clips: list[TokenClip], shape: ModelConfig, config: TrainConfig) -> None:
        self.shape, self.config = shape, config
        self.buckets = WindowBuckets(clips, shape.max_frames, config.shortest_window, config.full_windows)
        self._styles = {style: at for at, style in enumerate(shape.styles)}
        self.frames = sum(len(clip.codes) for clip in clips)
        """Frames of all clips."""

    def epoch(self, step: int) -> float:
        """Passes over the data when `step` steps are done."""
        return step * self.config.batch_frames / self.frames

    def draw(self, step: int, attempt: int = 0, least: int = 1) -> Batch:
        """The batch of `step`, of at least `least` windows; another one for each attempt at it."""
        rng = np.random.default_rng([self.config.seed, step, *([attempt] if attempt else [])])

        # All batches have about as many frames: the shorter the windows, the more of them. Seconds are a maximum.
        bucket, most_frames = self.buckets.choose(rng)
        geometry = self._draw_geometry(most_frames, rng)
        wanted = self.config.batch_frames / geometry.frames
        B = max(least, math.floor(wanted) if self.config.max_duration_s is not None else round(wanted))
        windows = bucket.draw(B, rng, geometry.frames, geometry.elsewhere, APART)  # [B, T, K]

        N, K = self.shape.ar_codebooks, self.shape.num_quantizers
        trains_ar = self.config.train_stage != 2
        trains_nar = self.config.train_stage != 1 and K > N
        codebook = draw_codebook(N, K, rng) if trains_nar else 0
        known = draw_known((B, geometry.gap), self.config.nar_known if trains_nar else 0.0, rng)  # [B, M]

        styles = np.array([self._styles.get(style, -1) for style in windows.styles])
        if self._styles:  # left out now and then, so that one can be left out
            styles[rng.random(B) < STYLES_DROPPED] = -1

        # The first codebook also says that a recording ends, where nothing follows the gap.
        ends = int(windows.ends.sum()) if geometry.right == 0 else 0
        labels = B * geometry.labelled(self.shape.context_attention)
        return Batch(
            windows=windows,
            geometry=geometry,
            codebook=codebook,
            known=known,
            styles=styles,
            ar_labels=[labels + ends, *[labels] * (N - 1)] if trains_ar else [],
            nar_labels=int((~known).sum()) if trains_nar else 0,
        )

    def _draw_geometry(self, frames: int, rng: np.random.Generator) -> Geometry:
        """Where the gap lies in windows of at most `frames` frames."""
        if self.config.fixed_split:
            left = min(frames - 1, max(1, round(self.shape.prompt_share * frames)))
            return Geometry(left, frames - left)
        return draw_geometry(frames, task_mix(self.config.infill_share), rng, self.shape.prompts)


def task_mix(infill_share: float) -> TaskMix:
    """The tasks with this share of infills, the others in their usual proportions."""
    usual = TaskMix()
    if infill_share == usual.infill:
        return usual

    scale = (1 - infill_share) / (1 - usual.infill)
    return TaskMix(
        continuation=usual.continuation * scale,
        infill=infill_share,
        prepend=usual.prepend * scale,
        unconditional=usual.unconditional * scale,
    )


def fixed_windows(clips: list[TokenClip], max_frames: int, count: int) -> np.ndarray:
    """Windows int64 [count, T, K] spread evenly over clips, always the same ones; T is what most clips allow."""
    sampler = WindowSampler(clips, full_window(clips, max_frames))
    return sampler.fixed(count).codes


def draw_codebook(first: int, num_quantizers: int, rng: np.random.Generator) -> int:
    """Which codebook the NAR decoder predicts in this step, from `first` on."""
    stages = num_quantizers - first
    shares = np.array(STAGE_SHARES) if stages == len(STAGE_SHARES) else np.full(stages, 1 / stages)
    return first + int(rng.choice(stages, p=shares))


def draw_known(shape: tuple[int, int], share: float, rng: np.random.Generator) -> np.ndarray:
    """Which frames' codes are given, bool [B, M]: some in `share` of the items, none in the others.

    The masked part is the cosine of a uniform angle (Chang et al., "MaskGIT", 2022, section 3.3), so most is masked.
    """
    B, M = shape
    given = 1 - np.cos(rng.uniform(0, np.pi / 2, size=B))  # share of each item's frames, [B]
    given[rng.random(B) >= share] = 0

    known = rng.random((B, M)) < given[:, None]  # [B, M]
    known[0, rng.integers(M)] = False  # something is left to predict
    return known
