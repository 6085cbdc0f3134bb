"""Every help page against the golden file of all of them, so that no flag, default or range changes unnoticed."""

from __future__ import annotations

import difflib

from help_pages import GOLDEN, REWRITE, help_pages, words_of


def test_the_help_pages_are_those_of_the_golden_file() -> None:
    """They say the same; where a difference is wanted, the file is written anew and its diff goes into the commit."""
    golden, now = GOLDEN.read_text(encoding="utf-8"), help_pages()
    diff = difflib.unified_diff(golden.splitlines(), now.splitlines(), GOLDEN.name, "the help pages", lineterm="")
    told = "\n".join(diff)
    assert words_of(now) == words_of(golden), (
        f"\n{told}\n\nIf these are the pages you want, write the file anew: {REWRITE}"
    )
