"""One span of a recording that is to be generated: its contexts become codes, and the codec is matched to them.

Shared by every generating workflow; `rendering.py` turns new codes into audio. Knows nothing about files or commands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.audio import mid, resample
from audiolm_cli.audio.level import measure_offset
from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.chunked import encode_chunked

SEAM_FRAMES = 32
"""Frames of real context decoded on each side of a generated span."""
MARGIN_FRAMES = 16
"""Frames mirrored beyond a seam, so that the codec does not take the cut for an ending."""
HIDDEN_FRAMES = 1
"""Context frames next to a seam that are made anew: their codes depend on audio beyond the seam, which is not there."""
OFFSET_S = 5.0
"""Seconds of context on each side whose DC offset new audio takes over."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What lies around a gap of a recording."""

    before: np.ndarray
    """float32 [C, n]: the recording up to the gap, or the end of it."""
    after: np.ndarray
    """float32 [C, n]: the recording after the gap, or the beginning of it."""
    rate_hz: int
    """The recording's sample rate."""
    gain: float = 1.0
    """What brings the recording to the training level."""
    ceiling: float = math.inf
    """Level that new audio may not exceed."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """Context on one side of a span, on the codec's frame grid that starts at the span's first sample."""

    codes: Tensor
    """int64 [1, L, K], without the hidden frames."""
    hidden: int
    """Context frames between these codes and the span, whose codes are made anew."""
    wav: Tensor
    """float32 [1, 1, n]: audio of the context and of its hidden frames, at the codec's rate and the training level."""
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
    """float32 [C, n]: the recording up to the span (its last seconds), without its DC offset."""
    after: np.ndarray
    """float32 [C, n]: the recording from the end of the span on (its first seconds), without its DC offset."""
    offsets: np.ndarray
    """float64 [C, 2]: the DC offset before and after the span; the span goes from one to the other."""
    ceiling: float
    """Level that no sample may exceed; infinity where samples do not clip (`takes.peak_ceiling`)."""
    left: Side
    """Context before the span."""
    right: Side
    """Context after it."""
    codec: Codec
    """What decodes it: the codec without what it gets wrong of the contexts."""


def open_span(surroundings: Surroundings, new_samples: int, frames: int, codec: Codec) -> Span:
    """Encode the contexts of a span, and match the codec to them.

    Args:
        surroundings: the recording before and after it.
        new_samples: length of the span at the recording's rate.
        frames: context frames wanted on each side, at most.
        codec: what encodes them; `Span.codec` is made of it.
    """
    rate_hz, gain = surroundings.rate_hz, surroundings.gain
    reach = context_samples(frames, rate_hz, codec)
    before = surroundings.before[:, max(0, surroundings.before.shape[1] - reach) :]
    after = surroundings.after[:, :reach]

    # Codecs carry no DC offset: it is taken out of the contexts, and `rendering.py` puts it into the new audio.
    offsets = _measure_offsets(before, after, rate_hz)
    before, after = (_shift(side, -offsets[:, number]) for number, side in enumerate((before, after)))

    hop_s = codec.hop_samples / codec.sample_rate_hz
    new_frames = max(1, math.ceil(new_samples / rate_hz / hop_s - 1e-9))
    left = _left_side(before, rate_hz, frames, gain, codec)
    right = _right_side(after, rate_hz, new_samples, new_frames, frames, gain, codec)
    return Span(
        rate_hz=rate_hz,
        new_samples=new_samples,
        gap_frames=left.hidden + new_frames + right.hidden,
        gain=gain,
        ceiling=surroundings.ceiling,
        before=before,
        after=after,
        offsets=offsets,
        left=left,
        right=right,
        codec=_match(codec, left, right, new_frames * codec.hop_samples),
    )


def context_samples(frames: int, rate_hz: int, codec: Codec) -> int:
    """How many samples next to a span `open_span` reads on each side for `frames` context frames."""
    return math.ceil((frames + 2 * MARGIN_FRAMES) * codec.hop_samples / codec.sample_rate_hz * rate_hz)


def _measure_offsets(before: np.ndarray, after: np.ndarray, rate_hz: int) -> np.ndarray:
    """The DC offset float64 [C, 2] of the contexts [C, n]; where one side is too short to show its own, the other's."""
    near = round(OFFSET_S * rate_hz)
    sides = before[:, max(0, before.shape[1] - near) :], after[:, :near]
    own = [measure_offset(side) for side in sides]
    return np.stack([_lend_offset(own[0], sides[0], own[1]), _lend_offset(own[1], sides[1], own[0])], axis=1)


