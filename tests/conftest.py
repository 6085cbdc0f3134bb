"""What every test shares: no user cache, no colours, one torch thread, and the program as a function."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

# torch and typer read these when they are imported, which is after this file
os.environ.update(
    {"NO_COLOR": "1", "_TYPER_FORCE_DISABLE_TERMINAL": "1", "TERMINAL_WIDTH": "100", "OMP_NUM_THREADS": "1"}
)
for _name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
    os.environ.pop(_name, None)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run of the program left."""

    exit_code: int
    stdout: str
    stderr: str


RunAudiolm = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkpoint cache, and no other AUDIOLM_* variable."""
    for name in [name for name in os.environ if name.startswith("AUDIOLM_")]:
        monkeypatch.delenv(name)
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("AUDIOLM_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def audiolm(capsys: pytest.CaptureFixture[str]) -> RunAudiolm:
    """Run the program in this process: `audiolm("models", "list")`; errors become exit codes as for a user."""

    def run(*args: object) -> Outcome:
        from audiolm_cli.cli.app import main

        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(arg) for arg in args])
        assert isinstance(caught.value.code, int)
        captured = capsys.readouterr()
        return Outcome(exit_code=caught.value.code, stdout=captured.out, stderr=captured.err)

    return run
