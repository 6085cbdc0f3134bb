"""How times are written: seconds, or bars and beats, of which the grid of a tempo makes seconds in exact fractions.

The one place that knows what a bar is. Knows nothing about recordings or command lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from audiolm_cli.errors import UsageError

SLOWEST_BPM, FASTEST_BPM = 1.0, 1000.0
"""What a tempo may be, in quarter notes per minute."""
BEAT_NOTES = (1, 2, 4, 8, 16, 32)
"""What the second number of a meter may be."""
MOST_BEATS = 64
"""Beats of a bar at most."""
LONGEST_BARS = 10**6
"""A number of bars or beats over this is a mistake."""
COMMON_METER = "4/4"
"""Where nothing says another."""

_TIME = re.compile(r"(?:(?:(?P<h>\d+):)?(?P<m>\d+):)?(?P<s>\d+(?:\.\d*)?|\.\d+)", re.ASCII)
_NUMBER = r"\d+(?:\.\d*)?|\.\d+"
_LENGTH = re.compile(rf"(?P<number>{_NUMBER})\s*(?P<unit>bars?|beats?)", re.ASCII | re.IGNORECASE)
_POSITION = re.compile(rf"bar\s*(?P<bar>\d+)(?:\s*beat\s*(?P<beat>{_NUMBER}))?", re.ASCII | re.IGNORECASE)
_METER = re.compile(r"(\d{1,3})/(\d{1,3})", re.ASCII)


@dataclass(frozen=True)
class Musical:
    """A length in bars and beats; as a position, what lies between the first beat of bar 1 and it."""

    bars: Fraction
    """Whole bars or parts of one."""
    beats: Fraction
    """Beats beside them."""
    words: str
    """As it is written on a command line, in one word."""

    def __str__(self) -> str:
        return self.words


Time = float | Musical
"""A time as it was written: seconds, or bars and beats, of which a `Grid` makes seconds."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where the bars and beats of a recording lie."""

    bpm: float
    """Quarter notes per minute, whatever the meter, as sequencers count."""
    meter: str = COMMON_METER
    """Beats in a bar, and which note a beat is: in 6/8, a bar has six beats of half a quarter note."""
    offset_s: float = 0.0
    """Where bar 1 begins, in seconds."""

    @property
    def beat_s(self) -> Fraction:
        """Length of a beat in seconds."""
        return 60 / as_written(self.bpm) * Fraction(4, read_meter(self.meter)[1])

    def seconds(self, time: Time) -> Fraction:
        """Length of a time in seconds, without rounding.

        >>> Grid(bpm=97.3, meter="3/4").seconds(read_musical("1000bars"))
        Fraction(1800000, 973)
        """
        if not isinstance(time, Musical):
            return as_written(time)
        return (time.bars * read_meter(self.meter)[0] + time.beats) * self.beat_s

    def position_s(self, time: Time) -> Fraction:
        """Where a position lies in a recording, in seconds from its first sample, without rounding."""
        return self.seconds(time) + (as_written(self.offset_s) if isinstance(time, Musical) else 0)

    def count_samples(self, time: Time, rate_hz: int, start: int = 0) -> int:
        """How many samples a length has that begins at sample `start`.

        Where a beat begins at that sample, as nearly as samples can say it, the length ends where a beat does: pieces
        put behind each other stay on the grid, for as many bars as there are.

        >>> grid = Grid(bpm=97.3)
        >>> ends = [0]
        >>> for _ in range(1000):
        ...     ends.append(ends[-1] + grid.count_samples(read_musical("1bar"), 44100, ends[-1]))
        >>> ends[-1] == round(1000 * 4 * Fraction(600, 973) * 44100)
        True
        """
        exact = Fraction(start, rate_hz)
        if isinstance(time, Musical):
            beat_s, offset_s = self.beat_s, as_written(self.offset_s)
            near = offset_s + round((exact - offset_s) / beat_s) * beat_s
            exact = near if round(near * rate_hz) == start else exact
        return round((exact + self.seconds(time)) * rate_hz) - start


def as_written(number: float) -> Fraction:
    """A number exactly as a person writes it in decimals, which no binary one is.

    >>> as_written(97.3)
    Fraction(973, 10)
    """
    return Fraction(repr(float(number)))


