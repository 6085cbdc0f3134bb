"""What was meant by a path that is not there: guessed from what is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from audiolm_cli.checkpoints.catalogue import resolve
from audiolm_cli.errors import ModelError
from audiolm_cli.guessing import guess_path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with recordings and a run in it."""
    for name in (
        "piano.wav",
        ".pianno.wav",
        "recordings/take.flac",
        "runs/mine/train.json",
        "real.png",
        "prelude.continued.wav",
        "song.json",
        "song.wav",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("pianno.wav", "piano.wav"),
        ("Piano.WAV", "piano.wav"),
        ("piano", "piano.wav"),
        ("piano.mp3", "piano.wav"),
        ("./recordings/takes.flac", "recordings/take.flac"),
        ("recodings/take.flac", "recordings"),
        ("flute.wav", None),
        ("x.wav", None),
        ("prelud.flac", "prelude.continued.wav"),
        ("preal.flac", "real.png"),
        ("rel.wav", "real.png"),
        ("ready.flac", None),
        ("songs.wav", "song.wav"),
    ],
)
def test_the_nearest_name_is_meant(wrong: str, right: str | None, folder: Path) -> None:
    """Of files with the same ending first; a wrong folder is put right before what is in it."""
    assert guess_path(wrong) == ("" if right is None else f". Did you mean {Path(right)}?")
    assert guess_path(folder / wrong) == ("" if right is None else f". Did you mean {folder / right}?")


def test_equally_near_names_are_all_said(folder: Path) -> None:
    """A file without its ending may be either; one with all of the name comes before one with a part of it."""
    assert guess_path("song") == ". Did you mean song.json or song.wav?"
    (folder / "prelude.mp3").touch()
    assert guess_path("prelude") == ". Did you mean prelude.mp3?"


def test_a_name_is_never_its_own_guess(folder: Path, audiolm: Any) -> None:
    """A link that leads nowhere is listed in its folder, but that is not what was meant."""
    (folder / "broken.wav").symlink_to("nowhere.wav")
    shown = audiolm("continue", "broken.wav")
    assert shown.exit_code == 3
    assert "broken.wav: no such file; check the name and the folder" in shown.stderr


@pytest.mark.parametrize("place", ["rold", "rold/best"])
def test_a_model_beside_is_guessed_by_its_bare_name(
    place: str, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is by its path: a folder here that is a model or a run can be named like one of the catalogue."""
    shutil.copytree(tiny_model, tmp_path / place)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"'rol'\. Did you mean rold\? Models: "):
        resolve("rol", tmp_path / "cache")


@pytest.mark.parametrize(
    ("command", "right"),
    [
        (("continue", "pianno.wav"), "piano.wav"),
        (("restyle", "piano.wav", "--style", "pianno.wav"), "piano.wav"),
        (("tokenize", "recodings", "-o", "t"), "recordings"),
        (("train", "recodings", "-o", "r"), "recordings"),
        (("evaluate", "recodings"), "recordings"),
        (("decode", "recodings", "-o", "d"), "recordings"),
        (("models", "info", "runs/min"), "runs/mine"),
    ],
)
def test_every_command_says_it(command: tuple[str, ...], right: str, folder: Path, audiolm: Any) -> None:
    """Wherever a recording, a folder of them, a store or a model is read."""
    shown = audiolm(*command)
    assert shown.exit_code in (3, 4)
    assert f". Did you mean {Path(right)}?" in shown.stderr
