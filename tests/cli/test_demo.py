"""`audiolm demo`: three files and their pictures, or nothing."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import soundfile
from html_page import Page

from audiolm_cli.audio import read_audio
from audiolm_cli.workflows.demo import CONTINUED_S, GAP_S

FILES = [f"{name}.{kind}" for name in ("continued", "infilled", "prompt") for kind in ("png", "wav")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the demo goes; it is made by the demo."""
    return tmp_path / "deep" / "demo"


def test_the_tour(audiolm: Any, tiny_model: Path, folder: Path) -> None:
    """A prompt, its continuation, an infill of it: exact lengths, and the prompt's samples where nothing is new."""
    shown = audiolm("demo", folder, "-m", tiny_model, "--json")
    assert shown.exit_code == 0, shown.stderr
    assert sorted(os.listdir(folder)) == FILES
    outputs = {Path(output["path"]).stem: output for output in json.loads(shown.stdout)["outputs"]}
    prompt, longer, filled = (
        read_audio(folder / f"{name}.wav").samples for name in ("prompt", "continued", "infilled")
    )
    rate_hz = soundfile.info(folder / "prompt.wav").samplerate
    assert len(longer) == len(prompt) + round(CONTINUED_S * rate_hz) and len(filled) == len(prompt)
    assert longer[: len(prompt)].tobytes() == prompt.tobytes()
    start, stop = (round(t * rate_hz) for t in GAP_S)
    assert filled[:start].tobytes() == prompt[:start].tobytes()
    assert filled[stop:].tobytes() == prompt[stop:].tobytes()
    assert (filled[start:stop] != prompt[start:stop]).any()
    assert outputs["prompt"]["generated"] == [] and outputs["infilled"]["generated"] == [list(GAP_S)]
    assert all((folder / name).read_bytes()[:4] == b"\x89PNG" for name in FILES if name.endswith("png"))


def test_it_is_the_same_every_time(
    audiolm: Any, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless another seed is asked for; what was not generated is said to be as it was."""
    monkeypatch.setattr("audiolm_cli.editing.writing.plot_recording", lambda *_, **__: None)  # slow, and tested above
    monkeypatch.chdir(tmp_path)
    shown = audiolm("demo", "-m", tiny_model)
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[0] == "audiolm-demo/prompt.wav  (as it was)"
    assert audiolm("demo", "b", "-m", tiny_model).exit_code == 0
    told = json.loads(audiolm("demo", "c", "-m", tiny_model, "--seed", 2, "--json").stdout)
    assert told["settings"]["nar_passes"] == 1 and told["settings"]["temperature"] == 1.0  # as they were used
    made = [Path(folder, "continued.wav").read_bytes() for folder in ("audiolm-demo", "b", "c")]
    assert made[0] == made[1] != made[2]


def test_nothing_is_overwritten(audiolm: Any, tiny_model: Path, folder: Path) -> None:
    """Exit code 7 without -f."""
    folder.mkdir(parents=True)
    (folder / "infilled.png").write_text("mine")
    shown = audiolm("demo", folder, "-m", tiny_model)
    assert shown.exit_code == 7 and "infilled.png: exists already" in shown.stderr
    assert (os.listdir(folder), (folder / "infilled.png").read_text()) == (["infilled.png"], "mine")
    assert audiolm("demo", folder, "-m", tiny_model, "-f").exit_code == 0
    assert sorted(os.listdir(folder)) == FILES


def test_what_it_refuses(audiolm: Any, tiny_model: Path, folder: Path, tmp_path: Path) -> None:
    """An unknown model, and a folder that is a file; nothing is left behind."""
    assert audiolm("demo", folder, "-m", "nothing").exit_code == 4
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").touch()
    shown = audiolm("demo", tmp_path / "file", "-m", tiny_model)
    assert shown.exit_code == 7 and "cannot be created" in shown.stderr


def test_the_page_of_the_tour(audiolm: Any, tiny_model: Path, folder: Path) -> None:
    """The continuation and the infill with the prompt before each, and commands that make the same of the prompt."""
    assert audiolm("demo", folder, "-m", tiny_model, "--page", folder.parent / "page.txt").exit_code == 2
    assert not folder.exists()
    folder.mkdir(parents=True)
    assert audiolm("demo", folder, "-m", tiny_model, "--page", folder / "page.html").exit_code == 0
    page = Page((folder / "page.html").read_text(encoding="utf-8"))
    assert len(page.decode("audio/flac")) == 4
    commands = [line for line in page.lines if "--seed" in line]
    for command, name in zip(commands, ("continued", "infilled"), strict=True):
        assert audiolm(*shlex.split(command)[1:], "-o", folder / "again.wav", "-f").exit_code == 0
        again, first = (read_audio(folder / f"{file}.wav").samples for file in ("again", name))
        assert again.tobytes() == first.tobytes()
