"""Text files of markers and regions, as Audacity, Reaper and Pro Tools write them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from audiolm_cli.audio.labels import Label, read_labels
from audiolm_cli.config.musical import Grid, Musical
from audiolm_cli.errors import UsageError


def save(folder: Path, text: str | bytes) -> str:
    """A file with this in it."""
    path = folder / "labels.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_audacity(tmp_path: Path, newline: str, encoding: str) -> None:
    """The standard form and the one with frequencies; with decimal commas, and without a text."""
    lines = [
        "2.150000\t2.150000\tpoint für Élise",
        "3.400000\t6.100000\tregion",
        "\\\t6928.456055\t6928.456055",
        "7,5\t8,25",
    ]
    assert read_labels(save(tmp_path, newline.join([*lines, ""]).encode(encoding)), 48000) == [
        Label(name="point für Élise", start=2.15),
        Label(name="region", start=3.4, end=6.1),
        Label(name="3", start=7.5, end=8.25),
    ]


def seconds(time: object) -> Fraction:
    """A place at 120 BPM."""
    assert isinstance(time, (float, Musical))
    return Grid(bpm=120).position_s(time)


@pytest.mark.parametrize(
    ("start", "end", "places"),
    [
        ("5.1.00", "9.1.00", (8, 16)),
        ("1.3.50", "2.1.25", (Fraction(5, 4), Fraction(17, 8))),
        ("0:01.500", "1:02:03.250", (Fraction(3, 2), Fraction(14893, 4))),
        ("1.500", "2.000", (Fraction(3, 2), 2)),
        ("24000", "48000", (Fraction(1, 2), 1)),
    ],
)
def test_reaper(tmp_path: Path, start: str, end: str, places: tuple[Fraction, Fraction]) -> None:
    """Whatever the ruler was set to: bars, beats and hundredths, minutes, seconds, samples; colours are passed over."""
    text = f'#,Name,Start,End,Length,Color\nR1,"one, two",{start},{end},,FF0000\nM2,,{start},,,\n'
    region, marker = read_labels(save(tmp_path, text), 48000)
    assert region.name == "one, two" and marker.name == "M2" and marker.end is None
    assert (seconds(region.start), seconds(region.end)) == places and marker.start == region.start


PRO_TOOLS = (
    "SESSION NAME:\tSong\nSAMPLE RATE:\t44100.000000\nBIT DEPTH:\t24-bit\n\n\nM A R K E R S  L I S T I N G\n"
    "#   \tLOCATION     \tTIME REFERENCE    \tUNITS    \tNAME                             \tCOMMENTS\n"
)


def test_pro_tools(tmp_path: Path) -> None:
    """Samples of the session's rate, and bars, beats and ticks; newer versions have more columns."""
    rows = "1   \t1|1| 000     \t66150             \tSamples  \tVerse                            \t\n"
    rows += "2   \t5|2| 480     \t17760000          \tTicks    \tChorus                           \tloud\n\n"
    first, second = read_labels(save(tmp_path, PRO_TOOLS + rows), 48000)
    assert (first.name, first.start, first.end) == ("Verse", 1.5, None)
    assert second.name == "Chorus" and seconds(second.start) == Fraction(35, 4)

    wider = PRO_TOOLS.replace("\tCOMMENTS", "\tTRACK NAME\tTRACK TYPE\tCOMMENTS")
    row = "1   \t0:01.500\t66150  \tSamples\tVerse  \tMarkers \tRuler \t\n"
    assert read_labels(save(tmp_path, wider + row), 48000) == [Label(name="Verse", start=1.5)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not a label track of Audacity"),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\ncough\n", "is not a label track of Audacity"),
        ("1.0 2.0 spaces are no tabs\n", "is not a label track of Audacity"),
        ("1.0\t2.0\tok\nsomething else\n", "is not a label track of Audacity"),
        (b"RIFF\0\0\0\0WAVE", "a session as text of Pro Tools; export the markers as one of these"),
        ("#,Name,Start,End,Length\n", "holds no markers"),
        ("#,Name,Start,End,Length\nM1,x,00:00:01:12,,\n", "line 2: '00:00:01:12' is not a time that is known"),
        ("#,Name,Start,End,Length\nM1,x,0.1.00,,\n", "line 2: 'bar0beat1.00': bars are counted from 1"),
        ("#,Name,Start,End,Length\nM1,x,,,\n", "line 2: '' is not a time that is known"),
        (PRO_TOOLS, "holds no markers"),
        (PRO_TOOLS + "1\t01:00:00:00\t100\tFrames\tVerse\t\n", "'01:00:00:00' is not a place that is known"),
        (
            PRO_TOOLS.replace("SAMPLE RATE", "RATE") + "1\t1|1|0\t1\tSamples\tVerse\t\n",
            "lacks columns or a sample rate",
        ),
    ],
)
def test_other_files(tmp_path: Path, text: str | bytes, told: str) -> None:
    """One line with the file, and the line of it that is wrong."""
    path = save(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_labels(path, 48000)
    assert str(caught.value).startswith(path) and told in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    """Nor a folder."""
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            read_labels(str(path), 48000)
