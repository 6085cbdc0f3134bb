"""Random folders of recordings with links, loops, hidden and unreadable names, and what has to become of each name."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

CAN_READ_ALL = hasattr(os, "geteuid") and os.geteuid() == 0
"""Whether this process may read what nobody may."""


@dataclass(kw_only=True)
class Tree:
    """A folder to read and folders around it. Every name in them is there once."""

    source: Path
    """The folder to read."""
    folders: list[Path] = field(default_factory=list)
    """All folders, the source among them."""
    locked: list[Path] = field(default_factory=list)
    """Folders and files that may not be read."""
    trouble: list[Path] = field(default_factory=list)
    """Sound that cannot be read for another reason: broken links, empty files, pipes."""

    def unlock(self) -> None:
        """Let everything be removed again."""
        for path in self.locked:
            path.chmod(0o700)


def grow_tree(top: Path, rng: random.Random, write: Callable[[Path], object], *, lock: bool = not CAN_READ_ALL) -> Tree:
    """A random tree in the folder `top`.

    Args:
        top: an empty folder.
        rng: what decides.
        write: writes a recording, each with content of its own.
        lock: whether some folders and files may not be read.
    """
    number = iter(range(10**6))
    tree = Tree(source=top / "rec")
    files: list[Path] = []
    tree.folders += [top / "rec", top / "elsewhere", top / "beyond"]

    def pick_name(stem: str, suffix: str = "") -> str:
        dot = "." if rng.random() < 0.15 else ""
        return f"{dot}{stem}{next(number)}{suffix}"

    # Folders in folders, each with a recording.
    for _ in range(rng.randrange(4, 12)):
        tree.folders.append(rng.choice(tree.folders) / pick_name("folder"))
    for folder in tree.folders:
        folder.mkdir()
        for _ in range(rng.randrange(1, 3)):
            files.append(folder / pick_name("sound", rng.choice((".wav", ".WAV"))))
            write(files[-1])
    files.append(top / "rec" / "always.wav")  # something can be read
    write(files[-1])

    # What is no recording, and links to all of it, in every direction.
    for _ in range(rng.randrange(6, 18)):
        folder = rng.choice(tree.folders)
        kind = rng.choice(("text", "empty", "pipe", "broken", "file link", "hard link", "link", "link", "link"))
        path = folder / pick_name(kind.replace(" ", "-"), "" if kind == "link" else ".wav")
        if kind == "text":
            path.with_suffix(".txt").write_text("no sound")
        elif kind == "empty":
            path.touch()
            tree.trouble.append(path)
        elif kind == "pipe":
            os.mkfifo(path)
            tree.trouble.append(path)
        elif kind == "broken":
            path.symlink_to("gone" if rng.random() < 0.7 else path.name)
            tree.trouble.append(path)
        elif kind == "hard link":
            os.link(rng.choice(files), path)
        else:
            goal = rng.choice(files if kind == "file link" else [*tree.folders, top])
            path.symlink_to(goal if rng.random() < 0.5 else os.path.relpath(goal, folder))

    if lock:
        inner = [folder for folder in tree.folders if folder.parent != top]
        chosen = rng.sample(inner, min(len(inner), 2)) + rng.sample(files[:-1], 1)
        tree.locked += [path for path in chosen if rng.random() < 0.7]
        for path in sorted(tree.locked, reverse=True):  # what is in a folder first
            path.chmod(0)
    return tree


def check_tree(tree: Tree, used: Sequence[Path], said: str, *, is_trouble: bool | None = None) -> None:
    """Compare what was made of a tree with what has to be.

    Args:
        tree: the tree, unlocked.
        used: the recordings that were read.
        said: all that was said.
        is_trouble: whether something was said to be missing; None where files were not opened.
    """
    expected = _Expected(tree)
    expected.visit(tree.source)
    real = [_identify(path) for path in used]
    assert len(real) == len(set(real)), "a recording was read twice"
    assert set(real) - expected.empty == expected.sounds - expected.unreadable, "other recordings were read"

    parts = {part for path in used for part in path.parts}
    unsaid = [name for name in expected.names if name not in said and name not in parts]
    assert not unsaid, f"neither used nor named: {unsaid}"
    for path in used:
        below = path.relative_to(tree.source).parts
        assert not any(part.startswith(".") for part in below), f"{path} is hidden"
    assert is_trouble in (None, expected.is_trouble)


class _Expected:
    """What is found by following everything that is not hidden, without an order and without an end to fear."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.sounds: set[tuple[int, int]] = set()
        self.unreadable: set[tuple[int, int]] = set()
        self.empty: set[tuple[int, int]] = set()
        self.names: set[str] = set()
        self.is_trouble = False
        self._visited: set[str] = set()
        self._locked = {os.path.realpath(path) for path in tree.locked}

    def visit(self, folder: Path) -> None:
        """A folder, by any of its names."""
        real = os.path.realpath(folder)
        if real in self._visited:
            return
        self._visited.add(real)
        if real in self._locked:
            self.is_trouble = True
            return

        for name in os.listdir(real):
            self.names.add(name)
            path = Path(real, name)
            if not name.startswith("."):
                self._visit_name(path)

    def _visit_name(self, path: Path) -> None:
        if path in {Path(os.path.realpath(one.parent), one.name) for one in self.tree.trouble}:
            self.is_trouble = True
            if path.is_file():
                self.empty.add(_identify(path))
        elif path.is_dir():
            target = Path(os.path.realpath(path))
            homes = (Path(os.path.realpath(place)) for place in (path.parent, self.tree.source))
            if not (path.is_symlink() and any(home.is_relative_to(target) for home in homes)):
                self.visit(path)
        elif path.suffix.lower() == ".wav":
            self.sounds.add(_identify(path))
            if os.path.realpath(path) in self._locked:
                self.is_trouble = True
                self.unreadable.add(_identify(path))


def _identify(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_dev, facts.st_ino


def unprivileged() -> list[str]:
    """What a command begins with that may not read everything, whoever runs the tests; skips where there is no way."""
    if not CAN_READ_ALL:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root may read everything, and there is no setpriv")
    return [setpriv, "--bounding-set=-all", "--inh-caps=-all"]
