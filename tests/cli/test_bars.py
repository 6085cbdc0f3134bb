"""Commands with times in bars and beats: whole bars of samples, by the tempo of the option or of the file."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiolm_cli import continue_audio, infill_audio, loop_audio
from audiolm_cli.audio import read_audio

Piano = Callable[..., np.ndarray]
RATE_HZ = 22050


@pytest.fixture(autouse=True)
def take(tmp_path: Path, piano: Piano, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in a folder with 1.5 seconds that state 250 BPM in 3/4, and with the same without a tempo."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("plain.wav", piano(1.5, RATE_HZ), RATE_HZ, subtype="PCM_16")
    data = Path("plain.wav").read_bytes()
    content = struct.pack("<IHHfIHHf", 0, 60, 0x8000, 0.0, 6, 4, 3, 250.0)
    data += b"acid" + struct.pack("<I", len(content)) + content
    Path("take.wav").write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    return Path("take.wav")


@pytest.fixture
def go(audiolm: Any, tiny_model: Path) -> Any:
    """A command with the tiny model."""
    return lambda command, *args: audiolm(command, "-m", tiny_model, *args)


def length(path: str) -> int:
    """Samples of a file."""
    return read_audio(path).num_samples


def comment(path: str) -> dict[str, Any]:
    """What a file's comment tag says."""
    facts = json.loads(read_audio(path).tags["comment"])
    assert isinstance(facts, dict)
    return facts


def test_a_continuation_by_the_files_own_tempo(go: Any) -> None:
    """One line says which tempo was taken from where; the comment has all that makes it again."""
    shown = go("continue", "take.wav", "-d", "1bar", "--prompt", "2 beats", "--seed", 1)
    assert shown.exit_code == 0, shown.stderr
    assert "take.wav: 250 BPM in 3/4, from its acid chunk" in shown.stderr
    assert length("take.continued.wav") == 33075 + round(Fraction(3 * 60, 250) * RATE_HZ)
    facts = {"duration": "1bar", "bpm": 250.0, "meter": "3/4", "offset_s": 0.0, "prompt_s": 0.48}
    assert comment("take.continued.wav") | facts == comment("take.continued.wav")


def test_the_option_goes_before_the_file(go: Any) -> None:
    """It says so, where they differ; seconds need no tempo, and nothing is said of one."""
    shown = go("continue", "take.wav", "-d", "2beats", "--bpm", "97.3", "--seed", 1, "-o", "a.wav")
    assert "97.3 BPM in 3/4, from --bpm; its acid chunk says 250" in shown.stderr
    assert length("a.wav") == 33075 + round(Fraction(2 * 600, 973) * RATE_HZ)
    shown = go("continue", "take.wav", "-d", "0.2", "--seed", 1, "-o", "b.wav")
    assert "BPM" not in shown.stderr and "bpm" not in comment("b.wav")


def test_a_gap_in_bars(go: Any) -> None:
    """From bar 2 to bar 3, counted from the offset; all outside it is the recording's."""
    shown = go("infill", "plain.wav", "--gap", "bar2:bar3", "--bpm", 300, "--meter", "2/4", "--offset", 0.25, "--json")
    assert shown.exit_code == 0, shown.stderr
    old, new = read_audio("plain.wav").samples, read_audio("plain.infilled.wav").samples
    start, stop = (round((Fraction(1, 4) + bar * Fraction(2, 5)) * RATE_HZ) for bar in (1, 2))
    assert old[:start].tobytes() == new[:start].tobytes() and old[stop:].tobytes() == new[stop:].tobytes()
    assert old[start:stop].tobytes() != new[start:stop].tobytes()
    assert json.loads(shown.stdout)["settings"]["gaps"] == ["bar2:bar3"]


def test_what_takes_a_gaps_place_in_bars(go: Any) -> None:
    """Two beats for a gap in seconds."""
    go("infill", "plain.wav", "--gap", "0.5:0.75", "--length", "2beats", "--bpm", 240, "-o", "a.wav")
    assert length("a.wav") == 33075 - (round(0.75 * RATE_HZ) - round(0.5 * RATE_HZ)) + RATE_HZ // 2


