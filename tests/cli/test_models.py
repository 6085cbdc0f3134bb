"""`audiolm models ...` by exit code and output."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from audiolm_cli.checkpoints.folder import FolderFacts, write_folder
from audiolm_cli.config.shapes import ModelConfig, SpectralConfig


@pytest.fixture
def mine(cache: Path) -> Path:
    """A small model in the cache."""
    return write_folder(
        cache / "mine",
        FolderFacts(
            kind="model",
            name="mine",
            model=ModelConfig(d_model=32, nhead=2).to_dict(),
            codec={"family": "spectral", "name": "mine", "config": SpectralConfig().to_dict()},
            training={"licence": "CC-BY-4.0", "hours": 2},
        ),
        tensors={"model.safetensors": {"a": torch.zeros(3)}, "codec.safetensors": {"b": torch.ones(2)}},
        texts={},
    ).path


def test_list(audiolm: Any, mine: Path, cache: Path) -> None:
    """The table and the JSON object name what is in the cache and what is not."""
    shown = audiolm("models", "list")
    assert (shown.exit_code, shown.stderr) == (0, "")
    rows = {line.split()[0]: line for line in shown.stdout.splitlines()}
    assert "CC-BY-4.0" in rows["mine"] and str(mine) in rows["mine"]
    assert "not here" in rows["encodec-32khz"] and "CC-BY-NC" in rows["encodec-32khz"]
    listing = json.loads(audiolm("models", "list", "--json").stdout)
    entry = next(entry for entry in listing["models"] if entry["name"] == "mine")
    assert (entry["source"], entry["path"], entry["problem"]) == ("cached", str(mine), "")
    assert listing["cache_dir"] == str(cache)


def test_a_list_in_a_narrow_terminal(audiolm: Any, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without paths, so that names, sizes and licences can be read."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    drawn = re.sub(r"\x1b\[[\d;]*m", "", audiolm("models", "list").stdout)
    assert max(len(line) for line in drawn.splitlines()) <= 60 and "path" not in drawn
    row = next(line for line in drawn.splitlines() if "encodec-32khz" in line)
    assert "codec   not here" in row and "CC-BY-NC-4.0" in row
    monkeypatch.setenv("COLUMNS", "200")
    assert str(mine) in audiolm("models", "list").stdout


def test_list_warns_of_what_is_damaged(audiolm: Any, mine: Path) -> None:
    """A damaged model is listed, the reason is on stderr, and the others are unharmed."""
    (mine / "model.safetensors").write_bytes(b"")
    shown = audiolm("models", "list")
    assert shown.exit_code == 0
    assert "warning: " in shown.stderr and "model.safetensors has 0 bytes" in shown.stderr


def test_another_cache(audiolm: Any, mine: Path, tmp_path: Path) -> None:
    """--cache-dir wins over the environment."""
    names = [entry["name"] for entry in json.loads(audiolm("models", "list", "--json").stdout)["models"]]
    assert "mine" in names
    shown = audiolm("models", "list", "--json", "--cache-dir", tmp_path / "other")
    assert "mine" not in [entry["name"] for entry in json.loads(shown.stdout)["models"]]
    assert audiolm("models", "path", "mine", "--cache-dir", tmp_path / "other").exit_code == 4


def test_info(audiolm: Any, mine: Path) -> None:
    """Shape, licence and hash, as rows and as JSON, by name and by path."""
    assert "32 wide" in audiolm("models", "info", "mine").stdout
    facts = json.loads(audiolm("models", "info", "mine", "--json").stdout)
    assert (facts["model"]["d_model"], facts["licence"], facts["kind"]) == (32, "CC-BY-4.0", "model")
    assert len(facts["sha256"]) == 64
    assert json.loads(audiolm("models", "info", mine, "--json").stdout) == facts
    facts = json.loads(audiolm("models", "info", "encodec-32khz", "--json").stdout)
    assert (facts["source"], facts["path"], facts["bytes"]) == ("not here", None, 235_972_432)


def test_info_fits_a_terminal(audiolm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the bundled model, what matters; all of it as JSON. In a log no row is cut."""
    shown = audiolm("models", "info", "piano")
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in shown.stdout.splitlines()[1:])
    assert rows["codec"] == "sound (spectral), 32 kHz, 25 frames a second, 2.5 kbit/s"
    assert rows["AR decoder"].startswith("makes codebooks 1 to 9; hears all codebooks of the context")
    assert re.fullmatch(r"on [\d.]+ h of audio, \d+ steps, [\d.]+ (min|h) of computing", rows["last trained"])
    assert re.fullmatch(r"2 trainings, \d+ steps, [\d.]+ h of computing", rows["before that"])
    assert "started from" not in rows
    assert {"name", "kind", "window", "held out", "licence", "folder", "sha256"} < set(rows)
    assert not re.search(r"\w\.[a-z]+_|\d\.\d{4}", re.sub(r"(?m)^folder.*", "", shown.stdout))  # fields, long numbers
    assert "--json" in shown.stderr
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    assert len(audiolm("models", "info", "piano").stdout.splitlines()) <= 25


