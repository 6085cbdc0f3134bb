"""New codes of a span to audio that fits its place: level, stereo image, DC offset, and the cross-fades at the seams.

A stretch at a time, so any length takes constant memory. Knows nothing about files, takes or commands.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.audio import measure_image, resample_blocks
from audiolm_cli.audio.level import TRAINING_PEAK
from audiolm_cli.audio.prediction import extrapolate
from audiolm_cli.codec.base import KnownSamples, OnShare, ignore_share
from audiolm_cli.codec.chunked import halve_chunk
from audiolm_cli.codec.loudness import frame_rms
from audiolm_cli.editing.spans import SEAM_FRAMES, Span

CHUNK_FRAMES = 1000
"""Frames decoded at a time: 20 s at 50 frames/s. Up to half as many more are still decoded in one piece."""
CHUNK_CONTEXT_FRAMES = 32
"""Frames decoded with a chunk on each side; of those before it, the samples are known."""
AHEAD_FRAMES = 16
"""Frames that must be there after a chunk before it is decoded, while codes are being made."""
FADE_S = 0.08
"""Longest cross-fade inside the span, from the context as it would run on to what was generated."""
LEAST_FADE_S = 0.03
"""Shortest one: an attack in what was generated ends a cross-fade, but not before this."""
ATTACK_RATIO = 4.0
"""Least power of an attack over that of the context as it runs on: 6 dB."""
ATTACK_S = 0.01
"""Over such stretches the power of what was generated is measured."""
LIMIT_S = 0.01
"""Time over which the level goes down before a peak that would clip, and up again after it."""
PEAK_RATIO = 2.0
"""How many times the recording's peak a peak of the span is at most: 6 dB. Codes that do not fit each other, which the
guards did not get rid of, decode to bursts."""
LEVEL_RANGE = (0.5, 2.0)
"""How far the level of a span may be moved to match its context."""
IMAGE_S = 5.0
"""Seconds of context on each side whose stereo image the span takes over."""


@dataclass(frozen=True, kw_only=True)
class Portion:
    """Codes that were just made; a later portion may begin before the end of this one, and then holds better ones."""

    codes: Tensor
    """int64 [1, n, K]."""
    start: int
    """The first of them, in frames of the gap."""


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    """What is decoded together."""

    codes: Tensor
    """int64 [1, n, K], context included."""
    first: int
    """The frame that they begin with, counted from the first of the left context."""
    start: int
    """The first frame whose audio is new."""
    stop: int
    """The frame after the last."""


def render_span(span: Span, codes: Tensor) -> np.ndarray:
    """Audio float32 [C, new_samples] of the span from its codes [1, gap_frames, K]; see `render_blocks`."""
    return np.concatenate(list(render_blocks(span, codes)), axis=1)


def render_blocks(span: Span, codes: Tensor, on_share: OnShare = ignore_share) -> Iterator[np.ndarray]:
    """Audio float32 [C, n] of the span from its codes [1, gap_frames, K], block after block; `new_samples` in all.

    Decoded together with real context, at the context's level and in its colour, running on from its phases; long spans
    in chunks, each of which runs on from the samples of the one before. At the seams the context as linear prediction
    carries it on fades into what was generated, so that no sample jumps and each channel keeps its own partials.
    `on_share` is called with the share that is decoded.
    """
    left, right = _near_left(span), span.right.codes[:, :SEAM_FRAMES]
    whole = torch.cat([left, codes, right], dim=1)

    def report(frames: float) -> None:
        on_share(frames / whole.shape[1])

    yield from _render(span, _chunks(whole), left, right, report)


def render_stream(span: Span, portions: Iterable[Portion]) -> Iterator[np.ndarray]:
    """`render_blocks` of codes that are being made, each block as soon as `AHEAD_FRAMES` after it are there.

    The span has no right context.
    """
    left = _near_left(span)
    chunks = _chunks_so_far(left, portions, span.gap_frames)
    yield from _render(span, chunks, left, span.right.codes)


def _near_left(span: Span) -> Tensor:
    return span.left.codes[:, max(0, span.left.codes.shape[1] - SEAM_FRAMES) :]


def _ignore_frames(frames: float) -> None:
    """Frames that nobody counts."""


def _render(
    span: Span,
    chunks: Iterable[_Chunk],
    left: Tensor,
    right: Tensor,
    on_frames: Callable[[float], None] = _ignore_frames,
) -> Iterator[np.ndarray]:
    """Audio float32 [C, n] of the span from chunks that begin with the codes `left` [1, L, K] of its context."""
    codec = span.codec
    level = _level_ratio(span, left, right)
    lead = (left.shape[1] + span.left.hidden) * codec.hop_samples
    # Zeros in front put the span's first sample where both rates meet.
    extra = -lead % (codec.sample_rate_hz // math.gcd(codec.sample_rate_hz, span.rate_hz))
    decoded = _decode(span, chunks, lead, level, on_frames)
    padded = _after_zeros(extra, (wav * np.float32(level / span.gain) for wav in decoded))
    mono = resample_blocks((wav[None] for wav in padded), codec.sample_rate_hz, span.rate_hz)
    yield from _fit_span((wav[0] for wav in mono), (lead + extra) * span.rate_hz // codec.sample_rate_hz, span)


def _chunks(codes: Tensor) -> Iterator[_Chunk]:
    """Codes [1, T, K] in chunks with context on both sides."""
    T = codes.shape[1]
    step = T if T <= CHUNK_FRAMES + CHUNK_FRAMES // 2 else CHUNK_FRAMES
    for start in range(0, T, max(step, 1)):
        stop = min(start + step, T)
        first, last = max(0, start - CHUNK_CONTEXT_FRAMES), min(T, stop + CHUNK_CONTEXT_FRAMES)
        yield _Chunk(codes=codes[:, first:last], first=first, start=start, stop=stop)


def _chunks_so_far(left: Tensor, portions: Iterable[Portion], frames: int) -> Iterator[_Chunk]:
    """Codes [1, L, K] and `frames` more in chunks, each as soon as the frames that it needs after it are there."""
    L, codes, first, start = left.shape[1], left, 0, 0
    for portion in portions:
        codes = torch.cat([codes[:, : L + portion.start - first], portion.codes], dim=1)  # [1, frames from first on, K]
        end = first + codes.shape[1]
        stop = end if end == L + frames else end - AHEAD_FRAMES

        if stop > start:  # what came before the next chunk's context is no longer needed
            past, first = first, max(0, start - CHUNK_CONTEXT_FRAMES)
            codes = codes[:, first - past :]
            yield _Chunk(codes=codes, first=first, start=start, stop=stop)
            start = stop


def _split_chunk(chunk: _Chunk, frames: int) -> Iterator[_Chunk]:
    """A chunk in parts of so many frames, with no more context than a chunk has."""
    for start in range(chunk.start, chunk.stop, frames):
        stop = min(start + frames, chunk.stop)
        first = max(chunk.first, start - CHUNK_CONTEXT_FRAMES)
        codes = chunk.codes[:, first - chunk.first : stop + CHUNK_CONTEXT_FRAMES - chunk.first]
        yield _Chunk(codes=codes, first=first, start=start, stop=stop)


def _decode(
    span: Span,
    chunks: Iterable[_Chunk],
    lead: int,
    level: float,
    on_frames: Callable[[float], None],
) -> Iterator[np.ndarray]:
    """Audio float32 [n] of consecutive chunks, `lead` samples of which come before the span.

    `on_frames` is called with the frames that are decoded, counted from the first of the left context.
    """
    # A chunk fades in over the last frame before it: it meets what is known without a step, but not smoothly.
    codec = span.codec
    hop = fade = codec.hop_samples
    ramp = torch.sin(torch.linspace(0, math.pi / 2, fade, device=codec.device)).square()

    past = torch.zeros(0, device=codec.device)  # the end of what was decoded
    waiting = iter(chunks)
    parts: list[_Chunk] = []  # of a chunk that did not fit into memory
    while (chunk := parts.pop(0) if parts else next(waiting, None)) is not None:
        known = _known_samples(span, lead - chunk.first * hop, chunk.codes.shape[1] * hop, level)
        ahead = (chunk.start - chunk.first) * hop  # samples of the chunk's context, which are known but for the fade
        if ahead:
            known.wav[0, 0, :ahead] = past[len(past) - ahead :]
            known.mask[: ahead - fade] = True

        def report(share: float, chunk: _Chunk = chunk) -> None:
            on_frames(chunk.start + share * (chunk.stop - chunk.start))

        try:
            wav = codec.decode(chunk.codes, known, report)[0, 0][: ahead + (chunk.stop - chunk.start) * hop]  # [n]
        except torch.OutOfMemoryError as error:
            parts = [*_split_chunk(chunk, halve_chunk(chunk.stop - chunk.start, codec, error)), *parts]
            continue

        # The last frame waits for the chunk that fades in over it.
        new = wav[ahead:]
        yield _join_chunks(past[max(0, len(past) - fade) :], wav[max(0, ahead - fade) : ahead], ramp).cpu().numpy()
        yield new[: len(new) - fade].cpu().numpy()
        past = torch.cat([past, new])[-CHUNK_CONTEXT_FRAMES * hop :]
    yield past[max(0, len(past) - fade) :].cpu().numpy()


def _join_chunks(one: Tensor, other: Tensor, ramp: Tensor) -> Tensor:
    """One sound [n] fading into another; n is 0 or the ramp's length."""
    return one + (other - one) * ramp[: len(one)]


