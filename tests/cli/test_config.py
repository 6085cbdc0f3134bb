"""`audiolm config`: what holds, and where it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a settings file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "audiolm.toml").write_text(
        'threads = 2\n[loop]\nbridge = 4\n[preset.calm]\ntemperature = 0.9\ngap = ["1:2", "3:4"]\n'
    )
    return tmp_path


def test_what_files_and_variables_set(audiolm: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for each, with the commands that it holds for; presets and files below."""
    monkeypatch.setenv("AUDIOLM_QUIET", "1")
    shown = audiolm("config")
    assert (shown.exit_code, shown.stderr) == (0, "")
    lines = [line.split("  ") for line in shown.stdout.splitlines()]
    cells = {line[0].strip(): [cell.strip() for cell in line[1:] if cell.strip()] for line in lines}
    assert cells["SETTING"] == ["VALUE", "FROM", "FOR"]
    assert cells["bridge"] == ["4", "audiolm.toml, line 3", "loop"]
    assert cells["threads"][:2] == ["2", "audiolm.toml, line 1"] and "codec train" in cells["threads"][2]
    assert cells["quiet"] == ["1", "AUDIOLM_QUIET", "every command"]
    assert "takes" not in cells
    assert "--preset calm: temperature 0.9, gap 1:2, 3:4" in shown.stdout
    assert f"{folder / 'audiolm.toml'}  (read)" in shown.stdout and "config.toml  (not there)" in shown.stdout


def test_of_one_command(audiolm: Any, folder: Path) -> None:
    """Every setting with its value; a preset is shown as it would hold."""
    shown = json.loads(audiolm("config", "loop", "--preset", "calm", "--json").stdout)
    found = {one["name"]: (one["value"], one["origin"], one["place"]) for one in shown["settings"]}
    assert found["bridge"] == ("4", "file", "audiolm.toml, line 3")
    assert found["temperature"] == ("0.9", "preset", "audiolm.toml, line 5")
    assert found["takes"] == ("1", "default", "default") and found["output"] == (None, "default", "default")
    assert found["preset"] == ("calm", "option", "--preset") and "gap" not in found
    assert shown["presets"]["calm"]["gap"] == {"value": ["1:2", "3:4"], "place": "audiolm.toml, line 6"}
    assert [(file["there"], file["read"]) for file in shown["files"]] == [(True, True), (False, False)]
    shown = json.loads(audiolm("config", "codec", "train", "--json").stdout)
    assert all(one["commands"] == ["codec train"] for one in shown["settings"])


def test_nothing_is_set(audiolm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file and no variable: it says so, and where files would be."""
    monkeypatch.chdir(tmp_path)
    for name in ("AUDIOLM_CACHE_DIR", "AUDIOLM_OFFLINE"):
        monkeypatch.delenv(name)
    shown = audiolm("config").stdout
    assert shown.startswith("no settings file and no variable sets anything\n") and shown.count("(not there)") == 2


def test_what_is_there_but_not_read(audiolm: Any, folder: Path) -> None:
    """With --no-config nothing of a file holds, and the file is not said to be missing."""
    shown = audiolm("--no-config", "config").stdout
    assert "bridge" not in shown and f"{folder / 'audiolm.toml'}  (not read)" in shown
    files = json.loads(audiolm("--no-config", "config", "--json").stdout)["files"]
    assert [(file["there"], file["read"]) for file in files] == [(True, False), (False, False)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["contniue"], "there is no command 'contniue'. Did you mean continue?"),
        (["models"], "there is no command 'models'"),
        (["continue", "--preset", "calme"], "--preset: there is no preset 'calme'; presets: calm. Did you mean calm?"),
    ],
)
def test_what_is_not_there(words: list[str], told: str, audiolm: Any, folder: Path) -> None:
    """One line, exit code 2."""
    shown = audiolm("config", *words)
    assert shown.exit_code == 2 and shown.stderr.startswith(f"audiolm: error: {told}")
    assert shown.stderr.count("\n") == 1


def test_every_value_is_checked(audiolm: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad value in the section of a command that nobody called, and one in a variable."""
    (folder / "audiolm.toml").write_text("[decode]\n\nthreads = 0\n")
    shown = audiolm("config")
    assert shown.exit_code == 2
    assert shown.stderr == "audiolm: error: audiolm.toml, line 3: threads must be a whole number, 1..1024, got '0'\n"
    (folder / "audiolm.toml").write_text("")
    monkeypatch.setenv("AUDIOLM_TAKES", "none")
    assert audiolm("config").stderr.startswith("audiolm: error: AUDIOLM_TAKES must be a whole number")
