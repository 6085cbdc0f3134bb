"""`--device mps`: on a Mac with its GPU, elsewhere on one that is emulated; the model there, the codec on the CPU."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apple_gpu
import numpy as np
import pytest
import soundfile
import torch
from torch.nn.functional import scaled_dot_product_attention

from audiolm_cli.config.shapes import ModelConfig, SpectralConfig
from audiolm_cli.config.training import CodecTrainConfig, TrainConfig
from audiolm_cli.devices import codec_device, float64_device, pick_device
from audiolm_cli.distributed import Ranks, join_processes
from audiolm_cli.errors import UsageError
from audiolm_cli.events import Event, Note, TrainStep
from audiolm_cli.library.loading import load_model
from audiolm_cli.model.quantize import multiplies_bf16
from audiolm_cli.training import watch
from audiolm_cli.training.preflight.request import TrainRequest
from audiolm_cli.workflows import codec_train
from audiolm_cli.workflows.codec_train import CodecTrainRequest, train_codec
from audiolm_cli.workflows.train import train

Piano = Callable[..., np.ndarray]
RATE_HZ = 16000
REAL = torch.backends.mps.is_available()
ON_THE_CPU = "--device mps is for models; the codec computes on the CPU"


@pytest.fixture(
    params=[
        pytest.param("real", marks=pytest.mark.skipif(not REAL, reason="needs a GPU of Apple")),
        pytest.param("emulated", marks=pytest.mark.skipif(REAL, reason="there is a GPU of Apple")),
    ]
)
def gpu(request: pytest.FixtureRequest) -> Iterator[None]:
    """A GPU of Apple."""
    if request.param == "real":
        yield
        return
    with apple_gpu.emulated():
        yield


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, piano: Piano) -> Path:
    """Six recordings of 2 s, 16-bit stereo."""
    folder = tmp_path_factory.mktemp("recordings")
    for i in range(6):
        soundfile.write(folder / f"{i}.wav", piano(2.0, RATE_HZ, 2, seed=i), RATE_HZ, subtype="PCM_16")
    return folder


def native(path: Path) -> np.ndarray:
    """The exact samples of a file."""
    return soundfile.read(path, dtype="int16")[0]


@pytest.mark.parametrize(
    ("command", "options", "new"),
    [
        ("continue", ["-d", 1], (32000, 48000)),
        ("continue", ["-d", 3, "--best-of", 2, "--guidance", 1.5], (32000, 80000)),
        ("continue", ["-d", 2, "--stream"], (32000, 64000)),
        ("infill", ["--gap", "0.5:1.25"], (8000, 20000)),
        ("loop", ["--bridge", 0.5], None),
    ],
)
def test_generating(
    gpu: None,
    audiolm: Any,
    tiny_model: Path,
    recordings: Path,
    tmp_path: Path,
    command: str,
    options: list[object],
    new: tuple[int, int] | None,
) -> None:
    """Of exact length, every other sample as it was, and the same for the same seed."""
    source, outputs = recordings / "0.wav", [tmp_path / "a.wav", tmp_path / "b.wav"]
    for output in outputs:
        shown = audiolm(
            command, source, "-m", tiny_model, "-o", output, *options, "--seed", 5, "--device", "mps", "--json"
        )
        assert shown.exit_code == 0, shown.stderr
        result = json.loads(shown.stdout)
        assert result["device"] == "mps" and result["dtype"] == "fp32"

    before, made = native(source), native(outputs[0])
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    if new is None:
        assert len(made) > len(before) and np.array_equal(made[: len(before)], before)
        return
    start, stop = new
    after = len(before) - stop if command == "infill" else 0
    assert len(made) == stop + max(0, after) and np.array_equal(made[:start], before[:start])
    assert np.array_equal(made[stop:], before[stop:]) and made[start:stop].any()


def test_a_model_whose_ar_decoder_makes_two_codebooks(
    gpu: None, audiolm: Any, make_model: Callable[..., Path], recordings: Path, tmp_path: Path
) -> None:
    model = make_model(tmp_path / "two", ar_codebooks=2)
    options = ["-m", model, "-o", tmp_path / "a.wav", "-f", "-d", 1, "--seed", 5, "--device", "mps"]
    for extra in (["--guidance", 1.5, "--best-of", 2], ["--stream"]):
        shown = audiolm("continue", recordings / "0.wav", *options, *extra)
        assert shown.exit_code == 0, shown.stderr
        made = native(tmp_path / "a.wav")
        assert len(made) == 48000 and np.array_equal(made[:32000], native(recordings / "0.wav"))


def test_restyling(gpu: None, audiolm: Any, tiny_model: Path, recordings: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for output in outputs:
        options = ["--style", recordings / "1.wav", "-m", tiny_model, "-o", output, "--seed", 5, "--device", "mps"]
        shown = audiolm("restyle", recordings / "0.wav", *options)
        assert shown.exit_code == 0, shown.stderr
    assert outputs[0].read_bytes() == outputs[1].read_bytes() and len(native(outputs[0])) == 32000


@pytest.mark.parametrize("optimizer", ["muon", "scaled-adam", "adamw"])
def test_training(
    gpu: None,
    audiolm: Any,
    recordings: Path,
    tiny_codec: Path,
    tmp_path: Path,
    optimizer: str,
    piano: Piano,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Recordings to a model that is measured there, with samples on the way; stopped and gone on with."""
    monkeypatch.setattr(watch, "draw_curves", lambda *_, **__: None)
    events: list[Event] = []
    steps = TrainConfig(
        steps=3,
        batch_frames=80,
        shortest_window=20,
        validate_every=2,
        validation_windows=2,
        sample_every=3,
        optimizer=optimizer,
        device="mps",
    )
    shape = ModelConfig(d_model=32, nhead=2, num_layers=1, max_frames=40, dropout=0.1)
    request = TrainRequest(
        recordings, tmp_path / "run", codec=str(tiny_codec), shape=shape, config=steps, on_event=events.append
    )
    train(request)
    trained = train(dataclasses.replace(request, config=dataclasses.replace(steps, steps=5)))

    said = [event.message for event in events if isinstance(event, Note)]
    assert any(message.endswith("on mps:0") or message.endswith("on mps") for message in said), said
    assert ON_THE_CPU in said and "resumed at step 3" in said
    done = [event for event in events if isinstance(event, TrainStep)]
    assert [event.step for event in done] == [1, 2, 3, 4, 5]
    assert all(event.memory_bytes > 0 and np.isfinite(event.loss) for event in done)
    assert trained.verdict is not None and list((tmp_path / "run" / "samples").glob("step-*/*.wav"))

    if optimizer == "muon":
        folder, page = tmp_path / "held-out", tmp_path / "page.html"
        folder.mkdir()
        for i in (7, 8):
            soundfile.write(folder / f"{i}.wav", piano(6.0, RATE_HZ, 1, seed=i), RATE_HZ)
        shown = audiolm("evaluate", folder, "-m", trained.run, "--device", "mps", "--report", page, "--json")
        assert shown.exit_code == 0, shown.stderr
        assert json.loads(shown.stdout)["scores"]["total_bits"] > 0


