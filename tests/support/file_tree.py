"""The modules of the package as tables for the guide, one line each, from the first sentences of their docstrings.

    python tests/support/file_tree.py --write audiolm_cli/assets/guide/architecture.md

Without --write, prints them. With it, they replace what stands between the markers of that page.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "audiolm_cli"
OPENING, CLOSING = "<!-- modules -->", "<!-- /modules -->"
FOLDERS = {
    "cli": "Options and display: one thin file per command.",
    ".": "What everything stands on, and the verbs for Python (`api.py`).",
    "workflows": "The work of each command, callable from Python.",
    "training": "The training of an AudioLM.",
    "training/codec": "The training of a codec.",
    "training/preflight": "What is worked out and tried before a training.",
    "reports": "Results for a person: pictures, pages, tables, words.",
    "evaluation": "Numbers: how good audio, codes and models are.",
    "editing": "New audio in a recording.",
    "library": "Models and codecs by name, in memory.",
    "tokenizing": "Recordings to a token store.",
    "model": "The network, and how codes are drawn from it.",
    "codec": "Audio to codes and back.",
    "data": "Recordings, codes and token stores on disk.",
    "checkpoints": "Model and codec folders, and how they get here.",
    "audio": "Audio files and waveforms.",
    "config": "Settings, each declared once.",
}
"""What each folder holds, in the order of the layers: a module imports from folders below its own, never above."""


def modules() -> Iterator[Path]:
    """Every module of the package but `__init__.py`, relative to it."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name != "__init__.py":
            yield path.relative_to(PACKAGE)


def first_sentence(path: Path) -> str:
    """The first sentence of a module's docstring, without its full stop, in one line."""
    words = ast.get_docstring(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))) or ""
    sentence = " ".join(words.split("\n\n")[0].split()).split(". ")[0].removesuffix(".")
    return sentence.replace("|", "\\|").replace("<", "\\<")


def tables() -> str:
    """A heading and a table for each folder."""
    parts = []
    for folder, holds in FOLDERS.items():
        rows = [f"| `{path.name}` | {first_sentence(path)} |" for path in modules() if str(path.parent) == folder]
        name = "audiolm_cli/" if folder == "." else f"{folder}/"
        parts.append("\n".join([f"### {name}", "", holds, "", "| module | what it is |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def main() -> None:
    """Print the tables, or put them into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="FILE")
    page = parser.parse_args().write
    if page is None:
        print(tables())
        return
    before, _, rest = page.read_text(encoding="utf-8").partition(OPENING)
    after = rest.partition(CLOSING)[2]
    page.write_text(f"{before}{OPENING}\n\n{tables()}\n\n{CLOSING}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
