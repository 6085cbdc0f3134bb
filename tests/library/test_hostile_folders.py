"""Model folders that are damaged or made up: exit code 4 and one line, and no memory beyond what the files justify."""

from __future__ import annotations

import collections
import json
import shutil
from pathlib import Path

import pytest
import torch
from damaged_folders import DAMAGES, damage_and_load, make_models

from audiolm_cli.checkpoints.header import check_amount, read_shapes
from audiolm_cli.errors import ModelError
from audiolm_cli.library import loading

PARTS = [pytest.param(part, marks=[pytest.mark.slow] if part >= 6 else []) for part in range(30)]
PER_PART = 20


@pytest.mark.parametrize("part", PARTS)
def test_damaged_folders_are_refused(part: int, tiny_model: Path, tmp_path: Path) -> None:
    """Damaged bytes are never loaded, and odd settings never build more than the files hold; 600 folders in all."""
    models = make_models(tmp_path, tiny_model)
    seeds = range(PER_PART * part, PER_PART * (part + 1))
    results = [damage_and_load(models[seed % 4 == 0], seed, tmp_path / str(seed)) for seed in seeds]
    assert not [result for result in results if result.fault]
    kinds = collections.Counter(result.damage.split(":")[0] for result in results)
    assert len(kinds) >= len(DAMAGES) - 1


def test_whole_folders_are_loaded(tiny_model: Path, tmp_path: Path) -> None:
    """What is damaged above was fit to be loaded, and a fault is told from a refusal."""
    import damaged_folders

    def nothing(rng: object, folder: Path) -> str:
        return ""

    for number, model in enumerate(make_models(tmp_path, tiny_model)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(damaged_folders, "DAMAGES", (nothing,))
            result = damage_and_load(model, 0, tmp_path / f"whole-{number}")
        assert result.outcome == "loaded" and not result.fault
        assert 0 < result.largest <= result.allowed
        greedy = damaged_folders.Result("x: y", "loaded", result.allowed + 1, result.allowed, 0.0)
        loaded = damaged_folders.Result("bytes_of_a_file: flip", "loaded", 0, 1, 0.0)
        crashed = damaged_folders.Result("x: y", "RuntimeError: z", 0, 1, 0.0)
        assert greedy.fault and loaded.fault and crashed.fault


@pytest.mark.parametrize(
    ("part", "field"), [("model", "d_model"), ("model", "num_layers"), ("codec", "width"), ("codec", "decoder_blocks")]
)
def test_more_than_the_files_hold_is_refused_before_it_is_built(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, field: str
) -> None:
    """However large the model or the codec is that a config.json describes."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    shape = config["model"] if part == "model" else config["codec"]["config"]
    shape[field] *= 64
    (folder / "config.json").write_text(json.dumps(config))

    def build(*_: object) -> None:
        raise AssertionError("built")

    monkeypatch.setattr(loading, "build" if part == "model" else "SpectralNetwork", build)
    with pytest.raises(ModelError, match=r"config.json describes at least \d+ tensors of \d+ numbers"):
        loading.load_model(str(folder), torch.device("cpu"))


def test_the_least_that_is_enough(tiny_model: Path) -> None:
    """One tensor or one number more is too much."""
    path = tiny_model / "model.safetensors"
    shapes, most = read_shapes(path), path.stat().st_size // 2
    check_amount(path, shapes, tensors=len(shapes), numbers=most)
    for tensors, numbers in ((len(shapes) + 1, 0), (0, most + 1)):
        with pytest.raises(ModelError, match=f"at least {tensors} tensors of {numbers} numbers"):
            check_amount(path, shapes, tensors=tensors, numbers=numbers)
