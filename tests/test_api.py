"""The editing functions on arrays: what goes in comes out, with the same samples wherever nothing was made."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import audiolm_cli
from audiolm_cli import continue_audio, infill_audio, load_model, loop_audio, restyle_audio
from audiolm_cli.cli.guide import guide
from audiolm_cli.config.generation import GenerateConfig
from audiolm_cli.errors import AudioInputError, ModelError, UsageError
from audiolm_cli.library.loading import Loaded
from audiolm_cli.workflows.continue_audio import continue_files

Piano = Callable[..., np.ndarray]
RATE_HZ = 16000


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Loaded:
    """The tiny model, loaded once."""
    return load_model(str(tiny_model))


@pytest.fixture
def audio(piano: Piano) -> np.ndarray:
    """float32 [2, N] of 1.5 s."""
    return np.ascontiguousarray(piano(1.5, RATE_HZ, 2).T)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int32"])
def test_samples_types_and_shapes(model: Loaded, audio: np.ndarray, dtype: str) -> None:
    """The dtype and the shape of the input, and its samples bit for bit outside what was made."""
    scale = {"int16": 2**15 - 1, "int32": 2**31 - 1}.get(dtype, 1)
    given = (audio.astype(np.float64) * scale).astype(dtype)
    (made,) = continue_audio(given, RATE_HZ, 0.3, model=model, seed=1)
    assert (made.audio.dtype, made.audio.shape) == (given.dtype, (2, 24000 + 4800))
    assert np.array_equal(made.audio[:, :24000], given) and made.audio[:, 24000:].any()
    assert (made.sample_rate_hz, made.seed, made.generated) == (RATE_HZ, 1, [(1.5, 1.8)])
    (front,) = continue_audio(given[0], RATE_HZ, 0.3, before=True, model=model, seed=1)
    assert front.audio.shape == (28800,) and np.array_equal(front.audio[4800:], given[0])
    (filled,) = infill_audio(given, RATE_HZ, (0.5, 0.7), model=model, seed=1)
    assert np.array_equal(
        np.delete(filled.audio, range(8000, 11200), axis=1), np.delete(given, range(8000, 11200), axis=1)
    )
    assert not np.array_equal(filled.audio, given)
    (looped,) = loop_audio(given, RATE_HZ, 0.25, model=model, seed=1)
    assert looped.audio.shape == (2, 28000) and np.array_equal(looped.audio[:, :24000], given)
    (styled,) = restyle_audio(given, RATE_HZ, style=audio[:, ::-1].copy(), model=model, seed=1)
    assert (styled.audio.dtype, styled.audio.shape) == (given.dtype, given.shape)


def test_the_same_as_the_command(model: Loaded, tiny_model: Path, audio: np.ndarray, tmp_path: Path) -> None:
    """The same seed gives the samples that the command writes, from a path and from an array."""
    source = tmp_path / "in.wav"
    soundfile.write(source, audio.T, RATE_HZ, subtype="FLOAT")
    config = GenerateConfig(output=str(tmp_path / "out.wav"), model=str(tiny_model), seed=4)
    continue_files([str(source)], 0.3, config=config)
    written = soundfile.read(tmp_path / "out.wav", dtype="float32")[0].T
    for given, rate_hz in ((audio, RATE_HZ), (source, None), (str(source), None)):
        (made,) = continue_audio(given, rate_hz, 0.3, model=model, seed=4)
        assert made.audio.dtype == np.float32 and np.array_equal(made.audio, written)


def test_options(model: Loaded, audio: np.ndarray) -> None:
    """Takes, ranking, several gaps, another length, the new part alone."""
    takes = continue_audio(audio, RATE_HZ, 0.2, model=model, seed=7, takes=2, best_of=3, temperature=0.9)
    assert len(takes) == 2 and takes[0].score is not None and takes[1].score is not None
    assert takes[0].score >= takes[1].score and {take.seed for take in takes} < {7, 8, 9}
    (made,) = infill_audio(audio, RATE_HZ, [(0.4, 0.5), (1.2, None)], length_s=0.2, model=model, seed=1, only_new=True)
    assert made.audio.shape == (2, 6400) and made.generated == [(0.0, 0.2), (0.2, 0.4)]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"sample_rate_hz": None}, UsageError, "needs its sample rate"),
        ({"audio": np.zeros((16000, 2), np.float32)}, AudioInputError, "transpose"),
        ({"audio": np.zeros(16000, np.uint8)}, AudioInputError, "uint8"),
        ({"audio": np.full(16000, np.nan, np.float32)}, AudioInputError, "no numbers"),
        ({"audio": np.zeros(100, np.float32)}, AudioInputError, "6 ms"),
        ({"audio": "none.wav"}, AudioInputError, "no such file"),
        ({"duration_s": 0.0}, UsageError, "duration"),
        ({"temprature": 1.0}, UsageError, "no option is called temprature; known: .*temperature"),
        ({"takes": 0}, UsageError, "takes"),
        ({"takes": 1.5}, UsageError, "takes must be a whole number, got 1.5"),
        ({"seed": 2**63}, UsageError, f"seed must be at most {2**63 - 1}, got {2**63}"),
        ({"temperature": math.inf}, UsageError, "temperature must be finite, got inf"),
        ({"sample_rate_hz": 16000.0}, UsageError, "sample rate, a whole number.*16000.0"),
        ({"page": "x.html"}, UsageError, "no option is called page"),
        ({"model": "nowhere-xyz"}, ModelError, "nowhere-xyz"),
    ],
)
def test_what_cannot_be_used(
    model: Loaded, audio: np.ndarray, change: dict[str, object], error: type[Exception], words: str
) -> None:
    """The errors of the command line, as exceptions."""
    arguments: dict[str, object] = {"audio": audio, "sample_rate_hz": RATE_HZ, "duration_s": 0.2, "model": model}
    with pytest.raises(error, match=words):
        continue_audio(**(arguments | change))  # type: ignore[arg-type]


@pytest.mark.parametrize("gap", [(-1.0, 0.5), (-1.0, -0.5), (math.nan, 0.5), (0.1, math.nan), (math.inf, None)])
def test_gaps_that_are_not_in_a_recording(model: Loaded, audio: np.ndarray, gap: tuple[float, float | None]) -> None:
    """One that begins before the recording led to one twice as long."""
    with pytest.raises(UsageError, match=f"gap {gap[0]:g}:.* is not in a recording"):
        infill_audio(audio, RATE_HZ, gap, model=model, seed=1)


def test_numbers_of_numpy(model: Loaded, audio: np.ndarray) -> None:
    """They are as good as those of Python."""
    plain = continue_audio(audio, RATE_HZ, 0.2, model=model, seed=5, takes=2, temperature=0.5)
    numpy = continue_audio(
        audio, np.int64(RATE_HZ), 0.2, model=model, seed=np.int32(5), takes=np.int64(2), temperature=np.float32(0.5)
    )
    assert [take.seed for take in plain] == [take.seed for take in numpy] == [5, 6]
    assert all(np.array_equal(one.audio, other.audio) for one, other in zip(plain, numpy, strict=True))


@pytest.mark.parametrize("option", ["takes", "temperature", "seed", "top_p"])
def test_a_text_is_no_number(model: Loaded, audio: np.ndarray, option: str) -> None:
    with pytest.raises(UsageError, match=f"{option.replace('_', '-')} must be a number, got '2'"):
        continue_audio(audio, RATE_HZ, 0.2, model=model, **{option: "2"})


def test_the_example_of_the_guide_runs(
    model: Loaded, audio: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands there, with the tiny model in place of the bundled one."""
    from audiolm_cli.checkpoints import catalogue

    page = guide("usage")
    (example,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "infill_audio" in block)
    monkeypatch.setattr(catalogue, "bundled_folders", lambda: {"piano": model.folder.path})
    monkeypatch.chdir(tmp_path)
    soundfile.write("take.wav", np.tile(audio, 4).T, RATE_HZ)
    soundfile.write("other.wav", audio.T, RATE_HZ)
    exec(compile(example.replace("duration_s=5.0", "duration_s=0.3"), "guide/usage.md", "exec"), {})
    assert soundfile.info("longer.wav").frames == 4 * 24000 + 4800


