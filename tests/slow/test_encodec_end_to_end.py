"""The 32 kHz EnCodec from the network to new audio, on a generated file of exactly the published layout.

The weights are random, so nothing is said about sound: what is tested is everything between a URL and a continuation.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import soundfile
from encodec_dialects import HUGGINGFACE, from_encodec
from hostile_server import Fault, HostileServer

from audiolm_cli.checkpoints.catalogue import KNOWN_CODECS, resolve
from audiolm_cli.codec.encodec import EncodecCodec
from audiolm_cli.data.manifest import read_facts

pytestmark = pytest.mark.slow

NAME = "encodec-32khz"
RATE_HZ = 44100


@pytest.fixture(scope="module")
def published() -> bytes:
    """Names, shapes, order and size of facebook/encodec_32khz model.safetensors, with random weights."""
    data = safetensors.torch.save(from_encodec(EncodecCodec.untrained().state(), HUGGINGFACE), {"format": "pt"})
    assert len(data) == KNOWN_CODECS[NAME].bytes == 235_972_432
    return data


@pytest.fixture
def server(published: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileServer]:
    """What serves it, after two drops; the catalogue's entry has this server's address and this file's hash."""
    monkeypatch.delenv("AUDIOLM_OFFLINE")
    drops = [Fault(kind="drop", at=100_000_000), Fault(kind="status", at=503), Fault(kind="drop", at=50_000_000)]
    with HostileServer(published, drops, piece_bytes=1 << 20) as running:
        entry = dataclasses.replace(KNOWN_CODECS[NAME], url=f"{running.address}/m.safetensors", sha256=running.sha256)
        monkeypatch.setitem(KNOWN_CODECS, NAME, entry)
        yield running


def test_pull_tokenize_train_continue(
    audiolm: Any, server: HostileServer, cache: Path, tmp_path: Path, piano: Callable[..., np.ndarray]
) -> None:
    """Each command with nothing but the codec's name; the model then brings its codec along by name and hash."""
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for seed in range(6):
        soundfile.write(recordings / f"{seed}.wav", piano(3.0, RATE_HZ, seed=seed), RATE_HZ, subtype="PCM_16")

    shown = audiolm("models", "pull", NAME)
    assert shown.exit_code == 0, shown.stderr
    assert "236.0 MB from 127.0.0.1, licence: CC-BY-NC-4.0" in shown.stderr
    assert server.sent - len(server.data) <= 2 << 20 and len(server.seen) == 4
    assert audiolm("models", "verify", NAME).exit_code == 0
    asked = len(server.seen)

    shown = audiolm("tokenize", recordings, "-o", tmp_path / "tokens", "--codec", NAME)
    assert shown.exit_code == 0, shown.stderr
    facts = read_facts(tmp_path / "tokens")
    assert (facts.name, facts.sha256, facts.sample_rate_hz, facts.hop_samples) == (NAME, server.sha256, 32000, 640)
    assert (facts.num_codebooks, facts.codebook_size) == (4, 2048)

    run = tmp_path / "run"
    shown = audiolm("train", tmp_path / "tokens", "-o", run, "--preset", "tiny", "--steps", 2, "--batch-frames", 200)
    assert shown.exit_code == 0, shown.stderr
    folder = resolve(str(run))
    assert not folder.carries_codec
    assert (folder.codec["name"], folder.codec["sha256"]) == (NAME, server.sha256)

    source = recordings / "0.wav"
    command = ("continue", source, "-m", run, "-d", 1, "--seed", 1, "--json", "--top-k", 50)
    shown = audiolm(*command, "-o", tmp_path / "first.wav")
    assert shown.exit_code == 0, shown.stderr
    [output] = json.loads(shown.stdout)["outputs"]
    assert (output["sample_rate_hz"], output["duration_s"]) == (RATE_HZ, 4.0)
    before, _ = soundfile.read(source, dtype="int16")
    after, _ = soundfile.read(tmp_path / "first.wav", dtype="int16")
    assert len(after) == len(before) + RATE_HZ and np.array_equal(after[: len(before)], before)
    assert np.abs(after[len(before) :]).max() > 0
    assert len(server.seen) == asked

    assert audiolm("models", "rm", NAME).exit_code == 0  # the model knows where to get its codec again
    shown = audiolm(*command, "-o", tmp_path / "second.wav", "--offline")
    assert shown.exit_code == 5 and server.sha256 in shown.stderr and str(cache / NAME) in shown.stderr
    shown = audiolm(*command, "-o", tmp_path / "second.wav")
    assert shown.exit_code == 0, shown.stderr
    assert (tmp_path / "second.wav").read_bytes() == (tmp_path / "first.wav").read_bytes()
