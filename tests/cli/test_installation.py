"""Broken installations: what works without a package, and the one line that is said where nothing does."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiolm_cli.audio import DecoderProcess
from audiolm_cli.config.shapes import PRESETS, ModelConfig, SpectralConfig
from audiolm_cli.errors import InstallationError
from audiolm_cli.evaluation import excerpts
from audiolm_cli.packages import read_requirements
from audiolm_cli.tokenizing.workers import run_workers
from audiolm_cli.workflows import codec_train

SHAPE = SpectralConfig(
    width=16, latent=8, encoder_blocks=1, decoder_blocks=1, codebook_size=16, griffin_lim_iterations=2
)


@pytest.fixture
def without_torchaudio(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchaudio and what imports it cannot be imported any more."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("torchaudio", "encodec")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchaudio", None)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, piano: Callable[..., np.ndarray]) -> Path:
    """Six recordings of two and a half seconds."""
    folder = tmp_path_factory.mktemp("recordings")
    for i in range(6):
        soundfile.write(folder / f"{i}.flac", piano(2.5, 16000, seed=i), 16000)
    return folder


@pytest.fixture(scope="module")
def pair(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of them: too few to hold any out, so both are measured on."""
    folder = tmp_path_factory.mktemp("pair")
    for i in range(2):
        shutil.copy(recordings / f"{i}.flac", folder)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "continue {take} -d 0.5 -m {model} --plot {out}/p.png -o {out}/a.wav",
        "infill {take} --gap 1:1.2 -m {model} --plot {out}/p.png -o {out}/a.wav",
        "loop {take} --bridge 0.3 -m {model} --plot {out}/p.png -o {out}/a.wav",
        "restyle {take} --style {take} -m {model} -o {out}/a.wav",
        "tokenize {recordings} --codec {codec} -o {out}/tokens",
        "train {recordings} --codec {codec} -o {out}/run --preset tiny --steps 3 --batch-frames 120 --sample-every 2",
        "codec train {recordings} -o {out}/codec --steps 3 --clips 2 --sample-every 2",
        "codec train {recordings} -o {out}/codec --init {codec} --keep-codes --steps 3 --clips 2",
        "evaluate {pair} -m {model} --clips 2 --windows 2 --report {out}/report.html",
        "models list",
    ],
    ids=lambda command: command.split(" -")[0].replace("{", "").replace("}", ""),
)
def test_what_works_without_torchaudio(
    audiolm: Any,
    without_torchaudio: None,
    recordings: Path,
    pair: Path,
    tiny_codec: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    """Everything but the networks of EnCodec, pictures and reports included, and without a warning about it."""
    monkeypatch.setitem(PRESETS, "tiny", ModelConfig(d_model=32, nhead=2, num_layers=2, max_frames=60))
    monkeypatch.setattr(codec_train, "NEW_SPECTRAL", SHAPE)
    monkeypatch.setattr(excerpts, "CLIP_S", 1.0)
    monkeypatch.setattr(excerpts, "SHORTEST_S", 2.0)
    places = {
        "take": recordings / "0.flac",
        "recordings": recordings,
        "pair": pair,
        "codec": tiny_codec,
        "model": tiny_model,
        "out": tmp_path,
    }
    shown = audiolm(*(word.format(**places) for word in command.split()))
    assert shown.exit_code == 0, shown.stderr
    assert "cannot be" not in shown.stderr  # a picture, for instance
    assert "out}" not in command or any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        "codec train {recordings} -o {out}/codec --family encodec --filters 4 --steps 2",
        "codec train {recordings} -o {out}/codec --family encodec --filters 4 --steps 2 --adversarial-from 1",
    ],
)
def test_what_needs_torchaudio(
    audiolm: Any, without_torchaudio: None, recordings: Path, tmp_path: Path, command: str
) -> None:
    """One line: the pair that is here, the pair that works, and the command; and nothing is left behind."""
    shown = audiolm(*(word.format(recordings=recordings, out=tmp_path) for word in command.split()))
    assert shown.exit_code == 4, shown.stderr
    last = shown.stderr.strip().splitlines()[-1]
    assert last.startswith("audiolm: error: torchaudio ") and " beside torch " in last
    assert f"with torchaudio{read_requirements()['torchaudio']} of the same build works; run: " in last
    assert "pip install" in last and "bug" not in shown.stderr


def test_a_worker_whose_package_is_broken(make_package: Any) -> None:
    """What failed in another process is told as if it had failed here."""
    make_package("fragile", "3.2.1", "raise OSError('undefined symbol: x')\n")
    with pytest.raises(InstallationError, match=r"^fragile 3\.2\.1 cannot be imported \(undefined symbol: x\)"):
        list(run_workers(import_fragile, (), [1, 2], 2, lambda task, share: None))
    with DecoderProcess() as decoder, pytest.raises(InstallationError, match=r"^fragile 3\.2\.1 cannot be imported"):
        decoder.call(Path("a.wav"), import_fragile)


def import_fragile() -> Any:
    """What a worker does first, or a decoder."""
    return importlib.import_module("fragile")


@pytest.mark.parametrize("package", ["typer", "rich", "torch", "numpy", "soundfile", "soxr", "safetensors", "lhotse"])
def test_a_package_that_is_missing(tmp_path: Path, package: str) -> None:
    """Without it the program says which, and how to get it, in one line with exit code 4, wherever it is imported."""
    source = f"raise ModuleNotFoundError(\"No module named '{package}'\", name='{package}')"
    told = tokenize_beside(tmp_path, package, source)  # before that line, torch itself complains about a missing numpy
    assert told.startswith(f"audiolm: error: {package} ") and f"(No module named '{package}')" in told
    assert "pip install" in told and f"'{package}" in told and "bug" not in told


def test_a_package_that_lacks_a_name(tmp_path: Path) -> None:
    """A release that does not have what is imported from it is no bug of ours."""
    told = tokenize_beside(tmp_path, "lhotse", "version = 'of something else'\n")
    assert told.startswith("audiolm: error: lhotse ") and "cannot import name" in told and "pip install" in told


def tokenize_beside(folder: Path, package: str, source: str) -> str:
    """The last line on standard error of a program that finds `source` in place of a package; it must fail with 4."""
    (folder / f"{package}.py").write_text(source)
    soundfile.write(folder / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 16000), 16000)
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); from audiolm_cli.__main__ import main; main()"
    words = ["tokenize", str(folder), "-o", str(folder / "tokens"), "--codec", "piano"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 4 and "Traceback" not in done.stderr, done.stderr
    return done.stderr.strip().splitlines()[-1]
