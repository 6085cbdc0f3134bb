"""Gaps by the names of markers and regions, as a recording holds them, or a file of labels beside it.

Knows nothing about what a gap is filled with.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from audiolm_cli.audio.labels import read_labels
from audiolm_cli.audio.markers import Marker
from audiolm_cli.config.gaps import ALL_REGIONS, REGION, MarkedGap
from audiolm_cli.editing.ruler import Ruler
from audiolm_cli.errors import UsageError
from audiolm_cli.wording import listed


class Stretch(NamedTuple):
    """A gap in seconds of a recording."""

    start: Fraction | float
    """Where it begins."""
    end: Fraction | float | None
    """Where it ends; None is the end of the recording."""
    words: str
    """What messages call it."""


def find_markers(ruler: Ruler, labels: str | None) -> tuple[Marker, ...]:
    """The markers of a recording in order: those of a file of labels, where one is given, else its own.

    Raises:
        UsageError: the file cannot be read, is not known, or has bars of an unknown tempo.
    """
    if labels is None:
        return ruler.recording.markers

    rate_hz = ruler.recording.sample_rate_hz
    markers = []
    for label in read_labels(labels, rate_hz):
        start = round(ruler.position_s(label.start) * rate_hz)
        stop = None if label.end is None else round(ruler.position_s(label.end) * rate_hz)
        has_length = stop is not None and stop > start
        markers.append(Marker(name=label.name, start=start, stop=stop if has_length else None))
    return tuple(sorted(markers, key=lambda marker: marker.start))


def find_stretches(gap: MarkedGap, ruler: Ruler, markers: tuple[Marker, ...]) -> list[Stretch]:
    """Where a gap is; several places where several markers or regions have its name.

    Raises:
        UsageError: there are none of that name.
    """
    if not markers:
        raise UsageError(f"{ruler.source} holds no markers, as --gap {gap} needs; name a file of them with --labels")

    rate_hz = ruler.recording.sample_rate_hz
    if gap.kind in (REGION, ALL_REGIONS):
        found = [(each.name, each.start, each.stop) for each in _find_regions(gap, ruler, markers)]
        kind = REGION
    else:
        found = [(gap.name, start, stop) for start, stop in _find_between(gap, ruler, markers)]
        kind = str(gap.kind)

    stretches = []
    for name, start, stop in found:
        start_s, end_s = Fraction(start, rate_hz), None if stop is None else Fraction(stop, rate_hz)
        words = f"{kind}:{name} ({float(start_s):.3f}:{'' if end_s is None else f'{float(end_s):.3f}'} s)"
        stretches.append(Stretch(start_s, end_s, words))
    return stretches


def _find_regions(gap: MarkedGap, ruler: Ruler, markers: tuple[Marker, ...]) -> list[Marker]:
    """The regions of a name, or all."""
    regions = [marker for marker in markers if marker.stop is not None]
    found = regions if gap.kind == ALL_REGIONS else _named(gap.name, regions)
    if found:
        return found

    if not regions or _named(gap.name, markers):
        lacks = "no regions" if gap.kind == ALL_REGIONS else f"no region {gap.name!r}"
        places = listed(_names(markers))
        raise UsageError(f"{ruler.source} has {lacks}, but markers: {places}; write --gap marker:NAME")
    raise UsageError(f"{ruler.source} has no region {gap.name!r}; it has {listed(_names(regions))}")


def _find_between(gap: MarkedGap, ruler: Ruler, markers: tuple[Marker, ...]) -> list[tuple[int, int | None]]:
    """From each marker of a name to the next one, or to the next of another name."""
    for name in filter(None, (gap.name, gap.until)):
        if not _named(name, markers):
            raise UsageError(f"{ruler.source} has no marker {name!r}; it has {listed(_names(markers))}")

    found: list[tuple[int, int | None]] = []
    for marker in _named(gap.name, markers):
        ends = _named(gap.until, markers) if gap.until else markers
        stop = next((end.start for end in ends if end.start > marker.start), None)
        if stop is None and gap.until:
            raise UsageError(f"{ruler.source}: no marker {gap.until!r} comes behind the marker {gap.name!r}")
        found.append((marker.start, stop))
    return found


def _named(name: str, markers: tuple[Marker, ...] | list[Marker]) -> list[Marker]:
    """Those of a name, of letters of any size."""
    return [marker for marker in markers if marker.name.casefold() == name.casefold()]


def _names(markers: tuple[Marker, ...] | list[Marker]) -> list[str]:
    """Every name once."""
    return list(dict.fromkeys(marker.name for marker in markers))
