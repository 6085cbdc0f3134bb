"""The rules of the package's shape, checked on the sources: who may import whom, and what belongs where."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[1]
PACKAGE = "audiolm_cli"

# A module may import its own layer's package and any layer of a lower number, and nothing else of this package.
LAYERS = {
    "__main__": 12,
    "cli": 11,
    "api": 11,
    "workflows": 10,
    "training": 9,
    "reports": 8,
    "evaluation": 7,
    "editing": 6,
    "library": 5,
    "tokenizing": 5,
    "model": 4,
    "codec": 4,
    "data": 4,
    "checkpoints": 4,
    "audio": 3,
    "config": 2,
    "cores": 1,
    "devices": 1,
    "distributed": 1,
    "stopping": 0,
    "files": 1,
    "packages": 1,
    "events": 1,
    "errors": 0,
    "version": 0,
    "reproducing": 0,
    "guessing": 0,
    "wording": 0,
    "": 13,  # the package itself, which lends names of the others and which none of them imports
}

# Third-party packages that only these files, or files under these folders, may import.
OWNERS = {
    "encodec": ("codec/encodec.py", "training/codec/adversary.py"),
    "lhotse": ("data/",),
    "typer": ("cli/",),
    "rich": ("cli/", "model/frame_bar.py"),
    "click": (),
    "huggingface_hub": ("workflows/share.py",),
    "watchfiles": ("workflows/watch.py",),
}

WITHOUT_TORCH = (
    "__init__.py",
    "errors.py",
    "config/",
    "events.py",
    "files.py",
    "stopping.py",
    "packages.py",
    "version.py",
    "reproducing.py",
    "guessing.py",
    "wording.py",
    "cli/",
)
LIGHT_LAYERS = {
    "cli",
    "config",
    "events",
    "files",
    "stopping",
    "packages",
    "version",
    "reproducing",
    "guessing",
    "wording",
    "errors",
    "",
}  # what cli may import when it is imported
TOP_LEVEL = {"audiolm_cli", "tests", "pyproject.toml", "README.md", "CHANGELOG.md"}
BANNED_NAMES = {"utils.py", "common.py", "misc.py", "helpers.py"}


def imports(tree: ast.AST, module: str, *, members: bool = False) -> Iterator[tuple[int, str]]:
    """(line, dotted target) of every import below `tree`, relative ones resolved against `module`.

    With `members`, what is imported from a module is a target as well: it may be a module itself.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = module.split(".")[: -node.level]
                base = ".".join([*parent, base]).rstrip(".")
            if base == PACKAGE:  # `from audiolm_cli import codec` imports a layer
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, base
                if members:
                    yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def layer_of(dotted: str) -> str:
    """The layer of a dotted name inside the package."""
    part = [*dotted.split("."), ""][1]
    return part if part in LAYERS else ""


