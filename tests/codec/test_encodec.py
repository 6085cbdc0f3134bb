"""The EnCodec adapter: shapes, exactness, loading from every dialect, and what it refuses."""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from encodec_dialects import ENCODEC, HUGGINGFACE, Dialect, from_encodec
from torch import Tensor

from audiolm_cli.codec.base import Codec, KnownSamples
from audiolm_cli.codec.encodec import EncodecCodec, EncodecConfig, exact_float32
from audiolm_cli.codec.encodec_shape import PUBLISHED
from audiolm_cli.errors import AudioInputError, DataError, InstallationError, ModelError, UsageError

TINY = EncodecConfig(num_filters=4, dimension=8, codebook_size=16)
HOP = TINY.hop_samples


@pytest.fixture(scope="module")
def codec() -> EncodecCodec:
    return EncodecCodec.untrained(TINY)


def noise(samples: int, batch: int = 1, channels: int = 1) -> Tensor:
    return 0.5 * torch.randn(batch, channels, samples, generator=torch.Generator().manual_seed(samples))


def save(state: dict[str, Tensor], path: Path, dialect: Dialect, settings: str | None = None) -> Path:
    """`state` at `path` in `dialect`: safetensors, or a pickle, packaged as audiocraft does when it has settings."""
    tensors = from_encodec(state, dialect)
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    elif settings is None:
        torch.save(tensors, path)
    else:
        torch.save({"best_state": tensors, "xp.cfg": settings, "version": "1.0.0", "exported": True}, path)
    return path


def test_it_fulfils_the_codec_protocol(codec: EncodecCodec) -> None:
    assert isinstance(codec, Codec)
    assert (codec.name, codec.sample_rate_hz, codec.hop_samples, codec.channels) == ("encodec-32khz", 32000, 640, 1)
    assert (codec.num_codebooks, codec.codebook_size, codec.frame_rate_hz) == (4, 16, 50.0)
    assert codec.receptive_field_frames is None
    assert codec.device == torch.device("cpu")


def test_the_published_layout_gives_the_published_file_size(tmp_path: Path) -> None:
    """116 tensors, 58 990 022 floats, 235 972 432 bytes: the size of facebook/encodec_32khz model.safetensors."""
    big = EncodecCodec.untrained()
    state = big.state()
    assert len(state) == 116
    assert sum(tensor.numel() for tensor in state.values()) == 58_990_022
    path = save(state, tmp_path / "model.safetensors", HUGGINGFACE)
    assert path.stat().st_size == 235_972_432
    loaded = EncodecCodec.load(path)
    assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.state().items())
    wav = noise(4 * HOP + 1)
    codes = loaded.encode(wav)
    assert codes.shape == (1, 5, 4)
    assert torch.equal(codes, big.encode(wav))


@pytest.mark.parametrize("samples", [0, 1, 7, HOP - 1, HOP, HOP + 1, 3 * HOP, 4 * HOP, 10 * HOP + 321])
def test_every_length_gives_the_frames_that_cover_it(codec: EncodecCodec, samples: int) -> None:
    codes = codec.encode(noise(samples, batch=2))
    T = math.ceil(samples / HOP)
    assert codes.shape == (2, T, 4)
    assert codes.dtype == torch.int64
    wav = codec.decode(codes)
    assert wav.shape == (2, 1, T * HOP)
    assert wav.dtype == torch.float32


def test_codes_and_audio_are_those_of_the_encodec_package(codec: EncodecCodec) -> None:
    wav = noise(20 * HOP + 100, batch=2)
    with torch.no_grad():
        [(expected, scale)] = codec.network.encode(wav)  # [B, K, T]
        audio = codec.network.decode([(expected, None)])
    assert scale is None
    codes = codec.encode(wav)
    assert len(codes.unique()) > 4  # otherwise nothing is compared
    assert torch.equal(codes.transpose(1, 2), expected)
    assert torch.equal(codec.decode(codes), audio)


def test_items_of_a_batch_do_not_touch_each_other(codec: EncodecCodec) -> None:
    wav = noise(12 * HOP, batch=3)
    together = codec.encode(wav)
    assert all(torch.equal(together[b : b + 1], codec.encode(wav[b : b + 1])) for b in range(3))


