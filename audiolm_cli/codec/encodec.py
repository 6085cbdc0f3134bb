"""EnCodec behind the codec protocol: the only file beside the training's discriminator that imports `encodec`.

Builds `encodec.model.EncodecModel` from a configuration and loads it strictly. Knows nothing about downloads, caches or
long recordings (`chunked.py`).
"""

from __future__ import annotations

import dataclasses
import math
import pickle
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from audiolm_cli.codec.base import KnownSamples, OnShare, ignore_share
from audiolm_cli.codec.dialects import check_layout, read_settings, to_encodec, unwrap_package
from audiolm_cli.codec.encodec_shape import PAD_MODES, EncodecConfig
from audiolm_cli.errors import AudioInputError, DataError, ModelError
from audiolm_cli.packages import explained_imports

_FETCH_HINT = "`audiolm models pull encodec-32khz` fetches the published weights."
_PICKLED = (".bin", ".th", ".pt")
STRETCH_FRAMES = 100
"""Frames whose convolutions are computed at once: on a CPU, faster than fewer, and than all of them."""


class EncodecCodec:
    """EnCodec as a `Codec`: float32 in and out, no state between calls.

    Its codes depend on the whole recording (LSTM), so a part encoded alone may get other codes: see `chunked.py`.
    """

    receptive_field_frames: int | None = None

    def __init__(self, network: nn.Module, config: EncodecConfig) -> None:
        """Wrap a loaded network; use `load`, `from_state` or `untrained` instead."""
        self.network: Any = network.eval()
        self.config = config
        self.name = config.name
        self.sample_rate_hz = config.sample_rate_hz
        self.hop_samples = config.hop_samples
        self.channels = config.channels
        self.num_codebooks = config.num_codebooks
        self.codebook_size = config.codebook_size

        margin = config.last_kernel - 1 if config.causal else config.last_kernel // 2
        self.min_samples = (margin + 1) * config.hop_samples
        """Shorter audio is followed by silence up to this length, in samples: the last convolution reflects
        `margin` frames, which must exist."""

    @classmethod
    def load(cls, path: str | Path, config: EncodecConfig | None = None) -> Self:
        """The codec stored at `path`, on the CPU; `None` is the published 32 kHz model.

        Args:
            path: a `.safetensors`, or a `.bin`, `.th` or `.pt` that holds tensors only. Every dialect is read. An
                audiocraft package brings its padding mode, which then replaces that of `config`.
            config: the shape of the network.

        Raises:
            ModelError: the file is missing, damaged, of another model or does not fit `config`.
        """
        config = config or EncodecConfig()
        path = Path(path)
        _import_encodec()  # before the file is read: a broken installation is not the file's fault

        if not path.is_file():
            raise ModelError(f"{path}: there is no such file. {_FETCH_HINT}")

        try:
            tensors, settings = unwrap_package(_read_checkpoint(path))
            return cls.from_state(tensors, _apply_package_settings(config, read_settings(settings)))
        except ModelError as error:
            raise ModelError(f"{path}: {error} {_FETCH_HINT}") from error

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], config: EncodecConfig | None = None) -> Self:
        """The codec with copies of these weights, on the CPU.

        Args:
            state: floating-point tensors in any dialect.
            config: the shape of the network; None is the published 32 kHz model.

        Raises:
            ModelError: a tensor is missing, unexpected, wrong-shaped or damaged.
        """
        config = config or EncodecConfig()
        renamed = {key: value for key, value in to_encodec(state).items() if not _is_left_out(key, config)}

        try:
            with torch.device("meta"):  # no time and no random numbers are spent on weights that are replaced at once
                network = _build_network(config)
        except (RuntimeError, ValueError, TypeError, ArithmeticError, AssertionError) as error:
            raise ModelError(f"No EnCodec can be built as its configuration says ({error}).") from error

        check_layout(renamed, {key: tuple(value.shape) for key, value in network.state_dict().items()})
        copies = {key: value.detach().to("cpu", torch.float32, copy=True) for key, value in renamed.items()}
        network.load_state_dict(copies, strict=True, assign=True)
        return cls(network, config)

    @classmethod
    def untrained(cls, config: EncodecConfig | None = None, *, seed: int = 0) -> Self:
        """A codec with random weights: noise in, noise out, but every shape and rule is that of a real one.

        For tests, timing and dry runs. The codebooks follow what the encoder makes of noise, so that codes vary. The
        global random state is left alone.
        """
        config = config or EncodecConfig()

        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            network: Any = _build_network(config).eval()
            for name, parameter in network.named_parameters():
                if name.endswith(".weight_g"):
                    parameter.mul_(math.sqrt(3))  # torch's own initialisation fades a signal layer by layer

            wav = torch.randn(1, config.channels, 50 * config.hop_samples)  # [1, C, N]
            _fit_random_codebooks(network, network.encoder(wav), config.codebook_size)

        return cls(network, config)

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second."""
        return self.config.frame_rate_hz

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.network.parameters()).device
        return device

    def to(self, device: torch.device | str) -> Self:
        """This codec, its weights moved to `device`."""
        self.network.to(device)
        return self

    def state(self) -> dict[str, Tensor]:
        """The weights under the names of `encodec.model.EncodecModel`, contiguous on the CPU: ready to be saved."""
        return {key: value.detach().cpu().contiguous() for key, value in self.network.state_dict().items()}

    def encode(self, wav: Tensor) -> Tensor:
        """Codes of `wav`, each item encoded as one whole recording.

        Args:
            wav: floats [B, C, N] in [-1, 1] at `sample_rate_hz`, on any device. Audio under `min_samples` is followed
                by silence up to it, and only the codes of its own frames are kept. N may be 0.

        Returns:
            int64 [B, T, K] on the codec's device, `T = ceil(N / hop_samples)`.

        Raises:
            AudioInputError: another number of channels, or a sample that is not finite.
        """
        assert wav.ndim == 3 and wav.is_floating_point(), (wav.shape, wav.dtype)
        B, C, N = wav.shape
        if self.channels != C:
            raise AudioInputError(f"{self.name} encodes {self.channels} channel(s), got audio with {C}.")

        T = -(-N // self.hop_samples)
        if B == 0 or T == 0:
            return torch.zeros(B, T, self.num_codebooks, dtype=torch.int64, device=self.device)

        wav = wav.to(self.device, torch.float32)
        if not bool(torch.isfinite(wav).all()):
            raise AudioInputError("The audio holds NaN or infinite samples; repair or re-export the file.")

        with torch.inference_mode(), exact_float32():
            wav = F.pad(wav, (0, max(0, self.min_samples - N)))
            latents = self._encode_latents(wav)  # [B, D, >=T]
            codes = self.network.quantizer.encode(latents, self.network.frame_rate, self.network.bandwidth)
            codes = codes[:, :, :T].permute(1, 2, 0)  # [B, T, K], of [K, B, >=T]

        assert codes.shape == (B, T, self.num_codebooks), codes.shape
        return codes.contiguous().clone()  # a copy made out here may be used in training; an inference tensor may not

    def _encode_latents(self, wav: Tensor) -> Tensor:
        """[B, D, T] of `wav` [B, C, N]: what the encoder makes of it, the convolutions a stretch at a time.

        They work at the rate of the samples, where half a minute takes hundreds of MB, and see a few frames only; the
        recurrent layers behind them see everything, at the rate of the frames.
        """
        layers, hop, N = self.network.encoder.model, self.hop_samples, wav.shape[-1]
        recurrent = next(i for i, layer in enumerate(layers) if hasattr(layer, "lstm"))
        convolutions = layers[:recurrent]
        context = -(-_reach_samples(convolutions) // hop)

        T, parts = -(-N // hop), []
        for start in range(0, T, STRETCH_FRAMES):
            stop = min(start + STRETCH_FRAMES, T)
            first, last = max(0, start - context), stop + context
            part = convolutions(wav[..., first * hop : N if last >= T else last * hop])
            parts.append(part[..., start - first : stop - first])

        latents: Tensor = layers[recurrent:](torch.cat(parts, dim=-1))
        return latents

    def decode(self, codes: Tensor, known: KnownSamples | None = None, on_share: OnShare = ignore_share) -> Tensor:
        """Audio of `codes`.

        Args:
            codes: int64 [B, T, K] on any device, each in 0..V-1. Fewer codebooks than `num_codebooks` give coarser
                audio. T may be 0.
            known: ignored; this codec chooses no phase.
            on_share: called at the end.

        Returns:
            float32 [B, C, T * hop_samples] on the codec's device; may exceed [-1, 1] a little.

        Raises:
            DataError: more codebooks than this codec has, or a code outside its range.
        """
        assert codes.ndim == 3 and not codes.is_floating_point(), (codes.shape, codes.dtype)
        B, T, K = codes.shape
        if not 1 <= K <= self.num_codebooks:
            raise DataError(f"{self.name} decodes 1..{self.num_codebooks} codebooks, got codes with {K}.")
        if B == 0 or T == 0:
            return torch.zeros(B, self.channels, T * self.hop_samples, device=self.device)

        lowest, highest = (int(edge) for edge in torch.aminmax(codes))
        if lowest < 0 or highest >= self.codebook_size:
            wrong = lowest if lowest < 0 else highest
            raise DataError(f"{self.name} has codes 0..{self.codebook_size - 1}, got {wrong}: another codec's tokens?")

        with torch.inference_mode(), exact_float32():
            codes = codes.to(self.device, torch.int64).transpose(1, 2)  # [B, K, T]
            wav = self.network.decode([(codes, None)])  # [B, C, T * hop]

        assert wav.shape == (B, self.channels, T * self.hop_samples), wav.shape
        on_share(1.0)
        return wav.clone()

    def matched(self, heard: Sequence[tuple[Tensor, Tensor]]) -> EncodecCodec:
        """Itself: it decodes to samples, whose errors depend on their phase."""
        return self


def _reach_samples(convolutions: nn.Module) -> int:
    """How far from a frame samples may lie, on either side together, that convolutions one after the other see."""
    reach, stride = 0, 1
    for layer in convolutions.modules():
        if isinstance(layer, nn.Conv1d):
            reach += (layer.kernel_size[0] - 1) * layer.dilation[0] * stride
            stride *= layer.stride[0]
    return reach


@contextmanager
def exact_float32() -> Iterator[None]:
    """Full float32 inside the block, on every device: no TF32, no reduced matmul, no autocast. Restored on leaving.

    A rounding of 1e-3 moves codes that lie near the border between two entries of a codebook.
    """
    backends: Any = torch.backends
    fine = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
    fine += [backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn]
    saved = [backend.fp32_precision for backend in fine]

    # torch keeps an older pair of switches beside the fine ones and raises when it reads one that disagrees with
    # them. Setting the old ones sets both; they cannot be read where a caller made them disagree.
    matmul = _read_unless_mixed(torch.get_float32_matmul_precision)
    cudnn = _read_unless_mixed(lambda: backends.cudnn.allow_tf32)

    try:
        if matmul is not None:
            torch.set_float32_matmul_precision("highest")
        if cudnn is not None:
            backends.cudnn.allow_tf32 = False
        for backend in fine:
            backend.fp32_precision = "ieee"

        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
        if cudnn is not None:
            backends.cudnn.allow_tf32 = cudnn
        for backend, precision in zip(fine, saved, strict=True):
            backend.fp32_precision = precision


def _is_left_out(key: str, config: EncodecConfig) -> bool:
    """Whether a tensor is of a stage that the checkpoint has and the codec does without."""
    found = re.match(r"quantizer\.vq\.layers\.(\d+)\.", key)
    return found is not None and config.num_codebooks <= int(found[1]) < config.stored_codebooks


def _read_unless_mixed(read: Callable[[], Any]) -> Any:
    """What one of torch's older switches says; None where it disagrees with the finer ones."""
    try:
        return read()
    except RuntimeError:
        return None


