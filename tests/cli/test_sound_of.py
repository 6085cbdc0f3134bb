"""Prompts from elsewhere: trained with `--prompt-from`, heard by `continue --sound-of` and by `restyle`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from audiolm_cli.api import continue_audio
from audiolm_cli.audio import read_audio
from audiolm_cli.checkpoints.catalogue import resolve
from audiolm_cli.checkpoints.folder import MODEL_TENSORS, load_tensors
from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.config.shapes import PRESETS, ModelConfig, PromptShares
from audiolm_cli.editing import restyling, windows
from audiolm_cli.errors import UsageError
from audiolm_cli.library.loading import load_model
from audiolm_cli.model.decode import fill_codebooks, generate
from audiolm_cli.model.geometry import LEFT, Geometry, TaskMix, draw_geometry

Piano = Callable[..., np.ndarray]
MIXED = "split:0.7,elsewhere:0.3"


@pytest.fixture(scope="module")
def knowing_model(make_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small random model that knows prompts from elsewhere."""
    return make_model(tmp_path_factory.mktemp("models") / "knowing", prompt_from=MIXED)


@pytest.fixture(autouse=True)
def take(tmp_path: Path, piano: Piano, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in a folder with a recording of 2 s (the model's window is 1.2 s) and two references."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("take.wav", piano(2.0, 22050, 2), 22050, subtype="PCM_24")
    soundfile.write("a.wav", piano(1.0, 16000, seed=5), 16000)
    soundfile.write("b.flac", piano(1.0, 44100, 2, seed=6)[:, ::-1] ** 3, 44100)
    return Path("take.wav")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Geometry]:
    """The geometries of all that is generated."""
    seen: list[Geometry] = []

    def note(*args: Any, **settings: Any) -> torch.Tensor:
        seen.append(args[2])
        return generate(*args, **settings)

    monkeypatch.setattr(windows, "generate", note)
    return seen


@pytest.mark.parametrize(
    "more", [(), ("--before",), ("--stream",), ("-n", 2, "--best-of", 3), ("--guidance", 2)], ids=str
)
def test_a_continuation_takes_on_a_sound(audiolm: Any, knowing_model: Path, take: Path, more: tuple[Any, ...]) -> None:
    """At its exact length, the same for the same seed, and another for another reference or for none."""
    made = {}
    for name, sound in {"a": "a.wav", "again": "a.wav", "b": "b.flac", "none": None}.items():
        given = ["--sound-of", sound] if sound else []
        words = ["continue", take, "-m", knowing_model, "-d", 2.5, "--seed", 1, *given, *more, "-o", f"made-{name}.wav"]
        shown = audiolm(*words)
        assert shown.exit_code == 0, shown.stderr
        path = Path(f"made-{name}.1.wav" if "-n" in more else f"made-{name}.wav")
        made[name] = read_audio(path)
        assert made[name].num_samples == 2 * 22050 + 55125
        comment = json.loads(made[name].tags["comment"])
        assert comment.get("sound_of") == sound
    assert made["a"].samples.tobytes() == made["again"].samples.tobytes()
    assert len({recording.samples.tobytes() for recording in made.values()}) == 3


def test_every_window_of_a_continuation_hears_the_sound(
    audiolm: Any, knowing_model: Path, take: Path, heard: list[Geometry]
) -> None:
    """A quarter of the window, beside the recording's own end."""
    assert audiolm("continue", take, "-m", knowing_model, "-d", 3, "--sound-of", "a.wav").exit_code == 0
    assert len(heard) > 2 and all(geometry.elsewhere == 15 and geometry.frames <= 60 for geometry in heard)
    assert all(geometry.left >= 20 for geometry in heard)


def test_a_model_that_knows_no_sounds_says_so(audiolm: Any, tiny_model: Path, take: Path) -> None:
    shown = audiolm("continue", take, "-m", tiny_model, "--sound-of", "a.wav")
    assert shown.exit_code == 4 and shown.stderr.strip().count("\n") == 0
    assert "--prompt-from" in shown.stderr and not Path("take.continued.wav").exists()


@pytest.mark.parametrize(("reference", "code"), [("none.wav", 3), ("silent.wav", 3)])
def test_references_that_cannot_be_used(
    audiolm: Any, knowing_model: Path, take: Path, reference: str, code: int
) -> None:
    soundfile.write("silent.wav", np.zeros(8000), 8000)
    shown = audiolm("continue", take, "-m", knowing_model, "--sound-of", reference)
    assert shown.exit_code == code and reference in shown.stderr and not Path("take.continued.wav").exists()


def test_as_a_function(audiolm: Any, knowing_model: Path, take: Path) -> None:
    """The same samples as the command's."""
    words = ("continue", take, "-m", knowing_model, "-d", 1, "--seed", 3, "--sound-of", "a.wav", "--only-new")
    assert audiolm(*words).exit_code == 0
    options: dict[str, Any] = {"model": str(knowing_model), "seed": 3, "only_new": True}
    (made,) = continue_audio(take, duration_s=1.0, sound_of="a.wav", **options)
    np.testing.assert_array_equal(made.audio, read_audio("take.continued.wav").wav())
    array = read_audio("a.wav").wav()
    (again,) = continue_audio(take, duration_s=1.0, sound_of=array, sound_rate_hz=16000, **options)
    assert again.audio.shape == made.audio.shape


def test_a_folder_of_before_loads_as_it_is(tiny_model: Path, tmp_path: Path) -> None:
    """One that says nothing of prompts and styles: three segments, no styles, every weight the file's."""
    shutil.copytree(tiny_model, tmp_path / "before")
    config = tmp_path / "before" / "config.json"
    facts = json.loads(config.read_text())
    assert [facts["model"].pop(name) for name in ("prompt_from", "styles")] == ["split", []]
    config.write_text(json.dumps(facts))

    folder = resolve(str(tmp_path / "before"))
    model = load_model(str(folder.path), torch.device("cpu"), "fp32").model
    weights = load_tensors(folder, MODEL_TENSORS)
    assert len(model.ar_segments.weight) == len(model.nar_segments.weight) == 3 and model.ar_styles is None
    state = model.state_dict()
    assert state.keys() == weights.keys()
    for name, tensor in weights.items():
        assert torch.equal(state[name], tensor.float()), name


@pytest.mark.parametrize("knows", [True, False])
def test_restyling_takes_the_reference_from_elsewhere(
    knowing_model: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    """Where the model knows that; else as what came before, as ever. Every window hears it, and all fit."""
    model = load_model(str(knowing_model if knows else tiny_model), torch.device("cpu")).model
    codes = torch.randint(32, (1, 150, 4), generator=torch.Generator().manual_seed(0))
    prompt = torch.randint(32, (1, 20, 4), generator=torch.Generator().manual_seed(1))
    seen: list[Geometry] = []

    def note(*args: Any) -> torch.Tensor:
        assert torch.equal(args[1][:, :20], prompt)
        seen.append(args[3])
        return fill_codebooks(*args)

    monkeypatch.setattr(restyling, "fill_codebooks", note)
    sampling, generator = SamplingConfig(), torch.Generator().manual_seed(1)
    made = restyling.restyle_codes(model, prompt, codes, 1, sampling, generator, lambda done: None)
    assert made.shape == codes.shape and torch.equal(made[..., 0], codes[..., 0])
    lefts = [0] + [6] * (len(seen) - 1)
    assert [geometry.left for geometry in seen] == [left if knows else 20 + left for left in lefts]
    assert {(geometry.elsewhere, geometry.right) for geometry in seen} == {(20 if knows else 0, 0)}
    assert max(geometry.frames for geometry in seen) == 60


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, piano: Piano) -> Path:
    """Five recordings of 4 s: 200 frames each."""
    folder = tmp_path_factory.mktemp("recordings")
    for i in range(5):
        soundfile.write(folder / f"{i}.wav", piano(4.0, 16000, seed=i), 16000)
    return folder


def test_training_records_where_prompts_come_from(
    audiolm: Any, recordings: Path, tiny_codec: Path, take: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a model that was trained without learns from it, too, from its own weights on."""
    monkeypatch.setitem(PRESETS, "tiny", ModelConfig(d_model=32, nhead=2, num_layers=2, max_frames=120))
    options = ("--codec", tiny_codec, "--steps", 4, "--batch-frames", 200, "--validate-every", 2, "--sample-every", 0)
    assert audiolm("train", recordings, "-o", "plain", *options).exit_code == 0
    plain = resolve("plain")
    assert plain.model is not None and plain.model["prompt_from"] == "split"

    shown = audiolm("train", recordings, "-o", "mixed", *options, "--prompt-from", "elsewhere:0.3,split:0.7")
    assert shown.exit_code == 0, shown.stderr
    mixed = resolve("mixed")
    assert mixed.model is not None and mixed.model["prompt_from"] == MIXED
    started = json.loads(Path("mixed/train.json").read_text())
    assert (started["prompt_from"], started["shape"]["prompt_from"]) == ("elsewhere:0.3,split:0.7", MIXED)
    assert MIXED in audiolm("models", "info", "mixed").stdout
    words = ("continue", take, "-m", "mixed", "-d", 1, "--sound-of", "a.wav")
    assert audiolm(*words).exit_code == 0

    changed = audiolm("train", recordings, "-o", "mixed", *options, "--prompt-from", "elsewhere")
    assert changed.exit_code == 2 and "--prompt-from" in changed.stderr

    start = ("--init", "plain", "--steps", 1, "--base-lr", 1e-9, "--validate-every", 1, "--sample-every", 0)
    shown = audiolm("train", recordings, "-o", "tuned", *start, "--prompt-from", MIXED)
    assert shown.exit_code == 0, shown.stderr
    before, after = (load_tensors(folder, MODEL_TENSORS) for folder in (plain, resolve("tuned")))
    for name, tensor in before.items():
        own = after[name][: len(tensor)] if tensor.dim() else after[name]
        torch.testing.assert_close(own.float(), tensor.float(), rtol=1e-2, atol=1e-3)
    segments = after["nar_segments.weight"].float()
    assert len(segments) == 4
    torch.testing.assert_close(segments[3], segments[LEFT], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    "text", ["elswhere", "split:0.5", "split:x,elsewhere:0.5", "split:1.5,none:-0.5", "", "split:nan"]
)
def test_shares_that_are_none(audiolm: Any, recordings: Path, text: str) -> None:
    """Are refused in one line before anything is done."""
    shown = audiolm("train", recordings, "-o", "run", "--prompt-from", text)
    assert shown.exit_code == 2 and "prompt-from" in shown.stderr and not Path("run").exists()
    with pytest.raises(UsageError):
        PromptShares.parse(text)


def test_the_fixed_split_has_no_other_prompts(audiolm: Any, recordings: Path, tiny_codec: Path) -> None:
    shown = audiolm("train", recordings, "-o", "run", "--codec", tiny_codec, "--fixed-split", "--prompt-from", MIXED)
    assert shown.exit_code == 2 and "--fixed-split" in shown.stderr and not Path("run").exists()


@pytest.mark.parametrize("text", ["split", "none"])
def test_a_model_does_not_forget_prompts_from_elsewhere(
    audiolm: Any, knowing_model: Path, recordings: Path, text: str
) -> None:
    """A training that would have it forget them is refused in one line, before recordings are encoded."""
    shown = audiolm("train", recordings, "-o", "run", "--init", knowing_model, "--prompt-from", text)
    assert shown.exit_code == 2 and not Path("run").exists(), shown.stderr
    last = shown.stderr.strip().splitlines()[-1]
    assert last.startswith(f"audiolm: error: --prompt-from {text}: {knowing_model} knows prompts from elsewhere")

    start = ("--init", knowing_model, "--steps", 1, "--validate-every", 1, "--sample-every", 0)
    shown = audiolm("train", recordings, "-o", "run", *start, "--prompt-from", f"{text}:0.9,elsewhere:0.1")
    assert shown.exit_code == 0, shown.stderr


@pytest.mark.parametrize(
    "text",
    [
        "split:0.7000005,elsewhere:0.3",
        "split:0.3333333,elsewhere:0.3333333,none:0.3333333",
        "split:0.7,elsewhere:0.2,none:0.1",
        "split:0.123456789,elsewhere:0.876543211",
        "split:0.9999999",
    ],
)
def test_shares_that_nearly_add_up_can_be_drawn_from_and_kept(text: str) -> None:
    """Also as text: what a model says of itself reads as the same shares, and is written in the same way again."""
    shares = PromptShares.parse(text)
    for part in text.split(","):
        name, share = part.split(":")
        assert getattr(shares, name) == pytest.approx(float(share), abs=1e-6)
    drawn = draw_geometry(100, TaskMix(), np.random.default_rng(0), shares)
    assert drawn.frames <= 100

    config = ModelConfig(prompt_from=text)
    assert config.prompts == shares
    assert ModelConfig.from_dict(config.to_dict()) == config


def test_shares_as_text() -> None:
    """One text for the same shares, which reads as they are."""
    for text, expected in (("split", "split"), ("none:1", "none"), (" elsewhere:0.3, split:0.7 ", MIXED)):
        assert str(PromptShares.parse(text)) == expected
        assert PromptShares.parse(expected) == PromptShares.parse(text)
    assert ModelConfig(prompt_from="elsewhere:0.3,split:0.7").prompt_from == MIXED
    assert ModelConfig().knows_elsewhere is False and ModelConfig(prompt_from=MIXED).knows_elsewhere
