"""The shape of the code in numbers: sizes, long functions, many parameters, paragraphs, comments, import arrows.

    python tests/support/shape.py [FOLDER...] [--names]

FOLDER is a checkout of the project; this one when none is named. Prints one Markdown table with a column for each. With
`--names`, every function over a limit, every circle and every upward arrow of the last folder follow.

How it counts:

- A function's length goes from its `def` line to its last line, docstring included, decorators not.
- Its parameters are all that it names, `*args` and `**kwargs` included, `self` and `cls` not.
- The lines of a body begin after the docstring. Those of a function inside another one count once.
- A comment line holds nothing but a comment. Comments behind code are counted in a row of their own.
- A folder's share is that of the files directly in it, not of those in folders below it.
- Every import inside the package is an arrow, wherever it stands: in a function or below `if TYPE_CHECKING` too.
"""

from __future__ import annotations

import argparse
import ast
import io
import tokenize
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = "audiolm_cli"
LONGEST_FUNCTION, MOST_PARAMETERS = 50, 7
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Shape:
    """What is counted of one checkout."""

    files: int = 0
    lines: int = 0
    folders: Counter[str] = field(default_factory=Counter)
    """Lines by folder of the package."""
    folder_files: Counter[str] = field(default_factory=Counter)
    """Files by folder of the package."""
    functions: int = 0
    long: list[str] = field(default_factory=list)
    """Functions over `LONGEST_FUNCTION` lines."""
    wide: list[str] = field(default_factory=list)
    """Functions of more than `MOST_PARAMETERS` parameters."""
    body_lines: int = 0
    blank_lines: int = 0
    comment_lines: int = 0
    comments_behind: int = 0
    arrows: dict[str, set[str]] = field(default_factory=dict)
    """Module to the modules that it imports, all inside the package."""
    test_files: int = 0
    test_lines: int = 0


def measure(root: Path) -> Shape:
    """The shape of the checkout at `root`."""
    shape = Shape()
    sources = {path.relative_to(root): path.read_text() for path in sorted((root / PACKAGE).rglob("*.py"))}
    for path, source in sources.items():
        folder, lines = str(path.parent.relative_to(PACKAGE)), source.count("\n")
        shape.files += 1
        shape.lines += lines
        shape.folders[folder] += lines
        shape.folder_files[folder] += 1
        measure_functions(shape, path, source)
    shape.arrows = import_arrows(sources)

    tests = [path.read_text() for path in (root / "tests").rglob("*.py")]
    shape.test_files, shape.test_lines = len(tests), sum(text.count("\n") for text in tests)
    return shape


def measure_functions(shape: Shape, path: Path, source: str) -> None:
    """Add the functions of one file."""
    lines = source.splitlines()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    commented = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    bodies: set[int] = set()  # line numbers, so that those of a function inside another one count once

    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, Function):
            continue
        shape.functions += 1
        last = node.end_lineno or node.lineno
        length, parameters = last - node.lineno + 1, count_parameters(node)
        if length > LONGEST_FUNCTION:
            shape.long.append(f"{path}:{node.name}: {length} lines")
        if parameters > MOST_PARAMETERS:
            shape.wide.append(f"{path}:{node.name}: {parameters} parameters")
        bodies |= set(range(first_body_line(node), last + 1))

    for number in bodies:
        text = lines[number - 1].strip()
        shape.body_lines += 1
        shape.blank_lines += not text
        shape.comment_lines += text.startswith("#")
        shape.comments_behind += number in commented and not text.startswith("#")


def count_parameters(node: Function) -> int:
    """How many parameters a function has, without `self` and `cls`."""
    given = node.args
    named = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    if named and named[0] in ("self", "cls"):
        named = named[1:]
    return len(named) + (given.vararg is not None) + (given.kwarg is not None)


def first_body_line(node: Function) -> int:
    """The line after the docstring; without one, that of the first statement."""
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        return (first.end_lineno or first.lineno) + 1
    decorators = getattr(first, "decorator_list", [])
    return min([first.lineno, *(decorator.lineno for decorator in decorators)])


def import_arrows(sources: dict[Path, str]) -> dict[str, set[str]]:
    """Every module of the package with those that it imports."""
    modules = {module_name(path): path for path in sources}
    arrows: dict[str, set[str]] = {}
    for module, path in modules.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        found = imported(ast.parse(sources[path]), package, modules.keys())
        arrows[module] = set(found) - {module}
    return arrows


