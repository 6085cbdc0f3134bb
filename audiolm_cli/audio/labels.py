"""Markers and regions in text files, as Audacity, Reaper and Pro Tools export them.

Knows nothing about recordings, nor about what a label is for.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from audiolm_cli.audio.id3 import decode_text
from audiolm_cli.config.musical import Musical, Time, parse_time, read_position
from audiolm_cli.errors import UsageError

UNKNOWN = (
    "is not a label track of Audacity, a CSV of Reaper's region/marker manager, or a session as text of Pro Tools; "
    "export the markers as one of these"
)
"""What is said of any other file."""
MOST_BYTES = 1 << 24
"""A longer file is no list of labels."""
PRO_TOOLS_MARKERS = "M A R K E R S  L I S T I N G"
"""What stands over the markers of a Pro Tools session."""
TICKS = 960
"""Parts of a quarter note that Pro Tools shows behind bar and beat."""
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_PRO_TOOLS_RATE = re.compile(r"SAMPLE RATE:\s*([\d.]+)")
_AUDACITY = re.compile(r"\s*(-?\d+(?:[.,]\d+)?)\t\s*(-?\d+(?:[.,]\d+)?)(?:\t(.*))?")
_REAPER_BARS = re.compile(r"(-?\d+)\.(\d+)\.(\d+)")
_SAMPLES = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True)
class Label:
    """A named place, or a named stretch."""

    name: str
    """What the file calls it; its number where it has no name."""
    start: Time
    """Where it begins."""
    end: Time | None = None
    """Where it ends; None where it has no length."""


def read_labels(path: str, rate_hz: int) -> list[Label]:
    """The labels in a text file.

    Args:
        path: the file.
        rate_hz: of the recording that they belong to, for files that count samples and do not say at which rate.

    Raises:
        UsageError: it cannot be read, or is no list of labels that is known.
    """
    lines = _read_text(path).splitlines()
    filled = [line for line in lines if line.strip()]
    if any(line.strip() == PRO_TOOLS_MARKERS for line in filled):
        labels = _parse_pro_tools(lines, path)
    elif filled and _columns(filled[0].split(",")).keys() >= {"#", "name", "start"}:
        labels = _parse_reaper(filled, path, rate_hz)
    elif filled and all(_AUDACITY.fullmatch(line) or line.startswith("\\") for line in filled):
        labels = _parse_audacity(filled)
    else:
        raise UsageError(f"{path}: {UNKNOWN}")

    if not labels:
        raise UsageError(f"{path}: holds no markers")
    return labels


def _read_text(path: str) -> str:
    """What a file says.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name a file of labels") from error
    if data.startswith(UTF16_MARKS):
        return data.decode("utf-16", "replace")
    if len(data) > MOST_BYTES or b"\0" in data:
        raise UsageError(f"{path}: {UNKNOWN}")
    return decode_text(data)


def _parse_audacity(lines: list[str]) -> list[Label]:
    """Start and end in seconds, and the text; lines with a backslash hold frequencies of the label before."""
    labels: list[Label] = []
    for line in lines:
        if match := _AUDACITY.fullmatch(line):
            start, end = (float(match[part].replace(",", ".")) for part in (1, 2))
            name = (match[3] or "").strip() or str(len(labels) + 1)
            labels.append(Label(name=name, start=max(0.0, start), end=end if end > start else None))
    return labels


def _parse_reaper(lines: list[str], path: str, rate_hz: int) -> list[Label]:
    """A table; its times are written as the project's ruler is set."""
    rows = list(csv.reader(lines))
    columns = _columns(rows[0])
    labels: list[Label] = []
    for number, row in enumerate(rows[1:], start=2):
        cells = {name: row[place].strip() if place < len(row) else "" for name, place in columns.items()}
        where = f"{path}, line {number}"
        start = _parse_reaper_time(cells["start"], where, rate_hz)
        end = _parse_reaper_time(cells["end"], where, rate_hz) if cells.get("end") else None
        labels.append(Label(name=cells["name"] or cells["#"] or str(number - 1), start=start, end=end))
    return labels


def _parse_reaper_time(text: str, where: str, rate_hz: int) -> Time:
    """A place as Reaper writes it: bars, minutes and seconds, seconds, or samples.

    Raises:
        UsageError: it is none of these, as frames of a film.
    """
    if match := _REAPER_BARS.fullmatch(text):
        bar, beat, hundredths = (int(part) for part in match.groups())
        return _place(f"bar{bar}beat{beat}.{hundredths:02}", where)
    if _SAMPLES.fullmatch(text):
        return int(text) / rate_hz
    try:
        return parse_time(text)
    except UsageError as error:
        wanted = "set the ruler to minutes, bars, seconds or samples, and export it again"
        raise UsageError(f"{where}: {text!r} is not a time that is known; {wanted}") from error


def _parse_pro_tools(lines: list[str], path: str) -> list[Label]:
    """The list of markers, with columns between tabs."""
    found = _PRO_TOOLS_RATE.search("\n".join(lines))
    rate_hz = float(found[1]) if found else 0.0
    first = next(number for number, line in enumerate(lines) if line.strip() == PRO_TOOLS_MARKERS) + 1
    columns = _columns(lines[first].split("\t")) if first < len(lines) else {}
    if not {"location", "time reference", "units", "name"} <= columns.keys() or rate_hz <= 0:
        raise UsageError(f"{path}: its list of markers lacks columns or a sample rate; export the session again")

    labels = []
    for number, line in enumerate(lines[first + 1 :], start=first + 2):
        row = line.split("\t")
        if len(row) < len(columns) - 1 or not row[0].strip().isdigit():
            continue
        cells = {name: row[place].strip() if place < len(row) else "" for name, place in columns.items()}
        labels.append(
            Label(
                name=cells["name"] or row[0].strip(),
                start=_parse_pro_tools_time(cells, f"{path}, line {number}", rate_hz),
            )
        )
    return labels


def _parse_pro_tools_time(cells: dict[str, str], where: str, rate_hz: float) -> Time:
    """A place in samples, or as bar, beat and ticks."""
    reference, location = cells["time reference"], cells["location"]
    if cells["units"].lower() == "samples" and _SAMPLES.fullmatch(reference):
        return int(reference) / rate_hz

    parts = [part.strip() for part in location.split("|")]
    if len(parts) == 3 and all(_SAMPLES.fullmatch(part) for part in parts):
        place = _place(f"bar{parts[0]}beat{parts[1]}", where)
        return replace(place, beats=place.beats + Fraction(int(parts[2]), TICKS))
    raise UsageError(f"{where}: {location!r} is not a place that is known; export the session with samples as its time")


def _place(words: str, where: str) -> Musical:
    """A bar and a beat.

    Raises:
        UsageError: there is no such bar, as in front of the first one.
    """
    try:
        place = read_position(words)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    if place is None:
        raise UsageError(f"{where}: {words!r} is not a place")
    return place


def _columns(cells: list[str]) -> dict[str, int]:
    """Where each column of a table is, by its name in small letters."""
    return {cell.strip().strip('"').lower(): place for place, cell in enumerate(cells)}
