"""Takes: alternatives for the gaps of one recording, each from its own seed, and the recording with them in place.

Knows nothing about files or commands.
"""

from __future__ import annotations

import dataclasses
import secrets
from dataclasses import dataclass

import numpy as np
import torch

from audiolm_cli.audio import Recording, to_native
from audiolm_cli.config import GenerateConfig, SamplingConfig
from audiolm_cli.errors import UsageError
from audiolm_cli.events import Note, OnEvent, Progress
from audiolm_cli.workflows.generation import Stopwatch
from audiolm_cli.workflows.level import recording_gain
from audiolm_cli.workflows.loading import Loaded
from audiolm_cli.workflows.spans import Span, context_samples, open_span, render_span
from audiolm_cli.workflows.windows import fill_gap


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Where new audio goes, in samples of the recording."""

    start: int
    """First sample to be replaced."""
    stop: int
    """First sample kept after it; equal to `start` where nothing is replaced."""
    new_samples: int
    """How many take its place."""


@dataclass(frozen=True, kw_only=True)
class Take:
    """One alternative."""

    seed: int
    """What its random numbers came from."""
    pieces: list[np.ndarray]
    """float32 [C, n] for each gap, at the recording's rate."""


def make_takes(
    loaded: Loaded,
    recording: Recording,
    gaps: list[Gap],
    config: GenerateConfig,
    sampling: SamplingConfig,
    on_event: OnEvent,
    watch: Stopwatch,
) -> list[Take]:
    """Alternatives for the gaps of a recording, which are in order and apart (shorter ones with `until_end`).

    A gap at the end is a continuation, one at the beginning a prelude. Later gaps hear what was made for those before
    them, and no gap hears what another one replaces.

    Raises:
        UsageError: the prompt is shorter than one frame.
    """
    frames = prompt_frames(loaded, config)
    with watch.stage("encode"):
        gain = recording_gain(recording, [(gap.start, gap.stop) for gap in gaps])
    first_seed = secrets.randbits(32) if config.seed is None else config.seed
    seeds = [(first_seed + take) % 2**63 for take in range(config.takes)]
    groups = [[seed] for seed in seeds] if config.until_end else [seeds]
    takes: list[Take] = []
    for group in groups:
        generators = [torch.Generator().manual_seed(seed) for seed in group]
        pieces: list[list[np.ndarray]] = [[] for _ in group]
        for place in range(len(gaps)):
            with watch.stage("encode"):
                spans = _open(recording, gaps, place, pieces, gain, frames, loaded)
            codes = _fill(spans, generators, loaded, config, sampling, on_event, watch)
            with watch.stage("decode"):
                for own, span, made in zip(pieces, spans, codes, strict=True):
                    own.append(_render(span, made, loaded))
        for seed, own in zip(group, pieces, strict=True):
            takes.append(Take(seed=seed, pieces=own))
            on_event(Progress(stage="decode", done=len(takes), total=config.takes, unit="takes"))
    return takes


def prompt_frames(loaded: Loaded, config: GenerateConfig) -> int:
    """Context frames wanted on each side of a gap.

    Raises:
        UsageError: the prompt is shorter than one frame.
    """
    window, rate_hz = loaded.model.config.max_frames, loaded.codec.frame_rate_hz
    if config.prompt_s is None:
        return window
    if config.prompt_s * rate_hz < 1:
        raise UsageError(
            f"--prompt {config.prompt_s:g} is shorter than one frame of the codec, {1000 / rate_hz:.0f} ms; "
            "give more context"
        )
    return round(min(config.prompt_s * rate_hz, window))


def splice(
    recording: Recording, gaps: list[Gap], take: Take, on_event: OnEvent, *, only_new: bool = False
) -> Recording:
    """The recording with a take in its gaps, every other sample what it was; or the new pieces alone, in order."""
    parts, at, total = [], 0, 0
    for gap, piece in zip(gaps, take.pieces, strict=True):
        new, clipped = to_native(piece, recording)
        parts += [new] if only_new else [recording.samples[at : gap.start], new]
        at, total = gap.stop, total + clipped
    if total:
        on_event(Note(message=f"{total} generated samples were over full scale and are clipped", warning=True))
    if not only_new:
        parts.append(recording.samples[at:])
    return dataclasses.replace(recording, samples=np.concatenate(parts))


