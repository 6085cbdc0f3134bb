"""Values that options do not take: one line with the option, what it takes, and what was given."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("continue a.wav --temperature hot", "--temperature must be a number, 0 or more, got 'hot'"),
        ("continue a.wav --takes 0", "--takes must be a whole number, 1 or more, got '0'"),
        ("continue a.wav -n 1.5", "--takes must be a whole number, 1 or more, got '1.5'"),
        ("continue a.wav --top-p 2", "--top-p must be a number, 0..1, got '2'"),
        ("continue a.wav --threads 5000", "--threads must be a whole number, 1..1024, got '5000'"),
        ("continue a.wav --channels both", "--channels must be one of mid, each, got 'both'"),
        ("loop a.wav --bridge soon", "--bridge: 'soon' is not a time; write seconds (12.4), minutes and "),
        ("restyle a.wav --style b.wav --strength x", "--strength must be a whole number"),
        ("train a -o r --steps many", "--steps must be a whole number, 1 or more, got 'many'"),
        ("train a -o r --base-lr -1", "--base-lr: '-1' is not a number over 0"),
        ("evaluate a --split some", "--split must be one of all, train, dev, test, got 'some'"),
    ],
)
def test_a_refused_value_is_named(command: str, line: str, audiolm: Any) -> None:
    """In this program's words, and in one line."""
    shown = audiolm(*command.split())
    assert shown.exit_code == 2
    assert shown.stderr.startswith(f"audiolm: error: {line}")
    assert shown.stderr.count("\n") == 1 and not shown.stdout


def test_a_refused_variable_is_named(audiolm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that came from the environment bears the name of its variable."""
    monkeypatch.setenv("AUDIOLM_TAKES", "0")
    assert audiolm("continue", "a.wav").stderr.startswith("audiolm: error: AUDIOLM_TAKES must be a whole number")


def test_a_refused_variable_of_a_switch_is_named(audiolm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What switches something on takes a value there."""
    monkeypatch.setenv("AUDIOLM_FORCE", "maybe")
    shown = audiolm("continue", "a.wav")
    assert (shown.exit_code, shown.stderr) == (
        2,
        "audiolm: error: AUDIOLM_FORCE must be true or false, got 'maybe'\n",
    )


def test_what_is_missing_is_told_as_before(audiolm: Any) -> None:
    """There is no value to show."""
    shown = audiolm("infill", "a.wav")
    assert shown.exit_code == 2 and "Missing option '--gap'" in shown.stderr
