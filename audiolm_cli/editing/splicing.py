"""Where new audio lies in a recording, and the recording with it in place, sample by sample.

Nothing is faded here (`rendering.py` does that). Knows nothing about how new audio is made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from audiolm_cli.audio import Recording, to_native
from audiolm_cli.audio.moves import Moves
from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.events import Note, OnEvent, ignore
from audiolm_cli.wording import counted

LONGEST_S = 36000.0
"""Longest stretch of new audio in one gap."""


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
class Piece:
    """Audio for one gap, at the recording's rate."""

    num_samples: int
    """Its length."""
    blocks: Iterable[np.ndarray]
    """float32 [C, n] each; a long piece is decoded while they are read, each time anew."""

    @property
    def wav(self) -> np.ndarray:
        """All of it, float32 [C, num_samples]."""
        return np.concatenate(list(self.blocks), axis=1)


@dataclass(frozen=True, kw_only=True)
class Take:
    """One alternative."""

    seed: int
    """What its random numbers came from."""
    pieces: list[Piece]
    """One for each gap."""
    drawn: list[SamplingConfig]
    """How the codes of each gap were drawn: what was asked for, and what was decided where nothing was."""
    score: float | None = None
    """Mean log2 likelihood per frame that it was ranked by; None where nothing was ranked."""
    faults: list[str] = field(default_factory=list)
    """What stretches are that making them again did not mend ("too loud"); of one that is made while it is read, they
    are there in the end."""


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A recording with a take in its gaps."""

    recording: Recording
    """The recording as it was."""
    gaps: list[Gap]
    """In order and apart."""
    take: Take
    """A piece for each of them."""


@dataclass(frozen=True, kw_only=True)
class Spliced:
    """Samples that come block after block, so that they need not be in memory together."""

    shape: tuple[int, int]
    """Samples and channels, of all blocks together."""
    blocks: Iterable[np.ndarray]
    """[n, C] each, as in `Recording.samples`."""


def fill_recording(recording: Recording, gaps: list[Gap], takes: list[Take], repeat: int = 1) -> list[Filled]:
    """A recording with each of the takes in its gaps, `repeat` times one after the other."""
    if repeat == 1:
        return [Filled(recording=recording, gaps=gaps, take=take) for take in takes]

    length = recording.num_samples
    longer = dataclasses.replace(recording, samples=np.concatenate([recording.samples] * repeat))
    shifted = [
        dataclasses.replace(gap, start=gap.start + length * number, stop=gap.stop + length * number)
        for number in range(repeat)
        for gap in gaps
    ]
    repeated = [dataclasses.replace(take, pieces=take.pieces * repeat) for take in takes]
    return [Filled(recording=longer, gaps=shifted, take=take) for take in repeated]


def splice(filled: Filled, on_event: OnEvent = ignore, *, only_new: bool = False) -> Spliced:
    """The recording's samples with a take in its gaps, every other one what it was; or the new pieces alone."""
    recording, gaps, take = filled.recording, filled.gaps, filled.take

    def blocks() -> Iterator[np.ndarray]:
        at = clipped = 0  # the first sample of the recording that is not written, and samples over full scale
        for gap, piece in zip(gaps, take.pieces, strict=True):
            if not only_new:
                yield recording.samples[at : gap.start]
            for block in piece.blocks:
                native, over = to_native(block, recording)
                clipped += over
                yield native
            at = gap.stop

        if not only_new:
            yield recording.samples[at:]
        if clipped:
            on_event(Note(message=f"clipped {counted(clipped, 'generated sample')} over full scale", warning=True))

    new = sum(piece.num_samples for piece in take.pieces)
    kept = 0 if only_new else recording.num_samples - sum(gap.stop - gap.start for gap in gaps)
    return Spliced(shape=(new + kept, recording.channels), blocks=Repeated(blocks))


@dataclass(frozen=True)
class Repeated:
    """An iterable that begins anew each time."""

    begin: Callable[[], Iterator[np.ndarray]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return self.begin()


def kept_stretches(filled: Filled) -> list[slice]:
    """The recording's samples that `splice` returns as they are."""
    starts = [0, *(gap.stop for gap in filled.gaps)]
    stops = [*(gap.start for gap in filled.gaps), filled.recording.num_samples]
    return [slice(start, stop) for start, stop in zip(starts, stops, strict=True)]


def find_moves(filled: Filled, *, only_new: bool = False) -> Moves:
    """Where the recording's samples are in what `splice` returns.

    What is made anew throughout, sample for sample, keeps its places.
    """
    recording, gaps, pieces = filled.recording, filled.gaps, filled.take.pieces
    whole = len(gaps) == 1 and gaps[0].stop - gaps[0].start == recording.num_samples == pieces[0].num_samples
    kept: list[tuple[int, int, int]] = [(0, recording.num_samples, 0)] if whole else []
    shift = 0
    for number, stretch in enumerate(() if whole or only_new else kept_stretches(filled)):
        kept.append((stretch.start, stretch.stop, stretch.start + shift))
        if number < len(gaps):
            shift += pieces[number].num_samples - (gaps[number].stop - gaps[number].start)

    first = gaps[0]
    begins_at = 0
    if first.start == 0 and not whole:
        begins_at = first.stop - pieces[0].num_samples
    elif only_new:
        begins_at = first.start

    new = sum(piece.num_samples for piece in pieces)
    left = 0 if only_new else recording.num_samples - sum(gap.stop - gap.start for gap in gaps)
    return Moves(
        kept=tuple(kept),
        begins_at=begins_at,
        length=new + left,
        rate_hz=recording.sample_rate_hz,
        was_long=recording.num_samples,
    )


def generated_spans(filled: Filled, *, only_new: bool = False) -> list[tuple[float, float]]:
    """Where the pieces of a take are in what `splice` returns, in seconds."""
    rate_hz = filled.recording.sample_rate_hz
    spans = []
    at = shift = 0  # the end of the pieces before, and how far they have moved what follows them
    for gap, piece in zip(filled.gaps, filled.take.pieces, strict=True):
        length = piece.num_samples
        start = at if only_new else gap.start + shift
        spans.append((start / rate_hz, (start + length) / rate_hz))
        at, shift = at + length, shift + length - (gap.stop - gap.start)
    return spans
