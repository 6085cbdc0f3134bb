"""`audiolm infill`: gaps anywhere, of any length, and every sample outside them as it was."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audiolm_cli.audio import read_audio
from audiolm_cli.config.gaps import parse_gap
from audiolm_cli.config.generation import GenerateConfig
from audiolm_cli.errors import UsageError
from audiolm_cli.workflows.infill import infill_files

Piano = Callable[..., np.ndarray]
RATES_HZ = (8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000, 44101, 12345)
KINDS = (
    [(".wav", subtype) for subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "PCM_U8", "DOUBLE")]
    + [(".w64", subtype) for subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT")]
    + [(".rf64", subtype) for subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT")]
    + [(".flac", "PCM_16"), (".flac", "PCM_24")]
    + [(".aiff", subtype) for subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT")]
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in an empty folder, where default outputs go."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def take(here: Path, piano: Piano) -> Path:
    """Two seconds of 16-bit stereo at 16 kHz."""
    path = here / "take.wav"
    soundfile.write(path, piano(2.0, 16000, 2), 16000, subtype="PCM_16")
    return path


@pytest.fixture
def go(audiolm: Any, tiny_model: Path) -> Any:
    """`audiolm infill` with the tiny model."""
    return lambda *args: audiolm("infill", "-m", tiny_model, *args)


def native(path: Path | str) -> np.ndarray:
    """The exact samples of a file."""
    return read_audio(path).samples


@settings(max_examples=15, deadline=None)
@given(
    rate_hz=st.sampled_from(RATES_HZ),
    channels=st.integers(1, 6),
    kind=st.sampled_from(KINDS),
    edges=st.lists(st.integers(0, 1000), min_size=2, max_size=6, unique=True).map(sorted),
    length_s=st.one_of(st.none(), st.floats(0.01, 0.4)),
    seed=st.integers(0, 2**63 - 1),
)
@example(rate_hz=192000, channels=6, kind=(".rf64", "PCM_32"), edges=[0, 300, 800, 1000], length_s=None, seed=1)
@example(rate_hz=8000, channels=1, kind=(".aiff", "PCM_24"), edges=[1, 2], length_s=0.3, seed=2)
@example(rate_hz=44101, channels=3, kind=(".flac", "PCM_24"), edges=[500, 501, 502, 900], length_s=None, seed=3)
def test_every_sample_outside_the_gaps_is_as_it_was(
    tiny_model: Path,
    piano: Piano,
    rate_hz: int,
    channels: int,
    kind: tuple[str, str],
    edges: list[int],
    length_s: float | None,
    seed: int,
) -> None:
    """Bit for bit, in its new place; the length is exact; rate, channels and sample format are kept."""
    suffix, subtype = kind
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / f"in{suffix}", Path(folder) / f"out{suffix}"
        soundfile.write(source, piano(1.2, rate_hz, channels, seed % 100), rate_hz, subtype=subtype)
        gaps: list[tuple[float, float | None]] = [
            (a / 1000, b / 1000) for a, b in zip(edges[::2], edges[1::2], strict=False)
        ]
        config = GenerateConfig(output=str(target), model=str(tiny_model), seed=seed)
        (output,) = infill_files([str(source)], gaps, length_s, config).outputs
        info = soundfile.info(target)
        assert (info.samplerate, info.channels, info.subtype) == (rate_hz, channels, subtype)
        old, made = native(source), native(target)
        assert old.dtype == made.dtype
        at = kept_until = 0
        for (start_s, stop_s), (from_s, to_s) in zip(gaps, output.generated, strict=True):
            start, stop = round(start_s * rate_hz), round((stop_s or 0) * rate_hz)
            kept = old[kept_until:start]
            assert made[at : at + len(kept)].tobytes() == kept.tobytes()
            new = stop - start if length_s is None else round(length_s * rate_hz)
            assert (from_s, to_s) == ((at + len(kept)) / rate_hz, (at + len(kept) + new) / rate_hz)
            at, kept_until = at + len(kept) + new, stop
        assert made[at:].tobytes() == old[kept_until:].tobytes()
        assert output.duration_s == len(made) / rate_hz
        assert sorted(os.listdir(folder)) == sorted([source.name, target.name])


def test_the_gap_is_heard_from_both_sides(go: Any, take: Path) -> None:
    """Other audio before the gap, or after it, makes another infill; what is in the gap changes nothing."""
    assert go(take, "--gap", "0.8:1.2", "--seed", 1, "-o", "a.wav").exit_code == 0
    first = native("a.wav")[12800:19200]
    samples = soundfile.read(take, dtype="int16")[0]
    for name, where, same in (
        ("b", slice(8000, 12800), False),
        ("c", slice(19200, 24000), False),
        ("d", slice(13000, 19000), True),
    ):
        other = samples.copy()
        other[where] = other[where][::-1]
        soundfile.write(f"{name}.in.wav", other, 16000, subtype="PCM_16")
        assert go(f"{name}.in.wav", "--gap", "0.8:1.2", "--seed", 1, "-o", f"{name}.wav").exit_code == 0
        assert np.array_equal(native(f"{name}.wav")[12800:19200], first) is same


def test_the_prompt_limits_both_sides(go: Any, piano: Piano) -> None:
    """With --prompt 0.2, audio further away than that and the codec's margin changes nothing; with more it does."""
    samples = (piano(2.0, 16000)[:, 0] * 32767).astype(np.int16)
    far = samples.copy()
    for where in (slice(6400, 7200), slice(24800, 25600)):  # 0.5 s from the gap
        far[where] = far[where][::-1]
    made: dict[str, list[bytes]] = {}
    for name, audio in (("near.wav", samples), ("far.wav", far)):
        soundfile.write(name, audio, 16000, subtype="PCM_16")
        for prompt in ("0.2", "0.9"):
            flags = ("--gap", "0.95:1.05", "--seed", 1, "--prompt", prompt, "-f", "-o", "o.wav")
            assert go(name, *flags).exit_code == 0
            made.setdefault(prompt, []).append(native("o.wav")[15200:16800].tobytes())
    assert made["0.2"][0] == made["0.2"][1]
    assert made["0.9"][0] != made["0.9"][1]


