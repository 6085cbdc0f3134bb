"""One generated span of a recording: its contexts become codes, new codes become audio, and the audio fits its place.

Shared by every generating workflow. Knows nothing about files, takes or commands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.audio import balance, mid, resample
from audiolm_cli.codec.base import Codec, KnownSamples
from audiolm_cli.codec.chunked import encode_chunked

SEAM_FRAMES = 64
"""Frames of real context decoded on each side of a generated span."""
MARGIN_FRAMES = 16
"""Frames mirrored beyond a seam, so that the codec does not take the cut for an ending."""
HIDDEN_FRAMES = 1
"""Context frames next to a seam that are made anew: their codes depend on audio beyond the seam, which is not there."""
FADE_S = 0.02
"""Length of the cross-fade inside the span."""
LEVEL_RANGE = (0.5, 2.0)
"""How far the level of a span may be moved to match its context."""
BALANCE_S = 5.0
"""Seconds of context whose channel balance the span takes over."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """Context on one side of a span, on the codec's frame grid that starts at the span's first sample."""

    codes: Tensor
    """int64 [1, L, K], without the hidden frames."""
    hidden: int
    """Context frames between these codes and the span, whose codes are made anew."""
    wav: Tensor
    """float32 [1, 1, n]: the context's audio nearest to the span, at the codec's rate and the training level."""
    first: int
    """Where `wav` starts, in the codec's samples from the span's first sample."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A span of `new_samples` to be made at the recording's rate, between its contexts."""

    rate_hz: int
    """The recording's sample rate."""
    new_samples: int
    """Length of the span at that rate."""
    gap_frames: int
    """Codec frames to make: the span, rounded up, and the hidden frames on both sides."""
    gain: float
    """What the recording was multiplied with to get to the training level."""
    before: np.ndarray
    """float32 [C, n]: the recording up to the span (its last seconds)."""
    after: np.ndarray
    """float32 [C, n]: the recording from the end of the span on (its first seconds)."""
    left: Side
    """Context before the span."""
    right: Side
    """Context after it."""


def open_span(
    before: np.ndarray, after: np.ndarray, rate_hz: int, new_samples: int, gain: float, frames: int, codec: Codec
) -> Span:
    """Encode the contexts of a span.

    Args:
        before: float32 [C, n], the recording up to the span.
        after: float32 [C, n], the recording after it.
        rate_hz: the recording's rate.
        new_samples: length of the span at that rate.
        gain: what brings the recording to the training level.
        frames: context frames wanted on each side, at most.
        codec: what encodes them.
    """
    hop_s = codec.hop_samples / codec.sample_rate_hz
    reach = context_samples(frames, rate_hz, codec)
    before, after = before[:, max(0, before.shape[1] - reach) :], after[:, :reach]
    new_frames = max(1, math.ceil(new_samples / rate_hz / hop_s - 1e-9))
    left = _left_side(before, rate_hz, frames, gain, codec)
    right = _right_side(after, rate_hz, new_samples, new_frames, frames, gain, codec)
    return Span(
        rate_hz=rate_hz,
        new_samples=new_samples,
        gap_frames=left.hidden + new_frames + right.hidden,
        gain=gain,
        before=before,
        after=after,
        left=left,
        right=right,
    )


def context_samples(frames: int, rate_hz: int, codec: Codec) -> int:
    """How many samples next to a span `open_span` reads on each side for `frames` context frames."""
    return math.ceil((frames + 2 * MARGIN_FRAMES) * codec.hop_samples / codec.sample_rate_hz * rate_hz)


