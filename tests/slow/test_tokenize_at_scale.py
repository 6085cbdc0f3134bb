"""`audiolm tokenize` as a program: a thousand files, killed again and again, and under torchrun."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytestmark = pytest.mark.slow
Piano = Callable[..., np.ndarray]
RATE_HZ = 16_000
KILLS = 10


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "audiolm_cli", *map(str, args)]


def tokenize(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command("tokenize", *args), capture_output=True, text=True, timeout=900, check=False)


def store_bytes(store: Path) -> dict[str, bytes]:
    """What must not depend on how the store came about."""
    return {name: (store / name).read_bytes() for name in ("codes.h5", "inputs.jsonl.gz", "codec.json")}


def break_file(path: Path, wav: np.ndarray, kind: int) -> None:
    """Make a recording that cannot be used, of one of five kinds."""
    if kind == 0:
        path.touch()
    elif kind == 1:
        path.write_text("Dear Sir or Madam")
    elif kind == 2:
        soundfile.write(path, wav, RATE_HZ, format="FLAC")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == 3:
        soundfile.write(path, np.where(np.arange(len(wav)) == 99, np.nan, wav), RATE_HZ, "FLOAT", format="WAV")
    else:
        path.write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt ")


def test_a_thousand_files(tmp_path: Path, tiny_codec: Path, piano: Piano) -> None:
    """50 broken ones are listed with the reason, 950 done; a second run does nothing, in seconds."""
    folder = tmp_path / "in"
    folder.mkdir()
    music = piano(60.0, RATE_HZ)[:, 0]
    broken = []
    for i in range(1000):
        start = i * 900
        path = folder / f"{i:04d}.{'flac' if i % 2 else 'wav'}"
        if i % 20 == 7:
            break_file(path, music[start : start + 16_000], (i // 20) % 5)
            broken.append(path)
        else:
            soundfile.write(path, music[start : start + 8_000], RATE_HZ)
    first = tokenize(folder, "-o", tmp_path / "t", "--codec", tiny_codec, "--json")
    assert first.returncode == 10 and "Traceback" not in first.stderr, first.stderr
    result = json.loads(first.stdout)
    assert sum(result["cuts"].values()) == 950 and len(result["failed"]) == len(broken) == 50
    for path in broken:
        told = [line for line in result["failed"] if line.startswith(f"{path}: ")]
        assert len(told) == 1 and len(told[0]) > len(f"{path}: ") + 10
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "t").iterdir()}
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    second = tokenize(folder, "-o", tmp_path / "t", "--codec", tiny_codec, "--json")
    again = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert second.returncode == 10 and "nothing to do" in second.stderr
    assert json.loads(second.stdout) == result
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "t").iterdir()} == before
    assert again.ru_utime + again.ru_stime - used.ru_utime - used.ru_stime < 15


@pytest.fixture
def recordings(tmp_path: Path, piano: Piano) -> Path:
    """Sixty recordings of 20 s, each with a silence."""
    folder = tmp_path / "in"
    folder.mkdir()
    music = piano(60.0, RATE_HZ)[:, 0]
    for i in range(60):
        wav = np.roll(music, 7_001 * i)[: 20 * RATE_HZ].copy()
        wav[8 * RATE_HZ : 13 * RATE_HZ] = 0
        soundfile.write(folder / f"{i}.flac", wav, RATE_HZ)
    return folder


def test_killed_at_random_moments(tmp_path: Path, tiny_codec: Path, recordings: Path) -> None:
    """SIGKILL, ten times: what was done stays and is not done again, and the store is that of a run never stopped."""
    whole, store = tmp_path / "whole", tmp_path / "t"
    assert tokenize(recordings, "-o", whole, "--codec", tiny_codec, "--workers", 1).returncode == 0
    draw = random.Random(0)
    again = command("tokenize", recordings, "-o", store, "--codec", tiny_codec, "--workers", 2)
    kept: dict[Path, int] = {}
    kills = 0
    while kills < KILLS:
        with subprocess.Popen(again, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as program:
            progress = len(kept) + draw.randint(0, 3)
            while len(list(store.glob(".partial/*/codes/*.npz"))) < progress and program.poll() is None:
                time.sleep(0.01)
            time.sleep(draw.random() * 0.1)
            program.send_signal(signal.SIGKILL)
        kills += 1
        if (store / "inputs.jsonl.gz").exists():  # it was faster, and its parts have served
            break
        parts = {path: path.stat().st_mtime_ns for path in store.glob(".partial/*/codes/*.npz")}
        assert {path: parts.get(path) for path in kept} == kept, "what was done is neither gone nor done again"
        kept = parts
    assert kills >= 5
    assert tokenize(recordings, "-o", store, "--codec", tiny_codec).returncode == 0
    assert store_bytes(store) == store_bytes(whole)
    assert sorted(os.listdir(store)) == sorted(os.listdir(whole))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_the_user(tmp_path: Path, tiny_codec: Path, recordings: Path, number: signal.Signals) -> None:
    """The exit code says by what, the workers are gone, and what was done is kept."""
    store = tmp_path / "t"
    again = command("tokenize", recordings, "-o", store, "--codec", tiny_codec, "--workers", 2)
    with subprocess.Popen(again, stderr=subprocess.PIPE, text=True, start_new_session=True) as program:
        while len(list(store.glob(".partial/*/codes/*.npz"))) < 3 and program.poll() is None:
            time.sleep(0.01)
        os.killpg(program.pid, number)  # as a terminal does: to every process
        assert program.stderr is not None
        said = program.stderr.read()
    assert program.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert "Traceback" not in said and "stopped" in said
    assert len(list(store.glob(".partial/*/codes/*.npz"))) >= 3
    with pytest.raises(ProcessLookupError):  # all end once their parent has
        for _ in range(200):
            os.killpg(program.pid, 0)
            time.sleep(0.1)


def test_torchrun(tmp_path: Path, tiny_codec: Path, recordings: Path) -> None:
    """Two ranks make the store that one process makes; rank 0 alone reports."""
    assert tokenize(recordings, "-o", tmp_path / "one", "--codec", tiny_codec).returncode == 0
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    program = [
        "-m",
        "audiolm_cli",
        "tokenize",
        str(recordings),
        "-o",
        str(tmp_path / "two"),
        "--codec",
        str(tiny_codec),
    ]
    for _ in range(2):  # the second time there is nothing to do
        done = subprocess.run([*launcher, *program], capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(str(tmp_path / "two")) == 1
    assert store_bytes(tmp_path / "one") == store_bytes(tmp_path / "two")
