"""The packages this program stands on: which it asks for, which are here, and what to do about one that fails.

Imports nothing but the standard library, so that it can explain whatever else is missing.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from audiolm_cli.errors import InstallationError

PROJECT = "audiolm-cli"
DISTRIBUTIONS = {"yaml": "pyyaml", "markdown_it": "markdown-it-py", "huggingface_hub": "huggingface-hub"}
"""What to install for a module whose distribution has another name."""
TORCH_INDEX = "https://download.pytorch.org/whl/"
"""Where torch's builds for one kind of device are; PyPI has a single build for each system."""


def read_requirements(*, extras: bool = False) -> dict[str, str]:
    """Each distribution that this program asks for, with the range of versions that was tested.

    Empty where the program runs without having been installed. With `extras`, also those that it can do without.

    >>> read_requirements()["torchaudio"]
    '==2.11.0'
    """
    from importlib import metadata  # here and not above: a tenth of the time of --help

    try:
        lines = metadata.requires(PROJECT) or []
    except metadata.PackageNotFoundError:
        return {}

    found: dict[str, str] = {}
    for line in lines:
        requirement, _, marker = line.partition(";")
        name = re.match(r"[\w.-]+", requirement)
        if name is not None and (extras or "extra" not in marker):
            found.setdefault(name[0], requirement[name.end() :].strip())
    return found


def installed_version(distribution: str) -> str:
    """The version that is installed, or an empty string."""
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def install_command(*distributions: str) -> str:
    """The command line that brings these distributions, in versions that work, into this very environment.

    torch and torchaudio are compiled for the same devices or do not work together. So a torch that was built for one
    kind of device keeps its build, and torchaudio follows it.
    """
    ranges = read_requirements(extras=True)
    wanted = [shlex.quote(name + ranges.get(name, "")) for name in distributions]
    python = shlex.quote(sys.executable)
    has_pip = importlib.util.find_spec("pip") is not None
    words = [python, "-m pip install"] if has_pip else ["uv pip install --python", python]

    # What is here and does not work is replaced, and only that: torch brings gigabytes with it.
    if all(installed_version(name) for name in distributions):
        words.append("--force-reinstall" if has_pip else "--reinstall")
        if "torch" not in distributions:
            words.append("--no-deps")

    build = installed_version("torch").partition("+")[2]
    if build and not {"torch", "torchaudio"}.isdisjoint(distributions):
        words.append(f"--index-url {TORCH_INDEX}{build}")
    return " ".join([*words, *wanted])


def explain_import(error: BaseException) -> InstallationError | None:
    """What to tell the user of an error that came out of importing a third-party package; None of any other error."""
    module = _failed_module(error)
    if not module:
        return None
    name = DISTRIBUTIONS.get(module, module)
    return InstallationError(describe_failure(name, _innermost_reason(error)))


@contextmanager
def explained_imports() -> Iterator[None]:
    """Imports in here that fail raise what `explain_import` makes of it.

    Raises:
        InstallationError: a third-party package is missing, or does not work with the others.
    """
    try:
        yield
    except Exception as error:
        told = explain_import(error)
        if told is None:
            raise
        raise told from error


def describe_failure(distribution: str, reason: str) -> str:
    """One line about a package that cannot be imported: its version, the reason, what works, and what to run."""
    version = installed_version(distribution)
    found = f"{distribution} {version}" if version else distribution
    if distribution in ("torch", "torchaudio"):
        return _describe_pair(distribution, found, reason)
    return f"{found} cannot be imported ({reason}); run: {install_command(distribution)}"


@contextmanager
def without_lhotse_folder() -> Iterator[None]:
    """Removes the empty `~/.lhotse/tools` that importing lhotse leaves, where there was no such folder."""
    folder = Path(os.path.expanduser("~")) / ".lhotse"
    was_there = folder.exists()
    try:
        yield
    finally:
        if not was_there:
            with suppress(OSError):  # it was not made, or something is in it
                (folder / "tools").rmdir()
                folder.rmdir()


def try_import(module: str) -> str:
    """Import a module; why it fails, in a line, or an empty string."""
    try:
        with without_lhotse_folder():
            importlib.import_module(module)
    except Exception as error:
        return _innermost_reason(error)
    return ""


def _describe_pair(distribution: str, found: str, reason: str) -> str:
    """The same of torch or torchaudio, which must fit each other."""
    ranges = read_requirements()
    other = "torchaudio" if distribution == "torch" else "torch"
    beside = installed_version(other)
    found += f" beside {other} {beside}" if beside else ""

    # torchaudio is the one to change as long as the torch that is here imports.
    broken = ["torchaudio"] if distribution == "torchaudio" and beside else ["torch", "torchaudio"]
    pair = " with ".join(f"{name}{ranges.get(name, '')}" for name in ("torch", "torchaudio"))
    return f"{found} cannot be imported ({reason}); {pair} of the same build works; run: {install_command(*broken)}"


def _failed_module(error: BaseException) -> str:
    """The top-level name of the third-party module whose import raised an error; empty where none was imported.

    A module's own statements run only while it is imported. So the innermost frame that runs those of a third-party
    module names the one that failed.
    """
    importing = [name for name in _importing_modules(error.__traceback__) if _is_third_party(name)]
    if isinstance(error, ModuleNotFoundError) and error.name:
        missing = error.name.partition(".")[0]
        return missing if _is_third_party(missing) else ""
    if importing:
        return importing[-1]
    if isinstance(error, ImportError) and error.name:  # a name that the module does not have
        module = error.name.partition(".")[0]
        return module if _is_third_party(module) else ""
    return ""


def _importing_modules(traceback: TracebackType | None) -> Iterator[str]:
    """The top-level names of the modules that were being imported, the innermost last."""
    while traceback is not None:
        frame = traceback.tb_frame
        # Text that is evaluated has that name too, but no file.
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename == frame.f_globals.get("__file__"):
            yield str(frame.f_globals.get("__name__", "")).partition(".")[0]
        traceback = traceback.tb_next


def _is_third_party(module: str) -> bool:
    return bool(module) and module not in {"__main__", "audiolm_cli", *sys.stdlib_module_names}


def _innermost_reason(error: BaseException) -> str:
    """The first line of what went wrong first."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
