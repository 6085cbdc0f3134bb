"""The bundled model, on the demo's prompt: small enough, undamaged, and better than chance in every part."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from audiolm_cli.audio import mid, read_audio, resample
from audiolm_cli.checkpoints.catalogue import resolve
from audiolm_cli.checkpoints.folder import verify_folder
from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.evaluation import compared
from audiolm_cli.evaluation.metrics import chroma_correlation, mel_distance, spectral_distance
from audiolm_cli.evaluation.model import context_use, score_windows
from audiolm_cli.library.loading import Loaded, load_model
from audiolm_cli.model.decode import generate
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.geometry import Geometry
from audiolm_cli.model.quantize import multiplies_int8
from audiolm_cli.reports.verdict import judge_evaluation
from audiolm_cli.workflows.evaluate import evaluate

PRELUDE = Path(str(resources.files("audiolm_cli"))) / "assets" / "demo" / "prelude.flac"


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    """The model with the weights that were trained."""
    return load_model("piano", torch.device("cpu"), "fp32")


@pytest.fixture(scope="module")
def wav() -> torch.Tensor:
    """The prelude as the codec takes it, at the level of the training recordings."""
    recording = read_audio(PRELUDE)
    mono = resample(mid(recording.wav())[None], recording.sample_rate_hz, 32000)
    return torch.from_numpy(mono / np.abs(mono).max() * 10 ** (-3 / 20))[None]


def test_the_bundle_is_undamaged_and_small() -> None:
    folder = resolve("piano")
    verify_folder(folder)
    assert sum(path.stat().st_size for path in folder.path.iterdir()) < 60e6
    assert "Held-out numbers" in (folder.path / "MODEL_CARD.md").read_text()


def test_the_codec_keeps_the_notes(loaded: Loaded, wav: torch.Tensor) -> None:
    decoded = loaded.codec.decode(loaded.codec.encode(wav))[..., : wav.shape[-1]]
    pair = wav[0, 0], decoded[0, 0]
    assert mel_distance(*pair) < 0.25
    assert spectral_distance(*pair) < 0.15
    assert chroma_correlation(*pair) > 0.9


def test_it_predicts_music_it_never_saw(loaded: Loaded, wav: torch.Tensor) -> None:
    codes = loaded.codec.encode(wav)[:, :400]
    scores = score_windows(loaded.model, codes)
    assert scores.total_bits < 0.4 * 99  # 99 bits are uniform
    assert scores.top10[0] > 0.9


def test_its_own_prompt_helps_more_than_a_constant_one(loaded: Loaded, wav: torch.Tensor) -> None:
    codes = loaded.codec.encode(wav)[:, :400]
    use = context_use(loaded.model, [(codes, torch.full_like(codes, 7))])
    assert use.ar_bits > 0 and use.nar_bits > 0


def test_continue_writes_what_it_promises(audiolm: Callable[..., object], tmp_path: Path) -> None:
    target = tmp_path / "out.wav"
    outcome = audiolm("continue", PRELUDE, "-d", "1.5", "--seed", 5, "-o", target, "--json")
    assert outcome.exit_code == 0, outcome.stderr  # type: ignore[attr-defined]
    result = json.loads(outcome.stdout)  # type: ignore[attr-defined]
    assert result["model"] == {"name": "piano", "sha256": resolve("piano").sha256}
    before, rate = soundfile.read(PRELUDE, dtype="int16")
    after, _ = soundfile.read(target, dtype="int16")
    assert np.array_equal(after[: len(before)], before)
    new = after[len(before) :].astype(float)
    assert len(new) == round(1.5 * rate)
    assert 0.1 < np.sqrt((new**2).mean()) / np.sqrt((before[-rate:].astype(float) ** 2).mean()) < 3


def likeliest(model: Decoders, codes: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The likeliest codes [K, M] of the second half of codes [1, T, K], and their total cross-entropy."""
    half = codes.shape[1] // 2
    geometry = Geometry(half, codes.shape[1] - half)
    context, target = geometry.split(codes)
    with torch.inference_mode():
        parts = model.ar_predict(context, target, geometry)
        parts += [model.nar_predict(context, target, geometry, k) for k in range(len(parts), codes.shape[2])]
    likely = torch.cat([part.logits[..., : model.eos].argmax(-1) for part in parts])
    return likely, sum(part.loss().item() for part in parts)