def at_import(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported: not the bodies of functions nor of `if TYPE_CHECKING`."""
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        inner = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
        pending += inner
        if not inner:
            yield node


def violations(path: str, source: str) -> list[str]:
    """What a file at `path` inside the package breaks, one line each."""
    tree = ast.parse(source)
    module = ".".join([PACKAGE, *path.removesuffix(".py").split("/")])
    own = layer_of(module.removesuffix(".__init__") if path != "__init__.py" else PACKAGE)
    found = []
    if path.rsplit("/", 1)[-1] in BANNED_NAMES:
        found.append(f"{path}: no such grab bags")
    for line, target in imports(tree, module):
        top = target.split(".")[0]
        if top == PACKAGE:
            other = layer_of(target)
            if other != own and LAYERS[other] >= LAYERS[own]:
                found.append(f"{path}:{line}: {own or PACKAGE} must not import {other}")
        elif top in OWNERS and not path.startswith(OWNERS[top] or ("\0",)):
            found.append(f"{path}:{line}: {top} may only be imported in {', '.join(OWNERS[top]) or 'no file'}")
    for node in at_import(tree):
        for line, target in imports(node, module):
            if path.startswith(WITHOUT_TORCH) and target.split(".")[0] in ("torch", "torchaudio"):
                found.append(f"{path}:{line}: no torch at import time here")
            if own == "cli" and target.startswith(PACKAGE) and layer_of(target) not in LIGHT_LAYERS:
                found.append(f"{path}:{line}: import {layer_of(target)} inside the function")
    if own not in ("cli", "__main__", "reproducing"):  # which sets what MKL reads, for programs that import us, too
        found += [f"{path}:{line}: {what} belongs to cli" for line, what in user_contact(tree)]
    return found


def user_contact(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, what) of every print, prompt, exit and look at the environment."""
    calls = {"print", "input", "exit", "quit", "sys.exit", "os._exit"}
    names = {"sys.stdout", "sys.stderr", "sys.stdin", "sys.argv", "os.environ", "os.getenv", "os.putenv"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in calls:
            yield node.lineno, ast.unparse(node.func)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in names:
            yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Raise) and node.exc is not None and "SystemExit" in ast.unparse(node.exc):
            yield node.lineno, "SystemExit"
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from ((node.lineno, f"os.{alias.name}") for alias in node.names if f"os.{alias.name}" in names)


def test_every_file_keeps_the_rules() -> None:
    """No file of the package breaks a rule."""
    sources = {str(path.relative_to(ROOT / PACKAGE)): path for path in (ROOT / PACKAGE).rglob("*.py")}
    assert "cli/app.py" in sources
    found = [line for path, file in sorted(sources.items()) for line in violations(path, file.read_text())]
    assert not found, "\n".join(found)


def find_circle(arrows: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, the first one again at the end; empty where there is none."""
    done: set[str] = set()

    def walk(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        for target in sorted(arrows.get(module, ())):
            if circle := walk(target, [*way, module]):
                return circle
        done.add(module)
        return []

    return next(filter(None, (walk(module, []) for module in sorted(arrows))), [])


def test_no_module_imports_itself_through_others() -> None:
    """What is below can be read without what is above it, inside a layer too."""
    arrows: dict[str, set[str]] = {}
    for path in (ROOT / PACKAGE).rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        targets = {name for _, name in imports(ast.parse(path.read_text()), module, members=True)}
        arrows[module] = {name for name in targets if name.startswith(f"{PACKAGE}.") and is_module(name)}
    assert len(arrows) > 100 and sum(map(len, arrows.values())) > 300
    assert find_circle(arrows) == []


def test_a_circle_is_found() -> None:
    """The checker sees circles of any length, and none where two ways meet."""
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_circle({"a": {"a"}}) == ["a", "a"]
    assert find_circle({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}}) == []


def is_module(dotted: str) -> bool:
    """Whether this is a module of the package, and not a name in one."""
    place = ROOT.joinpath(*dotted.split("."))
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def test_every_layer_is_known() -> None:
    """A new package or module at the top of the package must be given a layer."""
    present = {
        path.stem
        for path in (ROOT / PACKAGE).iterdir()
        if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))
    }
    assert present - {"__init__"} <= set(LAYERS)


@pytest.mark.parametrize(
    ("path", "source", "told"),
    [
        ("model/a.py", "from audiolm_cli.codec.base import Codec\n", "model must not import codec"),
        ("data/a.py", "import audiolm_cli.model\n", "data must not import model"),
        ("audio.py", "from audiolm_cli import codec\n", "audio must not import codec"),
        ("codec/a.py", "from ..checkpoints import folder\n", "codec must not import checkpoints"),
        ("training/a.py", "def f():\n    import audiolm_cli.workflows.train\n", "training must not import workflows"),
        ("config/a.py", "from audiolm_cli.audio import mid\n", "config must not import audio"),
        (
            "model/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from audiolm_cli.data import tokens\n",
            "model must not import data",
        ),
        (
            "codec/spectral.py",
            "import encodec\n",
            "encodec may only be imported in codec/encodec.py, training/codec/adversary.py",
        ),
        ("training/a.py", "from lhotse import CutSet\n", "lhotse may only be imported in data/"),
        ("cli/a.py", "from click import echo\n", "click may only be imported in no file"),
        ("config/a.py", "try:\n    import torch\nexcept ImportError:\n    pass\n", "no torch at import time"),
        ("cli/a.py", "from audiolm_cli.workflows import doctor\n", "import workflows inside the function"),
        ("workflows/a.py", "print(1)\n", "print belongs to cli"),
        ("workflows/a.py", "import sys\nsys.exit(1)\n", "sys.exit belongs to cli"),
        ("workflows/a.py", "import os\nx = os.environ['A']\n", "os.environ belongs to cli"),
        ("workflows/a.py", "from os import environ\n", "os.environ belongs to cli"),
        ("workflows/a.py", "raise SystemExit(2)\n", "SystemExit belongs to cli"),
        ("model/utils.py", "", "grab bags"),
    ],
)
def test_a_violation_is_caught(path: str, source: str, told: str) -> None:
    """Each rule finds the one thing wrong in a made-up file."""
    found = violations(path, source)
    assert len(found) == 1, found
    assert told in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("cli/a.py", "from audiolm_cli.errors import UsageError\ndef f():\n    from audiolm_cli.workflows import a\n"),
        (
            "workflows/a.py",
            "import torch\nfrom audiolm_cli.version import __version__\nfrom audiolm_cli.audio import resample\n",
        ),
        ("codec/encodec.py", "import encodec\nfrom audiolm_cli.codec.base import Codec\n"),
        ("cli/torchrun.py", "import os\ndef f():\n    return os.environ['RANK']\n"),
        ("data/tokens.py", "def f():\n    import lhotse\n"),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    """The checker does not refuse what the design allows."""
    assert violations(path, source) == []


def test_the_top_level_holds_what_was_agreed() -> None:
    """Nothing but the agreed names, dot-files and what installing leaves behind."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = {line.strip('"').split("/")[0] for line in listed.stdout.splitlines()}
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL


def test_the_program_starts_without_heavy_packages() -> None:
    """Importing every command loads no torch, so that --help and completion are quick."""
    heavy = ("torch", "torchaudio", "encodec", "matplotlib", "lhotse", "numpy", "soundfile", "h5py")
    code = f"import sys, audiolm_cli.cli.app; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "words",
    [
        ["continue", "{take}", "-d", "0.1"],
        ["infill", "{take}", "--gap", "1:1.1"],
        ["loop", "{take}", "--bridge", "0.1"],
        ["restyle", "{take}", "--style", "{take}"],
    ],
    ids=lambda words: words[0],
)
def test_generating_imports_what_it_needs(tmp_path: Path, words: list[str], piano: Callable[..., np.ndarray]) -> None:
    """From start to end: nothing of training, plotting or resampling on a device, nor torch.compile, a second of it."""
    unneeded = (
        "torchaudio",
        "encodec",
        "lhotse",
        "h5py",
        "matplotlib",
        "scipy",
        "sympy",
        "tensorboard",
        "torch._dynamo",
    )
    take, out = tmp_path / "take.wav", tmp_path / "out.wav"
    soundfile.write(take, piano(1.5, 16000), 16000)
    command = [word.format(take=take) for word in words]
    lines = (
        f"import atexit, sys; sys.argv = {['audiolm', *command, '-o', str(out), '--prompt', '1', '-q']}",
        f"atexit.register(lambda: print([name for name in {unneeded} if name in sys.modules]))",
        "from audiolm_cli.cli.app import main; main()",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert out.exists() and done.stdout.strip().endswith("[]"), done.stdout


def test_the_guide_names_every_module() -> None:
    """The file tree has one line for each; `tests/support/file_tree.py --write` brings it up to date."""
    from file_tree import FOLDERS, modules

    page = (ROOT / PACKAGE / "assets" / "guide" / "architecture.md").read_text()
    listed: dict[str, list[str]] = {}
    for heading, table in re.findall(r"^### (\S+)/\n(.*?)(?=^###|^<!--)", page, re.DOTALL | re.MULTILINE):
        listed["." if heading == PACKAGE else heading] = re.findall(r"^\| `(\w+\.py)` \| \S", table, re.MULTILINE)
    present = {folder: [path.name for path in modules() if str(path.parent) == folder] for folder in FOLDERS}
    assert listed == present
    assert {str(path.parent) for path in modules()} == set(FOLDERS)


def test_the_readme_is_short_and_has_its_picture() -> None:
    """A person reads it to the end; its links lead to files; the picture does not weigh on a clone."""
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 200
    for link in re.findall(r"\]\((?!https?://)([^)]+)\)", text):
        assert (ROOT / link).is_file(), link
    assert (ROOT / PACKAGE / "assets" / "demo" / "continuation.png").stat().st_size < 200_000


@pytest.mark.parametrize("topic", ["promises", "origin"])
def test_a_page_of_the_guide_names_tests_that_exist(topic: str) -> None:
    """Every test that a table of such a page names, in the file it names or the one before."""
    file, named = "", 0
    page = (ROOT / PACKAGE / "assets" / "guide" / f"{topic}.md").read_text()
    for path, test in re.findall(r"`(?:([\w/]*test_\w+\.py))?(?:::(test_\w+))?`", page):
        if path:
            found = [place for place in (ROOT / "tests").rglob("*.py") if str(place).endswith(f"/{path}")]
            assert len(found) == 1, path
            file = found[0].read_text()
        if test:
            named += 1
            assert f"def {test}(" in file, f"{path}::{test}"
    assert named >= 15