def generated_spans(gaps: list[Gap], take: Take, rate_hz: int, *, only_new: bool = False) -> list[tuple[float, float]]:
    """Where the pieces of a take are in what `splice` returns, in seconds."""
    spans, at, shift = [], 0, 0
    for gap, piece in zip(gaps, take.pieces, strict=True):
        length = piece.shape[1]
        start = at if only_new else gap.start + shift
        spans.append((start / rate_hz, (start + length) / rate_hz))
        at, shift = at + length, shift + length - (gap.stop - gap.start)
    return spans


def _open(
    recording: Recording,
    gaps: list[Gap],
    place: int,
    pieces: list[list[np.ndarray]],
    gain: float,
    frames: int,
    loaded: Loaded,
) -> list[Span]:
    """The span of gap `place` for every take; takes share one where nothing made before is within its context."""
    gap, rate_hz = gaps[place], recording.sample_rate_hz
    reach = context_samples(frames, rate_hz, loaded.codec)
    end = gaps[place + 1].start if place + 1 < len(gaps) else recording.num_samples
    after = recording.wav(gap.stop, min(end, gap.stop + reach))

    def span(before: np.ndarray) -> Span:
        return open_span(before, after, rate_hz, gap.new_samples, gain=gain, frames=frames, codec=loaded.codec)

    if place == 0 or gap.start - gaps[place - 1].stop >= reach:
        return [span(recording.wav(max(0, gap.start - reach), gap.start))] * len(pieces)
    return [span(_made_so_far(recording, gaps[:place], own, gap.start, reach)) for own in pieces]


def _made_so_far(recording: Recording, gaps: list[Gap], pieces: list[np.ndarray], stop: int, reach: int) -> np.ndarray:
    """The last `reach` samples [C, n] up to sample `stop` of the recording, with the pieces in its earlier gaps."""
    parts: list[np.ndarray] = []
    missing = reach
    for gap, piece in zip(reversed(gaps), reversed(pieces), strict=True):
        parts += [recording.wav(max(gap.stop, stop - missing), stop), piece]
        missing -= parts[-2].shape[1] + piece.shape[1]
        stop = gap.start
        if missing <= 0:
            break
    if missing > 0:
        parts.append(recording.wav(max(0, stop - missing), stop))
    return np.concatenate(parts[::-1], axis=1)[:, -reach:]


def _fill(
    spans: list[Span],
    generators: list[torch.Generator],
    loaded: Loaded,
    config: GenerateConfig,
    sampling: SamplingConfig,
    on_event: OnEvent,
    watch: Stopwatch,
) -> torch.Tensor:
    """Codes [takes, gap_frames, K] for one gap."""
    span = spans[0]
    shared = all(other is span for other in spans)
    return fill_gap(
        loaded.model,
        span.left.codes if shared else torch.cat([own.left.codes for own in spans]),
        span.right.codes,
        span.gap_frames,
        sampling,
        generators,
        until_end=config.until_end,
        on_frame=lambda done: on_event(Progress(stage="generate", done=done, total=span.gap_frames, unit="frames")),
        timing=watch.model,
    )


def _render(span: Span, codes: torch.Tensor, loaded: Loaded) -> np.ndarray:
    """Audio [C, n] of codes [T, K] that end with -1 where the model ended the piece."""
    codes = codes[codes[:, 0] >= 0]
    if len(codes) < span.gap_frames:
        frames = max(0, len(codes) - span.left.hidden)
        samples = min(span.new_samples, round(frames / loaded.codec.frame_rate_hz * span.rate_hz))
        span = dataclasses.replace(span, gap_frames=len(codes), new_samples=samples)
    return render_span(span, codes[None], loaded.codec)
