"""`audiolm train` on the manifests of a recipe, whose codec may not be here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lhotse import CutSet, Features, MonoCut
from lhotse.features.io import NumpyHdf5Writer

from audiolm_cli.checkpoints.catalogue import KNOWN_CODECS, resolve
from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.errors import ModelError, UsageError
from audiolm_cli.events import Event, Note
from audiolm_cli.files import hash_file
from audiolm_cli.training.preflight.request import TrainRequest
from audiolm_cli.workflows.train import train

SHAPE = ModelConfig(d_model=32, nhead=2, num_layers=2, max_frames=60)
ONE = TrainConfig(steps=1, batch_frames=120, shortest_window=20, validate_every=1, validation_windows=4)
Recipe = Callable[..., Path]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A folder of `cuts_train` and `cuts_validation` with random codes."""

    def write(kind: str = "encodec32", books: int = 4, size: int = 2048, shift: float = 0.02) -> Path:
        folder = tmp_path / "tokenized"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for split in ("train", "validation"):
            with NumpyHdf5Writer(folder / f"encodec_{split}") as writer:
                cuts = []
                for name in ("a", "b"):
                    array = rng.integers(size, size=(120, books))
                    key = writer.write(f"{split}-{name}", array)
                    duration = round(120 * shift, 8)
                    features = Features(
                        type=kind,
                        num_frames=120,
                        num_features=books,
                        frame_shift=shift,
                        sampling_rate=48_000,
                        start=0.0,
                        duration=duration,
                        storage_type="numpy_hdf5",
                        storage_path=f"data/tokenized/encodec_{split}.h5",
                        storage_key=key,
                        recording_id=name,
                        channels=0,
                    )
                    cuts.append(MonoCut(id=key, start=0.0, duration=duration, channel=0, features=features))
            CutSet.from_cuts(cuts).to_file(folder / f"cuts_{split}.jsonl.gz")
        return folder

    return write


def test_a_catalogued_codec_need_not_be_here(audiolm: Any, recipe: Recipe, tmp_path: Path) -> None:
    """Nothing but its name and hash is recorded, and that there are no audio samples is said."""
    events: list[Event] = []
    trained = train(TrainRequest(recipe(), tmp_path / "run", shape=SHAPE, config=ONE, on_event=events.append))
    known = KNOWN_CODECS["encodec-32khz"]
    assert trained.folder.codec == {"family": "encodec", "name": known.name, "config": {}, "sha256": known.sha256}
    warned = [event.message for event in events if isinstance(event, Note) and event.warning]
    assert any("encodec-32khz" in line and "without audio samples" in line for line in warned)
    assert (trained.folder.model or {})["codebook_size"] == 2048
    again = train(TrainRequest(tmp_path / "tokenized", tmp_path / "again", init=str(tmp_path / "run"), config=ONE))
    assert again.folder.codec == trained.folder.codec, "a model that names its codec can be trained further"


def test_a_codec_that_nobody_knows(
    audiolm: Any, recipe: Recipe, tmp_path: Path, piano: Callable[..., np.ndarray], cache: Path
) -> None:
    """The model says which it belongs to; what needs the codec says so, exit code 4."""
    import soundfile

    trained = train(TrainRequest(recipe(kind="encodec32ft"), tmp_path / "run", shape=SHAPE, config=ONE))
    frames = {"sample_rate_hz": 32_000, "hop_samples": 640}
    assert trained.folder.codec == {"family": "unknown", "name": "encodec32ft", "config": frames}
    soundfile.write(tmp_path / "a.wav", piano(1.0), 32_000)
    shown = audiolm("continue", tmp_path / "a.wav", "-m", tmp_path / "run", "-o", tmp_path / "b.wav")
    assert shown.exit_code == 4 and "the codec encodec32ft, which is not here" in shown.stderr
    assert str(cache) in shown.stderr and not (tmp_path / "b.wav").exists()


def test_a_store_whose_codec_turns_up_in_the_cache(
    audiolm: Any, tmp_path: Path, tiny_codec: Path, cache: Path, piano: Callable[..., np.ndarray]
) -> None:
    """The folder that its manifest names is gone, but the weights of that hash are in the cache."""
    import soundfile

    from audiolm_cli.library.loading import load_codec

    soundfile.write(tmp_path / "a.wav", piano(2.0), 32_000)
    codec = shutil.copytree(tiny_codec, tmp_path / "codec")
    assert audiolm("tokenize", tmp_path / "a.wav", "-o", tmp_path / "t", "--codec", codec).exit_code == 0
    shutil.rmtree(codec)
    lone = train(TrainRequest(tmp_path / "t", tmp_path / "lone", shape=SHAPE, config=ONE)).folder
    digest = hash_file(tiny_codec / "codec.safetensors")
    assert (lone.codec["family"], lone.codec["sha256"]) == ("unknown", digest)
    shutil.copytree(tiny_codec, cache / "found")
    assert load_codec(str(tmp_path / "lone"), cache=cache).name == "tiny-codec"
    assert train(
        TrainRequest(tmp_path / "t", tmp_path / "run", shape=SHAPE, config=ONE, cache=cache)
    ).folder.carries_codec


