"""How the places of gaps are written: times, or the markers and regions that a file holds.

Knows nothing about recordings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from audiolm_cli.config.musical import Musical, Time, format_time, parse_position
from audiolm_cli.errors import UsageError

MARKER: Final = "marker"
REGION: Final = "region"
ALL_REGIONS: Final = "markers"
"""What stands in front of a name, and what stands for every region."""
_NAMED = re.compile(rf"({MARKER}|{REGION}):(.*)", re.IGNORECASE | re.DOTALL)
_BETWEEN = re.compile(rf"(.+?)[:-]{MARKER}:(.+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class MarkedGap:
    """A gap that the markers of a recording say where it is."""

    kind: Literal["marker", "region", "markers"]
    """From a marker on, a region, or every region."""
    name: str = ""
    """Of the marker or the region."""
    until: str = ""
    """Of the marker where it ends; empty ends it at the next one."""

    def __str__(self) -> str:
        if self.kind == ALL_REGIONS:
            return ALL_REGIONS
        return f"{self.kind}:{self.name}" + (f":{MARKER}:{self.until}" if self.until else "")


TimedGap = tuple[Time, Time | None]
"""Start and end of a gap; None is the end of the recording."""
GapPlace = TimedGap | MarkedGap
"""Where a gap is, as it was written."""


def is_plain(gap: GapPlace) -> bool:
    """Whether a gap is in seconds, of which more is known before there is a recording."""
    return not isinstance(gap, MarkedGap) and not any(isinstance(edge, Musical) for edge in gap)


def format_gap(gap: GapPlace) -> str:
    """A gap as it stands on the command line."""
    if isinstance(gap, MarkedGap):
        return str(gap)
    return f"{format_time(gap[0])}:{'' if gap[1] is None else format_time(gap[1])}"


def parse_gap(text: str) -> GapPlace:
    """What "START:END" means, or a name of markers; a missing start is 0, a missing end None.

    Both are places as `parse_position` takes them. Those in seconds are written alike, since colons stand inside times
    as well; with a minus sign between them they need not be. A minus sign in front would be a time before the
    recording.

    Raises:
        UsageError: it is not such a text.

    >>> parse_gap("12.4:14"), parse_gap("1:02.5:1:04"), parse_gap("58-1:02"), parse_gap("3:")
    ((12.4, 14.0), (62.5, 64.0), (58.0, 62.0), (3.0, None))
    >>> [str(end) for end in parse_gap("bar 5:bar 9")]
    ['bar5', 'bar9']
    >>> str(parse_gap("region:cough")), parse_gap("marker:Verse-marker:Chorus").until
    ('region:cough', 'Chorus')
    """
    text = text.strip()
    if (marked := _parse_marked(text)) is not None:
        return marked
    if text.startswith("-"):
        raise UsageError(
            f"--gap {text!r} begins with a minus sign, and no gap begins before the recording; "
            "for one from its first sample on, write :END (:2) or 0-END (0-1:02)"
        )
    start, end = _split_gap(text)
    if not start and not end:
        raise _not_a_gap(text)
    try:
        return parse_position(start) if start else 0.0, parse_position(end) if end else None
    except UsageError as error:
        raise UsageError(f"--gap {text!r}: {error}") from error


def _parse_marked(text: str) -> MarkedGap | None:
    """A gap by the names of markers; None where it is written in times.

    Raises:
        UsageError: the name is missing.
    """
    if text.lower() == ALL_REGIONS:
        return MarkedGap(kind=ALL_REGIONS)
    match = _NAMED.fullmatch(text)
    if match is None:
        return None

    kind, name = match[1].lower(), match[2].strip()
    if not name:
        raise UsageError(f"--gap {text!r} lacks a name; write {kind}:NAME")
    if kind == REGION:
        return MarkedGap(kind=REGION, name=name)
    between = _BETWEEN.fullmatch(name)
    return MarkedGap(kind=MARKER, name=between[1] if between else name, until=between[2] if between else "")


def _split_gap(text: str) -> tuple[str, str]:
    """The two ends of a gap as they are written.

    Raises:
        UsageError: it is not to be seen where the one ends and the other begins.
    """
    parts = text.split(":")
    if "-" in text:
        start, _, end = text.partition("-")
        return start, end
    if text.startswith(":"):
        return "", text[1:]
    if text.endswith(":"):
        return text[:-1], ""

    # Bars have no colons in them, so that one at either end says where the other one ends.
    if _has_letters(parts[0]):
        return parts[0], ":".join(parts[1:])
    if _has_letters(parts[-1]):
        return ":".join(parts[:-1]), parts[-1]
    if len(parts) % 2:
        raise _not_a_gap(text)
    return ":".join(parts[: len(parts) // 2]), ":".join(parts[len(parts) // 2 :])


def _has_letters(text: str) -> bool:
    return any(character.isalpha() for character in text)


def _not_a_gap(text: str) -> UsageError:
    return UsageError(
        f"--gap {text!r} is not START:END; write seconds (12.4:14), minutes and seconds (1:02.5:1:04), "
        "or bars (bar5:bar9)"
    )