def _lend_offset(own: np.ndarray, side: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The offset [C] of a side [C, n], or the other one in channels that show none and lie nearer to that than to 0."""
    means = side.mean(axis=1, dtype=np.float64) if side.shape[1] else other
    return np.where((own == 0) & (np.abs(means - other) < np.abs(means)), other, own)


def _shift(wav: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """wav [C, n] moved by offset [C]; the same array where there is nothing to move."""
    return (wav + offset[:, None]).astype(np.float32) if offset.any() else wav


def _left_side(before: np.ndarray, rate_hz: int, frames: int, gain: float, codec: Codec) -> Side:
    """The context before the span; its grid ends exactly at the span's first sample."""
    # Both rates meet every `unit` samples of the file; zeros in front put the span's first sample where they do.
    common, length = math.gcd(rate_hz, codec.sample_rate_hz), before.shape[1]
    unit = rate_hz // common
    extra = -length % unit
    mono = np.pad(mid(before), (extra, 0)) if length else np.zeros(0, np.float32)
    wav = _resample(_mirror_after(mono, _margin(rate_hz, codec)), rate_hz, codec)

    # Whole frames, without any of the zeros, that end where the span begins; the mirrored samples follow.
    exact = (length + extra) // unit * (codec.sample_rate_hz // common)  # the span's first sample at the codec's rate
    whole = length * codec.sample_rate_hz // rate_hz // codec.hop_samples
    start = exact - whole * codec.hop_samples
    audio = torch.from_numpy(wav[start:] * gain)[None, None].float()  # [1, 1, n]
    codes = _encode(codec, audio)  # [1, T, K]

    L = min(frames, whole)
    end = exact - start
    inside = end // codec.hop_samples
    keep = L * codec.hop_samples
    hidden = HIDDEN_FRAMES if L > HIDDEN_FRAMES else 0
    return Side(
        codes=codes[:, inside - L : inside - hidden], hidden=hidden, wav=audio[..., end - keep : end], first=-keep
    )


def _right_side(
    after: np.ndarray, rate_hz: int, new_samples: int, new_frames: int, frames: int, gain: float, codec: Codec
) -> Side:
    """The context after the span, on the grid that starts at the span's first sample."""
    # A mirrored margin begins where both rates meet, and is cut to where the span's grid has a frame.
    common = math.gcd(rate_hz, codec.sample_rate_hz)
    unit = rate_hz // common
    start = max(0, new_samples - _margin(rate_hz, codec)) // unit * unit  # file samples from the span's start
    mono = _mirror_before(mid(after) if after.shape[1] else np.zeros(0, np.float32), new_samples - start)
    wav = _resample(mono, rate_hz, codec) * gain
    first = start // unit * (codec.sample_rate_hz // common)
    skip = -first % codec.hop_samples
    wav, first = wav[skip:], first + skip
    codes = _encode(codec, torch.from_numpy(wav)[None, None].float())  # [1, T, K]

    lead = new_frames - first // codec.hop_samples  # frames of the margin
    usable = int(after.shape[1] / rate_hz * codec.frame_rate_hz) - 1
    count = max(0, min(frames, usable))
    hidden = HIDDEN_FRAMES if count > HIDDEN_FRAMES else 0
    edge = math.ceil(new_samples * codec.sample_rate_hz / rate_hz)  # first sample after the span
    end = (new_frames + count) * codec.hop_samples
    kept = wav[edge - first : end - first] if count else wav[:0]
    return Side(
        codes=codes[:, lead + hidden : lead + count],
        hidden=hidden,
        wav=torch.from_numpy(kept)[None, None].float(),
        first=edge,
    )


def _match(codec: Codec, left: Side, right: Side, grid_end: int) -> Codec:
    """The codec matched to the contexts of a span whose last frame ends `grid_end` samples after its first sample."""
    # Hidden frames lie between the span and the codes; the audio before a whole frame of the right context has no code.
    hop = codec.hop_samples
    first = grid_end + right.hidden * hop - right.first
    stretches = [(left.codes, left.wav), (right.codes, right.wav[..., first:])]
    heard = [(codes, wav[..., : codes.shape[1] * hop].to(codec.device)) for codes, wav in stretches if codes.shape[1]]
    return codec.matched(heard)


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