def test_info_names_no_placeholder(audiolm: Any) -> None:
    """What a recipe calls CODEC is none that there is."""
    shown = audiolm("models", "info", "sound").stdout
    assert "CODEC" not in shown and "25 frames a second, 2.5 kbit/s" in shown
    assert re.search(r"last trained +on 14.9 h of audio, 4000 steps, 16 min", shown)
    assert re.search(r"before that +2 trainings, 10200 steps, 2.3 h", shown)


def test_info_knows_the_rates_of_a_codec_that_others_publish(audiolm: Any, tmp_path: Path) -> None:
    """The folder has its name alone; the catalogue has its shape. And what the first decoder hears is in words."""
    codec = {"family": "encodec", "name": "encodec-24khz", "config": {}, "sha256": "d7cc33bc" + 56 * "0"}
    shape = ModelConfig(d_model=32, nhead=2, context_codebooks="own", ar_holding=True, ar_codebooks=2).to_dict()
    facts = FolderFacts(
        kind="model", name="mine", model=shape, codec=codec, training={"init": "piano", "config": {"steps": 7}}
    )
    write_folder(tmp_path / "mine", facts, tensors={"model.safetensors": {"a": torch.zeros(3)}}, texts={})
    shown = audiolm("models", "info", tmp_path / "mine").stdout

    rows = dict(re.split(r"  +", line, maxsplit=1) for line in shown.splitlines()[1:])
    assert rows["codec"] == "encodec-24khz (encodec), 24 kHz, 75 frames a second, 6.0 kbit/s"
    assert rows["window"].startswith("750 frames (10.0 s)")
    assert rows["AR decoder"] == (
        "makes codebooks 1 to 2; hears codebooks 1 to 2 alone of the context, with a term for holding the code before"
    )
    assert (rows["trained"], rows["started from"]) == ("7 steps", "piano")


def test_path(audiolm: Any, mine: Path) -> None:
    """The path alone on stdout, for use in scripts."""
    assert audiolm("models", "path", "mine").stdout == f"{mine}\n"
    assert json.loads(audiolm("models", "path", "mine", "--json").stdout) == {"name": "mine", "path": str(mine)}
    shown = audiolm("models", "path", "encodec-32khz")
    assert (shown.exit_code, shown.stdout) == (4, "")
    assert "place it as" in shown.stderr
    shown = audiolm("models", "path", "mina")
    assert shown.exit_code == 4
    assert "Did you mean mine?" in shown.stderr


def test_verify(audiolm: Any, mine: Path) -> None:
    """A flipped bit is found and the exit code says so."""
    shown = audiolm("models", "verify", "mine")
    assert (shown.exit_code, shown.stdout) == (0, f"mine: verified, {mine}\n")
    data = bytearray((mine / "codec.safetensors").read_bytes())
    data[-1] ^= 1
    (mine / "codec.safetensors").write_bytes(data)
    shown = audiolm("models", "verify", "mine", "--json")
    assert (shown.exit_code, shown.stdout) == (4, "")
    assert "codec.safetensors is damaged" in shown.stderr
