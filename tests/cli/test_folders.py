"""The commands that take folders, over one with links, hidden, unreadable and broken names."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from folder_trees import unprivileged
from small_model import SMALL_MODEL

from audiolm_cli.data.manifest import read_store
from audiolm_cli.evaluation import excerpts

Piano = Callable[..., np.ndarray]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Excerpts of a second, from recordings of two or more."""
    monkeypatch.setattr(excerpts, "CLIP_S", 1.0)
    monkeypatch.setattr(excerpts, "SHORTEST_S", 2.0)


@pytest.fixture
def recordings(tmp_path: Path, piano: Piano) -> Path:
    """Five recordings: two below the folder, two behind links, one that is hidden; and a link back."""
    folder = tmp_path / "rec"
    places = ("rec/a", "rec/deeper/b", "albums/c", "d", "rec/.Trash-1000/files/thrown-away")
    for seed, place in enumerate(places):
        path = tmp_path / f"{place}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, piano(2.5, 16000, seed=seed), 16000)
    (folder / "album").symlink_to("../albums")
    (folder / "d.wav").symlink_to(tmp_path / "d.wav")
    (folder / "deeper" / "back").symlink_to("..")
    (folder / "again.wav").symlink_to("a.wav")
    (folder / ".AppleDouble").mkdir()
    (folder / ".AppleDouble" / "a.wav").write_bytes(b"\0\5\x16\7\0\2\0\0" + bytes(700))
    return folder


def arguments(command: str, folder: Path, tmp_path: Path, codec: Path, model: Path) -> list[object]:
    """A command over the folder that takes seconds."""
    out = tmp_path / "out"
    small = ["--device", "cpu"]
    quick = [*small, *SMALL_MODEL, "--batch-frames", 60]
    return {
        "tokenize": ["tokenize", folder, "-o", out, "--codec", codec, *small],
        "train": ["train", folder, "-o", out, "--codec", codec, *quick, "--steps", 1],
        "dry run": ["train", folder, "-o", out, "--codec", codec, *quick, "--dry-run"],
        "codec train": ["codec", "train", folder, "-o", out, "--init", codec, *small, "--steps", 2, "--clips", 1],
        "evaluate": ["evaluate", folder, "-m", model, *small, "--clips", 2, "--windows", 2],
    }[command] + ([] if command == "tokenize" else ["--no-progress"])


COMMANDS = ("tokenize", "train", "dry run", "codec train", "evaluate")


@pytest.mark.parametrize("command", COMMANDS)
def test_everything_is_used_or_named(
    command: str, audiolm: Any, recordings: Path, tiny_codec: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """Nothing is missing, so the exit code is 0; what is left out on purpose is counted and named."""
    shown = audiolm(*arguments(command, recordings, tmp_path, tiny_codec, tiny_model))
    assert shown.exit_code == 0, shown.stderr
    trash, apple, again = (recordings / name for name in (".Trash-1000", ".AppleDouble", "again.wav"))
    assert f"left out, hidden: 2 ({apple}, {trash})" in shown.stderr
    assert f"left out, read already, by another name: 1 ({again})" in shown.stderr
    assert f"left out, links to a folder that they lie in: 1 ({recordings / 'deeper' / 'back'})" in shown.stderr
    assert shown.stderr.count("left out, hidden") == 1, "it is said once"


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_missing_is_named(
    command: str,
    audiolm: Any,
    recordings: Path,
    tiny_codec: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A folder that may not be read, a broken link, an empty file, a socket: exit code 10, and each is named."""
    (recordings / "sub").mkdir()
    (recordings / "gone.wav").symlink_to("nowhere")
    (recordings / "empty.wav").touch()
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if not isinstance(path, int) and Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.chdir(recordings)  # the names of sockets must be short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket.wav")
        shown = audiolm(*arguments(command, recordings, tmp_path, tiny_codec, tiny_model), "--json")

    assert shown.exit_code == 10, shown.stderr
    failed = json.loads(shown.stdout)["failed"]
    assert sorted(line.split(":")[0].rsplit("/")[-1] for line in failed) == [
        "empty.wav",
        "gone.wav",
        "socket.wav",
        "sub",
    ]
    assert f"{recordings / 'sub'}: this folder cannot be read (Permission denied)" in shown.stderr
    assert f"{recordings / 'gone.wav'}: is a broken link, to nowhere" in shown.stderr
    for line in failed:
        assert f"warning: {line}" in shown.stderr


def test_a_finished_store_says_again_what_is_missing(
    audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path
) -> None:
    """As long as it is missing; a training that goes on knows it from the store."""
    (recordings / "gone").symlink_to("nowhere")
    command = "tokenize", recordings, "-o", tmp_path / "out", "--codec", tiny_codec
    for _ in range(2):
        shown = audiolm(*command)
        assert shown.exit_code == 10 and f"{recordings / 'gone'}: is a broken link" in shown.stderr
    assert {clip.id for split in ("train", "dev", "test") for clip in read_store(tmp_path / "out", split)} == set(
        "abcd"
    )
    (recordings / "gone").unlink()
    assert audiolm(*command).exit_code == 0

    (recordings / "gone").symlink_to("nowhere")
    command = "train", recordings, "-o", tmp_path / "run", "--codec", tiny_codec, *SMALL_MODEL, "--batch-frames", 60
    for steps in (1, 2):
        shown = audiolm(*command, "--steps", steps, "--device", "cpu", "--json")
        assert shown.exit_code == 10, shown.stderr
        assert json.loads(shown.stdout)["failed"] == [f"{recordings / 'gone'}: is a broken link, to nowhere"]


def test_a_user_who_may_not_read_a_folder(recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """In a process without root's right to read everything."""
    (recordings / "sub").mkdir()
    shutil.copy(recordings / "a.wav", recordings / "sub" / "unseen.wav")
    shutil.copy(recordings / "d.wav", recordings / "mine.wav")
    (recordings / "mine.wav").chmod(0)
    (recordings / "sub").chmod(0)
    program = [*unprivileged(), sys.executable, "-m", "audiolm_cli"]
    command = [*program, "tokenize", str(recordings), "-o", str(tmp_path / "out"), "--codec", str(tiny_codec)]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
        alone = subprocess.run(
            [*program, "tokenize", str(recordings / "sub"), *command[-4:]], capture_output=True, text=True
        )
    finally:
        (recordings / "sub").chmod(0o700)
    assert shown.returncode == 10, shown.stderr
    assert f"{recordings / 'sub'}: this folder cannot be read (Permission denied)" in shown.stderr
    assert f"{recordings / 'mine.wav'}: cannot be read (Permission denied)" in shown.stderr
    with gzip.open(tmp_path / "out" / "inputs.jsonl.gz", "rt") as lines:
        assert "unseen" not in lines.read()
    assert alone.returncode == 2 and alone.stderr.startswith("audiolm: error: IN...: ")
    assert alone.stderr.endswith("is not readable.\n")
