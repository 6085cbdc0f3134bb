"""The options of `audiolm train`: what each means, which contradict each other, and the recipes' own command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from small_model import SMALL_MODEL

from audiolm_cli.checkpoints.catalogue import resolve
from audiolm_cli.config.shapes import PRESETS, ModelConfig
from audiolm_cli.data.manifest import read_facts
from audiolm_cli.errors import DataError
from audiolm_cli.library.loading import codes_hash
from audiolm_cli.training.preflight.fine_tuning import SUITED
from audiolm_cli.training.preflight.request import TrainRequest

Piano = Callable[..., np.ndarray]

RECIPE = (
    "--model-name audio-lm --decoder-dim 1024 --nhead 16 --num-decoder-layers 12 --num-quantizers 4 --base-lr 0.05 "
    "--warmup-steps 200 --num-epochs 20 --exp-dir exp/audio-lm --max-duration 150 --filter-min-duration 5 "
    "--filter-max-duration 15 --train-stage 0 --manifest-dir data/tokenized"
)
"""The training command of the document that this project began with."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command hands to its workflow, which does nothing."""
    seen: dict[str, Any] = {}

    def fake(request: TrainRequest) -> None:
        seen.update(vars(request))
        raise DataError("far enough")

    monkeypatch.setattr("audiolm_cli.workflows.train.train", fake)
    return seen


def test_the_recipes_command_line_means_what_it_meant(audiolm: Any, seen: dict[str, Any]) -> None:
    """Sizes, ScaledAdam with Eden, epochs, seconds per batch, and the two folders."""
    assert audiolm("train", *RECIPE.split()).exit_code == 3
    assert (seen["source"], seen["run"]) == (Path("data/tokenized"), Path("exp/audio-lm"))
    assert seen["shape"] == ModelConfig() and seen["num_quantizers"] == 4
    config = seen["config"]
    assert (config.optimizer, config.schedule, config.learning_rate) == ("scaled-adam", "eden", 0.05)
    assert (config.warmup_steps, config.num_epochs, config.max_duration_s, config.train_stage) == (200, 20, 150, 0)
    assert (config.filter_min_duration_s, config.filter_max_duration_s) == (5, 15)


def test_the_recipe_trains(
    audiolm: Any, piano: Piano, tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same words with smaller numbers, on a store of two-second clips, which its filter drops at first."""
    monkeypatch.setattr("audiolm_cli.training.watch.draw_curves", lambda *_, **__: None)  # takes most of the time
    (tmp_path / "recordings").mkdir()
    for i in range(6):
        soundfile.write(tmp_path / "recordings" / f"{i}.wav", piano(2.0, 16000, seed=i), 16000)
    store = tmp_path / "data" / "tokenized"
    assert audiolm("tokenize", tmp_path / "recordings", "-o", store, "--codec", tiny_codec).exit_code == 0
    line = (
        RECIPE.replace("1024", "32")
        .replace("16", "2")
        .replace("layers 12", "layers 1")
        .replace("epochs 20", "epochs 2")
    )
    line = line.replace("exp/audio-lm", str(tmp_path / "exp")).replace("data/tokenized", str(store))
    shown = audiolm("train", *line.split())
    assert shown.exit_code == 3 and "shorter than 5 s" in shown.stderr and "--filter-min-duration 2" in shown.stderr
    assert "\n    2-5 s" in shown.stderr and not (tmp_path / "exp").exists()
    shown = audiolm("train", *line.replace("min-duration 5", "min-duration 2").split())
    assert shown.exit_code == 0, shown.stderr
    facts = resolve(str(tmp_path / "exp")).training
    assert facts["config"]["batch_frames"] == 7500 and facts["config"]["steps"] == 1
    assert "train: kept" in shown.stderr and "dropped none" in shown.stderr


def test_the_bundled_codec_serves_where_none_is_named(
    audiolm: Any, piano: Piano, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is asked whether to download another one."""
    asked: list[str] = []
    monkeypatch.setattr("audiolm_cli.cli.fetching._confirm", lambda _, offer: asked.append(offer.name) or False)
    monkeypatch.setattr("audiolm_cli.training.watch.draw_curves", lambda *_, **__: None)  # takes most of the time
    monkeypatch.setenv("AUDIOLM_OFFLINE", "0")
    soundfile.write(tmp_path / "a.wav", piano(2.0, 16000), 16000)
    options = [*SMALL_MODEL, "--steps", 1, "--batch-frames", 80]
    shown = audiolm("train", tmp_path / "a.wav", "-o", tmp_path / "run", *options, "--sample-every", 0)
    assert (shown.exit_code, asked) == (0, []), shown.stderr
    assert resolve(str(tmp_path / "run")).codec["sha256"] == resolve("sound").codec["sha256"]
    shown = audiolm("tokenize", tmp_path / "a.wav", "-o", tmp_path / "t")
    assert (shown.exit_code, asked) == (0, []), shown.stderr
    assert read_facts(tmp_path / "t").sha256 == codes_hash("sound")
    shown = audiolm("train", tmp_path / "a.wav", "-o", tmp_path / "other", "--codec", "encodec-32khz")
    assert shown.exit_code == 4 and asked == ["encodec-32khz"] and "or sound, which is here" in shown.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("in --manifest-dir other -o run", ("PATH in", "--manifest-dir other")),
        ("in -o run --exp-dir other", ("-o run", "--exp-dir other")),
        ("-o run", ("PATH is missing",)),
        ("in", ("-o is missing", "audiolm train recordings/ -o runs/mine")),
        ("in -o run --steps 3 --num-epochs 2", ("--num-epochs and --steps",)),
        ("in -o run --batch-frames 3 --max-duration 2", ("--max-duration and --batch-frames",)),
        ("in -o run --init m --decoder-dim 64", ("--decoder-dim", "--init")),
        ("in -o run --init m --context-attention full", ("--context-attention and --init", "its own shape")),
        ("in -o run --context-attention half", ("causal",)),
        ("in -o run --init m --context-codebooks own", ("--context-codebooks and --init", "its own shape")),
        ("in -o run --context-codebooks 2", ("own",)),
        ("in -o run --decoder-dim 100 --nhead 16", ("d_model", "100")),
        ("in -o run --model-name VALL-E", ("audio-lm",)),
        ("in -o run --optimizer sgd", ("scaled-adam",)),
    ],
)
def test_options_that_contradict_each_other(
    audiolm: Any, seen: dict[str, Any], line: str, words: tuple[str, ...]
) -> None:
    shown = audiolm("train", *line.split())
    assert shown.exit_code == 2 and not seen, shown.stderr
    assert all(word in " ".join(shown.stderr.split()) for word in words), shown.stderr


