"""A continuation whose audio is made while it is read. Knows nothing about files or commands.

The AR decoder runs `AHEAD_FRAMES` ahead of what is heard; the NAR decoder and the codec fill in behind it. The fine
codes of the frames ahead are made twice: first for the codec, which needs to know what follows, then again with more
of the future in view. A portion that went wrong is drawn again before it is heard.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.audio.level import recording_gain
from audiolm_cli.audio.recording import Recording
from audiolm_cli.codec.base import Codec
from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.cores import Cores
from audiolm_cli.editing.dynamics import keep_dynamics
from audiolm_cli.editing.guards import SINK_S, Fault, Guard, retry_generator
from audiolm_cli.editing.rendering import AHEAD_FRAMES, Portion, render_stream
from audiolm_cli.editing.session import Session
from audiolm_cli.editing.spans import Surroundings, context_samples, open_span
from audiolm_cli.editing.splicing import Gap, Piece, Repeated, Take
from audiolm_cli.editing.takes import peak_ceiling
from audiolm_cli.editing.windows import RETRIES, plan_step, recall
from audiolm_cli.events import Activity
from audiolm_cli.model.decode import Timing
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.geometry import count_frames
from audiolm_cli.model.stream import StreamedWindow

FIRST_S = 0.4
"""Length of the first portion, beside the frames ahead: short, so that something is heard soon."""
PORTION_S = 1.0
"""Length of the others."""


def stream_takes(session: Session, recording: Recording, gaps: list[Gap]) -> list[Take]:
    """One take for the gap at the end of a recording, in a list; its audio is made while the blocks are read.

    Raises:
        UsageError: the prompt is shorter than one frame.
    """
    (gap,) = gaps
    (seed,) = session.draw_seeds(1)
    frames, codec, rate_hz = session.prompt_frames, session.codec, recording.sample_rate_hz
    with session.stage("encode"):
        reach = context_samples(frames, rate_hz, codec)
        surroundings = Surroundings(
            before=recording.wav(max(0, gap.start - reach), gap.start),
            after=recording.wav(gap.stop),
            rate_hz=rate_hz,
            gain=recording_gain(recording, [(gap.start, gap.stop)]),
            ceiling=peak_ceiling(recording),
        )
        span = open_span(surroundings, gap.new_samples, frames, codec)
    sampling = session.sampling_for(gap.new_samples / rate_hz, between=False)

    def report_frames(done: int) -> None:
        session.report_audio("generate", done / span.gap_frames, span.new_samples / span.rate_hz)

    faults: list[str] = []

    def report_fault(fault: Fault, mended: bool) -> None:
        session.faults.add(seed, fault, mended)
        if not mended:
            faults.append(fault.state)

    stream = CodeStream(
        model=keep_dynamics(session.model, codec, span.left.codes, span.right.codes),
        codec=codec,
        sampling=sampling,
        on_fault=report_fault,
        on_retry=lambda fault: session.on_event(Activity(stage=f"again: it was {fault.state}")),
        on_frame=report_frames,
        timing=session.watch.model,
        elsewhere=session.elsewhere,
        cores=session.cores,
    )

    def blocks() -> Iterator[np.ndarray]:
        faults.clear()
        portions = stream.draw(span.left.codes, span.gap_frames, torch.Generator().manual_seed(seed))
        with session.faults.telling(session.on_event):
            yield from _time_blocks(render_stream(span, portions), session)

    piece = Piece(num_samples=gap.new_samples, blocks=Repeated(blocks))
    return [Take(seed=seed, pieces=[piece], drawn=[sampling], faults=faults)]


@dataclass(frozen=True, kw_only=True)
class CodeStream:
    """Draws the codes of a continuation portion by portion, and a portion that went wrong again."""

    model: Decoders
    """The decoders, in eval mode."""
    codec: Codec
    """Whose codes these are."""
    sampling: SamplingConfig
    """How codes are drawn."""
    on_fault: Callable[[Fault, bool], None]
    """Called with what was wrong with a portion, and whether that is mended."""
    on_retry: Callable[[Fault], None]
    """Called with what is wrong with a portion before it is drawn again."""
    on_frame: Callable[[int], None]
    """Called with the number of AR frames done."""
    timing: Timing
    """Where the seconds are added."""
    elsewhere: Tensor | None = None
    """Codes [1, E, K] of a prompt from elsewhere; None is none."""
    cores: Cores = field(default_factory=Cores)
    """What knows which cores are free."""

    def draw(self, left: Tensor, frames: int, generator: torch.Generator) -> Iterator[Portion]:
        """Codes of `frames` frames after left [1, L, K], in the windows of `windows.GapFiller`.

        As long as one window holds everything, the first codebook is that of `GapFiller`; later windows hear other
        fine codes. A portion with a fault, together with the three seconds before it, is drawn again from seeds
        derived from the generator's, up to `RETRIES` times; the last one stays.
        """
        rate_hz, window = self.codec.frame_rate_hz, self.model.config.max_frames - count_frames(self.elsewhere)
        guard, heard_frames = Guard(self.codec, left, left[:, :0]), round(SINK_S * rate_hz) - 1

        near, heard, done = left, left[:, :0], 0  # `heard` is the end of what was made, in all windows
        while done < frames:
            near = near[:, max(0, near.shape[1] - window) :]
            geometry = plan_step(near.shape[1], frames - done, 0, window)
            geometry = dataclasses.replace(geometry, elsewhere=count_frames(self.elsewhere))
            before = recall(left, near, done, geometry.left)
            context = geometry.gather(before, elsewhere=self.elsewhere)  # [1, context frames, K]
            streamed = StreamedWindow(self.model, context, geometry, self.sampling, generator, self.timing, self.cores)

            made, reached = left[:, :0], 0  # codes of this window that stay, and how far the first codebook is
            while reached < geometry.gap:
                # Something is to be heard soon; and the last portion takes in what would be too short for another.
                length = round(PORTION_S * rate_hz) if done + reached else round(FIRST_S * rate_hz) + AHEAD_FRAMES
                stop = reached + length if reached + length + AHEAD_FRAMES < geometry.gap else geometry.gap
                retries = [retry_generator(generator, done + reached, attempt) for attempt in range(RETRIES)]
                codes = self._draw_portion(streamed, made, (reached, stop), heard, guard, retries)  # [1, n, K]
                yield Portion(codes=codes, start=done + made.shape[1])

                # The frames ahead come again in the next portion, with more of the future in view.
                settled = codes if stop == geometry.gap else codes[:, : codes.shape[1] - AHEAD_FRAMES]
                made, heard, reached = torch.cat([made, settled], dim=1), torch.cat([heard, settled], dim=1), stop
                heard = heard[:, max(0, heard.shape[1] - heard_frames) :]
                self.on_frame(done + reached)

            near, done = torch.cat([near, made], dim=1), done + geometry.gap
            self.timing.frames += geometry.gap

    def _draw_portion(
        self,
        streamed: StreamedWindow,
        made: Tensor,
        frames: tuple[int, int],
        heard: Tensor,
        guard: Guard,
        retries: list[torch.Generator],
    ) -> Tensor:
        """Codes [1, n, K] after those `made` in this window, with new first codes in `frames` (start, stop) of it."""
        start, stop = frames
        heard = heard if guard.find_fault(heard[0]) is None else heard[:, :0]  # what was heard cannot be mended
        first: Fault | None = None
        for retry in (*retries, None):
            streamed.advance(stop)
            codes = streamed.fill(made, stop)
            fault = guard.find_fault(torch.cat([heard, codes], dim=1)[0])
            first = first or fault
            if fault is None or retry is None:
                break
            self.on_retry(fault)
            streamed.redraw(start, stop, retry)

        if first is not None:
            self.on_fault(first, fault is None)
        return codes


def _time_blocks(blocks: Iterator[np.ndarray], session: Session) -> Iterator[np.ndarray]:
    """The blocks, with the time spent on them: that beside AR and NAR is decoding."""
    watch = session.watch
    while True:
        began, modelled = time.perf_counter(), watch.model.ar_s + watch.model.nar_s
        with session.cores.share():
            block = next(blocks, None)
        watch.decode_s += time.perf_counter() - began - (watch.model.ar_s + watch.model.nar_s - modelled)
        if block is None:
            return
        yield block
        watch.note_sound()  # whoever asks for the next one has written this one
