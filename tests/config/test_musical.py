"""Bars and beats: exact at every rate and tempo, and without drift however many there are."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audiolm_cli.config.gaps import MarkedGap, format_gap, parse_gap
from audiolm_cli.config.generation import GenerateConfig
from audiolm_cli.config.musical import (
    Grid,
    Musical,
    format_time,
    parse_length,
    parse_position,
    read_meter,
    read_musical,
    read_position,
)
from audiolm_cli.errors import UsageError

RATES_HZ = st.integers(8000, 192000)
BPM_HUNDREDTHS = st.integers(2000, 40000)
METERS = st.sampled_from([("4/4", 4, 4), ("3/4", 3, 4), ("6/8", 6, 8), ("7/8", 7, 8), ("2/2", 2, 2), ("1/1", 1, 1)])


def bars(number: int) -> Musical:
    """A length in bars."""
    found = read_musical(f"{number}bars")
    assert found is not None
    return found


@settings(deadline=None)
@given(rate_hz=RATES_HZ, hundredths=BPM_HUNDREDTHS, meter=METERS, number=st.integers(1, 5000))
@example(rate_hz=44100, hundredths=9730, meter=("4/4", 4, 4), number=1000)
@example(rate_hz=8000, hundredths=40000, meter=("7/8", 7, 8), number=5000)
def test_a_number_of_bars_is_the_nearest_number_of_samples(
    rate_hz: int, hundredths: int, meter: tuple[str, int, int], number: int
) -> None:
    """Worked out in whole numbers alone: minutes * quarters per minute * quarters per bar."""
    text, beats, note = meter
    got = Grid(bpm=hundredths / 100, meter=text).count_samples(bars(number), rate_hz)
    numerator, denominator = number * beats * 4 * 60 * 100 * rate_hz, note * hundredths
    assert abs(2 * (got * denominator - numerator)) <= denominator  # at most half a sample away


@settings(deadline=None)
@given(
    rate_hz=RATES_HZ,
    hundredths=BPM_HUNDREDTHS,
    meter=METERS,
    offset_ms=st.integers(0, 5000),
    pieces=st.lists(st.integers(1, 30), min_size=1, max_size=40),
)
def test_pieces_behind_each_other_stay_on_the_grid(
    rate_hz: int, hundredths: int, meter: tuple[str, int, int], offset_ms: int, pieces: list[int]
) -> None:
    """Whatever is appended in whole bars ends where the bars of the grid do, not where rounded lengths add up."""
    grid = Grid(bpm=hundredths / 100, meter=meter[0], offset_s=offset_ms / 1000)
    bar_s = Fraction(meter[1] * 4 * 60 * 100, meter[2] * hundredths)
    end = round(Fraction(offset_ms, 1000) * rate_hz)
    for count, piece in enumerate(pieces, start=1):
        end += grid.count_samples(bars(piece), rate_hz, end)
        assert end == round((Fraction(offset_ms, 1000) + sum(pieces[:count]) * bar_s) * rate_hz)


def test_a_thousand_bars_do_not_drift() -> None:
    """One by one at 97.3 BPM: as many samples as all of them together; rounded bars added up are 22 samples off."""
    grid, rate_hz, end = Grid(bpm=97.3), 44100, 0
    for _ in range(1000):
        end += grid.count_samples(bars(1), rate_hz, end)
    assert end == grid.count_samples(bars(1000), rate_hz) == round(Fraction(1000 * 4 * 600 * 44100, 973))
    assert 1000 * grid.count_samples(bars(1), rate_hz) - end == 22


@settings(deadline=None)
@given(rate_hz=RATES_HZ, hundredths=BPM_HUNDREDTHS, start=st.integers(0, 10**7), number=st.integers(1, 64))
def test_off_the_grid_a_length_is_itself(rate_hz: int, hundredths: int, start: int, number: int) -> None:
    """Wherever it begins, it is at most a sample longer or shorter than it would be alone."""
    grid = Grid(bpm=hundredths / 100)
    assert abs(grid.count_samples(bars(number), rate_hz, start) - grid.count_samples(bars(number), rate_hz)) <= 1


def test_what_bars_and_beats_are() -> None:
    """The tempo counts quarter notes; a beat is the meter's note; the offset is where beat 1 of bar 1 is."""
    waltz, jig = Grid(bpm=90, meter="3/4", offset_s=0.5), Grid(bpm=90, meter="6/8")
    assert waltz.seconds(bars(1)) == 2 and jig.seconds(bars(1)) == 2
    assert waltz.beat_s == Fraction(2, 3) and jig.beat_s == Fraction(1, 3)
    for text, seconds in {
        "bar 1": Fraction(1, 2),
        "bar 5": Fraction(17, 2),
        "bar5beat3": Fraction(17, 2) + Fraction(4, 3),
        "Bar 2 Beat 1.5": Fraction(5, 2) + Fraction(1, 3),
        "4bars": Fraction(17, 2),
        "1 beat": Fraction(1, 2) + Fraction(2, 3),
    }.items():
        assert waltz.position_s(parse_position(text)) == seconds, text
    assert waltz.position_s(3.25) == Fraction(13, 4)  # seconds are counted from the first sample


