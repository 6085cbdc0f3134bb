"""Times as they were asked for, in seconds and samples of one recording.

Bars and beats go by the tempo that was asked for, else by the one that the recording states. Knows nothing about what a
time is for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from audiolm_cli.audio import Recording
from audiolm_cli.config.generation import GenerateConfig
from audiolm_cli.config.musical import COMMON_METER, Grid, Musical, Time
from audiolm_cli.editing.splicing import LONGEST_S
from audiolm_cli.errors import UsageError
from audiolm_cli.events import Note, OnEvent, ignore


@dataclass(frozen=True, kw_only=True)
class Ruler:
    """What measures times along a recording."""

    recording: Recording
    """The recording."""
    source: str
    """Where it came from, for messages."""
    config: GenerateConfig = field(default_factory=GenerateConfig)
    """The tempo that was asked for."""
    on_event: OnEvent = ignore
    """Is told which tempo was taken, when one is needed."""

    @cached_property
    def grid(self) -> Grid:
        """The bars of the recording.

        Raises:
            UsageError: nobody says how fast it is.
        """
        config, stated = self.config, self.recording.tempo
        if config.bpm is None and stated is None:
            raise UsageError(f"{self.source} does not say how fast it is; say it with --bpm, or write times in seconds")

        meter = config.meter or (stated.meter if stated else None) or COMMON_METER
        if config.bpm is None and stated is not None:
            self.on_event(Note(message=f"{self.source}: {stated.bpm:.10g} BPM in {meter}, from {stated.where}"))
            return Grid(bpm=stated.bpm, meter=meter, offset_s=config.offset_s)

        bpm = config.bpm or 0.0
        if stated is not None and stated.bpm != bpm:
            words = f"{self.source}: {bpm:.10g} BPM in {meter}, from --bpm; {stated.where} says {stated.bpm:.10g}"
            self.on_event(Note(message=words))
        return Grid(bpm=bpm, meter=meter, offset_s=config.offset_s)

    def describe(self) -> dict[str, Any]:
        """The tempo that was used, for the comment tag; empty where none was needed."""
        grid = vars(self).get("grid")
        return {} if grid is None else {"bpm": grid.bpm, "meter": grid.meter, "offset_s": grid.offset_s}

    def seconds(self, time: Time) -> Fraction | float:
        """A length in seconds; exact where it was written in bars or beats.

        Raises:
            UsageError: nobody says how fast the recording is.
        """
        return self.grid.seconds(time) if isinstance(time, Musical) else time

    def position_s(self, time: Time) -> Fraction | float:
        """A place in seconds from the recording's first sample, likewise."""
        return self.grid.position_s(time) if isinstance(time, Musical) else time

    def count_samples(self, name: str, time: Time, start: int = 0) -> int:
        """How many samples a length of new audio has that begins at sample `start`.

        Args:
            name: what the length is called, for messages.
            time: the length.
            start: of bars and beats that begin on the grid there, the end is on it, too.

        Raises:
            UsageError: it is less than a sample or too long, or nobody says how fast the recording is.
        """
        rate_hz = self.recording.sample_rate_hz
        if isinstance(time, Musical):
            count, written = self.grid.count_samples(time, rate_hz, start), str(time)
        else:
            count, written = round(time * rate_hz), f"{time:g} s"

        if count < 1:
            raise UsageError(f"{name} must be at least one sample, got {written} at {rate_hz} Hz")
        if count > LONGEST_S * rate_hz:
            seconds = count / rate_hz
            raise UsageError(f"{name} must be at most {LONGEST_S:.0f} seconds, got {written}, which is {seconds:.0f} s")
        return count


def check_length(name: str, time: Time) -> None:
    """Refuse a length of new audio that no recording can have.

    Raises:
        UsageError: it is nothing, or too long.
    """
    if isinstance(time, Musical):
        if time.bars + time.beats <= 0:
            raise UsageError(f"{name} must be over 0, got {time}")
    elif not 0 < time <= LONGEST_S:
        raise UsageError(f"{name} must be over 0 and at most {LONGEST_S:.0f} seconds, got {time:g}")
