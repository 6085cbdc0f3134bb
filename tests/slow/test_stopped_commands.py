"""SIGINT, SIGTERM and SIGHUP at random moments in every command: what is left, what is said, how it ends."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from full_disks import Inputs, damage, make_inputs, result
from surroundings import WRITERS, Done, run_command, unfinished

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="forks, and signals of Unix")]

MOMENTS = 4
"""Of each signal in each command."""
KINDS = ("SIGINT", "SIGTERM", "SIGHUP")
LIES = (
    "no space left",
    "MB are free",
    "cannot be",
    "full",
    "Traceback",
    "Exception ignored",
    "a bug",
    "crashed",
    "died",
)
"""What nothing but a signal must never be called."""
BORN_S = 0.1
"""Before, Python itself has not begun, and a signal ends the process as the system has it."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, piano: Callable[..., Any]) -> Iterator[Inputs]:
    """What the commands work on."""
    with make_inputs(tmp_path_factory.mktemp("inputs"), tiny_model, piano) as made:
        yield made


def check(command: str, done: Done, number: int, out: Path, right: dict[str, str]) -> None:
    """Done, or stopped with the exit code of the signal; no half of a file, and no other reason is given."""
    unborn = done.exit_code == -number and done.after_s < BORN_S
    assert unborn or done.exit_code in (0, 128 + number), done
    assert not damage(command, out, right, {}), done
    assert not unfinished(command, out), done
    assert not [lie for lie in LIES if lie in done.stderr], done
    if done.exit_code == 0:
        assert result(command, out).keys() == right.keys(), done


@pytest.mark.parametrize("command", WRITERS)
def test_signals_leave_nothing_behind(command: str, inputs: Inputs, tmp_path: Path) -> None:
    """One of each kind at moments from the start to the end of the command; of some a second one follows."""
    out = tmp_path / "whole" / "out"
    out.mkdir(parents=True)
    whole = run_command(command, inputs, out)
    right = result(command, out)
    assert whole.exit_code == 0 and not unfinished(command, out), whole

    usual_s, stopped = whole.after_s, 0
    draw = random.Random(command)
    for turn in range(MOMENTS * len(KINDS)):
        number = signal.Signals[KINDS[turn % len(KINDS)]]
        out = tmp_path / str(turn) / "out"
        out.mkdir(parents=True)
        after_s = draw.uniform(0.05, 1.0) * usual_s
        signals = [(after_s, number)]
        if turn % 4 == 3:
            signals.append((after_s + draw.uniform(0, 0.7), signal.SIGTERM))
        done = run_command(command, inputs, out, signals=signals)
        check(command, done, number, out, right)
        stopped += done.exit_code != 0
        if done.exit_code == 0:  # the first run takes longer than others, and the machine may have become less busy
            usual_s = min(usual_s, done.after_s)
    assert stopped >= MOMENTS


def test_a_signal_ends_a_batch(inputs: Inputs, tmp_path: Path) -> None:
    """No further recording is begun."""
    out = tmp_path / "out"
    out.mkdir()
    whole = run_command("continue batch", inputs, out)
    assert whole.exit_code == 0 and len(os.listdir(out)) == 40
    for turn, number in enumerate((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
        out = tmp_path / str(turn) / "out"
        out.mkdir(parents=True)
        done = run_command("continue batch", inputs, out, signals=[((0.3 + 0.2 * turn) * whole.after_s, number)])
        assert done.exit_code == 128 + number and "failed" not in done.stderr, done
        assert len(os.listdir(out)) < 40 and not unfinished("continue", out)