@pytest.mark.parametrize(("bars", "bpm", "meter"), [("3", "250", "3/4"), ("2.5", "97.3", "4/4"), ("7", "200", "7/8")])
def test_a_loop_of_whole_bars(go: Any, bars: str, bpm: str, meter: str) -> None:
    """Recording and bridge together have exactly that length, and each time round again."""
    flags = ["--bars", bars, "--bpm", bpm, "--meter", meter, "--seed", 1]
    assert go("loop", "plain.wav", *flags, "-o", "a.wav").exit_code == 0
    beats, note = map(int, meter.split("/"))
    whole = round(Fraction(bars) * beats * Fraction(4, note) * 60 / Fraction(bpm) * RATE_HZ)
    assert length("a.wav") == whole
    go("loop", "plain.wav", *flags, "--repeat", 2, "-o", "b.wav")
    assert length("b.wav") == 2 * whole
    assert comment("a.wav")["bars"] == float(bars)


@pytest.mark.parametrize(
    ("command", "flags", "told"),
    [
        ("continue", ["-d", "1bar"], "plain.wav does not say how fast it is; say it with --bpm"),
        ("continue", ["-d", "1", "--prompt", "1bar"], "does not say how fast it is"),
        ("continue", ["-d", "1bar", "--bpm", "0"], "--bpm: '0' is not a tempo"),
        ("continue", ["-d", "1bar", "--bpm", "fast"], "--bpm: 'fast' is not a tempo"),
        ("continue", ["-d", "1bar", "--bpm", "nan"], "--bpm: 'nan' is not a tempo"),
        ("continue", ["-d", "1bar", "--bpm", "96", "--meter", "4/3"], "--meter: '4/3' is not a meter"),
        ("continue", ["-d", "bar 5", "--bpm", "96"], "is a place, and a length is wanted"),
        ("continue", ["-d", "0bars", "--bpm", "96"], "duration must be over 0"),
        ("continue", ["-d", "0.00001beats", "--bpm", "96"], "at least one sample, got 0.00001beats"),
        ("continue", ["-d", "900000bars", "--bpm", "96"], "at most 36000 seconds, got 900000bars"),
        ("infill", ["--gap", "bar900:bar901", "--bpm", "96"], "gap bar900:bar901 (2247.500:2250.000 s) reaches beyond"),
        ("infill", ["--gap", "bar2:bar1", "--bpm", "300"], "ends before it starts"),
        ("infill", ["--gap", "bar0:bar1", "--bpm", "300"], "bars are counted from 1"),
        ("infill", ["--gap", "bar1:0.5", "--gap", "0.2:bar2", "--bpm", "300"], "overlap"),
        (
            "loop",
            ["--bars", "1", "--bpm", "300"],
            "has 1.88 bars of 300 BPM in 4/4, which leaves no room in a loop of 1;",
        ),
        ("loop", ["--bars", "2", "--bridge", "1"], "leave out --bridge or --bars"),
        ("loop", ["--bars", "0", "--bpm", "300"], "--bars: '0' is not a number over 0"),
    ],
)
def test_bad_times(go: Any, command: str, flags: list[str], told: str) -> None:
    """One line and exit code 2, and nothing is written."""
    shown = go(command, "plain.wav", *flags, "-q")
    assert shown.exit_code == 2 and told in shown.stderr, shown.stderr
    assert len(shown.stderr.strip().splitlines()) == 1
    assert sorted(path.name for path in Path().iterdir()) == ["plain.wav", "take.wav"]


def test_bars_from_python(tiny_model: Path, piano: Piano) -> None:
    """Texts in place of seconds, and the tempo as an option; a file brings its own."""
    audio, options = piano(1.5, RATE_HZ)[:, 0], {"model": str(tiny_model), "seed": 1}
    (made,) = continue_audio(audio, RATE_HZ, "2beats", bpm=240, **options)
    assert len(made.audio) == 33075 + RATE_HZ // 2
    (made,) = infill_audio(audio, RATE_HZ, ("bar 2", "bar 3"), bpm=240, meter="1/4", **options)
    assert made.generated == [(round(0.25 * RATE_HZ) / RATE_HZ, 0.5)]
    (made,) = loop_audio("take.wav", bars=3, **options)
    assert made.audio.shape[1] == round(Fraction(9 * 60, 250) * RATE_HZ)
