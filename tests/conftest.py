"""What every test shares: no user cache, no colours, one torch thread, and the program as a function."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# torch and typer read these when they are imported, which is after this file
os.environ.update(
    {"NO_COLOR": "1", "_TYPER_FORCE_DISABLE_TERMINAL": "1", "TERMINAL_WIDTH": "100", "OMP_NUM_THREADS": "1"}
)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in the background of a script; children would ignore it, too
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
    os.environ.pop(_name, None)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run of the program left."""

    exit_code: int
    stdout: str
    stderr: str


RunAudiolm = Callable[..., Outcome]


_connect = socket.socket.connect


def _connect_to_this_machine(self: socket.socket, address: Any) -> None:
    """`socket.connect` for tests, none of which may reach another machine."""
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
        raise AssertionError(f"a test tried to reach {address}")
    _connect(self, address)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkpoint cache, offline, no settings of the user's, no other variable; no machine can be reached."""
    for name in [name for name in os.environ if name.startswith("AUDIOLM_")]:
        monkeypatch.delenv(name)
    for name in ("HF_ENDPOINT", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("AUDIOLM_CACHE_DIR", str(folder))
    monkeypatch.setenv(
        "XDG_CACHE_HOME", str(folder / ".user")
    )  # functions called without a cache must not find the user's
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / ".config"))
    monkeypatch.setenv("AUDIOLM_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(folder / ".huggingface"))
    monkeypatch.setattr(socket.socket, "connect", _connect_to_this_machine)
    return folder


MakePackage = Callable[[str, str, str], None]


@pytest.fixture
def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePackage:
    """`make_package(name, version, source)` puts a package before all others; without a source only its version."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, version: str, source: str) -> None:
        facts = tmp_path / f"{name}-{version}.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        if source:
            (tmp_path / f"{name}.py").write_text(source)
            monkeypatch.delitem(sys.modules, name, raising=False)

    return make


@pytest.fixture
def audiolm(capsys: pytest.CaptureFixture[str]) -> RunAudiolm:
    """Run the program in this process: `audiolm("models", "list")`; errors become exit codes as for a user."""

    def run(*args: object) -> Outcome:
        from audiolm_cli.cli.app import main

        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(arg) for arg in args])
        assert isinstance(caught.value.code, int)
        captured = capsys.readouterr()
        return Outcome(exit_code=caught.value.code, stdout=captured.out, stderr=captured.err)

    return run


def make_piano(seconds: float, rate_hz: int = 32000, channels: int = 1, seed: int = 0) -> np.ndarray:
    """float32 [N, C] of decaying notes with overtones, one every 0.4 s; peak 0.5, a little noise in each channel."""
    rng = np.random.default_rng(seed)
    count = round(seconds * rate_hz)
    time_s = np.arange(count) / rate_hz
    mono = np.zeros(count)
    for onset in np.arange(0, seconds, 0.4):
        pitch_hz = 220 * 2 ** (int(rng.integers(0, 25)) / 12)
        since = time_s[time_s >= onset] - onset
        note = sum(np.exp(-(3 + k) * since) * np.sin(2 * np.pi * k * pitch_hz * since) / k for k in (1, 2, 3))
        mono[count - len(since) :] += note
    mono *= 0.5 / max(np.abs(mono).max(), 1e-9)
    return (mono[:, None] + 1e-3 * rng.standard_normal((count, channels))).astype(np.float32)


@pytest.fixture(scope="session")
def piano() -> Callable[..., np.ndarray]:
    """`make_piano` for tests, which cannot import this file."""
    return make_piano


@pytest.fixture(scope="session")
def make_codec() -> Callable[..., Path]:
    """Write a small spectral codec into a folder: principal components and k-means, no training.

    `make_codec(folder, hop_samples=1280)`: further arguments change its shape.
    """
    import torch

    from audiolm_cli.checkpoints.folder import CODEC_TENSORS, FolderFacts, write_folder
    from audiolm_cli.codec.spectral import SpectralCodec
    from audiolm_cli.config.shapes import SpectralConfig

    small = {
        "width": 16,
        "latent": 8,
        "encoder_blocks": 1,
        "decoder_blocks": 1,
        "codebook_size": 32,
        "griffin_lim_iterations": 4,
    }

    def write(folder: Path, **changes: Any) -> Path:
        shape = SpectralConfig(**small | changes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            codec = SpectralCodec(shape, name=folder.name)
            with torch.no_grad():
                features = codec.log_magnitudes(torch.from_numpy(make_piano(12.0, shape.sample_rate_hz).T))[0]
                codec.network.initialise(features)
                latents = codec.network.latents(features[None])[0]
            codec.network.quantizer.initialise(latents, 4, torch.Generator().manual_seed(0))
        return write_folder(
            folder,
            FolderFacts(
                kind="codec",
                name=folder.name,
                model=None,
                codec={"family": "spectral", "name": folder.name, "config": shape.to_dict()},
                training={"licence": "none: a test"},
            ),
            tensors={CODEC_TENSORS: codec.state_dict()},
            texts={},
        ).path

    return write


@pytest.fixture(scope="session")
def tiny_codec(make_codec: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small spectral codec of 50 frames per second and 4 codebooks."""
    return make_codec(tmp_path_factory.mktemp("codecs") / "tiny-codec")


@pytest.fixture(scope="session")
def make_model(tiny_codec: Path) -> Callable[..., Path]:
    """Write a small random model with `tiny_codec`, or another codec, into a folder; with `ends=True` one that ends
    pieces soon.

    That one finds every code, and the end of the piece, equally likely: it ends after 33 frames on average. Further
    arguments change the model's shape.
    """
    import torch

    from audiolm_cli.checkpoints.folder import (
        CODEC_TENSORS,
        MODEL_TENSORS,
        FolderFacts,
        load_tensors,
        read_folder,
        write_folder,
    )
    from audiolm_cli.config.shapes import ModelConfig
    from audiolm_cli.library.loading import load_codec
    from audiolm_cli.model.decoders import build

    def write(folder: Path, ends: bool = False, codec: Path = tiny_codec, **changes: Any) -> Path:
        quantizers = load_codec(str(codec)).num_codebooks
        small = {"d_model": 32, "nhead": 2, "num_layers": 2, "codebook_size": 32, "max_frames": 60}
        shape = ModelConfig(num_quantizers=quantizers, **small | changes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build(shape)
        with torch.no_grad():
            model.ar_head.weight.mul_(
                0 if ends else 10
            )  # 10: neither flat nor certain, so that seeds and filters matter
        found = read_folder(codec)
        return write_folder(
            folder,
            FolderFacts(kind="model", name=folder.name, model=shape.to_dict(), codec=found.codec, training={}),
            tensors={MODEL_TENSORS: model.state_dict(), CODEC_TENSORS: load_tensors(found, CODEC_TENSORS)},
            texts={},
        ).path

    return write


@pytest.fixture(scope="session")
def tiny_model(make_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small random model: good for plumbing, never for its sound."""
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


FRAGILE_RATE_HZ = 11025


@pytest.fixture
def crashing_decoder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> int:
    """A libsndfile that dies of SIGSEGV over recordings of this sample rate; in this process it must not see them."""
    import soundfile

    folder = tmp_path_factory.mktemp("crashing")
    (folder / "soundfile.py").write_text(
        "import importlib, os, signal, sys\n"
        f"sys.path.remove({str(folder)!r})\n"
        "del sys.modules['soundfile']\n"
        "import soundfile\n"
        "read = soundfile.SoundFile.read\n"
        "def fragile(self, *args, **kwargs):\n"
        f"    if self.samplerate == {FRAGILE_RATE_HZ}:\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    return read(self, *args, **kwargs)\n"
        "soundfile.SoundFile.read = fragile\n"
        f"sys.path.insert(0, {str(folder)!r})\n"  # for processes that this one starts
    )
    monkeypatch.syspath_prepend(folder)
    read = soundfile.SoundFile.read

    def here(self: soundfile.SoundFile, *args: Any, **kwargs: Any) -> Any:
        assert self.samplerate != FRAGILE_RATE_HZ, "decoded where a crash would end the run"
        return read(self, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", here)
    return FRAGILE_RATE_HZ
