"""Takes: alternatives for the gaps of one recording, each from its own seed. Knows nothing about files or commands."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from audiolm_cli.audio import Recording
from audiolm_cli.audio.level import recording_gain
from audiolm_cli.audio.recording import FLOATS
from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.editing.dynamics import keep_dynamics
from audiolm_cli.editing.guards import Fault, Guard
from audiolm_cli.editing.rendering import render_blocks
from audiolm_cli.editing.session import Session
from audiolm_cli.editing.spans import Span, Surroundings, context_samples, open_span
from audiolm_cli.editing.splicing import Gap, Piece, Repeated, Take
from audiolm_cli.editing.windows import RETRIES, GapFiller, Retry
from audiolm_cli.events import Activity
from audiolm_cli.model.scoring import continuation_score, following_score

MakeTakes = Callable[[Session, Recording, list[Gap]], list[Take]]
"""Fills the gaps of a recording, which are in order and apart."""

LONG_S = 30.0
"""Pieces over this are not held in memory."""
FULL_SCALE = 0.999
"""Highest level in formats that clip; what rounding adds stays below 1."""


def make_takes(session: Session, recording: Recording, gaps: list[Gap]) -> list[Take]:
    """Alternatives for the gaps of a recording, which are in order and apart (shorter ones with `until_end`).

    A gap at the end is a continuation, one at the beginning a prelude. Later gaps hear what was made for those before
    them, and no gap hears what another one replaces. With `best_of`, the likeliest candidates come back,
    best first; those in which something stayed wrong come after all others.

    Raises:
        UsageError: the prompt is shorter than one frame.
    """
    config, frames = session.config, session.prompt_frames
    with session.stage("encode"):
        gain = recording_gain(recording, [(gap.start, gap.stop) for gap in gaps])

    # Takes go through the decoders together, unless each may end where it likes.
    seeds = session.draw_seeds(config.best_of or config.takes)
    groups = [[seed] for seed in seeds] if config.until_end else [seeds]
    candidates: list[_Candidate] = []
    with session.faults.telling(session.on_event):
        for group in groups:
            own = [_Candidate(seed, torch.Generator().manual_seed(seed)) for seed in group]
            for number in range(len(gaps)):
                for candidate in own:
                    candidate.render(session)
                with session.stage("encode"):
                    spans = _open_spans(session, recording, gaps, number, own, gain, frames)
                # What is right after a context is asked of each context by itself, so that no take hears of another.
                if all(span is spans[0] for span in spans):
                    _fill_span(session, spans[0], own)
                else:
                    for span, candidate in zip(spans, own, strict=True):
                        _fill_span(session, span, [candidate])
            candidates += own

    if config.best_of is not None:
        candidates.sort(key=lambda candidate: (len(candidate.faults), -candidate.score))

    takes = []
    for candidate in candidates[: config.takes]:
        candidate.render(session)
        score = None if config.best_of is None else candidate.score
        takes.append(
            Take(
                seed=candidate.seed,
                pieces=candidate.pieces,
                drawn=candidate.drawn,
                score=score,
                faults=candidate.faults,
            )
        )
    return takes


def peak_ceiling(recording: Recording) -> float:
    """The highest level that new audio in a recording may have."""
    return math.inf if recording.subtype in FLOATS else FULL_SCALE


@dataclass
class _Candidate:
    """A take in the making."""

    seed: int
    generator: torch.Generator
    pieces: list[Piece] = field(default_factory=list)
    drawn: list[SamplingConfig] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    span: Span | None = None
    """The gap that was filled last, while it has no audio."""
    codes: torch.Tensor | None = None
    """What it was filled with, [T, K]."""

    @property
    def score(self) -> float:
        """Mean over the gaps."""
        return sum(self.scores) / len(self.scores)

    def render(self, session: Session) -> None:
        """Turn what was filled last into audio."""
        if self.span is not None and self.codes is not None:
            self.pieces.append(_render_piece(session, self.span, self.codes))
        self.span = self.codes = None


def _open_spans(
    session: Session,
    recording: Recording,
    gaps: list[Gap],
    number: int,
    candidates: list[_Candidate],
    gain: float,
    frames: int,
) -> list[Span]:
    """The span of gap `number` for every candidate; they share one where nothing made before is within its context."""
    gap, rate_hz = gaps[number], recording.sample_rate_hz
    reach = context_samples(frames, rate_hz, session.codec)
    end = gaps[number + 1].start if number + 1 < len(gaps) else recording.num_samples
    after = recording.wav(gap.stop, min(end, gap.stop + reach))

    def open_after(before: np.ndarray) -> Span:
        surroundings = Surroundings(
            before=before, after=after, rate_hz=rate_hz, gain=gain, ceiling=peak_ceiling(recording)
        )
        return open_span(surroundings, gap.new_samples, frames, session.codec)

    if number == 0 or gap.start - gaps[number - 1].stop >= reach:
        return [open_after(recording.wav(max(0, gap.start - reach), gap.start))] * len(candidates)
    return [open_after(_recording_so_far(recording, gaps[:number], own.pieces, gap.start, reach)) for own in candidates]


def _recording_so_far(recording: Recording, gaps: list[Gap], pieces: list[Piece], stop: int, reach: int) -> np.ndarray:
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


def _fill_span(session: Session, span: Span, candidates: list[_Candidate]) -> None:
    """Draw the codes of one gap for candidates whose contexts are the same, and score them where they are ranked.

    What was wrong is noted.
    """
    config, left, right = session.config, span.left.codes, span.right.codes
    between = left.shape[1] > 0 and right.shape[1] > 0
    new_s = span.new_samples / span.rate_hz
    sampling = session.sampling_for(new_s, between=between)

    def report_fault(row: int, fault: Fault, mended: bool) -> None:
        session.faults.add(candidates[row].seed, fault, mended)
        if not mended:
            candidates[row].faults.append(fault.state)

    def report_frames(done: int, stop: int) -> None:
        session.report_audio("generate", done / span.gap_frames, new_s)
        if done == stop:
            session.on_event(Activity(stage="fine codes"))

    def report_retry(retry: Retry) -> None:
        which = f"take {retry.take + 1}" if len(candidates) > 1 else "it"
        share = None if retry.done == retry.frames else retry.done / retry.frames
        stage, tries = f"again: {which} was {retry.fault.state}", f"try {retry.attempt}/{RETRIES}"
        session.on_event(Activity(stage=stage, detail=tries, share=share))

    filler = GapFiller(
        model=keep_dynamics(session.model, session.codec, left, right),
        sampling=sampling,
        elsewhere=session.elsewhere,
        until_end=config.until_end,
        judge=None if config.until_end else Guard(session.codec, left, right).find_fault,
        on_fault=report_fault,
        on_retry=report_retry,
        on_frame=report_frames,
        timing=session.watch.model,
        cores=session.cores,
    )
    generators = [candidate.generator for candidate in candidates]
    codes = filler.fill(left, right, span.gap_frames, generators)  # [candidates, gap_frames, K]

    for candidate, own_codes in zip(candidates, codes, strict=True):
        candidate.span, candidate.codes = span, own_codes
        candidate.drawn.append(sampling)
        if config.best_of is not None:
            candidate.scores.append(_score_codes(session, span, own_codes))


def _score_codes(session: Session, span: Span, codes: torch.Tensor) -> float:
    """How likely the codes [T, K] make what follows them, or where nothing does, how likely they are themselves."""
    made = codes[None, codes[:, 0] >= 0]  # [1, T, K], up to where the model ended the piece
    with session.cores.share():
        if span.right.codes.shape[1]:
            right = span.right.codes
            return following_score(session.model, span.left.codes, made, right, session.elsewhere).item()
        return continuation_score(session.model, span.left.codes, made, session.elsewhere).item()


def _render_piece(session: Session, span: Span, codes: torch.Tensor) -> Piece:
    """Audio of codes [T, K] that end with -1 where the model ended the piece; long ones are decoded when they are read.

    The time goes into the session's watch.
    """
    codes = codes[codes[:, 0] >= 0]
    if len(codes) < span.gap_frames:  # the model ended the piece: so does the span
        frames = max(0, len(codes) - span.left.hidden)
        samples = min(span.new_samples, round(frames / session.codec.frame_rate_hz * span.rate_hz))
        span = dataclasses.replace(span, gap_frames=len(codes), new_samples=samples)

    def report_share(share: float) -> None:
        session.report_audio("decode", share, span.new_samples / span.rate_hz)

    def blocks() -> Iterator[np.ndarray]:
        report_share(0)
        rendered = render_blocks(span, codes[None], report_share)
        while True:
            with session.stage("decode"):
                block = next(rendered, None)
            if block is None:
                return
            yield block

    long = span.new_samples > LONG_S * span.rate_hz
    return Piece(num_samples=span.new_samples, blocks=Repeated(blocks) if long else list(blocks()))