def render_span(span: Span, codes: Tensor, codec: Codec) -> np.ndarray:
    """Audio float32 [C, new_samples] of the span from its codes [1, gap_frames, K].

    Decoded together with real context, at the context's level, running on from its phases; the residue at the seams is
    faded out inside the span, so that no sample jumps.
    """
    hop = codec.hop_samples
    left = span.left.codes[:, -SEAM_FRAMES:] if span.left.codes.shape[1] else span.left.codes
    right = span.right.codes[:, :SEAM_FRAMES]
    level = _level(span, left, right, codec)
    lead, total = (left.shape[1] + span.left.hidden) * hop, (left.shape[1] + codes.shape[1] + right.shape[1]) * hop
    known = _known(span, lead, total, level)
    decoded = codec.decode(torch.cat([left, codes, right], dim=1), known)[0] * (level / span.gain)  # [1, total]
    mono, lead = _to_rate(decoded.cpu().numpy(), lead, codec.sample_rate_hz, span.rate_hz)
    return _place(mono[0], lead, span)


def _left_side(before: np.ndarray, rate_hz: int, frames: int, gain: float, codec: Codec) -> Side:
    """The context before the span; its grid ends exactly at the span's first sample."""
    common, length = math.gcd(rate_hz, codec.sample_rate_hz), before.shape[1]
    unit = rate_hz // common  # file samples after which both rates meet again
    extra = -length % unit  # zeros in front, so that the span's first sample is where they meet
    mono = np.pad(mid(before), (extra, 0)) if length else np.zeros(0, np.float32)
    margin = _margin(rate_hz, codec)
    wav = _resample(_mirror_after(mono, margin), rate_hz, codec)
    exact = (length + extra) // unit * (codec.sample_rate_hz // common)
    whole = length * codec.sample_rate_hz // rate_hz // codec.hop_samples  # frames without any of the zeros
    L = min(frames, whole)
    start = exact - whole * codec.hop_samples
    audio = torch.from_numpy(wav[start:] * gain)[None, None].float()
    codes = _encode(codec, audio)
    inside = (exact - start) // codec.hop_samples
    keep = min(L, SEAM_FRAMES) * codec.hop_samples
    end = exact - start
    hidden = HIDDEN_FRAMES if L > HIDDEN_FRAMES else 0
    return Side(
        codes=codes[:, inside - L : inside - hidden], hidden=hidden, wav=audio[..., end - keep : end], first=-keep
    )


def _right_side(
    after: np.ndarray, rate_hz: int, new_samples: int, new_frames: int, frames: int, gain: float, codec: Codec
) -> Side:
    """The context after the span, on the grid that starts at the span's first sample."""
    common = math.gcd(rate_hz, codec.sample_rate_hz)
    unit = rate_hz // common
    start = max(0, new_samples - _margin(rate_hz, codec)) // unit * unit  # file samples from the span's start
    mono = _mirror_before(mid(after) if after.shape[1] else np.zeros(0, np.float32), new_samples - start)
    wav = _resample(mono, rate_hz, codec) * gain
    first = start // unit * (codec.sample_rate_hz // common)
    skip = -first % codec.hop_samples
    wav, first = wav[skip:], first + skip
    codes = _encode(codec, torch.from_numpy(wav)[None, None].float())
    lead = new_frames - first // codec.hop_samples
    usable = int(after.shape[1] / rate_hz * codec.frame_rate_hz) - 1
    count = max(0, min(frames, usable))
    edge = math.ceil(new_samples * codec.sample_rate_hz / rate_hz)  # first sample after the span
    end = (new_frames + min(count, SEAM_FRAMES)) * codec.hop_samples
    kept = wav[edge - first : end - first] if count else wav[:0]
    hidden = HIDDEN_FRAMES if count > HIDDEN_FRAMES else 0
    return Side(
        codes=codes[:, lead + hidden : lead + count],
        hidden=hidden,
        wav=torch.from_numpy(kept)[None, None].float(),
        first=edge,
    )


def _margin(rate_hz: int, codec: Codec) -> int:
    """Mirrored samples beyond a seam, at the recording's rate."""
    return math.ceil(MARGIN_FRAMES * codec.hop_samples * rate_hz / codec.sample_rate_hz)