def test_a_gap_at_an_end_is_a_continuation_or_a_prelude(go: Any, audiolm: Any, tiny_model: Path, take: Path) -> None:
    """The same bytes as `continue` makes from what is left."""
    samples = soundfile.read(take, dtype="int16")[0]
    soundfile.write("cut.wav", samples[:16000], 16000, subtype="PCM_16")
    soundfile.write("rest.wav", samples[16000:], 16000, subtype="PCM_16")
    for gap, source, flags in (("1:", "cut.wav", ()), (":1", "rest.wav", ("--before",))):
        assert go(take, "--gap", gap, "--seed", 1, "-f", "-o", "a.wav").exit_code == 0
        also = audiolm("continue", "-m", tiny_model, source, "-d", 1, "--seed", 1, "-f", "-o", "b.wav", *flags)
        assert also.exit_code == 0
        assert native("a.wav").tobytes() == native("b.wav").tobytes()


def test_a_gap_longer_than_the_window(go: Any, piano: Piano) -> None:
    """The model's window is 1.2 s: a gap of 4 s is filled in steps, and no second of it is missing."""
    soundfile.write("long.wav", piano(6.0, 16000), 16000, subtype="PCM_16")
    assert go("long.wav", "--gap", "1:5", "--seed", 1).exit_code == 0
    new, old = native("long.infilled.wav"), native("long.wav")
    assert len(new) == len(old)
    loudness = np.sqrt(np.mean(new[16000:80000].reshape(8, -1).astype(float) ** 2, axis=1))
    assert (loudness > 0).all()


def test_later_gaps_hear_earlier_ones(go: Any, take: Path) -> None:
    """With two gaps, the second follows what was made for the first, in each take; the first is as it is alone."""
    assert go(take, "--gap", "0.5:0.7", "--gap", "0.9:1.1", "--takes", 2, "--seed", 1, "-o", "two.wav").exit_code == 0
    assert go(take, "--gap", "0.5:0.7", "--takes", 2, "--seed", 1, "-o", "first.wav").exit_code == 0
    assert go(take, "--gap", "0.9:1.1", "--takes", 2, "--seed", 1, "-o", "second.wav").exit_code == 0
    for number in (1, 2):
        two = native(f"two.{number}.wav")
        assert not np.array_equal(two[8000:11200], native("two.2.wav" if number == 1 else "two.1.wav")[8000:11200])
        assert not np.array_equal(two[14400:17600], native(f"second.{number}.wav")[14400:17600])
    shown = go(take, "--gap", "0.9:1.1", "--gap", "0.5:0.7", "--seed", 2, "-o", "alone.wav", "--json")
    assert native("alone.wav").tobytes() == native("two.2.wav").tobytes()  # any order; each take by its own seed
    assert json.loads(shown.stdout)["outputs"][0]["generated"] == [[0.5, 0.7], [0.9, 1.1]]


