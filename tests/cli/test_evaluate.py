"""`audiolm evaluate`: what it takes, and what it leaves out."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from audiolm_cli.editing.guards import Fault, Guard
from audiolm_cli.editing.windows import RETRIES
from audiolm_cli.evaluation import excerpts

Piano = Callable[..., np.ndarray]


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
    assert json.loads(shown.stdout)["unpaired"]["frechet_generated_deviation"] > 0
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