def _level_ratio(span: Span, left: Tensor, right: Tensor) -> float:
    """How much louder the contexts are than what the codec makes of them."""
    power, decoded_power = 0.0, 0.0
    near = SEAM_FRAMES * span.codec.hop_samples
    for codes, wav in ((left, span.left.wav[..., -near:]), (right, span.right.wav[..., :near])):
        if codes.shape[1]:
            power += wav.square().mean().item()
            decoded_power += frame_rms(span.codec, codes).square().mean().item()

    if power == 0 or decoded_power == 0:
        return 1.0
    return float(np.clip(math.sqrt(power / decoded_power), *LEVEL_RANGE))


def _known_samples(span: Span, lead: int, total: int, level: float) -> KnownSamples:
    """The context samples on a decoded stretch that begins `lead` samples before the span, or after its start."""
    wav, mask = torch.zeros(1, 1, total), torch.zeros(total, dtype=torch.bool)
    for side in (span.left, span.right):
        at = lead + side.first
        start, stop = max(0, at), min(total, at + side.wav.shape[-1])
        if stop > start:
            wav[..., start:stop] = side.wav[..., start - at : stop - at] / level
            mask[start:stop] = True

    device = span.left.codes.device
    return KnownSamples(wav=wav.to(device), mask=mask.to(device))


