"""Whether generated codes went wrong in a way that models do: silence, one code for ever, swelling, or sinking.

Judges codes and how loud they will be. Knows nothing about how they are sampled, or sampled again.

The bounds are what recordings of piano at the training level keep: no half second is so loud, or so much louder than
what came before; stretches with so few different codes are silent; and three seconds are seldom so much softer than the
softest three before.
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
FEW_CODES = 3
"""Different pairs of the first two codes in such a stretch, at most, that are a repetition. The first code alone may
describe many frames together, and a chord that is held keeps it."""
SILENT_RMS = 0.002
"""Everything below is silence, at the training level: -54 dB."""
SWELL_S = 0.5
"""Over how long loudness is taken."""
SWELL_RMS, SWELL_RATIO = 0.25, 2.5
"""Louder than this, and than this many times the loudest of the context, is swelling."""

SINK_S, SINK_RATIO = 3.0, 0.5
"""Softer over so many seconds than this many times the softest of the context is sinking: 6 dB. Shorter stretches of
recordings are as soft now and then."""


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
        self._swell = round(SWELL_S * codec.frame_rate_hz)
        self._sink = round(SINK_S * codec.frame_rate_hz)

        # Nothing is swelling that is no louder than the loudest of the context.
        sides = [left[0], right[0]]
        loudness = [frame_rms(codec, side[None])[0] for side in sides]
        self._loudest = max((float(_mean_rms(rms, self._swell).max()) for rms in loudness if len(rms)), default=0.0)

        # Nothing is sinking that is no softer than the softest of the context.
        long = [_mean_rms(rms, self._sink) for rms in loudness if len(rms) >= self._sink]
        self._softest = min((float(means.min()) for means in long), default=0.0)

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
        if self._loudest > 0:
            means = _mean_rms(rms, self._swell)
            swollen = (means > SWELL_RMS) & (means > SWELL_RATIO * self._loudest)
            if swollen.any():
                return Fault("swelling", float(swollen.float().mean()))

        if self._stretch > T:
            return None
        silent = (rms < SILENT_RMS).float().unfold(0, self._stretch, 1).min(-1).values
        if silent.any() and not self._silence_is_fine:
            return Fault("silence", float(silent.mean()))

        # Sorted, a stretch changes as often as it has different codes, less one.
        windows = _first_codes(codes).unfold(0, self._stretch, 1).sort(-1).values  # [stretches, frames of a stretch]
        few = (windows.diff(dim=-1) != 0).sum(-1) < FEW_CODES
        if few.any() and not self._repeating_is_fine:
            return Fault("repetition", float(few.float().mean()))

        if self._sink > T:
            return None
        sunk = _mean_rms(rms, self._sink) < SINK_RATIO * self._softest
        return Fault("sinking", float(sunk.float().mean())) if sunk.any() else None


def _first_codes(codes: Tensor) -> Tensor:
    """The first two codes of each frame of codes [T, K] as one number [T]; the first alone where there is no other."""
    first, second = codes[:, 0], codes[:, 1] if codes.shape[1] > 1 else 0
    return first * (1 << 24) + second  # no codebook is larger, see `ModelConfig`


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