def test_another_length(go: Any, take: Path) -> None:
    """Longer and shorter: what follows moves. A gap without length takes new audio in."""
    old = native(take)
    for gap, length, start, stop in (
        ("0.5:1", 0.8, 8000, 16000),
        ("0.5:1", 0.1, 8000, 16000),
        ("1:1", 0.3, 16000, 16000),
    ):
        assert go(take, "--gap", gap, "--length", length, "-f", "--seed", 1).exit_code == 0
        new = native("take.infilled.wav")
        added = round(length * 16000)
        assert len(new) == len(old) - (stop - start) + added
        assert new[:start].tobytes() == old[:start].tobytes()
        assert new[start + added :].tobytes() == old[stop:].tobytes()
        assert new[start : start + added].any()


def test_settings_and_only_new(go: Any, take: Path) -> None:
    """What was asked for is in --json and in the comment; of the new parts alone, the first begins at 0."""
    shown = go(take, "--gap", "0.5:0.75", "--seed", 3, "--json")
    settings = json.loads(shown.stdout)["settings"]
    assert settings | {"gaps_s": [[0.5, 0.75]], "length_s": None, "temperature": 0.5} == settings
    comment = json.loads(read_audio("take.infilled.wav").tags["comment"])
    assert comment | {"command": "infill", "seed": 3, "gaps_s": [[0.5, 0.75]]} == comment

    shown = go(take, "--gap", "0.5:0.75", "--gap", "1:1.5", "--seed", 3, "--only-new", "-o", "new.flac", "--json")
    assert soundfile.info("new.flac").frames == 12000
    assert json.loads(shown.stdout)["outputs"][0]["generated"] == [[0.0, 0.25], [0.25, 0.75]]


def test_what_was_drawn_with_is_told(go: Any, take: Path) -> None:
    """The temperature that was used is in the comment and in --json, for each gap where gaps differ."""
    for gaps, told in (
        (["0.5:0.75"], 0.5),
        (["0.2:1.4"], 1.0),
        (["0.5:0.75", "1:1.2"], 0.5),
        (["0.1:0.2", "0.3:1.4"], [0.5, 1.0]),
        (["1:"], 1.0),
    ):
        shown = go(take, *(word for gap in gaps for word in ("--gap", gap)), "--seed", 1, "-f", "-o", "x.wav", "--json")
        comment = json.loads(read_audio("x.wav").tags["comment"])
        (output,) = json.loads(shown.stdout)["outputs"]
        assert comment["temperature"] == output["sampling"]["temperature"] == told, gaps
        assert comment["nar_passes"] == output["sampling"]["nar_passes"] == 1
    go(take, "--gap", "0.5:0.75", "--temperature", 0.9, "-f", "-o", "x.wav")
    assert json.loads(read_audio("x.wav").tags["comment"])["temperature"] == 0.9


def test_the_likeliest_of_several(go: Any, take: Path) -> None:
    """--best-of 5 keeps the candidates with the highest scores, best first; each can be had alone by its seed."""
    flags = (take, "--gap", "0.5:0.75", "--gap", "1:1.2", "--seed", 3, "--json")
    ranked = json.loads(go(*flags, "--best-of", 5, "-n", 5, "-o", "all.wav").stdout)["outputs"]
    scores = [output["score"] for output in ranked]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 5
    assert sorted(output["seed"] for output in ranked) == [3, 4, 5, 6, 7]
    kept = json.loads(go(*flags, "--best-of", 5, "-n", 2, "-o", "kept.wav").stdout)["outputs"]
    assert [output["seed"] for output in kept] == [output["seed"] for output in ranked[:2]]
    assert kept[0]["score"] == pytest.approx(scores[0], abs=1e-4)
    shown = go(take, "--gap", "0.5:0.75", "--gap", "1:1.2", "--seed", kept[0]["seed"], "-o", "alone.wav")
    assert native("alone.wav").tobytes() == native("kept.1.wav").tobytes()
    assert "bits/frame" not in shown.stdout
    shown = go(take, "--gap", "0.5:0.75", "--best-of", 3, "-f")
    assert "bits/frame" in shown.stdout
    shown = go(take, "--gap", "0.5:0.75", "--best-of", 2, "-n", 3, "-f")
    assert shown.exit_code == 2 and "best-of must be at least the number of takes, 3, got 2" in shown.stderr


