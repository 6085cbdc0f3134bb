"""Commands over random folders of links, loops, hidden and unreadable names: each recording once, all else named."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from folder_trees import check_tree, grow_tree, unprivileged

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")]

TREES = 12
COMMANDS = ("codec train", "evaluate", "dry run")


def run(arguments: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """The program in a process that may not read everything, on one thread."""
    command = [*unprivileged(), sys.executable, "-m", "audiolm_cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("seed", range(TREES))
def test_trees(tmp_path: Path, tiny_codec: Path, piano: Callable[..., np.ndarray], seed: int) -> None:
    """`tokenize` says all of it; `codec train`, `evaluate` and `train --dry-run` say the same and end alike."""
    seeds = iter(range(1000 * seed, 1000 * seed + 1000))
    top = tmp_path / "top"
    top.mkdir()
    tree = grow_tree(
        top,
        random.Random(seed),
        lambda path: soundfile.write(path, piano(0.5, 16000, seed=next(seeds)), 16000),
        lock=True,
    )
    others = {
        "codec train": ["codec", "train", "top/rec", "-o", "new", "--init", str(tiny_codec), "--steps", "1"],
        "evaluate": ["evaluate", "top/rec", "-m", str(tiny_codec)],  # all are too short for it, which it says
        "dry run": ["train", "top/rec", "-o", "run", "--codec", str(tiny_codec), "--dry-run", "--batch-frames", "30"],
    }
    try:
        shown = run(["tokenize", "top/rec", "-o", "out", "--codec", str(tiny_codec)], tmp_path)
        beside = run(others[COMMANDS[seed % 3]], tmp_path)
    finally:
        tree.unlock()

    assert shown.returncode in (0, 10), shown.stderr
    with gzip.open(tmp_path / "out" / "inputs.jsonl.gz", "rt") as lines:
        inputs = [json.loads(line) for line in lines][1:]
    used = [Path(known["path"]) for known in inputs if not known["problem"]]
    check_tree(tree, used, shown.stderr, is_trouble=shown.returncode == 10)

    said = [line for line in shown.stderr.splitlines() if line.startswith("left out")]
    assert said == [
        line for line in beside.stderr.splitlines() if line.startswith("left out") and "shorter" not in line
    ]
    unread = [line for line in shown.stderr.splitlines() if "folder cannot be read" in line or "broken link" in line]
    assert all(line in beside.stderr for line in unread if line.startswith("warning"))
    assert (beside.returncode in (3, 10)) or not unread