def test_importing_the_package_loads_nothing() -> None:
    """The names are there without torch; one that is not is an AttributeError."""
    code = "import sys, audiolm_cli; assert 'infill_audio' in dir(audiolm_cli); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    with pytest.raises(AttributeError, match="no attribute 'compose'"):
        audiolm_cli.compose  # noqa: B018


@pytest.mark.parametrize("option", ["best_of", "only_new", "until_end"])
def test_what_a_restyling_does_not_have(model: Loaded, piano: Piano, option: str) -> None:
    """Options that say nothing about it are refused by name."""
    audio = piano(0.5, RATE_HZ)[:, 0]
    with pytest.raises(UsageError, match=option):
        restyle_audio(audio, RATE_HZ, style=audio, model=model, **{option: 2})


@pytest.mark.parametrize("package", ["audiolm_cli", "audiolm_cli.model"])
def test_the_model_is_imported_by_its_name(package: str) -> None:
    """As recipes import it; the package itself stays light, and other names are none of it."""
    code = (
        f"import sys, {package} as package; assert 'torch' not in sys.modules; "
        f"from {package} import AudioLM, get_model; "
        "assert type(get_model('audiolm', d_model=8, nhead=2, num_layers=1)) is AudioLM; package.nothing"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 1 and ran.stderr.strip().endswith(f"module '{package}' has no attribute 'nothing'")
