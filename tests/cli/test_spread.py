"""Options that are made of settings, and `~` in those that name a place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import soundfile
import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.app import app
from audiolm_cli.cli.spread import PLACES, spread
from audiolm_cli.config.generation import GenerateConfig

NO_PLACES = {
    None,
    "",
    "-- COMMAND...",
    "BPM",
    "COMMAND",
    "HEX",
    "ID",
    "M",
    "N",
    "N/N",
    "NAME",
    "P",
    "S",
    "SHARES",
    "START:END",
    "STEP",
    "TIME",
    "URL",
    "X",
    "[TOPIC]",
    "hf:OWNER/NAME",
}
"""What else stands for a value in `--help`."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's home folder; the working directory is another one."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))  # as Windows calls it
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def test_home_is_expanded_in_places_alone(home: Path) -> None:
    """Texts, paths, lists, and settings; not in what is no place, and nowhere but in front."""
    seen: dict[str, Any] = {}

    @spread
    def command(
        *,
        inputs: Annotated[list[str], typer.Argument(metavar="IN...")],
        folder: Annotated[Path | None, options.shared("--report", metavar="HTML")] = None,
        title: Annotated[str, options.shared("--id", metavar="ID")] = "",
        config: GenerateConfig,
    ) -> None:
        seen.update(inputs=inputs, folder=folder, title=title, config=config)

    program = typer.Typer()
    program.command()(command)
    arguments = ["~/a.wav", "b~/c.wav", "-", "--report=~/d", "--id", "~/e", "--output=~/f/", "--plot", "~"]
    program([*arguments, "-m", "~/g"], standalone_mode=False)
    assert seen["inputs"] == [f"{home}/a.wav", "b~/c.wav", "-"]
    assert seen["folder"] == home / "d" and seen["title"] == "~/e"
    config = seen["config"]
    assert (config.output, config.plot, config.model) == (f"{home}/f/", str(home), f"{home}/g")


def test_every_option_is_a_place_or_not() -> None:
    """A new way to write a value in `--help` is sorted in here or there."""
    words = {name for command in _commands(typer.main.get_command(app)) for name in _metavars(command)}
    plain = {word for word in words if word not in PLACES and word not in NO_PLACES}
    assert plain == {"auto|cpu|cuda[:N]|mps"} and words > PLACES


def _commands(command: Any) -> list[Any]:
    own = getattr(command, "commands", None)
    return [command] if own is None else [found for inner in own.values() for found in _commands(inner)]


def _metavars(command: Any) -> list[str | None]:
    return [parameter.metavar for parameter in command.params]


def test_output_in_the_home_folder(
    audiolm: Any, home: Path, tiny_model: Path, piano: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--output=~/x` is no folder called `~`; the same in a variable."""
    soundfile.write(home / "take.wav", piano(1.0, 16000), 16000)
    options_ = ["-d", 0.2, "--model", tiny_model, "--seed", 1, "--device", "cpu"]
    shown = audiolm("continue", "~/take.wav", "--output=~/new/", *options_)
    assert shown.exit_code == 0, shown.stderr
    monkeypatch.setenv("AUDIOLM_OUTPUT", "~/other.wav")
    assert audiolm("continue", "~/take.wav", *options_).exit_code == 0
    assert (home / "new" / "take.continued.wav").read_bytes() == (home / "other.wav").read_bytes()
    assert os.listdir() == []