def module_name(path: Path) -> str:
    """The dotted name of a file of the package."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.AST, package: str, known: Collection[str]) -> Iterator[str]:
    """The modules among `known` that a tree inside `package` imports, relative imports resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:  # a module inside `base`, or a name that `base` defines
                target = f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base
                if target in known:
                    yield target


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that all import each other, directly or through others."""
    reached = {module: reach(module, arrows) for module in arrows}
    groups = {tuple(sorted(other for other in reached[m] if m in reached[other])) for m in arrows if m in reached[m]}
    return [list(group) for group in sorted(groups)]


def reach(start: str, arrows: dict[str, set[str]]) -> set[str]:
    """The modules to which arrows lead from `start`, itself only where one leads back."""
    seen: set[str] = set()
    pending = list(arrows[start])
    while pending:
        module = pending.pop()
        if module not in seen:
            seen.add(module)
            pending += arrows[module]
    return seen


def read_layers(root: Path) -> dict[str, int] | None:
    """The table `LAYERS` of `tests/test_architecture.py`; None where there is none of names and numbers."""
    path = root / "tests" / "test_architecture.py"
    for node in ast.walk(ast.parse(path.read_text())) if path.exists() else ():
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if [getattr(target, "id", "") for target in targets] != ["LAYERS"]:
            continue
        try:
            table = ast.literal_eval(node.value)  # type: ignore[attr-defined]
            return {str(name).replace("/", "."): int(number) for name, number in table.items()}
        except (ValueError, TypeError, AttributeError):
            return None
    return None


def upward_arrows(arrows: dict[str, set[str]], layers: dict[str, int]) -> list[str]:
    """Arrows to another layer that is not lower than the module's own."""

    def layer(module: str) -> str:
        inside = module.removeprefix(PACKAGE).lstrip(".")
        known = [name for name in layers if name and (inside == name or inside.startswith(f"{name}."))]
        return max(known, key=len, default="")

    found = []
    for module, targets in arrows.items():
        own = layer(module)
        found += [
            f"{module} -> {target}"
            for target in sorted(targets)
            if layer(target) != own and layers.get(layer(target), 0) >= layers.get(own, 0)
        ]
    return found


def rows(shape: Shape, layers: dict[str, int] | None) -> dict[str, str]:
    """The lines of the table: what is counted, and how much there is of it."""
    largest, its_lines = shape.folders.most_common(1)[0]
    share = f"{100 * its_lines / shape.lines:.0f} % of the lines"
    to_init = sum(PACKAGE in targets for targets in shape.arrows.values())

    def per_100(count: int) -> str:
        return f"{100 * count / shape.body_lines:.1f}"

    return {
        "files of the package": f"{shape.files}",
        "lines of the package": f"{shape.lines}",
        "files of tests": f"{shape.test_files}",
        "lines of tests": f"{shape.test_lines}",
        "functions": f"{shape.functions}",
        f"functions over {LONGEST_FUNCTION} lines": f"{len(shape.long)}",
        f"functions with more than {MOST_PARAMETERS} parameters": f"{len(shape.wide)}",
        "lines of function bodies": f"{shape.body_lines}",
        "blank lines per 100 of them": per_100(shape.blank_lines),
        "comment lines per 100 of them": per_100(shape.comment_lines),
        "comments behind code per 100 of them": per_100(shape.comments_behind),
        "largest folder": f"{largest}: {shape.folder_files[largest]} files, {share}",
        "import arrows": f"{sum(map(len, shape.arrows.values()))}",
        "arrows to the package's own __init__.py": f"{to_init}",
        "modules in circles": f"{sum(map(len, circles(shape.arrows)))}",
        "upward arrows": "no table of layers" if layers is None else f"{len(upward_arrows(shape.arrows, layers))}",
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=[Path(__file__).parents[2]], metavar="FOLDER")
    parser.add_argument("--names", action="store_true", help="name what is over a limit in the last folder")
    given = parser.parse_args()

    shapes = [(folder, measure(folder), read_layers(folder)) for folder in given.folders]
    columns = [rows(shape, layers) for _, shape, layers in shapes]
    print("| | " + " | ".join(folder.resolve().name for folder, _, _ in shapes) + " |")
    print("|---|" + "---|" * len(shapes))
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |")

    if given.names:
        _, shape, layers = shapes[-1]
        together = [" <-> ".join(circle) for circle in circles(shape.arrows)]
        upward = upward_arrows(shape.arrows, layers) if layers else []
        for title, lines in {"Long": shape.long, "Wide": shape.wide, "Circles": together, "Upward": upward}.items():
            print(f"\n{title}:\n" + "\n".join(f"- {line}" for line in lines))


if __name__ == "__main__":
    main()
