"""What the judge counts in notes, on lists of notes whose figures are known, and the excerpts that it cuts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import judge
import numpy as np
import pytest
import soundfile
from ensemble import HELD_OUT_EVERY
from judged_takes import Excerpt, cut_excerpts, gap_of
from note_figures import (
    INTERVALS,
    LENGTHS_S,
    ONSETS_S,
    describe,
    f1,
    histograms,
    in_window,
    match_notes,
    overlap,
    pitch_classes,
    polyphony,
    repeat_notes,
    share_pitch_classes,
    tell_apart,
)
from withheld import PIANO, plan_withheld

from audiolm_cli.evaluation.intervals import Groups

RATE_HZ = 8000


def notes(*rows: tuple[float, float, int]) -> np.ndarray:
    return np.array([(start, end, key, 0.5) for start, end, key in rows]).reshape(-1, 4)


SCALE = notes(*((0.5 * i, 0.5 * i + 0.4, key) for i, key in enumerate((60, 62, 64, 65, 67, 69, 71, 72))))
"""4 s of C major."""
NOTHING = notes()


def music(seed: int, seconds: float = 10.0, step_s: float = 0.25, length_s: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    starts = np.arange(0, seconds - length_s, step_s) + rng.uniform(
        0, 0.02, len(np.arange(0, seconds - length_s, step_s))
    )
    keys = 60 + np.cumsum(rng.integers(-3, 4, len(starts)))
    return notes(*((s, s + length_s * rng.uniform(0.5, 1.5), int(k)) for s, k in zip(starts, keys, strict=True)))


def test_shared_pitch_classes() -> None:
    """1 with itself, whatever the octave; 0 with other classes; what is common by the time it sounds."""
    assert share_pitch_classes(SCALE, SCALE) == pytest.approx(1)
    octave_up = SCALE + np.array([0, 0, 12, 0])
    assert share_pitch_classes(SCALE, octave_up) == pytest.approx(1)
    assert share_pitch_classes(notes((0, 1, 60)), notes((0, 1, 61))) == 0
    assert share_pitch_classes(notes((0, 3, 60), (0, 1, 64)), notes((0, 1, 60), (0, 1, 67))) == pytest.approx(0.5)
    assert share_pitch_classes(SCALE, NOTHING) == 0
    assert pitch_classes(notes((0, 3, 60), (0, 1, 75)))[[0, 3]] == pytest.approx([0.75, 0.25])


def test_windows_and_repeats() -> None:
    """Notes belong to the window that they start in, and end with it."""
    cut = in_window(SCALE, 1.0, 1.7)
    assert cut[:, :3] == pytest.approx(np.array([[0, 0.4, 64], [0.5, 0.7, 65]]))
    assert SCALE[0, 0] == 0 and SCALE[3, 1] == pytest.approx(1.9), "what was given is left alone"
    again = repeat_notes(notes((0.0, 0.5, 60), (1.0, 2.5, 67)), 3.0, 7.5)
    assert again[:, 0].tolist() == [0, 1, 3, 4, 6, 7] and again[-1, 1] == 7.5
    assert again[:, 2].tolist() == [60, 67] * 3
    assert len(repeat_notes(NOTHING, 3.0, 7.5)) == 0


def test_polyphony_is_how_many_sound() -> None:
    chord = notes((0, 4, 60), (0, 4, 64), (0, 2, 67))
    assert polyphony(chord, 4.0) == pytest.approx(2.5)
    assert polyphony(NOTHING, 4.0) == 0


def test_histograms_hold_every_note() -> None:
    """Steps of a scale, one length, one time between onsets; what is beyond the bins is in the last of them."""
    found = histograms(SCALE)
    middles = (INTERVALS[1:] + INTERVALS[:-1]) / 2
    assert {m: n for m, n in zip(middles, found["intervals"], strict=True) if n} == {1: 2, 2: 5}
    assert found["lengths"].max() == 8 and LENGTHS_S[found["lengths"].argmax()] <= 0.4
    assert found["onsets"].max() == 7 and ONSETS_S[found["onsets"].argmax()] <= 0.5
    far = histograms(notes((0, 20, 21), (9, 9.01, 108)))
    assert far["intervals"][-1] == 1 and far["lengths"][[0, -1]].tolist() == [1, 1] and far["onsets"][-1] == 1
    assert all(own.sum() == 0 for own in histograms(NOTHING).values())
    assert overlap(found["intervals"], 3 * found["intervals"]) == pytest.approx(1)
    assert overlap(np.array([1, 0]), np.array([0, 1])) == 0 and overlap(np.array([1, 1]), np.array([2, 0])) == 0.5


def test_notes_are_matched_once_each() -> None:
    """Key and onset count; of two that are near, as many are matched as can be."""
    assert match_notes(SCALE, SCALE) == 8 and f1(8, 8, 8) == 1
    late, later = SCALE + np.array([0.04, 0, 0, 0]), SCALE + np.array([0.06, 0, 0, 0])
    assert match_notes(SCALE, late) == 8 and match_notes(SCALE, later) == 0
    assert match_notes(SCALE, SCALE + np.array([0, 0, 1, 0])) == 0, "other keys"
    assert match_notes(notes((0, 1, 60)), notes((0.01, 1, 60), (0.02, 1, 60))) == 1
    assert match_notes(notes((0.0, 1, 60), (0.06, 1, 60)), notes((0.04, 1, 60), (0.1, 1, 60))) == 2
    assert match_notes(SCALE, NOTHING) == 0 and f1(0, 8, 0) == 0 and f1(0, 0, 0) == 0
    assert f1(4, 8, 8) == 0.5 and f1(4, 4, 8) == pytest.approx(2 / 3)


def test_a_classifier_tells_what_differs_and_nothing_else() -> None:
    """Notes of another length are told apart; of takes of one kind it is right as often as wrong."""
    prompt = music(999)
    kinds = [
        np.stack([describe(music(seed, length_s=length_s), 10.0, prompt, 10.0) for seed in seeds])
        for seeds, length_s in ((range(60), 0.3), (range(100, 160), 0.3), (range(200, 260), 0.15))
    ]
    groups = np.repeat(np.arange(30), 2)
    assert 0.35 < tell_apart(kinds[0], kinds[1], groups).mean() < 0.65
    assert tell_apart(kinds[0], kinds[2], groups).mean() > 0.9
    assert np.isfinite(describe(NOTHING, 10.0, NOTHING, 10.0)).all()


def test_a_classifier_is_asked_about_pieces_that_it_has_not_seen() -> None:
    """Of features that tell only the piece, and the side by piece, it makes nothing: knowing the piece would be all."""
    groups = np.repeat(np.arange(40), 5)
    flips = np.where(np.arange(40) % 2, 1, -1)[groups][:, None]
    shares = []
    for seed in range(10):
        side = np.random.default_rng(seed).normal(size=(40, 40))[groups]  # each piece has a place of its own
        shares.append(tell_apart(flips * side, -flips * side, groups).mean())
    assert abs(np.mean(shares) - 0.5) < 0.1


def fake_takes(change: int = 0) -> tuple[list[np.ndarray], list[np.ndarray], Groups]:
    prompts, takes = [music(seed) for seed in range(24)], [music(seed + change) for seed in range(50, 74)]
    return prompts, takes, Groups([str(i // 2) for i in range(24)])


def test_continuations_beside_the_true_ones() -> None:
    """Versions that are the truth have its figures; none and thrice the notes are a stall and a runaway."""
    prompts, true, pieces = fake_takes()
    dense = [np.concatenate([own + np.array([0.01 * i, 0, i, 0]) for i in range(4)]) for own in true]
    dense = [own[np.argsort(own[:, 0])] for own in dense]
    versions = {judge.TRUE: true, judge.TRIP: true, judge.MADE: [NOTHING] * 24, judge.REPEATED: dense}
    found = judge.judge_continuations(versions, prompts, pieces)
    same = found[judge.TRIP]
    assert all(same[name] == found[judge.TRUE][name] for name in ("pitch classes shared", "notes/s", "polyphony"))
    assert same["intervals"] == pytest.approx((1, 1, 1)) and same["lengths"] == pytest.approx((1, 1, 1))
    assert same["MMD"][1] < 0.02 and same["stalls"] == (0, 0, 0)
    assert same["told from true"][0] == pytest.approx(0.5, abs=0.05)
    assert found[judge.MADE]["stalls"] == (1, 1, 1) and found[judge.MADE]["notes/s"] == (0, 0, 0)
    assert found[judge.MADE]["told from true"][0] > 0.95 and found[judge.MADE]["MMD"][1] > 0.1
    assert found[judge.REPEATED]["runaways"] == (1, 1, 1) and found[judge.REPEATED]["stalls"] == (0, 0, 0)
    halves = found[judge.TRUE]["MMD"]
    assert halves[1] < 0 < halves[2] and abs(halves[0]) < 0.1
    for figures in found.values():
        assert all(low <= value <= high for name, (value, low, high) in figures.items() if name != "MMD")


def test_infills_beside_the_true_ones() -> None:
    _, true, pieces = fake_takes()
    time_s = np.arange(16000) / 32000
    wavs = [np.sin(2 * np.pi * 440 * 2 ** (i % 12 / 12) * time_s).astype(np.float32) for i in range(24)]
    half = [own[::2] for own in true]
    found = judge.judge_infills({"same": (true, wavs), "half": (half, wavs[::-1])}, (true, wavs), pieces)
    assert found["same"]["notes F1"] == (1, 1, 1)
    assert found["same"]["chroma correlation"][0] == pytest.approx(1, abs=1e-3)
    assert found["half"]["notes, of the true"][0] == pytest.approx(0.5, abs=0.03)
    assert found["half"]["notes F1"][0] == pytest.approx(2 / 3, abs=0.03)
    assert found["half"]["chroma correlation"][0] < 0.5


def test_the_tables_hold_every_figure() -> None:
    prompts, true, pieces = fake_takes()
    versions = {judge.TRUE: true, judge.MADE: true}
    found = judge.judge_continuations(versions, prompts, pieces)
    result = {"model": "m", "excerpts": 24, "pieces": 12, "infills": {}, "continuations": found}
    text = judge.as_markdown(result)
    for figures in found.values():
        assert all("{:.3f} [{:.3f}, {:.3f}]".format(*figure) in text for figure in figures.values())


def test_excerpts_are_of_every_recording_in_turn(tmp_path: Path) -> None:
    """One of each that is long enough and sounds, then another one of each; the same ones again."""
    rng = np.random.default_rng(0)
    for name, seconds in (("long", 41), ("middle", 25), ("short", 19), ("silent", 25), ("stops", 25)):
        wav = 0.1 * rng.normal(size=seconds * RATE_HZ)
        wav[0 if name == "silent" else 9 * RATE_HZ if name == "stops" else len(wav) :] = 0
        soundfile.write(tmp_path / f"{name}.flac", wav, RATE_HZ)
    work = tmp_path / "work"
    found = cut_excerpts(tmp_path, work, 10)
    assert {(own.piece, own.start_s) for own in found} == {("long", 0), ("middle", 0), ("long", 20)}
    assert found[-1].start_s == 20
    assert all(soundfile.info(work / "excerpts" / f"{own.name}.flac").frames == 20 * RATE_HZ for own in found)
    assert cut_excerpts(tmp_path, work, 10) == found
    assert len(cut_excerpts(tmp_path, work, 2)) == 2
    others = judge.shift_pieces([*found, Excerpt(name="x", piece="x", start_s=0)])
    assert all(
        a.piece != b.piece for a, b in zip([*found, Excerpt(name="x", piece="x", start_s=0)], others, strict=True)
    )
    assert gap_of(0.5) == (9.75, 10.25)


def test_rolls_are_drawn(tmp_path: Path) -> None:
    prompts, true, _ = fake_takes()
    excerpts = [Excerpt(name=str(i), piece=str(i), start_s=0.0) for i in range(3)]
    judge.draw_rolls(excerpts, prompts, true, true[::-1], tmp_path / "rolls.png")
    assert (tmp_path / "rolls.png").read_bytes().startswith(b"\x89PNG")


def test_withheld_pieces_have_one_recording_each() -> None:
    pieces = [Path(f"{i}.mid") for i in range(3 * HELD_OUT_EVERY)]
    plans = [plan_withheld(piece, 45.0) for piece in pieces]
    assert [own.start_s for own in plans] == [plan_withheld(piece, 45.0).start_s for piece in pieces]
    assert len({own.start_s for own in plans}) == len(pieces) and {own.instrument for own in plans} == {PIANO}


def test_nothing_is_transcribed_twice(tmp_path: Path) -> None:
    """Where all notes are there, the transcriber is not even loaded: it need not be installed."""
    (tmp_path / "a.flac").touch()
    (tmp_path / "a.notes.json").write_text("[]")
    script = Path(judge.__file__).parent / "transcribe.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True)