def test_both_names_of_one_folder_are_no_contradiction(audiolm: Any, seen: dict[str, Any]) -> None:
    assert audiolm("train", "in", "--manifest-dir", "./in", "-o", "run", "--exp-dir", "run").exit_code == 3
    assert (seen["source"], seen["run"]) == (Path("in"), Path("run"))


def test_an_optimizer_that_is_named_is_taken(audiolm: Any, seen: dict[str, Any]) -> None:
    """--base-lr is then its rate; sizes without a preset change those of base, with one its own."""
    options = ["--optimizer", "adamw", "--base-lr", "0.001", "--schedule", "cosine", "--nhead", "8"]
    assert audiolm("train", "in", "-o", "run", *options).exit_code == 3
    assert (seen["config"].optimizer, seen["config"].schedule, seen["config"].learning_rate) == (
        "adamw",
        "cosine",
        1e-3,
    )
    assert seen["shape"] == dataclasses.replace(ModelConfig(), nhead=8)
    assert audiolm("train", "in", "-o", "run", "--preset", "small", "--num-decoder-layers", "3").exit_code == 3
    assert (seen["shape"].d_model, seen["shape"].num_layers) == (512, 3)
    assert (seen["config"].optimizer, seen["config"].schedule) == ("muon", "wsd")


def test_what_the_ar_decoder_makes_of_a_context_is_the_presets_unless_named(audiolm: Any, seen: dict[str, Any]) -> None:
    """It changes no size. The base is the published model."""
    for options, preset, attention, codebooks in (
        ([], "tiny", "causal", "own"),
        (["--context-attention", "full"], "tiny", "full", "own"),
        (["--preset", "small", "--context-codebooks", "all"], "small", "causal", "all"),
        (["--preset", "base"], "base", "full", "all"),
        (["--preset", "base", "--context-attention", "causal", "--context-codebooks", "own"], "base", "causal", "own"),
    ):
        assert audiolm("train", "in", "-o", "run", *options).exit_code == 3
        wanted = {"context_attention": attention, "context_codebooks": codebooks}
        assert seen["shape"] == dataclasses.replace(PRESETS[preset], **wanted)


