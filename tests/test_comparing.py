"""The comparison of what two versions wrote: it finds what differs, says where, and overlooks only what is measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from comparing import Difference, compare_folders
from safetensors.numpy import save_file


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two empty folders."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    return before, after


def write_audio(path: Path, samples: np.ndarray, comment: dict[str, object]) -> None:
    """A FLAC file with a comment of JSON."""
    with soundfile.SoundFile(path, "w", 8000, 1, "PCM_16") as sound:
        sound.comment = json.dumps(comment)
        sound.write(samples)


def test_what_is_measured_is_left_out(folders: tuple[Path, Path]) -> None:
    """Seconds differ between any two runs, at any depth; stderr and locks are not looked at."""
    for number, folder in enumerate(folders):
        values = {"seed": 1, "timing": {"ar_s": number}, "training": {"minutes": number, "hours": 2.0}}
        (folder / "stdout").write_text(json.dumps(values))
        (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "frames_per_s": number}) + "\n")
        (folder / ".stderr").write_text(f"{number} s")
    assert compare_folders(*folders) == (2, [])


def test_a_value_that_differs_is_named(folders: tuple[Path, Path]) -> None:
    """By its path; what a run says about its settings is a note."""
    for number, folder in enumerate(folders):
        values = {"outputs": [{"seed": number}], "settings": {"temperature": number}}
        (folder / "stdout").write_text(json.dumps(values))
    assert compare_folders(*folders)[1] == [
        Difference("stdout", "outputs[0].seed: 0 became 1"),
        Difference("stdout", "settings.temperature: 0 became 1", note=True),
    ]


def test_a_file_that_is_missing_is_named(folders: tuple[Path, Path]) -> None:
    """Whichever side it is on."""
    (folders[0] / "old.bin").write_bytes(b"1")
    (folders[1] / "new.bin").write_bytes(b"1")
    assert {found.place for found in compare_folders(*folders)[1]} == {"old.bin", "new.bin"}


@pytest.mark.parametrize(("changed", "note"), [("samples", False), ("comment", True)])
def test_samples_and_comments_are_told_apart(folders: tuple[Path, Path], changed: str, note: bool) -> None:
    """One sample off by one step counts; another comment alone is a note."""
    samples = np.zeros(100)
    for number, folder in enumerate(folders):
        samples[50] = number / 32768 if changed == "samples" else 0
        write_audio(folder / "out.flac", samples, {"temperature": number if changed == "comment" else 0})
    (found,) = compare_folders(*folders)[1]
    assert found.note == note
    assert ("1 samples from 50 on" if changed == "samples" else "comment.temperature: 0 became 1") in found.what


def test_the_tensor_that_differs_is_named(folders: tuple[Path, Path]) -> None:
    """With the largest difference."""
    for number, folder in enumerate(folders):
        save_file({"a": np.zeros(3, np.float32), "b": np.full(3, number, np.float32)}, folder / "model.safetensors")
    assert compare_folders(*folders)[1] == [Difference("model.safetensors", "1 of 2 tensors, as b by at most 1")]


def test_other_files_are_compared_byte_for_byte(folders: tuple[Path, Path]) -> None:
    """Whatever they are."""
    (folders[0] / "picture.png").write_bytes(b"abc")
    (folders[1] / "picture.png").write_bytes(b"abd")
    (found,) = compare_folders(*folders)[1]
    assert found.what == "3 and 3 bytes, the first difference at byte 2"
