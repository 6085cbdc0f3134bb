"""Trainings killed at random instants end as one that was left alone; interrupted ones leave a whole state."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "kill_training.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes")
def test_ten_kills_and_four_signals() -> None:
    """Of real processes; the script does two hundred as well."""
    done = subprocess.run(
        [sys.executable, SCRIPT, "--kills", "10", "--signals", "4"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = dict(line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:])
    assert rows["kills"] == "10" and rows["signals"] == "4" and int(rows["runs that ended"]) >= 1
    assert rows["runs that ended otherwise than the one left alone"] == "0"
    assert rows["exit codes other than 130 and 143"] == rows["without a whole state of the last step"] == "0"