def test_the_user_may_say_which_codec_it_was(
    recipe: Recipe, tiny_codec: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """--codec is believed where it can be true: books, codes and frame rate fit."""
    store = recipe(kind="mine", size=10)  # a codec of 32 codes may have used the first ten alone
    events: list[Event] = []
    trained = train(
        TrainRequest(store, tmp_path / "run", codec=str(tiny_codec), shape=SHAPE, config=ONE, on_event=events.append)
    ).folder
    assert trained.files["codec.safetensors"] and trained.codec["name"] == "tiny-codec"
    assert trained.model is not None and trained.model["codebook_size"] == 32
    told = [event.message for event in events if isinstance(event, Note)]
    assert any("does not say which codec" in message for message in told)
    assert not any("guess" in message for message in told)


def test_the_code_of_the_level_is_a_codebook(recipe: Recipe, make_codec: Any, tmp_path: Path) -> None:
    """A codec with five codebooks and one for the level made codes of six."""
    codec = make_codec(tmp_path / "codec", num_codebooks=5, level_s=1.0)
    request = TrainRequest(
        recipe(kind="mine", books=6, size=30), tmp_path / "run", codec=str(codec), shape=SHAPE, config=ONE
    )
    assert train(request).folder.model["num_quantizers"] == 6  # type: ignore[index]


@pytest.mark.parametrize(
    ("shape", "error", "told"),
    [
        (
            {"books": 8, "size": 30},
            UsageError,
            "has 4 codebooks of 32 codes, but the codes of mine are of 8 codebooks of 32",
        ),
        ({"size": 2048}, UsageError, "has 4 codebooks of 32 codes, but the codes of mine are of 4 codebooks of 2048"),
        ({"size": 30, "shift": 0.0125}, ModelError, "have 80 frames per second, but the codec of --init .* has 50"),
    ],
)
def test_codes_that_do_not_fit_a_model(
    recipe: Recipe, tiny_model: Path, tmp_path: Path, shape: dict[str, Any], error: type[Exception], told: str
) -> None:
    """K, V and the frame rate are each refused by name, before anything is written."""
    with pytest.raises(error, match=told):
        train(TrainRequest(recipe(kind="mine", **shape), tmp_path / "run", init=str(tiny_model), config=ONE))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ({"books": 8, "size": 30}, "has 4 codebooks of 32 codes, but the codes in .* are of 8 codebooks of 32"),
        ({"size": 2048}, "has 4 codebooks of 32 codes, but"),
        ({"size": 30, "shift": 0.0125}, "have 80 frames per second"),
    ],
)
def test_a_codec_that_cannot_have_made_the_codes(
    recipe: Recipe, tiny_codec: Path, tmp_path: Path, shape: dict[str, Any], told: str
) -> None:
    with pytest.raises(ModelError, match=told):
        train(
            TrainRequest(recipe(kind="mine", **shape), tmp_path / "run", codec=str(tiny_codec), shape=SHAPE, config=ONE)
        )


def test_codes_that_a_model_may_know(recipe: Recipe, tiny_model: Path, tmp_path: Path) -> None:
    """Where the manifests do not say whose they are, that is said."""
    events: list[Event] = []
    train(
        TrainRequest(
            recipe(kind="mine", size=10), tmp_path / "run", init=str(tiny_model), config=ONE, on_event=events.append
        )
    )  # which may be the first of its 32
    assert any(
        isinstance(event, Note) and event.warning and "does not say whether" in event.message for event in events
    )


def test_a_manifest_without_features(audiolm: Any, tmp_path: Path) -> None:
    """Exit code 3, and what to do."""
    cut = MonoCut(id="bare", start=0.0, duration=1.0, channel=0)
    CutSet.from_cuts([cut]).to_file(tmp_path / "cuts_train.jsonl.gz")
    shown = audiolm("train", tmp_path, "-o", tmp_path / "run")
    assert shown.exit_code == 3 and "cut bare has no features" in shown.stderr and "tokenize" in shown.stderr
    assert not (tmp_path / "run").exists()


def test_models_list_and_info_show_such_a_model(audiolm: Any, recipe: Recipe, tmp_path: Path) -> None:
    """A codec of unknown family is no damage."""
    train(TrainRequest(recipe(kind="encodec32ft"), tmp_path / "run", shape=SHAPE, config=ONE))
    shown = audiolm("models", "info", tmp_path / "run")
    assert shown.exit_code == 0 and "encodec32ft" in shown.stdout
    assert resolve(str(tmp_path / "run")).carries_codec is False