def _after_zeros(count: int, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Blocks [n] with `count` zeros in front of the first."""
    for block in blocks:
        yield np.pad(block, (count, 0))
        count = 0


def limit(wav: np.ndarray, ceiling: float, reach: int) -> np.ndarray:
    """wav [C, n] with the level of all channels lowered around peaks over the ceiling, smoothly over `reach` samples.

    Without such peaks, it is `wav` itself.
    """
    peaks = np.abs(wav).max(axis=0, initial=0.0)  # [n]
    if not (peaks > ceiling).any():
        return wav

    # The least level that is needed within reach, then smoothed over the same reach.
    needed = torch.from_numpy(np.minimum(1.0, ceiling / np.maximum(peaks, 1e-9)))[None, None].double()  # [1, 1, n]
    width = 2 * reach + 1
    least = -torch.nn.functional.max_pool1d(-needed, width, stride=1, padding=reach)
    padded = torch.nn.functional.pad(least, (reach, reach), mode="replicate")
    smooth = torch.nn.functional.avg_pool1d(padded, width, stride=1)[0, 0].numpy()  # nowhere above what is needed
    return (wav * smooth).astype(wav.dtype)


def _fit_span(blocks: Iterable[np.ndarray], lead: int, span: Span) -> Iterator[np.ndarray]:
    """The span float32 [C, n] in the image and DC offset of its contexts, from mono blocks [n] after `lead` samples."""
    C, n = max(len(span.before), len(span.after)), span.new_samples
    near = round(IMAGE_S * span.rate_hz)
    image = measure_image(np.concatenate([span.before[:, -near:], span.after[:, :near]], axis=1), span.rate_hz)
    loudest = PEAK_RATIO * TRAINING_PEAK / span.gain * float(np.abs(image.gains).max(initial=1.0))
    ceiling = min(loudest, max(0.0, span.ceiling - float(np.abs(span.offsets).max(initial=0.0))))
    reach = round(LIMIT_S * span.rate_hz)
    margin = 2 * reach  # a peak lowers the level that far around it
    seam = _Seam.of(span, ceiling)

    buffer, offset, start = np.zeros(0, np.float32), 0, 0  # `offset` is where the buffer begins
    for block in itertools.chain(blocks, (None,)):
        buffer = buffer if block is None else np.concatenate([buffer, block])
        ready = offset + len(buffer) - lead - margin - image.ahead
        ready = n if block is None else min(ready, n - seam.fade)  # the last piece has room for the fade, as the first
        while start < ready and (block is None or ready - start >= seam.fade):
            stop = ready if ready - start < 2 * near else start + near
            first, last = lead + start - margin - image.behind, lead + stop + margin + image.ahead
            wide = limit(image.place(_cut(buffer, first - offset, last - offset)), ceiling, reach)
            out = wide[:, margin : margin + stop - start]  # float64 [C, stop - start]

            if start == 0:
                seam.fade_in(out)
            if stop == n:
                seam.fade_out(out)
            if span.offsets.any():
                out += _offset_line(span, start, stop)
            yield out.astype(np.float32)

            kept = max(0, lead + stop - margin - image.behind - offset)
            buffer, offset, start = buffer[kept:], offset + kept, stop
    if n == 0:
        yield np.zeros((C, 0), np.float32)


def _cut(signal: np.ndarray, first: int, last: int) -> np.ndarray:
    """The samples `first` to `last` of a signal [n]; zeros where it has none."""
    inside = signal[max(0, first) : max(0, last)]
    before = min(max(0, -first), last - first)
    return np.pad(inside, (before, last - first - before - len(inside)))


def _offset_line(span: Span, start: int, stop: int) -> np.ndarray:
    """The DC offset float64 [C, n] of samples `start` to `stop` of a span: a line between those of its contexts."""
    share = (np.arange(start, stop) + 0.5) / span.new_samples
    return span.offsets[:, :1] + (span.offsets[:, 1:] - span.offsets[:, :1]) * share


@dataclass(frozen=True, kw_only=True)
class _Seam:
    """The cross-fades at both ends of a span, from its contexts as linear prediction carries them on."""

    span: Span
    fade: int
    """Most samples of each."""
    ceiling: float
    """Level that no new sample may exceed."""

    @classmethod
    def of(cls, span: Span, ceiling: float) -> _Seam:
        """Those of a span; in a short one, each has its half of it."""
        sides = (span.before.shape[1] > 0) + (span.after.shape[1] > 0)
        fade = min(round(FADE_S * span.rate_hz), -(-span.new_samples // max(1, sides)))
        return cls(span=span, fade=fade, ceiling=ceiling)

    def fade_in(self, out: np.ndarray) -> None:
        """Lead from the context before into the beginning of out [C, n]."""
        if self.span.before.shape[1]:
            self._lead(out[:, : self.fade], self.span.before)

    def fade_out(self, out: np.ndarray) -> None:
        """Lead from the end of out [C, n] into the context after."""
        if self.span.after.shape[1]:
            self._lead(out[:, out.shape[1] - self.fade :][:, ::-1], self.span.after[:, ::-1])

    def _lead(self, out: np.ndarray, context: np.ndarray) -> None:
        """Fade from a context [C, n] as it runs on into out [C, fade], which is written to."""
        rate_hz = self.span.rate_hz
        # It may be as loud as the context is, which is over the ceiling where the other side has another offset.
        ceiling = max(self.ceiling, float(np.abs(context[:, -self.fade :]).max(initial=0.0)))
        carried = limit(extrapolate(context, self.fade, rate_hz), ceiling, round(LIMIT_S * rate_hz))  # [C, fade]
        fade = _find_attack(out, carried, rate_hz)
        share = 0.5 * (1 + np.cos(np.pi * (np.arange(fade) + 0.5) / fade))  # of the context, falling
        out[:, :fade] += (carried[:, :fade] - out[:, :fade]) * share


def _find_attack(made: np.ndarray, carried: np.ndarray, rate_hz: int) -> int:
    """How many samples of made [C, n] there are before it gets much louder than carried [C, n]; n where it does not.

    A cross-fade over an attack would soften it. One within the first `LEAST_FADE_S` counts as one at their end.
    """
    n, stretch = made.shape[1], round(ATTACK_S * rate_hz)
    starts = np.arange(0, n, stretch)
    power = np.add.reduceat(np.square(made).mean(axis=0), starts) / np.diff(starts, append=n)
    louder = starts[power > ATTACK_RATIO * np.square(carried).mean()]
    return int(np.clip(louder[0] if len(louder) else n, min(n, round(LEAST_FADE_S * rate_hz)), n))
