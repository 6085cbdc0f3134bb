"""Every command that writes, under the rules of Windows."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

if not sys.platform.startswith("linux"):
    pytest.skip("emulates Windows by /proc", allow_module_level=True)

from small_model import SMALL_MODEL
from windows_rules import forbid, list_open_files

from audiolm_cli.checkpoints.locks import hold, list_holders
from audiolm_cli.editing.jobs import names_folder

Piano = Callable[..., np.ndarray]


@pytest.fixture
def folder(tmp_path: Path, piano: Piano, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with recordings."""
    (tmp_path / "rec").mkdir()
    for seed in range(3):
        soundfile.write(tmp_path / "rec" / f"{seed}.wav", piano(1.5, 16000, seed=seed), 16000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SMALL = ["--device", "cpu", "--no-progress"]
COMMANDS = {
    "continue": ["continue", "rec/0.wav", "-d", 0.3, "-o", "o.wav", "--plot", "o.png", "-m", "MODEL"],
    "stream": ["continue", "rec/0.wav", "-d", 0.3, "--stream", "-o", "o.wav", "-m", "MODEL"],
    "flac": ["infill", "rec/0.wav", "--gap", "0.5:0.8", "-o", "o.flac", "-m", "MODEL"],
    "tokenize": ["tokenize", "rec", "-o", "o", "--codec", "CODEC", "--workers", 1],
    "train": [
        "train",
        "rec",
        *("-o", "o", "--codec", "CODEC", "--steps", 4, "--batch-frames", 60, "--validate-every", 2),
        *SMALL_MODEL,
    ],
    "codec train": [
        "codec",
        "train",
        "rec",
        "-o",
        "o",
        "--init",
        "CODEC",
        "--steps",
        4,
        "--state-every",
        2,
        "--clips",
        1,
    ],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_open_is_renamed(
    name: str, audiolm: Any, folder: Path, tiny_model: Path, tiny_codec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor removed; and nothing is synced that is open for reading. The second time, what is there is replaced."""
    refused = forbid(monkeypatch, folder)
    places = {"MODEL": tiny_model, "CODEC": tiny_codec}
    command = [places.get(str(word), word) for word in COMMANDS[name]] + SMALL
    for turn in range(2):
        again = ["-f"] if turn and name != "train" else []
        shown = audiolm(*command, *again)
        assert not refused and shown.exit_code == 0, (refused, shown.stderr)


def test_the_rules_are_those_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other tests rely on: each of these is refused."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a"
    path.write_text("a")
    refused = forbid(monkeypatch, tmp_path)
    with path.open() as stream:
        assert str(path) in list_open_files()
        for call in (
            lambda: os.replace(path, tmp_path / "b"),
            lambda: path.parent.rename(tmp_path / "c"),
            path.unlink,
            lambda: os.fsync(stream.fileno()),
        ):
            with pytest.raises(OSError):
                call()
    with pytest.raises(OSError):
        os.kill(os.getpid(), 0)
    assert len(refused) == 5
    path.unlink()


def test_a_backslash_ends_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """There; elsewhere it is a letter as any other. A slash ends one everywhere."""
    assert names_folder("takes/") and not names_folder("takes\\") and not names_folder("takes")
    monkeypatch.setattr(os, "sep", "\\")
    assert names_folder("takes/") and names_folder("takes\\") and not names_folder("takes")


def test_locks_ask_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its holder is gone shows in the lock itself."""
    refused = forbid(monkeypatch, tmp_path)
    with hold(tmp_path, "model"):
        assert [holder.gone for holder in list_holders(tmp_path)] == [False]
        note = (tmp_path / ".locks" / "model.json").read_text()
    (tmp_path / ".locks" / "model.json").write_text(note)  # as a process leaves it that was killed
    assert [holder.gone for holder in list_holders(tmp_path)] == [True]
    (tmp_path / ".locks" / "model.json").write_text(json.dumps(json.loads(note) | {"host": "another"}))
    assert [holder.gone for holder in list_holders(tmp_path)] == [False]
    assert not refused
