"""What is said about packages that are missing or do not fit, with made-up ones in front of the real ones."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from audiolm_cli import packages
from audiolm_cli.errors import InstallationError

ROOT = Path(__file__).parents[1]
MakePackage = Callable[[str, str, str], None]


def explain(module: str) -> str:
    """What a user is told when this module is imported."""
    with pytest.raises(InstallationError) as caught, packages.explained_imports():
        importlib.import_module(module)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_lhotse_leaves_no_folder_in_the_home_of_the_user(tmp_path: Path) -> None:
    """Neither where stores are written nor where the package is tried; what was there stays."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom audiolm_cli.data.manifest import write_store\n"
        "from audiolm_cli.data.tokens import CodecFacts\n"
        "facts = CodecFacts(name='a', sha256='', sample_rate_hz=9, hop_samples=1, num_codebooks=1, codebook_size=2)\n"
        "write_store(Path(sys.argv[1]), facts, [])\nassert 'lhotse' in sys.modules\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, tmp_path / "t"], env=environment, check=True, timeout=120)
    assert not (tmp_path / ".lhotse").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        patch.setenv("USERPROFILE", str(tmp_path))
        with packages.without_lhotse_folder():
            (tmp_path / ".lhotse" / "tools").mkdir(parents=True)
        assert not (tmp_path / ".lhotse").exists()
        (tmp_path / ".lhotse" / "tools").mkdir(parents=True)
        with packages.without_lhotse_folder():
            pass
        assert (tmp_path / ".lhotse" / "tools").exists()


def test_the_ranges_are_those_of_the_project() -> None:
    """What is told is what pip reads, extras apart."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    expected = {Requirement(line).name: Requirement(line).specifier for line in project["dependencies"]}
    found = {name: Requirement(name + wanted).specifier for name, wanted in packages.read_requirements().items()}
    assert found == expected


def test_a_package_that_is_missing() -> None:
    """Its name, and the line that brings it in the range that was tested."""
    told = explain("lhotse_that_is_not_here")
    assert told.startswith("lhotse_that_is_not_here cannot be imported (No module named 'lhotse_that_is_not_here')")
    assert "pip install" in told and told.endswith(" lhotse_that_is_not_here") and sys.executable in told


def test_a_package_of_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is imported as yaml is installed as pyyaml; it is here already, so it is replaced, and nothing else."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    told = explain("yaml")
    assert told.startswith(f"pyyaml {packages.installed_version('pyyaml')} cannot be imported")
    assert "--no-deps 'pyyaml" in told


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("raise OSError('undefined symbol: torch_exception_get_what_without_backtrace')", "undefined symbol: torch_ex"),
        (
            "raise RuntimeError('built with different CUDA versions.\\nRead on')",
            "(built with different CUDA versions.)",
        ),
        ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        ("from math import no_such_function", "cannot import name 'no_such_function'"),
        (
            "try:\n    1 / 0\nexcept ArithmeticError as error:\n    raise ImportError('x') from error",
            "division by zero",
        ),
    ],
)
def test_however_an_import_fails(make_package: MakePackage, error: str, reason: str) -> None:
    """Whatever the module raises, its name or that of what it lacks, and the first cause."""
    make_package("fragile", "3.2.1", error + "\n")
    told = explain("fragile")
    assert told.startswith(("fragile 3.2.1 cannot be imported (", "nothing_of_this_name cannot be imported ("))
    assert reason in told and "Read on" not in told


def test_the_pair_that_works_is_named(make_package: MakePackage) -> None:
    """A torchaudio that does not load: both versions, the tested pair, and a line that leaves torch alone."""
    make_package("torchaudio", "2.99.1", "raise OSError('undefined symbol')\n")
    told = explain("torchaudio")
    torch, ranges = packages.installed_version("torch"), packages.read_requirements()
    assert told.startswith(f"torchaudio 2.99.1 beside torch {torch} cannot be imported (undefined symbol); ")
    assert f"torch{ranges['torch']} with torchaudio{ranges['torchaudio']} of the same build works" in told
    assert "--no-deps" in told and told.endswith(f"torchaudio{ranges['torchaudio']}")


def test_the_build_of_torch_is_kept(make_package: MakePackage) -> None:
    """A torch for one kind of device gets a torchaudio for it, from the same place."""
    make_package("torch", "2.14.1+cpu", "")
    make_package("torchaudio", "2.11.0", "raise OSError('libcudart.so.13: cannot open shared object file')\n")
    assert "--index-url https://download.pytorch.org/whl/cpu torchaudio==" in explain("torchaudio")


def test_without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environments that uv made have no pip; uv is told which one is meant."""
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda _: None)
    command = packages.install_command("numpy")
    assert command.startswith(f"uv pip install --python {sys.executable} --reinstall --no-deps 'numpy")


def test_other_errors_are_no_import() -> None:
    """An error of a program that runs is not explained away, whatever module it happens in."""
    with pytest.raises(ZeroDivisionError), packages.explained_imports():
        print(1 / 0)
    with pytest.raises(ModuleNotFoundError), packages.explained_imports():
        importlib.import_module("audiolm_cli.no_such_module")  # this one is a bug
    with pytest.raises(ZeroDivisionError), packages.explained_imports():
        eval("1 / 0", vars(importlib.import_module("soxr")))  # as annotations are
