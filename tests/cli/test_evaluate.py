"""`audiolm evaluate`: what it takes, and what it leaves out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.files import split_of
from audiolm_cli.editing.guards import Fault, Guard
from audiolm_cli.editing.windows import RETRIES
from audiolm_cli.evaluation import excerpts
from audiolm_cli.evaluation.compared import TAKES
from audiolm_cli.evaluation.unpaired import FEWEST
from audiolm_cli.files import hash_file
from audiolm_cli.training.preflight.request import TrainRequest
from audiolm_cli.workflows.train import train

Piano = Callable[..., np.ndarray]
FEW = ("--clips", 2, "--windows", 4, "--device", "cpu")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Excerpts of a second, from recordings of two or more."""
    monkeypatch.setattr(excerpts, "CLIP_S", 1.0)
    monkeypatch.setattr(excerpts, "SHORTEST_S", 2.0)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_what_cannot_be_read_is_left_out_and_listed(
    audiolm: Any, tiny_model: Path, piano: Piano, tmp_path: Path
) -> None:
    """Also what turns out to be damaged on the way; what only ffmpeg reads is measured on."""
    for i in range(2):
        soundfile.write(tmp_path / f"{i}.flac", piano(2.5, 16000, seed=i), 16000)
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "0.flac"), "-c:a", "aac", str(tmp_path / "film.m4a")]
    subprocess.run(command, check=True)
    options = [tmp_path, "-m", tiny_model, "--clips", 2, "--windows", 2, "--device", "cpu", "--json"]
    shown = audiolm("evaluate", *options)
    assert shown.exit_code == 0, shown.stderr
    whole = json.loads(shown.stdout)
    assert (whole["recordings"], whole["failed"]) == (3, [])
    (tmp_path / "letter.wav").write_text("Dear Sir or Madam")
    data = (tmp_path / "1.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[: len(data) // 2])
    shown = audiolm("evaluate", *options)
    assert shown.exit_code == 10, shown.stderr
    found = json.loads(shown.stdout)
    assert found["recordings"] == 3 and found["scores"] == whole["scores"]
    assert sorted(Path(line.split(":")[0]).name for line in found["failed"]) == ["cut.flac", "letter.wav"]
    for path in tmp_path.iterdir():
        path.write_text("Dear Sir or Madam")
    shown = audiolm("evaluate", *options)
    assert shown.exit_code == 3 and "no file, of 5 found, could be read" in shown.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems take no such name")
def test_a_name_that_is_not_utf8(audiolm: Any, tiny_model: Path, piano: Piano, tmp_path: Path) -> None:
    """As old disks have them; one of them used to end the command."""
    for i, name in enumerate((b"caf\xe9.flac", b"b.flac")):
        soundfile.write(tmp_path / "x.flac", piano(2.5, 16000, seed=i), 16000)
        os.rename(tmp_path / "x.flac", os.path.join(os.fsencode(tmp_path), name))
    shown = audiolm("evaluate", tmp_path, "-m", tiny_model, *FEW, "--json")
    assert shown.exit_code == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert (found["recordings"], found["failed"]) == (2, [])


def test_continuations_are_made_as_the_tool_makes_them(
    audiolm: Any, tiny_model: Path, piano: Piano, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong is sampled again, at the seams and after them."""
    for i in range(2):
        soundfile.write(tmp_path / f"{i}.flac", piano(2.5, 16000, seed=i), 16000)
    judged: list[int] = []

    def never(guard: Guard, codes: torch.Tensor) -> Fault:
        judged.append(len(codes))
        return Fault("silence", 1.0)

    monkeypatch.setattr(Guard, "find_fault", never)
    shown = audiolm("evaluate", tmp_path, "-m", tiny_model, "--clips", 2, "--windows", 2, "--device", "cpu", "--json")
    assert shown.exit_code == 0, shown.stderr
    sound = json.loads(shown.stdout)["sound"]
    assert sound["rows"]["generated"] == TAKES * sound["rows"]["original"]
    found = Counter(judged)  # of both excerpts, what follows a seam and the whole continuation, in steps
    assert len(found) >= 2 and all(count % (2 * (1 + RETRIES)) == 0 for count in found.values())


def test_a_file_that_crashes_the_decoder(
    audiolm: Any,
    tiny_model: Path,
    piano: Piano,
    tmp_path: Path,
    crashing_decoder: int,
) -> None:
    """It is left out and listed like one that cannot be read."""
    for name, rate_hz in {"a": 16000, "bad": crashing_decoder, "c": 16000}.items():
        soundfile.write(tmp_path / f"{name}.wav", piano(2.5, rate_hz, seed=ord(name[0])), rate_hz)
    options = [tmp_path, "-m", tiny_model, "--clips", 2, "--windows", 2, "--device", "cpu", "--json"]
    shown = audiolm("evaluate", *options)
    assert shown.exit_code == 10, shown.stderr
    found = json.loads(shown.stdout)
    assert found["recordings"] == 2 and len(found["failed"]) == 1 and "bad.wav" in found["failed"][0]


@pytest.fixture(scope="module")
def trained(tiny_codec: Path, piano: Piano, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a training of one step, and its recordings: one of the test split by its hash, and three others."""
    folder = tmp_path_factory.mktemp("trained")
    recordings, seed = folder / "recordings", 0
    recordings.mkdir()
    for wanted in ("test", "train", "train", "train"):
        path = recordings / f"{wanted}-{seed}.wav"
        while not path.exists() or (split_of(hash_file(path)) == "test") != (wanted == "test"):
            soundfile.write(path, piano(2.5, 16000, seed=seed), 16000)
            seed += 1
    shape = ModelConfig(d_model=32, nhead=2, num_layers=2, max_frames=60)
    config = TrainConfig(steps=1, batch_frames=120, shortest_window=20, validation_windows=2, sample_every=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audiolm_cli.training.watch.draw_curves", lambda *_, **__: None)  # takes most of the time
        train(TrainRequest(recordings, folder / "run", codec=str(tiny_codec), shape=shape, config=config))
    return folder / "run", recordings


def test_everything_is_measured_that_the_model_was_not_trained_on(
    audiolm: Any, trained: tuple[Path, Path], tiny_model: Path, piano: Piano, tmp_path: Path
) -> None:
    """Whatever the hashes of other recordings say; of its own, wherever they lie, the test split alone."""
    run, recordings = trained

    def measure(source: Path, model: Path = run, *options: object) -> dict[str, Any]:
        shown = audiolm("evaluate", source, "-m", model, *FEW, *options, "--json")
        assert shown.exit_code == 0, shown.stderr
        found = json.loads(shown.stdout)
        assert f"measuring {found['measured']}" in " ".join(shown.stderr.split())
        return found

    whole = measure(recordings, tiny_model)
    assert (whole["recordings"], whole["held_out"]) == (4, True)

    own = measure(recordings)
    assert (own["recordings"], own["held_out"], own["context"]) == (1, True, None)
    assert "was not trained on" in own["measured"] and "3 left out (--split all measures all)" in own["measured"]
    assert own["baselines"], "the tokens of the run fit them"

    mixed = tmp_path / "mixed"
    shutil.copytree(recordings, mixed)
    soundfile.write(mixed / "new.wav", piano(2.5, 16000, seed=999), 16000)
    assert measure(mixed)["recordings"] == 2

    everything = measure(recordings, run, "--split", "all")
    assert (everything["recordings"], everything["held_out"]) == (4, False)
    assert "expect better numbers" in everything["measured"]
    assert measure(recordings, run, "--split", "train")["recordings"] == 2
    assert measure(recordings, run, "--split", "dev")["recordings"] == 1

    (tmp_path / "seen").mkdir()
    for path in recordings.glob("train-*"):
        shutil.copy(path, tmp_path / "seen")
    validated = measure(tmp_path / "seen")
    assert validated["recordings"] == 1 and "was validated with" in validated["measured"]
    shown = audiolm("evaluate", tmp_path / "seen", "-m", run, *FEW, "--split", "test")
    assert shown.exit_code == 3 and "no recording belongs to the split test" in shown.stderr


def test_token_stores_and_manifests_are_measured(
    audiolm: Any, trained: tuple[Path, Path], tiny_model: Path, tiny_codec: Path, piano: Piano, tmp_path: Path
) -> None:
    """As recordings are, but for the codec's round trip, of which codes know nothing."""
    run, recordings = trained

    def measure(source: Path, model: Path = run) -> dict[str, Any]:
        shown = audiolm("evaluate", source, "-m", model, *FEW, "--json")
        assert shown.exit_code == 0, shown.stderr
        return json.loads(shown.stdout)

    own, same = measure(recordings), measure(run / "tokens")
    assert same["scores"] == own["scores"] and same["recordings"] == 1
    assert set(same["levels"]) == {"first_codebook", "generated"}
    assert set(same["sound"]["rows"]) == {"original", "generated"}
    moved = tmp_path / "moved"
    shutil.copytree(run / "tokens", moved)
    assert measure(moved)["scores"] == own["scores"], "known by the content of what they were made of"
    assert measure(run / "tokens", tiny_model)["recordings"] == 4
    (moved / "inputs.jsonl.gz").unlink()
    assert measure(moved / "cuts_dev.jsonl.gz", tiny_model)["recordings"] == 1

    shown = audiolm("evaluate", moved, "-m", tiny_codec, *FEW)
    assert shown.exit_code == 2 and "measure it on recordings" in shown.stderr
    shown = audiolm("evaluate", moved, "-m", "piano", *FEW)
    assert shown.exit_code == 4 and "is not that of piano" in " ".join(shown.stderr.split())


def test_short_recordings_count(
    audiolm: Any, tiny_model: Path, piano: Piano, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recordings shorter than an excerpt or than the model's window, beside a long one; the shortest are left out."""
    monkeypatch.setattr(excerpts, "SHORTEST_S", 0.5)
    for name, seconds in (("a", 0.7), ("b", 0.7), ("long", 2.5), ("short", 0.3)):
        soundfile.write(tmp_path / f"{name}.flac", piano(seconds, 16000, seed=ord(name[0])), 16000)
    shown = audiolm("evaluate", tmp_path, "-m", tiny_model, "--clips", 3, "--windows", 8, "--json")
    assert shown.exit_code == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert (found["recordings"], found["clips"]) == (3, 3)
    assert found["windows"] == 4, "one of each short one, two of the long one"
    assert found["context"] is not None and "left out, shorter than 0.5 s: " in shown.stderr
    (tmp_path / "only").mkdir()
    (tmp_path / "short.flac").rename(tmp_path / "only" / "short.flac")
    shown = audiolm("evaluate", tmp_path / "only", "-m", tiny_model, *FEW)
    assert shown.exit_code == 3 and "1 recording, but none of 0.5 s or more" in shown.stderr


def test_figures_over_clips_have_intervals(audiolm: Any, tiny_model: Path, piano: Piano, tmp_path: Path) -> None:
    """Each holds its value; distributions of enough recordings are compared, beside two halves of the originals."""
    for seed in range(FEWEST):
        soundfile.write(tmp_path / f"{seed}.flac", piano(2.5, 16000, seed=seed), 16000)
    options = ("evaluate", tmp_path, "-m", tiny_model, "--windows", 4, "--device", "cpu")
    found = json.loads(audiolm(*options, "--clips", 2 * FEWEST, "--json").stdout)
    assert found["recordings"] == FEWEST and found["clips"] == 2 * FEWEST

    sound = found["sound"]
    rows = sound["rows"]
    assert sound["recordings"] == FEWEST and set(rows) == {"original", "round_trip", "generated"}
    assert rows["round_trip"] == rows["original"] == rows["generated"] / TAKES >= 2 * FEWEST
    assert set(sound["figures"]) == set(rows) and set(found["harmony"]) == {"original", "generated", "another"}
    assert set(found["repetition"]) == {"original", "generated"} and found["longest_match_frames"] == {}
    averages = [found["seams"], found["harmony"], found["repetition"], *found["levels"].values()]
    for name, figure in [item for figures in averages for item in figures.items()]:
        assert set(figure) == {"value", "low", "high"} and figure["low"] <= figure["value"] <= figure["high"], name
    assert all(own["low"] < own["high"] for own in sound["figures"].values())
    assert sound["figures"]["original"]["low"] < 0 < sound["figures"]["original"]["high"]

    shown = audiolm(*options, "--clips", 2 * FEWEST).stdout
    harmony, halves = found["harmony"]["generated"], sound["figures"]["original"]
    assert "| all generated | {value:.3f} [{low:.3f},{high:.3f}] |".format(**harmony) in shown
    assert f"| {rows['original']} | {{value:.3f}} [{{low:.3f}},{{high:.3f}}] |".format(**halves) in shown
    assert "continuations: their sound is" in shown and "chroma correlation with their prompts is" in shown


def test_too_few_recordings_are_said_in_place_of_a_distance(
    audiolm: Any, tiny_model: Path, piano: Piano, tmp_path: Path
) -> None:
    """What one alone says has no interval, and no other recording beside it."""
    soundfile.write(tmp_path / "a.flac", piano(2.5, 16000), 16000)
    found = json.loads(audiolm("evaluate", tmp_path, "-m", tiny_model, *FEW, "--json").stdout)
    assert found["sound"]["recordings"] == 1 and found["sound"]["figures"] == {}
    assert set(found["harmony"]) == {"original", "generated"}
    assert found["harmony"]["original"]["low"] is None and found["levels"]["generated"]["mel"]["high"] is None
    shown = audiolm("evaluate", tmp_path, "-m", tiny_model, *FEW).stdout
    assert f"| needs {FEWEST} recordings; these are 1 |" in shown and "their sound is" not in shown
    assert f"| true continuations | {found['harmony']['original']['value']:.3f} |" in shown


def test_words_come_first_and_tables_are_drawn_in_a_terminal(
    audiolm: Any, tiny_model: Path, piano: Piano, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere the tables are Markdown, after the same words."""
    soundfile.write(tmp_path / "a.flac", piano(2.5, 16000), 16000)
    plain = audiolm("evaluate", tmp_path / "a.flac", "-m", tiny_model, *FEW).stdout
    assert plain.startswith("measured on the recording of") and "| bits per frame | codebook 1 |" in plain
    assert plain.index("codebook 1 (the notes)") < plain.index("the codec: mel distance") < plain.index("| bits per")

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    drawn = audiolm("evaluate", tmp_path / "a.flac", "-m", tiny_model, *FEW).stdout
    assert drawn.startswith("measured on the recording of") and "| --- |" not in drawn and "──" in drawn
    assert "how much of each frame the model cannot foresee. 5 are a blind guess" in " ".join(drawn.split())
    more = audiolm("evaluate", tmp_path / "a.flac", "-m", tiny_model, *FEW, "-v").stdout
    for words in ("spectral distance", "repeat-last", "that stay", "at the seam"):
        assert words in more and words not in drawn
