"""Every help page against the golden file of all of them, so that no flag, default or range changes unnoticed."""

from __future__ import annotations

import difflib
from typing import Any

import pytest
import typer
from help_pages import GOLDEN, REWRITE, help_pages, page, words_of

from audiolm_cli.cli.app import COMMANDS, app
from audiolm_cli.cli.helping import EXAMPLES, OTHER_NAMES, PANELS


def test_the_help_pages_are_those_of_the_golden_file() -> None:
    """They say the same; where a difference is wanted, the file is written anew and its diff goes into the commit."""
    golden, now = GOLDEN.read_text(encoding="utf-8"), help_pages()
    diff = difflib.unified_diff(golden.splitlines(), now.splitlines(), GOLDEN.name, "the help pages", lineterm="")
    told = "\n".join(diff)
    assert words_of(now) == words_of(golden), (
        f"\n{told}\n\nIf these are the pages you want, write the file anew: {REWRITE}"
    )


@pytest.mark.parametrize("words", ["", *(words for words, _ in COMMANDS)])
def test_a_page_fits_a_terminal(audiolm: Any, words: str) -> None:
    """40 lines of 100 columns, empty ones too; what most people never use comes with --help-all."""
    assert len(audiolm(*words.split(), "-h").stdout.splitlines()) <= 40


def test_rare_options_are_shown_on_demand(audiolm: Any) -> None:
    """They work all the same, and a short page leaves out none."""
    short, whole = (audiolm("continue", flag).stdout for flag in ("-h", "--help-all"))
    assert "--nar-passes" not in short and "--nar-passes" in whole and "--offline" in whole
    assert "--help-all" in short and set(short.split()) - set(whole.split()) == set()
    assert "--nar-passes" not in audiolm("continue", "--help").stdout  # a page before changes none
    assert audiolm("continue", "none.wav", "--nar-passes", "0").exit_code == 2
    shown = audiolm("models", "path", "-h").stdout
    assert "--cache-dir" in shown and "--help-all" not in shown


@pytest.mark.parametrize("words", [words for words, _ in COMMANDS])
def test_every_command_shows_all_its_options(audiolm: Any, words: str) -> None:
    """Of a command with few, that is its usual page."""
    whole = audiolm(*words.split(), "--help-all")
    assert whole.exit_code == 0
    assert words_of(whole.stdout) == words_of(audiolm(*words.split(), "--help").stdout) or "--help-all" in whole.stdout
    if words == "watch":  # what lies behind -- belongs to the other command
        assert "--nar-passes" in audiolm("watch", "none", "--", "continue", "--help-all").stdout


@pytest.mark.parametrize("words", [words for words, _ in COMMANDS])
def test_examples_are_commands(words: str) -> None:
    """Two at the end of each page, with options that exist and everything that is needed."""
    end = page(tuple(words.split())).split("Examples")[1].split("\n")
    examples = [line.strip() for line in end if line.strip()]
    assert examples == list(EXAMPLES[words]) and len(examples) == 2
    command: Any = typer.main.get_command(app)
    for name in words.split():
        command = command.commands[name]
    for example in examples:
        assert example.startswith(f"audiolm {words}")
        command.make_context(words, example.split()[1 + len(words.split()) :])


def test_every_command_has_a_group(audiolm: Any) -> None:
    """The program's own page lists all of them, says where to start, and knows what others call them."""
    shown = audiolm("-h").stdout
    assert all(f" {name} " in shown for name in {words.split()[0] for words, _ in COMMANDS})
    assert "Start with audiolm demo" in shown
    assert set(EXAMPLES) == {words for words, _ in COMMANDS}
    assert {name for names in PANELS.values() for name in names} == {words.split()[0] for words, _ in COMMANDS}
    shown = audiolm("outpaint", "take.wav", "-d", 3)
    assert shown.exit_code == 2 and "`audiolm continue` or `audiolm infill`" in shown.stderr
    for names in OTHER_NAMES.values():
        assert all(name in typer.main.get_command(app).commands for name in names)  # type: ignore[attr-defined]
    assert "Did you mean" in audiolm("continu").stderr
