"""Styles: labels of recordings through tokenizing and training to `--style`, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiolm_cli.audio import read_audio
from audiolm_cli.checkpoints.catalogue import resolve
from audiolm_cli.checkpoints.folder import MODEL_TENSORS, load_tensors
from audiolm_cli.config.shapes import PRESETS, ModelConfig

Piano = Callable[..., np.ndarray]
FEW = ("--steps", 4, "--batch-frames", 200, "--validate-every", 2, "--sample-every", 0)


@pytest.fixture(scope="module")
def styled_model(make_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small random model of two styles, whose vectors are large enough to be heard."""
    import torch

    from audiolm_cli.checkpoints.folder import CODEC_TENSORS, FolderFacts, write_folder

    found = resolve(str(make_model(tmp_path_factory.mktemp("models") / "styled", styles=("harp", "bell"))))
    weights = load_tensors(found, MODEL_TENSORS)
    for name in ("ar_styles.weight", "nar_styles.weight"):
        weights[name] = torch.randn(weights[name].shape, generator=torch.Generator().manual_seed(0))
    facts = FolderFacts(kind="model", name="styled", model=found.model, codec=found.codec, training={})
    tensors = {MODEL_TENSORS: weights, CODEC_TENSORS: load_tensors(found, CODEC_TENSORS)}
    return write_folder(found.path, facts, tensors=tensors, texts={}, force=True).path


