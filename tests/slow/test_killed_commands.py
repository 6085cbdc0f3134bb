"""SIGKILL at random moments: inputs as they were, outputs whole or absent, and the next run works."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from hostile_server import HostileServer
from killed_commands import COMMANDS, Bench, serve_model

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="forks")]

KILLS = 3


@pytest.fixture
def bench(
    tmp_path: Path, tiny_model: Path, piano: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    for name in ("AUDIOLM_CACHE_DIR", "AUDIOLM_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.setenv(name, "")  # so that they are put back
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for seed in range(4):
        soundfile.write(recordings / f"{seed}.wav", piano(1.5, seed=seed), 32000)
    with HostileServer(b"", files=serve_model(tiny_model), only_files=True, pause_s=0.005, piece_bytes=1 << 14) as hub:
        yield Bench(tmp_path / "bench", recordings, tiny_model, hub.address)


def test_kills_lose_nothing(bench: Bench) -> None:
    """Some of each command, and some of them before it was done."""
    killed = [bench.kill(command, seed) for seed in range(KILLS) for command in COMMANDS]
    assert not [kill for kill in killed if not kill.clean]
    assert sum(kill.was_running for kill in killed) >= 3