def test_guidance(go: Any, take: Path) -> None:
    """It changes the result, is stored with it, and 1 is off."""
    made = {}
    for guidance in ("1", "2.5", None):
        flags = [] if guidance is None else ["--guidance", guidance]
        assert go(take, "--gap", "0.5:0.75", "--seed", 1, "-f", "-o", "g.wav", *flags).exit_code == 0
        made[guidance] = native("g.wav").tobytes()
        assert json.loads(read_audio("g.wav").tags["comment"])["guidance"] == float(guidance or 1)
    assert made["1"] == made[None] != made["2.5"]
    assert go(take, "--gap", "0.5:0.75", "-f", "--guidance", "-1").exit_code == 2


def test_what_goes_wrong_is_said(go: Any, take: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line where a stretch is made again: a note, or a warning when that did not help."""
    from audiolm_cli.editing.guards import Fault, Guard
    from audiolm_cli.editing.windows import RETRIES

    faults = iter([Fault("silence", 1.0), None, *[Fault("swelling", 0.5)] * (1 + RETRIES)])
    monkeypatch.setattr(Guard, "find_fault", lambda self, codes: next(faults))
    shown = go(take, "--gap", "0.5:0.75", "--seed", 1)
    assert shown.exit_code == 0 and "warning" not in shown.stderr
    assert "seed 1: a stretch that falls silent was made again" in shown.stderr
    shown = go(take, "--gap", "0.5:0.75", "--seed", 1, "-f", "-q")
    assert shown.stderr.startswith("warning: seed 1: a stretch that becomes far too loud is no better when made again")

    monkeypatch.setattr(Guard, "find_fault", lambda self, codes: Fault("swelling", 0.5))
    (output,) = json.loads(go(take, "--gap", "0.5:0.75", "--seed", 1, "-f", "--json").stdout)["outputs"]
    assert output["faults"] == ["too loud"]


def test_takes_that_stay_wrong_are_ranked_last(go: Any, take: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their likelihood: of three, the likeliest two have a fault that stays, each in one of two channels."""
    from audiolm_cli.editing.guards import Fault, Guard
    from audiolm_cli.editing.windows import RETRIES

    def ranked(*flags: str) -> list[tuple[int, list[str]]]:
        words = ("--gap", "0.5:0.75", "--seed", 1, "--best-of", 3, "-n", 3, "-f", "--json")
        outputs = json.loads(go(take, *words, *flags).stdout)["outputs"]
        return [(output["seed"], output["faults"]) for output in outputs]

    monkeypatch.setattr(Guard, "find_fault", lambda self, codes: None)
    likeliest = [seed for seed, faults in ranked() if not faults]
    for flags in ((), ("--channels", "each")):
        found = [Fault("silence", 1.0) if seed in likeliest[:2] else None for seed in (1, 2, 3)]
        one = [fault for fault in found for _ in range(1 + RETRIES if fault else 1)]
        faults = iter(one * 2)
        monkeypatch.setattr(Guard, "find_fault", lambda self, codes, faults=faults: next(faults))
        made = ranked(*flags)
        assert made[0] == (likeliest[2], [])
        assert {seed for seed, own in made[1:] if set(own) == {"silent"}} == set(likeliest[:2])


def test_gaps_from_the_environment(go: Any, take: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AUDIOLM_GAP holds one or more, with spaces between."""
    monkeypatch.setenv("AUDIOLM_GAP", "0.5:0.6 0:01:0:01.5")
    outputs = json.loads(go(take, "--json").stdout)["outputs"]
    assert outputs[0]["generated"] == [[0.5, 0.6], [1.0, 1.5]]


def test_several_inputs_of_different_lengths(go: Any, take: Path, piano: Piano) -> None:
    """One that ends before the gap fails and the others are done."""
    soundfile.write("short.wav", piano(0.5, 16000), 16000)
    shown = go(take, "short.wav", "--gap", "0.8:1", "--seed", 1)
    assert shown.exit_code == 10
    said = " ".join(shown.stderr.split())
    assert "short.wav ends at 0.500 s; gap 0.8:1 reaches beyond that; `audiolm continue` appends" in said
    assert Path("take.infilled.wav").exists() and not Path("short.infilled.wav").exists()


def test_an_end_copied_from_a_display_is_the_end(go: Any, piano: Piano) -> None:
    """Players show milliseconds: 1.001 s is the end of a file of 1.000625 s, and 1.003 s is beyond it."""
    soundfile.write("odd.wav", piano(2.0, 16000)[:16010], 16000, subtype="PCM_16")
    shown = go("odd.wav", "--gap", "0.5:1.001", "--json")
    assert json.loads(shown.stdout)["outputs"][0]["generated"] == [[0.5, 16010 / 16000]]
    assert go("odd.wav", "--gap", "0.5:1.003", "-f").exit_code == 2


@settings(deadline=None)
@given(times=st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), form=st.sampled_from(["s", "m", "h", "-"]))
def test_gaps_are_read_as_they_are_written(times: tuple[int, int], form: str) -> None:
    """Seconds, minutes and hours alike; with a minus sign, mixed."""

    def written(milliseconds: int, own: str) -> str:
        seconds, rest = divmod(milliseconds, 1000)
        if own == "s":
            return f"{seconds}.{rest:03}"
        if own == "m":
            return f"{seconds // 60}:{seconds % 60:02}.{rest:03}"
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:03}"

    expected = tuple(milliseconds / 1000 for milliseconds in times)
    if form != "-":
        assert parse_gap(":".join(written(t, form) for t in times)) == pytest.approx(expected)
        assert parse_gap(written(times[0], form) + ":") == (pytest.approx(expected[0]), None)
        assert parse_gap(":" + written(times[1], form)) == (0.0, pytest.approx(expected[1]))
        return
    for a, b in itertools.product("smh", repeat=2):
        assert parse_gap(f"{written(times[0], a)}-{written(times[1], b)}") == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", ":", "-", "5", "1:2:3", "a:b", "5:-3", "1:99:2:00", "1e3:2e3", "--"])
def test_what_is_no_gap(text: str) -> None:
    """The error repeats it."""
    with pytest.raises(UsageError, match="--gap"):
        parse_gap(text)


@pytest.mark.parametrize("text", ["-1:2", "-1:02", " -1:2", "-0.5:1", "-2", "-1:0:02", "-1-2"])
def test_no_gap_begins_before_the_recording(text: str) -> None:
    """`-1:2` was read as all up to 1:02."""
    with pytest.raises(UsageError, match=r"begins with a minus sign.*write :END"):
        parse_gap(text)
    assert parse_gap(":1:02") == parse_gap("0-1:02") == (0.0, 62.0)


def test_short_gaps_are_drawn_surer(go: Any, take: Path) -> None:
    """Up to a second between two sides at temperature 0.5, others at 1, unless one is given."""
    for name, flags in {
        "short": ["--gap", "0.2:0.7"],
        "short-0.5": ["--gap", "0.2:0.7", "--temperature", "0.5"],
        "short-1": ["--gap", "0.2:0.7", "--temperature", "1"],
        "end": ["--gap", "0.4:"],
        "end-1": ["--gap", "0.4:", "--temperature", "1"],
        "long": ["--gap", "0.2:0.7", "--length", "1.1"],
        "long-1": ["--gap", "0.2:0.7", "--length", "1.1", "--temperature", "1"],
    }.items():
        assert go(take, *flags, "--seed", 1, "-o", f"{name}.wav").exit_code == 0
    made = {path.stem: native(path).tobytes() for path in Path().glob("*.wav")}
    assert made["short"] == made["short-0.5"] != made["short-1"]
    assert made["end"] == made["end-1"] and made["long"] == made["long-1"]


@pytest.mark.parametrize("by_ar", [True, False])
def test_fine_codebooks_of_short_gaps_are_drawn_surer_without_a_nar_decoder(
    audiolm: Any,
    make_model: Callable[..., Path],
    tiny_model: Path,
    tmp_path: Path,
    take: Path,
    piano: Piano,
    by_ar: bool,
) -> None:
    """Up to a second between two sides at 0.6, others and those of NAR decoders at 0.9; several gaps each at their own.

    A second is one at every rate, however its edges are rounded: at 11 025 Hz this one has a sample more.
    """
    model = make_model(tmp_path / "by-ar", ar_codebooks=4) if by_ar else tiny_model
    short, usual = 0.6 if by_ar else 0.9, 0.9
    soundfile.write("odd.wav", piano(2.0, 11025, 1), 11025)
    for flags, temperature in [
        (["odd.wav", "--gap", "0.1:1.1"], short),
        (["--gap", "0.2:0.7"], short),
        (["--gap", "0.4:"], usual),
        (["--gap", "0.2:0.7", "--length", "1.1"], usual),
        (["--gap", "0.2:0.7", "--nar-temperature", "0"], 0.0),
        (["--gap", "0.2:0.7", "--gap", "1.5:"], [short, usual] if by_ar else usual),
    ]:
        source = [] if flags[0] == "odd.wav" else [take]
        shown = audiolm("infill", *source, *flags, "-m", model, "--seed", 1, "-o", "a.wav", "-f", "--json")
        assert shown.exit_code == 0, shown.stderr
        assert json.loads(shown.stdout)["outputs"][0]["sampling"]["nar_temperature"] == temperature