@pytest.fixture(autouse=True)
def take(tmp_path: Path, piano: Piano, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in a folder with a recording of 2 s (the model's window is 1.2 s) and a reference."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("take.wav", piano(2.0, 22050), 22050, subtype="PCM_24")
    soundfile.write("a.wav", piano(1.0, 16000, seed=5), 16000)
    return Path("take.wav")


COMMANDS = {
    "continue": ("--style", "-d", 1.5),
    "continue --stream": ("--style", "-d", 1.5),
    "continue -n 2 --best-of 3": ("--style", "-d", 1.5),
    "infill --gap 0.5:1.0": ("--style",),
    "loop": ("--style",),
    "restyle --style a.wav": ("--style-token",),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_asks_for_a_style(audiolm: Any, styled_model: Path, take: Path, command: str) -> None:
    """Each makes something else of the same seed, the same again, and says so in the comment."""
    flag, *more = COMMANDS[command]
    verb, *words = command.split()
    made = {}
    for name, style in {"harp": "harp", "again": "harp", "bell": "bell", "none": None}.items():
        given = [flag, style] if style else []
        shown = audiolm(verb, take, "-m", styled_model, *words, *given, *more, "--seed", 1, "-o", f"{name}.wav")
        assert shown.exit_code == 0, shown.stderr
        recording = read_audio(f"{name}.1.wav" if "-n" in words else f"{name}.wav")
        made[name] = recording.samples.tobytes()
        assert json.loads(recording.tags["comment"]).get("style_token") == style
    assert made["harp"] == made["again"] and len(set(made.values())) == 3


def test_an_unknown_style_ends_with_the_list(audiolm: Any, styled_model: Path, tiny_model: Path, take: Path) -> None:
    shown = audiolm("continue", take, "-m", styled_model, "--style", "oboe")
    assert shown.exit_code == 2 and "'oboe'" in shown.stderr and shown.stderr.strip().endswith("harp, bell")
    shown = audiolm("continue", take, "-m", tiny_model, "--style", "harp")
    assert shown.exit_code == 2 and "has none" in shown.stderr and "--styles" in shown.stderr
    assert "harp, bell" in audiolm("models", "info", styled_model).stdout


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, piano: Piano) -> Path:
    """Six recordings in two folders, and a table of one of them."""
    folder = tmp_path_factory.mktemp("recordings")
    for i in range(6):
        place = folder / ("high" if i % 2 else "low")
        place.mkdir(exist_ok=True)
        soundfile.write(place / f"{i}.wav", piano(2.0, 16000, seed=i), 16000)
    (folder / "labels.csv").write_text("file,label\n" + "".join(f"{i}.wav,odd\n" for i in (1, 3, 5)))
    return folder


def test_labels_survive_tokenizing_and_training(
    audiolm: Any, recordings: Path, tiny_codec: Path, take: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From folders, through a store, to a model that lists and takes them; another training adds more."""
    monkeypatch.setitem(PRESETS, "tiny", ModelConfig(d_model=32, nhead=2, num_layers=2, max_frames=60))
    assert audiolm("tokenize", recordings, "-o", "tokens", "--codec", tiny_codec).exit_code == 0
    shown = audiolm("train", "tokens", "-o", "run", "--styles", "folders", *FEW)
    assert shown.exit_code == 0, shown.stderr
    assert "high (" in shown.stderr and "low (" in shown.stderr
    model = resolve("run")
    assert model.model is not None and model.model["styles"] == ["high", "low"]
    assert json.loads(Path("run/train.json").read_text())["styles"] == "folders"
    weights = load_tensors(model, MODEL_TENSORS)
    assert weights["ar_styles.weight"].abs().min() > 0 and weights["nar_styles.weight"].abs().min() > 0
    words = ("continue", take, "-m", "run", "-d", 0.5, "-o", "new.wav")
    assert audiolm(*words, "--style", "low").exit_code == 0

    again = audiolm("train", "tokens", "-o", "run", "--styles", "folders", *FEW)  # a finished one goes on
    assert again.exit_code == 0, again.stderr
    other = audiolm("train", "tokens", "-o", "run", *FEW)
    assert other.exit_code == 2 and "--styles" in other.stderr

    start = ("--init", "run", "--steps", 1, "--base-lr", 1e-9, "--validate-every", 1, "--sample-every", 0)
    shown = audiolm("train", recordings, "-o", "more", "--styles", recordings / "labels.csv", *start)
    assert shown.exit_code == 0, shown.stderr
    grown = resolve("more")
    assert grown.model is not None and grown.model["styles"] == ["high", "low", "odd"]
    both = load_tensors(grown, MODEL_TENSORS)["nar_styles.weight"].float()
    assert np.allclose(both[:2], weights["nar_styles.weight"].float(), atol=1e-3) and np.allclose(both[2], 0, atol=1e-3)


def test_labels_that_are_not_there(audiolm: Any, recordings: Path, tiny_codec: Path) -> None:
    (Path("flat")).mkdir()
    for i in range(2):
        Path(f"flat/{i}.wav").write_bytes((recordings / "low" / f"{2 * i}.wav").read_bytes())
    shown = audiolm("train", "flat", "-o", "run", "--codec", tiny_codec, "--styles", "folders", *FEW)
    assert shown.exit_code == 3, shown.stderr
    last = shown.stderr.strip().splitlines()[-1]
    assert last.startswith("audiolm: error: --styles folders: all recordings lie in")


@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=str)
def test_labels_that_cannot_be_there_are_refused_before_recordings_are_encoded(
    audiolm: Any, recordings: Path, tiny_codec: Path, more: tuple[str, ...]
) -> None:
    Path("labels.csv").write_text("file,label\n")
    for styles, said in (("lables.csv", "Did you mean labels.csv?"), ("speaker", "expected folders or a table")):
        shown = audiolm("train", recordings, "-o", "run", "--codec", tiny_codec, "--styles", styles, *FEW, *more)
        assert shown.exit_code == 3 and not Path("run").exists(), shown.stderr
        last = shown.stderr.strip().splitlines()[-1]
        assert last.startswith("audiolm: error") and styles in last and said in last


def test_a_trial_leaves_styles_out(audiolm: Any, recordings: Path, tiny_codec: Path) -> None:
    """Of recordings; a store has all of its labels."""
    words = ("--codec", tiny_codec, "--styles", "folders", "--dry-run", "--decoder-dim", 32, "--nhead", 2)
    shown = audiolm("train", recordings, "-o", "run", *words, "--num-decoder-layers", 1)
    assert shown.exit_code == 0 and "styles are left out of the trial" in shown.stderr, shown.stderr