def _import_encodec() -> tuple[Any, Any, Any, Any]:
    """The classes of `encodec` that are needed; the import loads torchaudio, which fails beside another torch.

    Raises:
        InstallationError: it fails here.
    """
    with explained_imports():
        from encodec.model import EncodecModel
        from encodec.modules import SEANetDecoder, SEANetEncoder
        from encodec.quantization import ResidualVectorQuantizer
    return EncodecModel, SEANetEncoder, SEANetDecoder, ResidualVectorQuantizer


def _build_network(config: EncodecConfig) -> nn.Module:
    """The network `config` describes, with fresh weights on torch's default device."""
    EncodecModel, SEANetEncoder, SEANetDecoder, ResidualVectorQuantizer = _import_encodec()
    seanet: dict[str, Any] = {
        "channels": config.channels,
        "dimension": config.dimension,
        "n_filters": config.num_filters,
        "n_residual_layers": config.num_residual_layers,
        "ratios": list(config.ratios),
        "norm": "weight_norm",
        "kernel_size": config.kernel,
        "last_kernel_size": config.last_kernel,
        "residual_kernel_size": config.residual_kernel,
        "dilation_base": config.dilation_base,
        "causal": config.causal,
        "pad_mode": config.pad_mode,
        "true_skip": config.true_skip,
        "compress": config.compress,
        "lstm": config.num_lstm_layers,
    }

    # `encodec` counts codebooks by the bits per second that they take.
    bits_per_s = config.num_codebooks * math.log2(config.codebook_size) * config.sample_rate_hz / config.hop_samples

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # encodec uses the older of torch's two weight norms
        network: nn.Module = EncodecModel(
            SEANetEncoder(**seanet),
            SEANetDecoder(**seanet, trim_right_ratio=config.trim_right_ratio),
            ResidualVectorQuantizer(dimension=config.dimension, n_q=config.num_codebooks, bins=config.codebook_size),
            target_bandwidths=[bits_per_s / 1000],
            sample_rate=config.sample_rate_hz,
            channels=config.channels,
            normalize=False,
            segment=None,
            name=config.name,
        )
    return network