def test_short_audio_is_followed_by_silence(codec: EncodecCodec) -> None:
    assert codec.min_samples == 4 * HOP
    wav = noise(HOP + 5)
    padded = torch.nn.functional.pad(wav, (0, codec.min_samples - wav.shape[-1]))
    assert torch.equal(codec.encode(wav), codec.encode(padded)[:, :2])


def test_fewer_codebooks_decode_to_coarser_audio(codec: EncodecCodec) -> None:
    codes = codec.encode(noise(8 * HOP))
    coarse = codec.decode(codes[:, :, :2])
    assert coarse.shape == (1, 1, 8 * HOP)
    assert not torch.equal(coarse, codec.decode(codes))


def test_known_samples_are_ignored(codec: EncodecCodec) -> None:
    codes = codec.encode(noise(5 * HOP))
    known = KnownSamples(wav=torch.ones(1, 1, 5 * HOP), mask=torch.ones(5 * HOP, dtype=torch.bool))
    assert torch.equal(codec.decode(codes, known), codec.decode(codes))


def test_results_may_be_trained_on(codec: EncodecCodec) -> None:
    codes = codec.encode(noise(5 * HOP))
    table = torch.nn.Embedding(16, 3)
    table(codes).sum().backward()
    assert table.weight.grad is not None
    assert not codec.decode(codes).is_inference()


