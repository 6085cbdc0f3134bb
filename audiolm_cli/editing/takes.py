"""Takes: alternatives for the gaps of one recording, each from its own seed, and the recording with them in place.

Knows nothing about files or commands.
"""

from __future__ import annotations

import dataclasses
import math
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from audiolm_cli.audio import Recording
from audiolm_cli.audio.level import recording_gain
from audiolm_cli.audio.recording import FLOATS
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.editing.guards import Fault, Guard
from audiolm_cli.editing.rendering import render_blocks
from audiolm_cli.editing.result import Stopwatch
from audiolm_cli.editing.spans import Span, context_samples, open_span
from audiolm_cli.editing.splicing import Gap, Piece, Repeated, Take
from audiolm_cli.editing.windows import fill_gap
from audiolm_cli.errors import UsageError
from audiolm_cli.events import Note, OnEvent, Progress
from audiolm_cli.library.loading import Loaded
from audiolm_cli.model.scoring import continuation_score, following_score

SHORT_S, SHORT_TEMPERATURE = 1.0, 0.5
"""Gaps of up to this length between two contexts are drawn at this temperature, unless another is asked for.

On 39 held-out clips, 0.5 s infills of the first bundled model correlate in chroma with what was there by 0.52 at
temperature 0.5 and by 0.37 at 1 (0.25 s: 0.62 and 0.50); over 2 s it makes them quieter and no nearer.
"""
LONG_S = 30.0
"""Pieces over this are not held in memory."""
FULL_SCALE = 0.999
"""Highest level in formats that clip; what rounding adds stays below 1."""


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
    them, and no gap hears what another one replaces. With `best_of`, the likeliest candidates come back, best first.

    Raises:
        UsageError: the prompt is shorter than one frame.
    """
    frames = prompt_frames(loaded, config)
    with watch.stage("encode"):
        gain = recording_gain(recording, [(gap.start, gap.stop) for gap in gaps])
    seeds = take_seeds(config, config.best_of or config.takes)
    groups = [[seed] for seed in seeds] if config.until_end else [seeds]
    candidates: list[_Candidate] = []
    for group in groups:
        own = [_Candidate(seed, torch.Generator().manual_seed(seed)) for seed in group]
        for place in range(len(gaps)):
            for candidate in own:
                candidate.render(loaded, watch)
            with watch.stage("encode"):
                spans = _open(recording, gaps, place, own, gain, frames, loaded)
            codes = _fill(spans, own, loaded, config, sampling, on_event, watch)
            for candidate, span, made in zip(own, spans, codes, strict=True):
                candidate.span, candidate.codes = span, made
                if config.best_of is not None:
                    candidate.scores.append(_score(span, made, loaded))
        candidates += own
    if config.best_of is not None:
        candidates.sort(key=lambda candidate: -candidate.score)
    takes = []
    for candidate in candidates[: config.takes]:
        candidate.render(loaded, watch)
        score = None if config.best_of is None else candidate.score
        takes.append(Take(seed=candidate.seed, pieces=candidate.pieces, score=score))
        on_event(Progress(stage="decode", done=len(takes), total=config.takes, unit="takes"))
    return takes


@dataclass
class _Candidate:
    """A take in the making."""

    seed: int
    generator: torch.Generator
    pieces: list[Piece] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    span: Span | None = None
    """The gap that was filled last, while it has no audio."""
    codes: torch.Tensor | None = None
    """What it was filled with, [T, K]."""

    @property
    def score(self) -> float:
        """Mean over the gaps."""
        return sum(self.scores) / len(self.scores)

    def render(self, loaded: Loaded, watch: Stopwatch) -> None:
        """Turn what was filled last into audio."""
        if self.span is not None and self.codes is not None:
            self.pieces.append(_render(self.span, self.codes, loaded, watch))
        self.span = self.codes = None


def take_seeds(config: GenerateConfig, count: int) -> list[int]:
    """The seeds of `count` takes, one after the other from the configured one; without one, from a drawn one."""
    first = secrets.randbits(32) if config.seed is None else config.seed
    return [(first + number) % 2**63 for number in range(count)]


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


def _open(
    recording: Recording,
    gaps: list[Gap],
    place: int,
    candidates: list[_Candidate],
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
        ceiling = math.inf if recording.subtype in FLOATS else FULL_SCALE
        return open_span(
            before,
            after,
            rate_hz,
            gap.new_samples,
            gain=gain,
            frames=frames,
            codec=loaded.codec,
            ceiling=ceiling,
        )

    if place == 0 or gap.start - gaps[place - 1].stop >= reach:
        return [span(recording.wav(max(0, gap.start - reach), gap.start))] * len(candidates)
    return [span(_made_so_far(recording, gaps[:place], own.pieces, gap.start, reach)) for own in candidates]


def _made_so_far(recording: Recording, gaps: list[Gap], pieces: list[Piece], stop: int, reach: int) -> np.ndarray:
    """The last `reach` samples [C, n] up to sample `stop` of the recording, with the pieces in its earlier gaps."""
    parts: list[np.ndarray] = []
    missing = reach
    for gap, piece in zip(reversed(gaps), reversed(pieces), strict=True):
        parts += [recording.wav(max(gap.stop, stop - missing), stop), piece.wav]
        missing -= parts[-2].shape[1] + piece.num_samples
        stop = gap.start
        if missing <= 0:
            break
    if missing > 0:
        parts.append(recording.wav(max(0, stop - missing), stop))
    return np.concatenate(parts[::-1], axis=1)[:, -reach:]


def _fill(
    spans: list[Span],
    candidates: list[_Candidate],
    loaded: Loaded,
    config: GenerateConfig,
    sampling: SamplingConfig,
    on_event: OnEvent,
    watch: Stopwatch,
) -> torch.Tensor:
    """Codes [candidates, gap_frames, K] for one gap."""
    span = spans[0]
    shared = all(other is span for other in spans)
    left = span.left.codes if shared else torch.cat([own.left.codes for own in spans])

    def tell(row: int, fault: Fault, mended: bool) -> None:
        what = f"seed {candidates[row].seed}: {fault.kind}"
        on_event(Note(message=f"{what}, sampled again"))
        if not mended:
            on_event(Note(message=f"{what} again; try another --seed or --temperature", warning=True))

    return fill_gap(
        loaded.model,
        left,
        span.right.codes,
        span.gap_frames,
        _for_span(sampling, span),
        [candidate.generator for candidate in candidates],
        until_end=config.until_end,
        judge=None if config.until_end else Guard(loaded.codec, left, span.right.codes).fault,
        on_fault=tell,
        on_frame=lambda done: on_event(Progress(stage="generate", done=done, total=span.gap_frames, unit="frames")),
        timing=watch.model,
    )


def _for_span(sampling: SamplingConfig, span: Span) -> SamplingConfig:
    """The settings with the temperature that suits a span, where they leave it open."""
    between = span.left.codes.shape[1] > 0 and span.right.codes.shape[1] > 0
    if sampling.temperature is not None or not between or span.new_samples > SHORT_S * span.rate_hz:
        return sampling
    return dataclasses.replace(sampling, temperature=SHORT_TEMPERATURE)


def _score(span: Span, codes: torch.Tensor, loaded: Loaded) -> float:
    """How likely the codes [T, K] make what follows them, or where nothing does, how likely they are themselves."""
    made = codes[None, codes[:, 0] >= 0]
    if span.right.codes.shape[1]:
        return following_score(loaded.model, span.left.codes, made, span.right.codes).item()
    return continuation_score(loaded.model, span.left.codes, made).item()


def _render(span: Span, codes: torch.Tensor, loaded: Loaded, watch: Stopwatch) -> Piece:
    """Audio of codes [T, K] that end with -1 where the model ended the piece; long ones are decoded when they are read.

    The time goes into `watch`.
    """
    codes = codes[codes[:, 0] >= 0]
    if len(codes) < span.gap_frames:
        frames = max(0, len(codes) - span.left.hidden)
        samples = min(span.new_samples, round(frames / loaded.codec.frame_rate_hz * span.rate_hz))
        span = dataclasses.replace(span, gap_frames=len(codes), new_samples=samples)

    def blocks() -> Iterator[np.ndarray]:
        rendered = render_blocks(span, codes[None], loaded.codec)
        while True:
            with watch.stage("decode"):
                block = next(rendered, None)
            if block is None:
                return
            yield block

    long = span.new_samples > LONG_S * span.rate_hz
    return Piece(num_samples=span.new_samples, blocks=Repeated(blocks) if long else list(blocks()))
