"""`audiolm loop`: the recording, then a bridge that leads back to its start."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from audiolm_cli.audio import read_audio
from audiolm_cli.evaluation.metrics import seam_jump

Piano = Callable[..., np.ndarray]


@pytest.fixture(autouse=True)
def take(tmp_path: Path, piano: Piano, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in a folder with one second of 24-bit stereo at 22.05 kHz."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("take.flac", piano(1.0, 22050, 2), 22050, subtype="PCM_24")
    return Path("take.flac")


@pytest.fixture
def go(audiolm: Any, tiny_model: Path) -> Any:
    """`audiolm loop` with the tiny model."""
    return lambda *args: audiolm("loop", "-m", tiny_model, *args)


def native(path: Path | str) -> np.ndarray:
    """The exact samples of a file."""
    return read_audio(path).samples


def test_recording_and_bridge(go: Any, take: Path) -> None:
    """The recording bit for bit, then a bridge of the exact length; repeated, the same again."""
    assert go(take, "--bridge", 0.3, "--seed", 1).exit_code == 0
    old, once = native(take), native("take.looped.wav")
    assert len(once) == 22050 + 6615
    assert once[:22050].tobytes() == old.tobytes() and once[22050:].any()
    shown = go(take, "--bridge", 0.3, "--seed", 1, "--repeat", 3, "-o", "thrice.wav", "--json")
    assert native("thrice.wav").tobytes() == np.concatenate([once] * 3).tobytes()
    (output,) = json.loads(shown.stdout)["outputs"]
    starts = [22050 + i * 28665 for i in range(3)]
    assert output["generated"] == [[start / 22050, (start + 6615) / 22050] for start in starts]
    comment = json.loads(read_audio("thrice.wav").tags["comment"])
    assert comment | {"command": "loop", "bridge_s": 0.3, "repeat": 3, "seed": 1} == comment


def test_the_bridge_hears_both_ends(go: Any, take: Path) -> None:
    """Another start or another end of the recording makes another bridge; an infill between them makes the same."""
    samples, rate_hz = soundfile.read(take, dtype="int32")
    bridges = []
    for where in (slice(0, 0), slice(0, 5000), slice(17000, 22050)):
        other = samples.copy()
        other[where] = other[where][::-1]
        soundfile.write("other.wav", other, rate_hz, subtype="PCM_24")
        assert go("other.wav", "--bridge", 0.2, "--seed", 1, "-f", "--only-new", "-o", "b.wav").exit_code == 0
        bridges.append(native("b.wav").tobytes())
    assert len(set(bridges)) == 3


def test_no_sample_jumps_where_it_closes(go: Any, take: Path) -> None:
    """Into the bridge and from its end to the recording's start, the step is no larger than those in the recording."""
    assert go(take, "--bridge", 0.3, "--seed", 1, "--repeat", 2).exit_code == 0
    wav = torch.from_numpy(read_audio("take.looped.wav").wav()[0])
    inside = [seam_jump(wav, position, 22050).item() for position in range(10, 21500, 10)]
    for seam in (22050, 28665):
        assert seam_jump(wav, seam, 22050).item() < max(inside)