def test_stereo(codec: EncodecCodec) -> None:
    stereo = EncodecCodec.untrained(EncodecConfig(num_filters=4, dimension=8, codebook_size=16, channels=2))
    codes = stereo.encode(noise(5 * HOP, channels=2))
    assert stereo.decode(codes).shape == (1, 2, 5 * HOP)
    with pytest.raises(AudioInputError, match=r"encodes 1 channel\(s\), got audio with 2"):
        codec.encode(noise(HOP, channels=2))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_samples_that_are_not_finite_are_refused(codec: EncodecCodec, bad: float) -> None:
    wav = noise(HOP)
    wav[0, 0, 3] = bad
    with pytest.raises(AudioInputError, match="NaN or infinite"):
        codec.encode(wav)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.full((1, 3, 4), 16), "codes 0..15, got 16"),
        (torch.full((1, 3, 4), -1), "codes 0..15, got -1"),
        (torch.zeros(1, 3, 5, dtype=torch.int64), "1..4 codebooks, got codes with 5"),
    ],
    ids=["above", "below", "codebooks"],
)
def test_codes_of_another_codec_are_refused(codec: EncodecCodec, codes: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        codec.decode(codes)


def test_untrained_is_reproducible_and_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (EncodecCodec.untrained(TINY, seed=seed).state() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    key = "encoder.model.0.conv.conv.weight_v"
    assert torch.equal(one[key], same[key])
    assert not torch.equal(one[key], other[key])


def test_loading_draws_no_random_numbers_and_copies(codec: EncodecCodec) -> None:
    state = codec.state()
    before = torch.get_rng_state()
    loaded = EncodecCodec.from_state(state, TINY)
    assert torch.equal(torch.get_rng_state(), before)
    for tensor in loaded.network.parameters():
        tensor.data.zero_()
    assert state["encoder.model.0.conv.conv.weight_v"].abs().sum() > 0


SETTINGS = "sample_rate: 32000\nencodec:\n  causal: false\n  renormalize: false\nseanet:\n  pad_mode: reflect\n"


@pytest.mark.parametrize("parametrized", [False, True])
@pytest.mark.parametrize(
    ("file", "names", "settings"),
    [
        ("model.safetensors", "huggingface", None),
        ("pytorch_model.bin", "huggingface", None),
        ("encodec.safetensors", "encodec", None),
        ("encodec.th", "encodec", None),
        ("compression_state_dict.bin", "encodec", SETTINGS),
    ],
)
def test_every_dialect_loads_to_the_same_codec(
    codec: EncodecCodec, tmp_path: Path, file: str, names: Any, settings: str | None, parametrized: bool
) -> None:
    path = save(codec.state(), tmp_path / file, Dialect(names, parametrized), settings)
    loaded = EncodecCodec.load(path, TINY)
    wav = noise(9 * HOP)
    codes = codec.encode(wav)
    assert torch.equal(loaded.encode(wav), codes)
    assert torch.equal(loaded.decode(codes), codec.decode(codes))
    assert not loaded.network.training


def test_the_padding_of_a_package_is_honoured(codec: EncodecCodec, tmp_path: Path) -> None:
    settings = SETTINGS.replace("reflect", "constant")
    loaded = EncodecCodec.load(save(codec.state(), tmp_path / "c.bin", ENCODEC, settings), TINY)
    assert loaded.config.pad_mode == "constant"
    codes = codec.encode(noise(6 * HOP))
    assert not torch.equal(loaded.decode(codes), codec.decode(codes))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("32000", "16000", "sample_rate_hz 16000, expected 32000"),
        ("causal: false", "causal: true", "causal True, expected False"),
        ("renormalize: false", "renormalize: true", "normalize True, expected False"),
        ("reflect", "mirror", "pads by 'mirror'"),
    ],
)
def test_packages_of_another_codec_are_refused(
    codec: EncodecCodec, tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = save(codec.state(), tmp_path / "c.bin", ENCODEC, SETTINGS.replace(old, new))
    with pytest.raises(ModelError, match=message):
        EncodecCodec.load(path, TINY)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _pointer(path: Path) -> None:
    torch.save({"pretrained": "facebook/encodec_32khz", "exported": True, "version": "1.4.0"}, path)


class _Trap:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (open, ("trap-was-run", "w"))  # type: ignore[return-value]


def _trap(path: Path) -> None:
    torch.save({"best_state": _Trap()}, path)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("a.safetensors", _truncated, "damaged"),
        ("a.bin", _truncated, "damaged"),
        ("a.bin", lambda path: path.write_bytes(b""), "damaged"),
        ("a.bin", _pointer, "only points to 'facebook/encodec_32khz'"),
        ("a.bin", _trap, "holds more than tensors"),
        ("a.safetensors", lambda path: path.unlink(), "there is no such file"),
    ],
    ids=["cut safetensors", "cut pickle", "empty", "pointer", "code", "absent"],
)
def test_unusable_files_are_refused(
    codec: EncodecCodec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = save(codec.state(), tmp_path / file, ENCODEC)
    damage(path)
    with pytest.raises(ModelError, match=message) as caught:
        EncodecCodec.load(path, TINY)
    assert str(path) in str(caught.value)
    assert "audiolm models pull encodec-32khz" in str(caught.value)
    assert not (tmp_path / "trap-was-run").exists()


def test_other_file_types_and_another_shape_are_refused(codec: EncodecCodec, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"1")
    with pytest.raises(ModelError, match=r"end in \.safetensors"):
        EncodecCodec.load(tmp_path / "a.npz", TINY)
    with pytest.raises(ModelError, match="another shape"):
        EncodecCodec.load(save(codec.state(), tmp_path / "a.th", ENCODEC))


def test_a_broken_installation_names_the_line_that_repairs_it(
    codec: EncodecCodec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = save(codec.state(), tmp_path / "a.th", ENCODEC)
    monkeypatch.setitem(sys.modules, "encodec.model", None)
    with pytest.raises(InstallationError, match=r"encodec 0.* cannot be imported .* pip install .*'encodec") as caught:
        EncodecCodec.load(path, TINY)
    assert "models path" not in str(caught.value)


def test_building_prints_no_warning(codec: EncodecCodec) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EncodecCodec.from_state(codec.state(), TINY).encode(noise(HOP))


def test_the_configuration_survives_json() -> None:
    config = EncodecConfig(ratios=(5, 2), pad_mode="constant")
    assert EncodecConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.hop_samples == 10


@pytest.mark.parametrize(
    "values",
    [
        {"ratios": ()},
        {"channels": 3},
        {"codebook_size": 1000},
        {"pad_mode": "zero"},
        {"num_lstm_layers": 0},
        {"num_residual_layers": 0},
        {"num_codebooks": 0},
        {"compress": 0},
    ],
    ids=str,
)
def test_impossible_configurations_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(values))):
        EncodecConfig(**values)


def precision() -> list[Any]:
    backends: Any = torch.backends
    fine = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul)
    return [backend.fp32_precision for backend in fine]