def read_musical(text: str) -> Musical | None:
    """A length in bars or beats; None where the text is none.

    Raises:
        UsageError: it is one, and far too long.

    >>> read_musical("4bars").bars, read_musical("2.5 beats").beats, read_musical("4")
    (Fraction(4, 1), Fraction(5, 2), None)
    """
    match = _LENGTH.fullmatch(text.strip())
    if match is None:
        return None

    number, is_bars = Fraction(match["number"]), match["unit"].lower().startswith("bar")
    if number > LONGEST_BARS:
        raise UsageError(f"{text!r} is too long; expected at most {LONGEST_BARS} bars or beats")
    words = match["number"] + match["unit"].lower()
    return Musical(number if is_bars else Fraction(0), Fraction(0) if is_bars else number, words)


def read_position(text: str) -> Musical | None:
    """A place in bars and beats, both counted from 1, or a length from bar 1 on; None where the text is neither.

    Raises:
        UsageError: it is one, and there is no bar or beat of that number.

    >>> read_position("bar 5").bars, read_position("bar 5 beat 2.5").beats, read_position("2bars").bars
    (Fraction(4, 1), Fraction(3, 2), Fraction(2, 1))
    """
    match = _POSITION.fullmatch(text.strip())
    if match is None:
        return read_musical(text)

    bar, beat = int(match["bar"]), Fraction(match["beat"] or 1)
    if not 1 <= bar <= LONGEST_BARS:
        raise UsageError(f"{text!r}: bars are counted from 1")
    if not 1 <= beat <= LONGEST_BARS:
        raise UsageError(f"{text!r}: beats are counted from 1")
    words = f"bar{bar}" + (f"beat{match['beat']}" if match["beat"] else "")
    return Musical(Fraction(bar - 1), beat - 1, words)


def parse_length(text: str) -> Time:
    """A length: what `parse_time` takes, or bars or beats.

    Raises:
        UsageError: it is neither.

    >>> parse_length("1:02.5"), str(parse_length("2.5 beats"))
    (62.5, '2.5beats')
    """
    musical = read_musical(text)
    if musical is None and text.strip().lower().startswith("bar") and read_position(text):
        raise UsageError(f"{text!r} is a place, and a length is wanted; write 4bars or 2.5beats")
    return parse_time(text) if musical is None else musical


def parse_position(text: str) -> Time:
    """A place in a recording: what `parse_time` takes, or a bar and a beat.

    Raises:
        UsageError: it is neither.
    """
    musical = read_position(text)
    return parse_time(text) if musical is None else musical


def parse_time(text: str) -> float:
    """A time in seconds, from seconds, `mm:ss.mmm` or `hh:mm:ss.mmm`.

    Raises:
        UsageError: it is none of these.

    >>> parse_time("1:02.5")
    62.5
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a time; write seconds (12.4), minutes and seconds (1:02.5), or bars (4bars)")
    hours, minutes, seconds = (match[part] for part in "hms")
    if minutes is not None and float(seconds) >= 60:
        raise UsageError(f"{text!r} is not a time: after minutes, there are at most 59 seconds, got {seconds}")
    if hours is not None and int(minutes) >= 60:
        raise UsageError(f"{text!r} is not a time: after hours, there are at most 59 minutes, got {minutes}")
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)


def read_meter(text: str) -> tuple[int, int]:
    """Beats in a bar, and which note a beat is: 4 is a quarter note.

    Raises:
        UsageError: it is no meter.

    >>> read_meter("3/4")
    (3, 4)
    """
    match = _METER.fullmatch(text.strip())
    beats, note = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= beats <= MOST_BEATS or note not in BEAT_NOTES:
        raise UsageError(f"{text!r} is not a meter; write the beats of a bar and their note: 4/4, 3/4, 6/8")
    return beats, note


def describe_time(name: str, time: Time | None) -> dict[str, float | str | None]:
    """A time under the name that its unit asks for, for JSON.

    >>> describe_time("duration", 2.5), describe_time("duration", read_musical("4bars"))
    ({'duration_s': 2.5}, {'duration': '4bars'})
    """
    return {name: str(time)} if isinstance(time, Musical) else {f"{name}_s": time}


def format_time(time: Time) -> str:
    """A time as it stands on a command line, in one word."""
    return str(time) if isinstance(time, Musical) else f"{time:.10g}"
