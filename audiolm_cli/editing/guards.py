"""Whether generated codes went wrong in a way that models do: silence, one code for ever, swelling, or sinking.

Judges codes and how loud they will be. Knows nothing about how they are sampled, or sampled again.

The bounds are what recordings at the training level keep, but for one in fifty: no stretch is so loud, or so much
louder than what came before; stretches with so few different codes are silent; and no stretch is so much softer than
the softest one around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.loudness import frame_rms
from audiolm_cli.events import Note, OnEvent

STRETCH_S = 1.5
"""How long silence or repetition must last to be a fault."""
FEW_CODES, FIRST_CODES = 3, 3
"""Different sets of so many first codes in such a stretch, at most, that are a repetition. The first code alone may
describe many frames together: a chord that is held keeps it, and a long note of a flute keeps two."""
SILENT_RMS = 0.002
"""Everything below is silence, at the training level: -54 dB."""
SWELLS = ((0.5, 0.25, 2.5), (0.08, 0.3, 2.0))
"""Seconds, root mean square and ratio: louder over so long than this, and than this many times the loudest of the
context, is swelling. Codes that do not fit each other decode to a burst, which the shorter time sees."""

SINK_S, SINK_RATIO = 3.0, 0.5
"""Softer over so many seconds than this many times the softest of the context is sinking: 6 dB. Shorter stretches of
recordings are as soft now and then."""
GAP_RATIO = 0.6
"""A whole gap, with context on both sides, that is shorter than that is sinking when softer than this many times the
softest stretch of its length on either side: 4.4 dB."""
LOUD_GAP_S, NEAR_S, LOUD_GAP_RATIO = 1.2, 2.0, 1.4
"""A whole gap of at most so many seconds is swelling when louder than this many times the loudest stretch of its length
within so many seconds on either side: 2.9 dB. In recordings, at most one in a hundred is."""

WORDS = {
    "silence": ("falls silent", "fall silent", "silent"),
    "repetition": ("repeats one sound", "repeat one sound", "stuck"),
    "swelling": ("becomes far too loud", "become far too loud", "too loud"),
    "sinking": ("becomes far too quiet", "become far too quiet", "too quiet"),
}
"""What a stretch with a fault does, what several do, and what it was, for a listener."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a stretch of codes."""

    kind: str
    """"silence", "repetition", "swelling" or "sinking"."""
    share: float
    """Of its frames, 0..1."""
    start: int = 0
    """The frame that it begins with."""

    @classmethod
    def find(cls, kind: str, wrong: Tensor) -> Fault | None:
        """The fault of stretches [n] that begin at each frame, some of which are wrong; None where none is."""
        if not wrong.any():
            return None
        return cls(kind, float(wrong.float().mean()), int(wrong.byte().argmax()))

    @property
    def state(self) -> str:
        """What the stretch was, in a word or two: "too quiet"."""
        return WORDS[self.kind][2]


class FaultLog:
    """The faults of a recording's takes, told together when all are known: one line for each kind."""

    def __init__(self) -> None:
        self._seeds: dict[tuple[str, bool], list[int]] = {}
        """Of each kind and whether it was mended, the seed of the take that each stretch is in."""
        self._open = 0
        """Blocks of `telling` that have begun and not ended."""

    @contextmanager
    def telling(self, on_event: OnEvent) -> Iterator[None]:
        """Tell what was noted inside when it ends. Of several at once, as of channels, the last one tells."""
        self._open += 1
        try:
            yield
            if self._open == 1:
                for note in self.notes():
                    on_event(note)
        finally:
            self._open -= 1
            if not self._open:
                self._seeds.clear()

    def add(self, seed: int, fault: Fault, mended: bool) -> None:
        """Take note of a stretch that was made again, and whether nothing is wrong with it any more."""
        self._seeds.setdefault((fault.kind, mended), []).append(seed)

    def notes(self) -> Iterator[Note]:
        """The lines for the user: warnings where making stretches again did not help."""
        for (kind, mended), seeds in self._seeds.items():
            one, several, _ = WORDS[kind]
            what, was, is_no = f"a stretch that {one}", "was", "is no"
            if len(seeds) > 1:
                what, was, is_no = f"{len(seeds)} stretches that {several}", "were", "are no"

            different = sorted(set(seeds))
            whose = f"seed{'s' * (len(different) > 1)} {', '.join(map(str, different))}"
            told = (
                f"{was} made again"
                if mended
                else f"{is_no} better when made again; try another --seed or --temperature"
            )
            yield Note(message=f"{whose}: {what} {told}", warning=not mended)


