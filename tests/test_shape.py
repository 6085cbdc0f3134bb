"""The counts of `support/shape.py` on a made-up package, where they are known."""

from __future__ import annotations

from pathlib import Path

import pytest
from shape import Shape, circles, measure, read_layers, upward_arrows

SOURCES = {
    "audiolm_cli/__init__.py": "",
    "audiolm_cli/low.py": "from audiolm_cli.high.top import work\n",
    "audiolm_cli/high/__init__.py": "",
    "audiolm_cli/high/top.py": (
        "from ..high import other\n\n\n"
        "def work(self, a, b, c, d, e, f, *args, **kwargs):\n"
        '    """Told\n\n    twice."""\n'
        "    x = 1  # behind\n\n"
        "    # alone\n"
        "    def inner():\n"
        "        return 1\n"
    ),
    "audiolm_cli/high/other.py": "def f():\n    from audiolm_cli.high.top import work\n" + "    x = 1\n" * 50,
    "tests/test_architecture.py": 'LAYERS = {"high": 2, "low": 1, "": 0}\n',
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with `SOURCES`."""
    for name, source in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return tmp_path


def test_functions_are_counted(root: Path) -> None:
    """Docstrings are no body, inner functions count once, and `self` is no parameter."""
    shape = measure(root)
    assert (shape.files, shape.functions) == (5, 3)
    assert [line.split(":")[1] for line in shape.long] == ["f"] and [line.split(":")[1] for line in shape.wide] == [
        "work"
    ]
    assert (shape.body_lines, shape.blank_lines, shape.comment_lines, shape.comments_behind) == (56, 1, 1, 1)


def test_arrows_are_found(root: Path) -> None:
    """Relative ones and those inside functions too; a circle, and the arrow that leads up."""
    shape: Shape = measure(root)
    assert circles(shape.arrows) == [["audiolm_cli.high.other", "audiolm_cli.high.top"]]
    layers = read_layers(root)
    assert layers == {"high": 2, "low": 1, "": 0}
    assert upward_arrows(shape.arrows, layers) == ["audiolm_cli.low -> audiolm_cli.high.top"]


def test_a_table_of_layers_may_be_missing(root: Path) -> None:
    """There is none, or one of another form."""
    table = root / "tests" / "test_architecture.py"
    table.write_text("LAYERS = tuple(ARROWS)\n")
    assert read_layers(root) is None
    table.unlink()
    assert read_layers(root) is None