@pytest.mark.parametrize("level", ["highest", "high", "medium"])
def test_exact_float32_switches_everything_off_and_back(level: str) -> None:
    torch.set_float32_matmul_precision(level)
    try:
        before = precision(), torch.backends.cudnn.allow_tf32
        with pytest.raises(KeyError), torch.autocast("cpu", torch.bfloat16), exact_float32():
            assert set(precision()) == {"ieee"}
            assert torch.backends.cudnn.allow_tf32 is False
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.is_autocast_enabled("cpu")
            raise KeyError
        assert (precision(), torch.backends.cudnn.allow_tf32) == before
        assert torch.get_float32_matmul_precision() == level
    finally:
        torch.set_float32_matmul_precision("highest")


def test_exact_float32_works_where_a_caller_used_the_newer_switches() -> None:
    backends: Any = torch.backends
    before = precision()
    backends.cudnn.conv.fp32_precision = "ieee"
    backends.cuda.matmul.fp32_precision = "tf32"
    try:
        mixed = precision()
        with exact_float32():
            assert set(precision()) == {"ieee"}
        assert precision() == mixed
    finally:
        backends.cudnn.conv.fp32_precision = before[1]
        backends.cuda.matmul.fp32_precision = before[0]


def test_autocast_does_not_change_codes(codec: EncodecCodec) -> None:
    wav = noise(12 * HOP)
    codes = codec.encode(wav)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(codec.encode(wav), codes)


@pytest.mark.gpu
def test_a_gpu_gives_nearly_the_same_codes(codec: EncodecCodec) -> None:
    wav = noise(50 * HOP)
    codes = codec.encode(wav)
    twin = EncodecCodec.from_state(codec.state(), TINY).to("cuda")
    assert twin.device.type == "cuda"
    assert (twin.encode(wav).cpu() == codes).double().mean() > 0.99
    assert torch.allclose(twin.decode(codes).cpu(), codec.decode(codes), atol=1e-4)


def test_the_published_24_khz_model_serves_with_eight_codebooks(tmp_path: Path) -> None:
    """Its shape is that of the package's own; codes are those the package makes at 6 kbit/s; audio comes back."""
    from encodec.model import EncodecModel

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(0)
        whole = EncodecModel.encodec_model_24khz(pretrained=False).eval()
    for layer in whole.quantizer.vq.layers:
        layer._codebook.inited.fill_(1)
        layer._codebook.embed.normal_(generator=torch.Generator().manual_seed(1))
    torch.save(whole.state_dict(), tmp_path / "weights.th")
    codec = EncodecCodec.load(tmp_path / "weights.th", PUBLISHED["encodec-24khz"])
    assert (codec.sample_rate_hz, codec.hop_samples, codec.num_codebooks, codec.codebook_size) == (24000, 320, 8, 1024)
    assert codec.frame_rate_hz == 75
    wav = noise(24000)
    whole.set_target_bandwidth(6.0)
    with torch.no_grad():
        [(expected, _)] = whole.encode(wav)
        audio = whole.decode([(expected, None)])
    codes = codec.encode(wav)
    assert torch.equal(codes.transpose(1, 2), expected)
    assert torch.equal(codec.decode(codes), audio)
    with pytest.raises(ModelError, match="24 kHz EnCodec"):
        EncodecCodec.load(tmp_path / "weights.th")


@pytest.mark.parametrize("frames", [99, 100, 101, 108, 250])
@pytest.mark.parametrize("more", [0, 1, 639])
def test_stretches_are_the_whole(monkeypatch: pytest.MonkeyPatch, frames: int, more: int) -> None:
    """What the convolutions make of a recording does not depend on how much of it they see at once."""
    codec = EncodecCodec.untrained(EncodecConfig(num_filters=4, dimension=16, codebook_size=64), seed=1)
    wav = 0.3 * torch.randn(2, 1, 640 * frames + more, generator=torch.Generator().manual_seed(frames))
    with torch.inference_mode():
        stretches = codec._encode_latents(wav)
        torch.testing.assert_close(stretches, codec.network.encoder(wav), rtol=1e-4, atol=1e-5)
        monkeypatch.setattr("audiolm_cli.codec.encodec._reach_samples", lambda convolutions: 0)
        enough = frames * 640 + more <= 100 * 640  # for one stretch
        assert torch.allclose(codec._encode_latents(wav), stretches, rtol=1e-4, atol=1e-5) == enough
