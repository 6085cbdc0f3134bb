"""What of a recording is not in an output as it was: said on stderr and in the result, by every generating command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from generating import COMMANDS

Piano = Callable[..., np.ndarray]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def go(audiolm: Any, tiny_model: Path) -> Any:
    """A command with the tiny model."""
    return lambda command, *args: audiolm(command, "-m", tiny_model, *args)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_lost_of_the_recording_is_said(command: str, go: Any) -> None:
    """A hot float recording as FLAC: the number of its own samples that are clipped, on stderr and in the result."""
    seconds = np.arange(44100) / 22050
    hot = (3 * np.sin(2 * np.pi * 220 * seconds)).astype(np.float32)
    for name in ("a.wav", "hot.wav"):
        soundfile.write(name, hot, 22050, "FLOAT")

    shown = go(command, "hot.wav", *COMMANDS[command], "-o", "out.flac", "--seed", 1, "--takes", 2, "--json", "-q")
    assert shown.exit_code == 0
    outputs = json.loads(shown.stdout)["outputs"]
    losses = [{loss["kind"]: loss for loss in output["losses"]} for output in outputs]
    if command == "restyle":  # of which nothing is kept
        assert losses == [{}, {}] and "clipped" not in shown.stderr
        return

    written, _ = soundfile.read("out.1.flac")
    start, end = (round(edge * 22050) for edge in outputs[0]["generated"][0])
    if command == "infill":
        own = np.concatenate((written[:start], written[end:]))
        source = np.concatenate((hot[:start], hot[len(hot) - len(written) + end :]))
    else:
        own, source = written[:start], hot[:start]
    assert losses[0]["clipped"]["count"] == np.count_nonzero(np.abs(source) > 1) == np.count_nonzero(abs(own) > 0.99999)
    assert [loss["clipped"]["count"] for loss in losses] == [losses[0]["clipped"]["count"]] * 2
    assert f"warning: {losses[0]['clipped']['message']}" in shown.stderr.splitlines()
    assert shown.stderr.count("clipped to full scale") == 1  # of both takes it is the same

    if command != "loop":
        alone = go(command, "hot.wav", *COMMANDS[command], "-o", "new.flac", "--only-new", "--json", "-q")
        assert json.loads(alone.stdout)["outputs"][0]["losses"] == []


def test_losses_of_each_of_several_recordings(go: Any, piano: Piano) -> None:
    """With the name of its file; the others go without a word."""
    soundfile.write("calm.wav", piano(1.0, 22050, 1), 22050)
    soundfile.write("loud.ogg", 3 * piano(1.0, 22050, 1), 22050)
    shown = go("continue", "calm.wav", "loud.ogg", "-d", 0.2, "-o", "out/", "--json", "-q")
    calm, loud = json.loads(shown.stdout)["outputs"]
    assert calm["losses"] == [] and "calm" not in shown.stderr
    assert [loss["kind"] for loss in loud["losses"]] == ["clipped"]
    assert f"warning: {loud['path']}: {loud['losses'][0]['count']} of 22050 samples" in shown.stderr


def test_a_lossy_output_is_no_warning(go: Any, piano: Piano) -> None:
    """Who names a file .ogg knows."""
    soundfile.write("in.wav", piano(1.0, 22050, 1), 22050)
    shown = go("continue", "in.wav", "-d", 0.2, "-o", "out.ogg")
    assert "out.ogg: OGG is lossy: none of 22050 samples" in shown.stderr and "warning" not in shown.stderr
    assert go("continue", "in.wav", "-d", 0.2, "-o", "out.ogg", "-f", "-q").stderr == ""


def test_what_is_cut_of_a_comment_is_said(go: Any, piano: Piano) -> None:
    with soundfile.SoundFile("in.wav", "w", 22050, 1) as file:
        file.comment = "c" * 200
        file.write(piano(1.0, 22050, 1))
    shown = go("continue", "in.wav", "-d", 0.2, "-o", "out.wav")
    assert "the last 50 characters of the recording's comment are not in the new one" in shown.stderr