class Guard:
    """Judges what is generated between two contexts."""

    def __init__(self, codec: Codec, left: Tensor, right: Tensor) -> None:
        """Contexts as codes [1 or B, L, K] and [1 or B, R, K]; the first of a batch stands for all."""
        self._codec = codec
        self._stretch = round(STRETCH_S * codec.frame_rate_hz)
        self._sink = round(SINK_S * codec.frame_rate_hz)
        sides = [left[0], right[0]]
        self._loudness = [frame_rms(codec, side[None])[0] for side in sides if len(side)]  # [frames] of each side

        # Nothing is swelling that is no louder than the loudest of the context.
        self._bounds = [
            (frames, max(least, ratio * max(float(_mean_rms(rms, frames).max()) for rms in self._loudness)))
            for frames, least, ratio in ((round(s * codec.frame_rate_hz), least, ratio) for s, least, ratio in SWELLS)
            if self._loudness
        ]

        self._short, reach = round(LOUD_GAP_S * codec.frame_rate_hz), round(NEAR_S * codec.frame_rate_hz)
        self._near = [frame_rms(codec, side[None])[0] for side in (left[0, -reach:], right[0, :reach]) if len(side)]

        # Next to silence, or to a note that is held, more of it is right.
        near = [left[0, max(0, left.shape[1] - self._stretch) :], right[0, : self._stretch]]
        quiet = [len(side) > 0 and float(frame_rms(codec, side[None]).max()) < SILENT_RMS for side in near]
        repeats = [len(side) == self._stretch and len(_first_codes(side).unique()) <= FEW_CODES for side in near]
        self._silence_is_fine = any(quiet) or not any(len(side) for side in sides)
        self._repeating_is_fine = any(repeats)

    def find_fault(self, codes: Tensor) -> Fault | None:
        """What is wrong with generated codes [T, K], or None. What the context does itself is not wrong."""
        T = len(codes)
        if T == 0:
            return None

        rms = frame_rms(self._codec, codes[None])[0]  # [T]
        for frames, bound in self._bounds:
            fault = Fault.find("swelling", _mean_rms(rms, frames) > bound)
            if fault is not None:
                return fault

        if len(self._near) == 2 and self._short >= T:
            loudest = max(float(_mean_rms(side, T).max()) for side in self._near)
            if float(_mean_rms(rms, T)) > LOUD_GAP_RATIO * max(loudest, SILENT_RMS):
                return Fault("swelling", 1.0)

        if len(self._loudness) == 2 and self._sink > T and float(_mean_rms(rms, T)) < GAP_RATIO * self._softest(T):
            return Fault("sinking", 1.0)

        if self._stretch > T:
            return None
        silent = Fault.find("silence", (rms < SILENT_RMS).unfold(0, self._stretch, 1).all(-1))
        if silent is not None and not self._silence_is_fine:
            return silent

        # Sorted, a stretch changes as often as it has different codes, less one.
        windows = _first_codes(codes).unfold(0, self._stretch, 1).sort(-1).values  # [stretches, frames of a stretch]
        few = Fault.find("repetition", (windows.diff(dim=-1) != 0).sum(-1) < FEW_CODES)
        if few is not None and not self._repeating_is_fine:
            return few

        if self._sink > T:
            return None
        return Fault.find("sinking", _mean_rms(rms, self._sink) < SINK_RATIO * self._softest(self._sink))

    def _softest(self, frames: int) -> float:
        """How loud the softest so many frames of the context are; 0 where neither side has as many."""
        long = [_mean_rms(rms, frames) for rms in self._loudness if len(rms) >= frames]
        return min((float(means.min()) for means in long), default=0.0)


def _first_codes(codes: Tensor) -> Tensor:
    """A number for each frame of codes [T, K], int64 [T]: equal where the first codes of two frames are."""
    return codes[:, :FIRST_CODES].unique(dim=0, return_inverse=True)[1]


def _mean_rms(rms: Tensor, frames: int) -> Tensor:
    """Root mean square over every `frames` consecutive frames of rms [T]; over all of them where there are fewer."""
    squares = rms.square()
    return squares.unfold(0, min(frames, len(squares)), 1).mean(-1).sqrt()


def derive_seed(seed: int, frame: int, attempt: int) -> int:
    """A seed for sampling a stretch again, the same each time: splitmix64 (Steele et al. 2014) over the three."""
    state = seed
    for part in (frame, attempt):
        state = (state + 0x9E3779B97F4A7C15 * (part + 1)) % 2**64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
        state ^= state >> 31
    return state % 2**63


def retry_generator(generator: torch.Generator, frame: int, attempt: int) -> torch.Generator:
    """The generator for sampling the stretch at `frame` of a take again."""
    return torch.Generator().manual_seed(derive_seed(generator.initial_seed(), frame, attempt))
