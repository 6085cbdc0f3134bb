"""What was meant by a path that is not there: guessed from what is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from audiolm_cli.guessing import guess_path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with recordings and a run in it."""
    for name in ("piano.wav", "piano.json", ".pianno.wav", "recordings/take.flac", "runs/mine/train.json"):
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
    ],
)
def test_the_nearest_name_is_meant(wrong: str, right: str | None, folder: Path) -> None:
    """Of files with the same ending first; a wrong folder is put right before what is in it."""
    assert guess_path(wrong) == ("" if right is None else f". Did you mean {Path(right)}?")
    assert guess_path(folder / wrong) == ("" if right is None else f". Did you mean {folder / right}?")


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