def play_trumpet(seconds: int, rate_hz: int) -> np.ndarray:
    """float32 [N]: a note each second with many overtones and a vibrato."""
    time_s = np.arange(rate_hz) / rate_hz
    phases = 2 * np.pi * (time_s + 0.01 / 6 * np.sin(12 * np.pi * time_s))
    notes = [
        sum(np.sin(h * f0_hz * phases) / np.sqrt(h) for h in range(1, 25)) * np.minimum(1, time_s / 0.05)
        for f0_hz in 233 * 2 ** (np.arange(seconds) / 6)
    ]
    return (np.concatenate(notes) / 10).astype(np.float32)


@pytest.mark.parametrize("command", [("continue", "-d", 0.2), ("infill", "--gap", "4:4.2"), ("loop", "--bridge", 0.2)])
def test_what_is_no_piano_is_said_to_be_none(
    command: tuple[object, ...], audiolm: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line about a trumpet, and none about a piano, also around a DC offset, or about what is too short to tell."""
    monkeypatch.chdir(tmp_path)
    verb, *options = command
    for seconds in (6, 1):
        soundfile.write(f"trumpet-{seconds}.wav", play_trumpet(seconds, 32000), 32000)
    shown = audiolm(verb, "trumpet-6.wav", *options, "--seed", 1)
    line = "trumpet-6.wav does not sound like a piano, and the model piano knows only pianos"
    assert shown.exit_code == 0 and shown.stderr.count(line) == 1
    prelude, rate_hz = soundfile.read(PRELUDE, dtype="float32", stop=5 * soundfile.info(PRELUDE).samplerate)
    soundfile.write("offset.wav", 0.6 * prelude + 0.1, rate_hz)
    others = [PRELUDE, "offset.wav"] if verb == "infill" else [PRELUDE, "offset.wav", "trumpet-1.wav"]
    for other in others:
        shown = audiolm(verb, other, *options, "--seed", 1)
        assert shown.exit_code == 0 and "sound like" not in shown.stderr


def test_an_evaluation_says_of_a_trumpet_what_a_continuation_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the model knows only pianos, whatever the codec carries; no word of it about a piano."""
    monkeypatch.setattr(compared, "TAKES", 1)
    soundfile.write(tmp_path / "trumpet.wav", play_trumpet(6, 32000), 32000)
    trumpet, piano = (evaluate(path, clips=1, windows=1).to_dict() for path in (tmp_path / "trumpet.wav", PRELUDE))
    assert (trumpet["no_piano"], piano["no_piano"]) == (1, 0)
    line = "piano knows only pianos, and 1 of 1 excerpt does not sound like one"
    assert sum(line in said for said in judge_evaluation(trumpet)) == 1
    assert not any("knows only" in said for said in judge_evaluation(piano))
    assert evaluate(tmp_path / "trumpet.wav", "sound", clips=1).no_piano is None, "a codec makes nothing new"


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
def test_a_take_is_what_it_is_alone(loaded: Loaded, wav: torch.Tensor, dtype: str) -> None:
    """To the last code: in int8 a difference in rounding soon flips one."""
    model, context = load_model("piano", torch.device("cpu"), dtype).model, loaded.codec.encode(wav)[:, :100]
    seeds, shape = (1, 2, 3, 4), Geometry(100, 30)

    def made(*seeds: int) -> torch.Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return generate(model, context, shape, SamplingConfig(), generators)

    assert torch.equal(made(*seeds), torch.cat([made(seed) for seed in seeds]))


@pytest.mark.parametrize("dtype", ["bf16", "int8"])
def test_narrow_formats_say_what_float32_says(loaded: Loaded, wav: torch.Tensor, dtype: str) -> None:
    """97 % of the likeliest codes are the same, and the cross-entropy is within 1 %.

    In int8 without VNNI, whose inputs have half as many levels, 95 % are.
    """
    codes = loaded.codec.encode(wav)[:, :500]
    exact, exact_loss = likeliest(loaded.model, codes)
    narrow, loss = likeliest(load_model("piano", torch.device("cpu"), dtype).model, codes)
    least = 0.95 if dtype == "int8" and not multiplies_int8() else 0.97
    assert (narrow == exact).float().mean() >= least
    assert abs(loss / exact_loss - 1) < 0.01