def test_a_rate_alone_leaves_the_optimizer(audiolm: Any, seen: dict[str, Any]) -> None:
    """Only with the recipes' --model-name, it is that of ScaledAdam."""
    assert audiolm("train", "in", "-o", "run", "--base-lr", "0.004").exit_code == 3
    config = seen["config"]
    assert (config.optimizer, config.schedule, config.learning_rate) == ("muon", "wsd", 0.004)
    assert audiolm("train", "in", "-o", "run", "--base-lr", "0.004", "--model-name", "audio-lm").exit_code == 3
    assert (seen["config"].optimizer, seen["config"].schedule) == ("scaled-adam", "eden")


def test_what_nobody_chose_is_left_to_the_amount_of_data(
    audiolm: Any, seen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that happens to be the default, or comes from the environment, was chosen."""
    assert audiolm("train", "in", "-o", "run", "--init", "m").exit_code == 3
    assert set(SUITED) <= seen["free"]
    monkeypatch.setenv("AUDIOLM_SAMPLE_EVERY", "1000")
    given = ["--steps", 3000, "--patience", 0, "--base-lr", 0.02, "--validate-every", 250, "--warmup-steps", 50]
    assert audiolm("train", "in", "-o", "run", "--init", "m", *given).exit_code == 3
    assert not set(SUITED) & seen["free"]


def test_options_reach_the_workflow(audiolm: Any, seen: dict[str, Any], tmp_path: Path) -> None:
    """Each flag is a field."""
    options = ["--preset", "small", "--steps", 7, "--batch-frames", 8, "--train-stage", 1, "--validate-every", 9]
    more = ["--seed", 4, "--threads", 2, "--device", "cpu", "--codec", "c", "--cache-dir", tmp_path]
    rest = ["--micro-frames", 5, "--patience", 6, "--fixed-split", "--dtype", "bf16", "--dropout", "0.1"]
    assert audiolm("train", "in", "-o", "run", *options, *more, *rest).exit_code == 3
    config = seen["config"]
    assert (config.steps, config.batch_frames, config.train_stage, config.validate_every) == (7, 8, 1, 9)
    assert (config.seed, config.threads, config.device) == (4, 2, "cpu")
    assert (config.micro_frames, config.patience, config.fixed_split, config.dtype) == (5, 6, True, "bf16")
    assert (seen["codec"], seen["init"], seen["cache"], seen["dropout"]) == ("c", None, tmp_path, 0.1)
    assert (seen["source"], seen["run"], seen["shape"].d_model) == (Path("in"), Path("run"), 512)
    assert audiolm("train", "in", "-o", "run", "--init", "m").exit_code == 3 and seen["init"] == "m"
    assert seen["transpose"] is None
    assert audiolm("train", "in", "-o", "run", "--transpose", 3).exit_code == 3 and seen["transpose"] == 3
    both = audiolm("train", "in", "-o", "run", "--init", "m", "--preset", "tiny")
    assert both.exit_code == 2 and "--preset and --init" in both.stderr


@pytest.mark.parametrize(
    ("flag", "wrong"),
    [
        ("--base-lr", ("0", "-1", "nan", "inf", "high")),
        ("--num-epochs", ("0", "-1", "nan", "inf")),
        ("--max-duration", ("0", "-1", "nan", "inf")),
        ("--filter-min-duration", ("-1", "nan", "inf")),
        ("--filter-max-duration", ("-1", "nan", "inf")),
        ("--dropout", ("-1", "1", "nan", "inf")),
        ("--steps", ("0", "-1", "nan", "1" + 30 * "0")),
        ("--batch-frames", ("0", "-1", "inf", "1" + 12 * "0")),
        ("--micro-frames", ("-1",)),
        ("--validate-every", ("0", "-1")),
        ("--sample-every", ("-1",)),
        ("--patience", ("-1",)),
        ("--warmup-steps", ("-1",)),
        ("--decoder-dim", ("0", "1", "-2")),
        ("--nhead", ("0",)),
        ("--num-decoder-layers", ("0",)),
        ("--num-quantizers", ("0",)),
        ("--seed", ("-1", "1" + 30 * "0")),
        ("--threads", ("0", "100000")),
    ],
)
def test_numbers_out_of_range_are_refused(audiolm: Any, tmp_path: Path, flag: str, wrong: tuple[str, ...]) -> None:
    """Before any work, by the name of the option."""
    for value in wrong:
        shown = audiolm("train", tmp_path, "-o", tmp_path / "run", "--codec", "nowhere", flag, value)
        assert (shown.exit_code, shown.stdout) == (2, ""), f"{flag} {value}: {shown.stderr}"
        said = " ".join(shown.stderr.split())
        assert flag.strip("-") in said.replace("_", "-"), said
        assert "Traceback" not in shown.stderr and not (tmp_path / "run").exists()
