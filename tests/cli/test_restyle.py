"""`audiolm restyle`: coarse codes kept, fine ones made anew after a reference."""

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
from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.editing.references import encode_recording, loudest_codes
from audiolm_cli.editing.restyling import LOUDER, hold_down, restyle_codes
from audiolm_cli.library.loading import load_codec, load_model

Piano = Callable[..., np.ndarray]
FINE = ("--nar-temperature", 1)


@pytest.fixture(autouse=True)
def take(tmp_path: Path, piano: Piano, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in a folder with a recording of 3 s (the model's window is 1.2 s) and two references."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("take.wav", piano(3.0, 22050, 2), 22050, subtype="PCM_24")
    soundfile.write("a.wav", piano(1.0, 16000, seed=5), 16000)
    soundfile.write("b.flac", piano(1.0, 44100, 2, seed=6)[:, ::-1] ** 3, 44100)
    return Path("take.wav")


@pytest.fixture
def go(audiolm: Any, tiny_model: Path) -> Any:
    """`audiolm restyle` with the tiny model."""
    return lambda *args: audiolm("restyle", "-m", tiny_model, *args)


def native(path: Path | str) -> np.ndarray:
    """The exact samples of a file."""
    return read_audio(path).samples


def test_length_and_format(go: Any, take: Path) -> None:
    """As long as the input and in its format, with references of any rate; the same one gives the same bytes."""
    results = []
    for style in ("b.flac", "a.wav", "a.wav"):
        shown = go(take, "--style", style, "--seed", 1, "-f", "--json")
        (output,) = json.loads(shown.stdout)["outputs"]
        assert output["generated"] == [[0.0, 3.0]]
        info = soundfile.info("take.restyled.wav")
        assert (info.frames, info.samplerate, info.channels, info.subtype) == (66150, 22050, 2, "PCM_24")
        results.append(native("take.restyled.wav").tobytes())
    assert results[1] == results[2]
    comment = json.loads(read_audio("take.restyled.wav").tags["comment"])
    assert comment | {"command": "restyle", "style": "a.wav", "strength": 1, "seed": 1} == comment


@pytest.mark.parametrize("strength", [1, 2, 3])
def test_what_is_kept(tiny_model: Path, take: Path, strength: int) -> None:
    """The first `strength` codebooks are the input's, in every step of the window; the others are not."""
    loaded = load_model(str(tiny_model), torch.device("cpu"))
    codes, _ = encode_recording(read_audio(take), loaded.codec)
    prompt, _ = encode_recording(read_audio("a.wav"), loaded.codec)
    done: list[int] = []
    generator = torch.Generator().manual_seed(1)
    sampling = SamplingConfig(nar_temperature=1.0)
    made = restyle_codes(loaded.model, prompt[:, :30], codes, strength, sampling, generator, done.append)
    assert made.shape == codes.shape
    assert torch.equal(made[..., :strength], codes[..., :strength])
    assert (made[..., strength:] == codes[..., strength:]).float().mean() < 0.5
    assert done == [30, 54, 78, 102, 126, 150]


def test_no_burst_is_louder_than_the_recording_there() -> None:
    """A burst comes down to 3 dB over the original around it. What is not louder than that is left alone."""
    rate = 16_000
    original = 0.1 * torch.randn(1, 3 * rate, generator=torch.Generator().manual_seed(0))
    made = 1.2 * original.roll(7, 1)
    made[:, rate : 2 * rate] *= 8
    held = hold_down(made, original[:, : 3 * rate - 100], rate)  # codes end after the recording does

    assert held.shape == made.shape
    calm = slice(0, rate - rate // 5)
    assert torch.equal(held[:, calm], made[:, calm])
    middle = slice(rate + rate // 5, 2 * rate - rate // 5)
    ratio = held[:, middle].square().mean().sqrt() / original[:, middle].square().mean().sqrt()
    assert ratio == pytest.approx(LOUDER, rel=0.05)


def test_peaks_that_would_clip_are_lowered(go: Any, take: Path) -> None:
    """A loud recording is restyled without a clipped sample, and without the warning of one."""
    loud = soundfile.read(take)[0]
    soundfile.write("loud.wav", loud / np.abs(loud).max() * 0.999, 22050, subtype="PCM_16")
    shown = go("loud.wav", "--style", "b.flac", "--seed", 1)
    assert shown.exit_code == 0 and "clipped" not in shown.stderr
    assert np.abs(soundfile.read("loud.restyled.wav")[0]).max() < 1


def test_the_reference_is_heard(tiny_model: Path, take: Path) -> None:
    """Another one gives other codes, at no other seed."""
    loaded = load_model(str(tiny_model), torch.device("cpu"))
    for layer in loaded.model.nar_decoder.layers:  # untrained, attention adds next to nothing
        layer.attention.out.weight.mul_(100)
    codes, _ = encode_recording(read_audio(take), loaded.codec)
    made = []
    for style in ("a.wav", "b.flac"):
        prompt, _ = encode_recording(read_audio(style), loaded.codec)
        generator = torch.Generator().manual_seed(1)
        sampling = SamplingConfig(nar_temperature=0)
        made.append(restyle_codes(loaded.model, prompt[:, :30], codes, 1, sampling, generator, lambda done: None))
    assert (made[0][..., 1:] != made[1][..., 1:]).float().mean() > 0.1


def test_the_loudest_stretch_is_the_prompt(tiny_codec: Path, piano: Piano) -> None:
    """Silence around the notes of a reference is not its style; a short reference is taken whole."""
    codec = load_codec(str(tiny_codec))
    wav = torch.zeros(1, 1, 64000)
    wav[0, 0, 20 * 640 : 50 * 640] = torch.from_numpy(piano(0.6)[:, 0])
    codes = codec.encode(wav)
    assert torch.equal(loudest_codes(codes, wav, 30, codec), codes[:, 20:50])
    assert torch.equal(loudest_codes(codes, wav, 999, codec), codes)


def test_balance_and_level_are_the_inputs(go: Any, piano: Piano) -> None:
    """One channel of three stays the only one that sounds, about as loud as before."""
    wide = np.zeros((22050, 3), np.float32)
    wide[:, 1] = 0.1 * piano(1.0, 22050)[:, 0]
    soundfile.write("wide.wav", wide, 22050, subtype="FLOAT")
    assert go("wide.wav", "--style", "a.wav", "--seed", 1).exit_code == 0
    made = native("wide.restyled.wav")
    assert not made[:, [0, 2]].any()
    assert 0.4 < made[:, 1].std() / wide[:, 1].std() < 2.5


def test_takes(go: Any, take: Path) -> None:
    """They differ when the fine codes are drawn, and are refused when they are not."""
    assert go(take, "--style", "a.wav", "-n", 2, "--seed", 1, *FINE).exit_code == 0
    assert native("take.restyled.1.wav").tobytes() != native("take.restyled.2.wav").tobytes()
    shown = go(take, "--style", "a.wav", "-n", 2, "-f", "--nar-temperature", 0)
    assert shown.exit_code == 2 and "--nar-temperature" in shown.stderr