def _fit_random_codebooks(network: Any, latents: Tensor, codebook_size: int) -> None:
    """Give each codebook random mixtures of the frames of latents [1, D, T] that the stages before it left over."""
    residual = latents
    for layer in network.quantizer.vq.layers:
        frames = residual[0].t()  # [T, D]
        mean = frames.mean(dim=0)
        mixture = torch.randn(codebook_size, len(frames)) / math.sqrt(len(frames))  # [V, T]

        codebook = layer._codebook
        codebook.embed.copy_(mean + mixture @ (frames - mean))
        codebook.embed_avg.copy_(codebook.embed)
        codebook.cluster_size.fill_(1)
        codebook.inited.fill_(1)

        residual = residual - layer.decode(layer.encode(residual))


def _read_checkpoint(path: Path) -> Any:
    """Whatever the checkpoint file at `path` holds; nothing but tensors and plain values is ever unpickled."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        if path.suffix in _PICKLED:
            return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"The file is damaged, or holds more than tensors ({reason}).") from error
    raise ModelError(f"Codec weights end in .safetensors, {', '.join(_PICKLED)}, not {path.suffix!r}.")


def _apply_package_settings(config: EncodecConfig, settings: Mapping[str, Any]) -> EncodecConfig:
    """`config` with the padding mode of an audiocraft package, after a check that the package is of the same codec."""
    expected = {"sample_rate_hz": config.sample_rate_hz, "causal": config.causal, "normalize": False}
    for key, value in expected.items():
        if settings.get(key, value) != value:
            raise ModelError(f"The settings of this package have {key} {settings[key]}, expected {value}.")

    pad_mode = settings.get("pad_mode", config.pad_mode)
    if pad_mode not in PAD_MODES:
        raise ModelError(f"This package pads by {pad_mode!r}, expected one of {', '.join(PAD_MODES)}.")
    return dataclasses.replace(config, pad_mode=pad_mode)