def _mirror_after(mono: np.ndarray, count: int) -> np.ndarray:
    """`mono` followed by `count` samples of its own reflection."""
    return np.pad(mono, (0, count), mode="symmetric") if len(mono) else mono


def _mirror_before(mono: np.ndarray, count: int) -> np.ndarray:
    return np.pad(mono, (count, 0), mode="symmetric") if len(mono) else mono


def _resample(mono: np.ndarray, rate_hz: int, codec: Codec) -> np.ndarray:
    return resample(mono[None], rate_hz, codec.sample_rate_hz)[0] if len(mono) else mono


def _encode(codec: Codec, wav: Tensor) -> Tensor:
    """Codes [1, T, K] of wav [1, 1, N], long ones in chunks."""
    if wav.shape[-1] == 0:
        return torch.zeros(1, 0, codec.num_codebooks, dtype=torch.long, device=codec.device)
    return encode_chunked(codec, wav.to(codec.device))


def _level(span: Span, left: Tensor, right: Tensor, codec: Codec) -> float:
    """How much louder the contexts are than what the codec makes of them."""
    power, decoded_power = 0.0, 0.0
    for codes, wav in ((left, span.left.wav), (right, span.right.wav)):
        if codes.shape[1]:
            power += wav.square().mean().item()
            decoded_power += codec.decode(codes).square().mean().item()
    if power == 0 or decoded_power == 0:
        return 1.0
    return float(np.clip(math.sqrt(power / decoded_power), *LEVEL_RANGE))


def _known(span: Span, lead: int, total: int, level: float) -> KnownSamples:
    """The context samples on the decoded stretch, `lead` samples of which come before the span."""
    wav, mask = torch.zeros(1, 1, total), torch.zeros(total, dtype=torch.bool)
    for side in (span.left, span.right):
        start = lead + side.first
        stop = min(total, start + side.wav.shape[-1])
        if stop > start:
            wav[..., start:stop] = side.wav[..., : stop - start] / level
            mask[start:stop] = True
    device = span.left.codes.device
    return KnownSamples(wav=wav.to(device), mask=mask.to(device))


def _to_rate(wav: np.ndarray, lead: int, from_hz: int, to_hz: int) -> tuple[np.ndarray, int]:
    """wav [1, n] at another rate, and where its sample `lead` lies there: exactly on a sample."""
    unit = from_hz // math.gcd(from_hz, to_hz)
    extra = -lead % unit
    return resample(np.pad(wav, ((0, 0), (extra, 0))), from_hz, to_hz), (lead + extra) * to_hz // from_hz


def _place(mono: np.ndarray, lead: int, span: Span) -> np.ndarray:
    """The span [C, new_samples] in the balance of its contexts, from decoded mono [n] after `lead` context samples."""
    C, n = max(len(span.before), len(span.after)), span.new_samples
    near = round(BALANCE_S * span.rate_hz)
    context = np.concatenate([span.before[:, -near:] if near else span.before, span.after[:, :near]], axis=1)
    gains = balance(context, mid(context)) if context.shape[1] else np.ones(C, np.float32)
    body = mono[lead : lead + n]
    out = np.outer(gains, np.pad(body, (0, n - len(body)))).astype(np.float64)
    fade = min(round(FADE_S * span.rate_hz), n)
    ramp = 0.5 * (1 + np.cos(np.pi * (np.arange(fade) + 0.5) / fade)) if fade else np.zeros(0)
    count = min(fade, span.before.shape[1], lead)
    if count:
        residue = span.before[:, -count:] - np.outer(gains, mono[lead - count : lead])
        out[:, :count] += (residue[:, ::-1] * ramp[:count]).astype(np.float64)
    tail = mono[lead + n :]
    count = min(fade, span.after.shape[1], len(tail))
    if count:
        residue = span.after[:, :count] - np.outer(gains, tail[:count])
        out[:, n - count :] += (residue[:, ::-1] * ramp[:count][::-1]).astype(np.float64)
    return out.astype(np.float32)
