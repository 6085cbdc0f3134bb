"""`--channels each`: every channel by itself, from the same seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiolm_cli.audio import read_audio

Piano = Callable[..., np.ndarray]
RATE_HZ = 16000


@pytest.fixture(autouse=True)
def wide(tmp_path: Path, piano: Piano, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four channels of 1 s: one melody, another, the first again, silence."""
    monkeypatch.chdir(tmp_path)
    a, b = piano(1.0, RATE_HZ, seed=1)[:, 0], piano(1.0, RATE_HZ, seed=2)[:, 0]
    soundfile.write("wide.wav", np.stack([a, b, a, 0 * a], axis=1), RATE_HZ, subtype="PCM_16")
    soundfile.write("alone.wav", b, RATE_HZ, subtype="PCM_16")
    return Path("wide.wav")


@pytest.fixture
def go(audiolm: Any, tiny_model: Path) -> Any:
    """A command with the tiny model."""
    return lambda command, *args: audiolm(command, "-m", tiny_model, *args)


def native(path: Path | str) -> np.ndarray:
    """The exact samples of a file."""
    return read_audio(path).samples


@pytest.mark.parametrize(
    "command",
    [
        ("infill", "--gap", "0.4:0.6", "--gap", "0.7:0.8"),
        ("continue", "-d", "0.3"),
        ("loop", "--bridge", "0.2"),
        ("restyle", "--style", "alone.wav"),
    ],
)
def test_each_channel_is_as_it_would_be_alone(go: Any, wide: Path, command: tuple[str, ...]) -> None:
    """Bit for bit; equal channels stay equal and silent ones silent."""
    name, *flags = command
    for source in ("wide.wav", "alone.wav"):
        assert go(name, source, *flags, "--seed", 3, "--channels", "each", "-o", f"{source}.flac").exit_code == 0
    made = native("wide.wav.flac")
    assert np.array_equal(made[:, 1], native("alone.wav.flac")[:, 0])
    assert np.array_equal(made[:, 0], made[:, 2]) and not np.array_equal(made[:, 0], made[:, 1])
    assert not made[:, 3].any()
    assert json.loads(read_audio("wide.wav.flac").tags["comment"])["channels"] == "each"


def test_takes_and_ranking(go: Any, wide: Path) -> None:
    """One score per take, the mean of its channels; without --seed all channels have the same."""
    shown = go("infill", wide, "--gap", "0.4:0.6", "--channels", "each", "-n", 2, "--best-of", 3, "--json")
    outputs = json.loads(shown.stdout)["outputs"]
    assert outputs[0]["score"] >= outputs[1]["score"]
    for output in outputs:
        made = native(output["path"])
        assert np.array_equal(made[:, 0], made[:, 2])
    again = go(
        "infill", wide, "--gap", "0.4:0.6", "--channels", "each", "--seed", outputs[0]["seed"], "-o", "again.wav"
    )
    assert again.exit_code == 0
    assert np.array_equal(native("again.wav"), native(outputs[0]["path"]))


def test_unusable_options(go: Any, wide: Path) -> None:
    """Channels that would end at different times, and a word that means nothing."""
    shown = go("continue", wide, "--channels", "each", "--until-end")
    assert shown.exit_code == 2 and "--until-end" in shown.stderr
    assert go("continue", wide, "--channels", "side").exit_code == 2


def test_silence_in_all_channels(go: Any) -> None:
    """Goes on as with one channel, with a warning."""
    soundfile.write("silent.wav", np.zeros((RATE_HZ, 2)), RATE_HZ)
    shown = go("continue", "silent.wav", "-d", 0.2, "--channels", "each")
    assert shown.exit_code == 0 and "silent.wav is silent" in shown.stderr
    assert len(native("silent.continued.wav")) == RATE_HZ + 3200
