"""Every help page of the program as one text, to compare with the golden file `tests/cli/help_pages.txt`.

`python tests/support/help_pages.py` writes that file anew, which is right after a help page changed on purpose: the
change then shows in the diff of the commit. Another path as argument writes there instead.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "cli" / "help_pages.txt"
REWRITE = "python tests/support/help_pages.py"

# As in `tests/conftest.py`: typer reads these when it is imported
PLAIN = {"NO_COLOR": "1", "_TYPER_FORCE_DISABLE_TERMINAL": "1", "TERMINAL_WIDTH": "100"}
COLOURING = ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS")


def help_pages() -> str:
    """The pages of the program, its groups and its commands, in the order in which they are listed."""
    import typer

    from audiolm_cli.cli.app import app

    pages = []
    for words in walk(typer.main.get_command(app)):
        usual, whole = page(words), page(words, "--help-all")
        for flag, shown in (("--help", usual), ("--help-all", "" if whole == usual else whole)):
            if shown:
                pages.append(f"{'=' * 100}\n$ {' '.join(['audiolm', *words, flag])}\n{shown}")
    return "\n".join(pages)


def walk(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of a command and of all below it."""
    yield words
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*words, name))


def page(words: tuple[str, ...], flag: str = "--help") -> str:
    """One help page, without the blanks at the ends of lines that nobody sees; empty where there is none."""
    from audiolm_cli.cli.app import main

    shown = io.StringIO()
    refused = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(refused), contextlib.suppress(SystemExit):
        main([*words, flag])
    if not shown.getvalue():
        return ""
    return "\n".join(line.rstrip() for line in shown.getvalue().strip("\n").splitlines()) + "\n"


def words_of(pages: str) -> list[str]:
    """What the pages say, without what is up to the version of typer.

    That are the boxes and where lines end, the types of values such as `<bool>`, and how a usage line marks arguments.
    """
    without_usage = re.sub(r"^ Usage: .*$", "", pages, flags=re.MULTILINE)
    without_types = re.sub(r"<[\w\[\]]+>", "", without_usage)
    return re.sub(r"[│╭╮╰╯─]+", " ", without_types).split()


if __name__ == "__main__":
    os.environ.update(PLAIN)
    for name in COLOURING:
        os.environ.pop(name, None)
    sys.path.insert(0, str(ROOT))
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN
    target.write_text(help_pages(), encoding="utf-8")
    print(f"wrote {target}")