def test_codecs_stay_on_the_cpu_and_that_is_said(
    gpu: None, audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = audiolm("tokenize", recordings, "-o", tmp_path / "tokens", "--codec", tiny_codec, "--device", "mps")
    assert shown.exit_code == 0 and ON_THE_CPU in shown.stderr, shown.stderr
    shown = audiolm("decode", tmp_path / "tokens", "-o", tmp_path / "audio", "--device", "mps")
    assert shown.exit_code == 0 and ON_THE_CPU in shown.stderr, shown.stderr

    small = SpectralConfig(
        width=16, latent=8, encoder_blocks=1, decoder_blocks=1, codebook_size=16, griffin_lim_iterations=2
    )
    monkeypatch.setattr(codec_train, "NEW_SPECTRAL", small)
    said: list[Event] = []
    config = CodecTrainConfig(steps=2, clips=2, clip_s=0.5, device="mps")
    train_codec(CodecTrainRequest(recordings, tmp_path / "codec", config=config, shape=small, on_event=said.append))
    assert ON_THE_CPU in [event.message for event in said if isinstance(event, Note)]


def test_where_things_are(gpu: None, tiny_model: Path) -> None:
    """The model there in fp32, the codec and all float64 on the CPU, and "auto" elsewhere."""
    device = pick_device("mps")
    loaded = load_model(str(tiny_model), device)
    assert loaded.model.device.type == "mps" and loaded.codec.device.type == "cpu" and loaded.dtype == "fp32"
    assert codec_device(device) == float64_device(device) == torch.device("cpu")
    assert pick_device("auto").type != "mps" and not multiplies_bf16(device)

    for other in (torch.device("cpu"), torch.device("cuda:1")):
        assert codec_device(other) == float64_device(other) == other


@pytest.mark.parametrize("dtype", ["bf16", "int8"])
def test_other_number_formats_are_refused(
    gpu: None, audiolm: Any, tiny_model: Path, recordings: Path, tmp_path: Path, dtype: str
) -> None:
    shown = audiolm("continue", recordings / "0.wav", "-m", tiny_model, "--device", "mps", "--dtype", dtype)
    assert shown.exit_code == 2 and f"--dtype {dtype} is not used on GPUs of Apple" in shown.stderr
    if dtype == "bf16":
        options = ["--codec", tiny_model, "--device", "mps", "--dtype", dtype]
        shown = audiolm("train", recordings, "-o", tmp_path / "run", *options)
        assert shown.exit_code == 2 and "is not used on GPUs of Apple" in shown.stderr


def test_processes_do_not_share_it() -> None:
    with pytest.raises(UsageError, match="without torchrun"), join_processes(Ranks(size=2), "mps"):
        pass


@pytest.mark.skipif(REAL, reason="there is a GPU of Apple")
@pytest.mark.parametrize("command", ["continue", "tokenize", "train"])
def test_where_there_is_none(audiolm: Any, recordings: Path, tmp_path: Path, command: str) -> None:
    """One line with what to do, and the exit code of a missing CUDA device."""
    source = recordings / "0.wav" if command == "continue" else recordings
    for name, words in (("mps", "torch sees no GPU of Apple on this machine; use --device cpu"), ("cuda:9", "CUDA")):
        shown = audiolm(command, source, "-o", tmp_path / "out.wav", "--device", name)
        assert shown.exit_code == 2 and words in shown.stderr, shown.stderr
        assert len(shown.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(REAL, reason="there is a GPU of Apple")
def test_the_emulated_one_refuses_what_a_real_one_refuses() -> None:
    """Or the tests above would show nothing: float64, complex numbers, tensors of two devices, NumPy."""
    with apple_gpu.emulated():
        there, here = torch.ones(3, device="mps"), torch.ones(3)
        refused: list[Callable[[], object]] = [
            there.double,
            lambda: torch.zeros(2, device="mps", dtype=torch.float64),
            lambda: torch.fft.rfft(there),
            lambda: there + here,
            lambda: scaled_dot_product_attention(there[None], here[None], here[None]),
            there.numpy,
        ]
        for attempt in refused:
            with pytest.raises((TypeError, RuntimeError)):
                attempt()
        assert there.device.type == "mps" and (there + 1).cpu().tolist() == [2, 2, 2]