@pytest.mark.parametrize("text", ["4bars", "1bar", "2.5beats", ".5 beats", "12.25 BARS", "1 beat"])
def test_lengths_are_read_and_written_alike(text: str) -> None:
    """What is shown can be typed again."""
    once = parse_length(text)
    again = parse_length(format_time(once))
    assert isinstance(once, Musical) and once == again and " " not in str(once)


def test_places_are_read_and_written_alike() -> None:
    """Both ends of a gap, beside seconds and minutes too."""
    for text in ("bar5:bar9", "bar 5 beat 2:bar 6", "1:02.5:bar 40", "bar3:1:30", "bar 2-bar 3", "bar7:", ":bar2"):
        gap = parse_gap(text)
        assert parse_gap(format_gap(gap)) == gap, text
    gap = parse_gap("1:02.5:bar 40")
    assert not isinstance(gap, MarkedGap) and gap[0] == 62.5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("bar 5", "is a place, and a length is wanted"),
        ("4 bar s", "write seconds"),
        ("-4bars", "write seconds"),
        ("4/4bars", "write seconds"),
        ("bars", "write seconds"),
        ("٤bars", "write seconds"),
        ("9999999bars", "too long"),
    ],
)
def test_what_is_no_length(text: str, told: str) -> None:
    """The error repeats it, and says what is."""
    with pytest.raises(UsageError, match=told) as caught:
        parse_length(text)
    assert text in str(caught.value)


@pytest.mark.parametrize("text", ["bar 0", "bar 5 beat 0", "bar 99999999", "bar", "bar 1.5", "bar -1"])
def test_what_is_no_place(text: str) -> None:
    """Neither bar 0 nor beat 0 exists."""
    with pytest.raises(UsageError):
        parse_position(text)


@pytest.mark.parametrize("text", ["4", "4/", "0/4", "4/3", "4/0", "65/4", "4/64", "a/b", "3 / 4", "-3/4"])
def test_what_is_no_meter(text: str) -> None:
    """One line that shows how meters are written."""
    with pytest.raises(UsageError, match="4/4, 3/4, 6/8"):
        read_meter(text)
    with pytest.raises(UsageError, match="is not a meter"):
        GenerateConfig(meter=text)


@pytest.mark.parametrize("bpm", [0, -96, float("nan"), float("inf"), 1001])
def test_what_is_no_tempo(bpm: float) -> None:
    """Also from Python."""
    with pytest.raises(UsageError, match=r"bpm must be 1\.\.1000"):
        GenerateConfig(bpm=bpm)


def test_what_is_neither() -> None:
    """Texts in seconds are left to others."""
    assert read_musical("12.4") is None and read_position("1:02") is None
