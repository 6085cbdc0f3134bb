"""A continuation whose audio is made while it is read. Knows nothing about files or commands.

The AR decoder runs `AHEAD_FRAMES` ahead of what is heard; the NAR decoder and the codec fill in behind it. The fine
codes of the frames ahead are made twice: first for the codec, which needs to know what follows, then again with more
of the future in view. A portion that went wrong is drawn again before it is heard.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.audio.level import recording_gain
from audiolm_cli.audio.recording import FLOATS, Recording
from audiolm_cli.codec.base import Codec
from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.editing.guards import STRETCH_S, Fault, Guard, again
from audiolm_cli.editing.rendering import AHEAD_FRAMES, Portion, render_stream
from audiolm_cli.editing.result import Stopwatch
from audiolm_cli.editing.session import Session
from audiolm_cli.editing.spans import context_samples, open_span
from audiolm_cli.editing.splicing import Gap, Piece, Repeated, Take
from audiolm_cli.editing.takes import FULL_SCALE
from audiolm_cli.editing.windows import RETRIES, plan_step
from audiolm_cli.events import Note, Progress
from audiolm_cli.model.decode import Timing
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.stream import StreamedWindow

FIRST_S = 0.4
"""Length of the first portion, beside the frames ahead: short, so that something is heard soon."""
PORTION_S = 1.0
"""Length of the others."""


def streamed_takes(session: Session, recording: Recording, gaps: list[Gap]) -> list[Take]:
    """One take for the gap at the end of a recording, in a list; its audio is made while the blocks are read.

    Raises:
        UsageError: the prompt is shorter than one frame.
    """
    (gap,) = gaps
    (seed,) = session.draw_seeds(1)
    frames, codec, rate_hz = session.prompt_frames, session.codec, recording.sample_rate_hz
    with session.watch.stage("encode"):
        reach = context_samples(frames, rate_hz, codec)
        span = open_span(
            recording.wav(max(0, gap.start - reach), gap.start),
            recording.wav(gap.stop),
            rate_hz,
            gap.new_samples,
            gain=recording_gain(recording, [(gap.start, gap.stop)]),
            frames=frames,
            codec=codec,
            ceiling=math.inf if recording.subtype in FLOATS else FULL_SCALE,
        )
    sampling = session.sampling_for(gap.new_samples / rate_hz, between=False)

    def tell(fault: Fault, mended: bool) -> None:
        session.on_event(Note(message=f"seed {seed}: {fault.kind}, sampled again"))
        if not mended:
            session.on_event(Note(message=f"seed {seed}: {fault.kind} again; try another --seed", warning=True))

    def count(done: int) -> None:
        session.on_event(Progress(stage="generate", done=done, total=span.gap_frames, unit="frames"))

    def blocks() -> Iterator[np.ndarray]:
        portions = stream_codes(
            session.model,
            span.left.codes,
            span.gap_frames,
            sampling,
            torch.Generator().manual_seed(seed),
            codec,
            on_fault=tell,
            on_frame=count,
            timing=session.watch.model,
        )
        yield from _timed(render_stream(span, portions, codec), session.watch)

    piece = Piece(num_samples=gap.new_samples, blocks=Repeated(blocks))
    return [Take(seed=seed, pieces=[piece], drawn=[sampling])]


def stream_codes(
    model: Decoders,
    left: Tensor,
    frames: int,
    sampling: SamplingConfig,
    generator: torch.Generator,
    codec: Codec,
    *,
    on_fault: Callable[[Fault, bool], None],
    on_frame: Callable[[int], None],
    timing: Timing,
) -> Iterator[Portion]:
    """Codes of `frames` frames after left [1, L, K], portion by portion, in the windows of `windows.fill_gap`.

    As long as one window holds everything, the first codebook is that of `fill_gap`; later windows hear other fine
    codes. A portion with a fault, together with the second and a half before it, is drawn again from seeds derived
    from the generator's, up to `RETRIES` times; the last one stays.

    Args:
        model: the decoders, in eval mode.
        left: codes before the gap.
        frames: how many to make.
        sampling: how codes are drawn.
        generator: where the random numbers come from.
        codec: whose codes these are.
        on_fault: called with what was wrong with a portion, and whether that is mended.
        on_frame: called with the number of AR frames done.
        timing: where the seconds are added.
    """
    rate_hz, window = codec.frame_rate_hz, model.config.max_frames
    guard, heard = Guard(codec, left, left[:, :0]), round(STRETCH_S * rate_hz) - 1
    near, tail, done = left, left[:, :0], 0
    while done < frames:
        near = near[:, max(0, near.shape[1] - window) :]
        geometry = plan_step(near.shape[1], frames - done, 0, window)
        context = near[:, near.shape[1] - geometry.left :]
        streamed = StreamedWindow(model, context, geometry, sampling, generator, timing)
        made, reached = left[:, :0], 0
        while reached < geometry.gap:
            length = round(PORTION_S * rate_hz) if done + reached else round(FIRST_S * rate_hz) + AHEAD_FRAMES
            stop = reached + length if reached + length + AHEAD_FRAMES < geometry.gap else geometry.gap
            place = done + reached
            codes = _sound_portion(streamed, made, tail, reached, stop, guard, generator, place, on_fault)
            yield Portion(codes=codes, start=done + made.shape[1])
            settled = codes if stop == geometry.gap else codes[:, : codes.shape[1] - AHEAD_FRAMES]
            made, tail, reached = torch.cat([made, settled], dim=1), torch.cat([tail, settled], dim=1), stop
            tail = tail[:, max(0, tail.shape[1] - heard) :]
            on_frame(done + reached)
        near, done = torch.cat([near, made], dim=1), done + geometry.gap
        timing.frames += geometry.gap


def _sound_portion(
    streamed: StreamedWindow,
    made: Tensor,
    tail: Tensor,
    reached: int,
    stop: int,
    guard: Guard,
    generator: torch.Generator,
    place: int,
    on_fault: Callable[[Fault, bool], None],
) -> Tensor:
    """Codes [1, n, K] after those made in this window, up to frame `stop`; `tail` is what was heard before them."""
    tail = tail if guard.fault(tail[0]) is None else tail[:, :0]  # what was heard cannot be mended
    first: Fault | None = None
    for attempt in range(1 + RETRIES):
        streamed.advance(stop)
        codes = streamed.fill(made, stop)
        fault = guard.fault(torch.cat([tail, codes], dim=1)[0])
        first = first or fault
        if fault is None or attempt == RETRIES:
            break
        streamed.redraw(reached, stop, again(generator, place, attempt))
    if first is not None:
        on_fault(first, fault is None)
    return codes


def _timed(blocks: Iterator[np.ndarray], watch: Stopwatch) -> Iterator[np.ndarray]:
    """The blocks, with the time spent on them: that beside AR and NAR is decoding."""
    while True:
        began, modelled = time.perf_counter(), watch.model.ar_s + watch.model.nar_s
        block = next(blocks, None)
        watch.decode_s += time.perf_counter() - began - (watch.model.ar_s + watch.model.nar_s - modelled)
        if block is None:
            return
        yield block
        watch.heard()  # whoever asks for the next one has written this one
