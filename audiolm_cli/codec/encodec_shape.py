"""The shape of an EnCodec network, of published ones, and of a folder's codec. Knows nothing about torch or files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from audiolm_cli.config.base import Settings, require
from audiolm_cli.config.shapes import SpectralConfig

_RANGES = (
    *(("sample_rate_hz", 1000, 768_000), ("ratios", 1, 1000), ("num_filters", 1, 4096), ("dimension", 1, 1 << 16)),
    *(("num_residual_layers", 1, 64), ("kernel", 1, 1000), ("last_kernel", 1, 1000), ("residual_kernel", 1, 1000)),
    *(("dilation_base", 1, 16), ("compress", 1, 4096), ("num_lstm_layers", 1, 16), ("num_codebooks", 1, 1000)),
    *(("codebook_size", 2, 1 << 20), ("stored_codebooks", 0, 1000)),
)
PAD_MODES = ("reflect", "constant", "replicate")


@dataclass(frozen=True, kw_only=True)
class EncodecConfig(Settings):
    """The shape of an EnCodec network; the defaults are the published 32 kHz model."""

    name: str = "encodec-32khz"
    """What the codec is called in catalogues and manifests."""
    sample_rate_hz: int = 32000
    """Sample rate in Hz."""
    channels: int = 1
    """Audio channels, 1 or 2."""
    ratios: tuple[int, ...] = (8, 5, 4, 4)
    """Upsampling factors in decoder order; their product is the hop in samples."""
    num_filters: int = 64
    """Channels at full rate; doubled by every downsampling."""
    dimension: int = 128
    """Channels of the quantized latent."""
    num_residual_layers: int = 1
    """Residual blocks per stage, 1 or more."""
    kernel: int = 7
    """Kernel of the first convolution, in samples (encoder) or frames (decoder)."""
    last_kernel: int = 7
    """Kernel of the last convolution, in frames (encoder) or samples (decoder)."""
    residual_kernel: int = 3
    """Kernel inside residual blocks."""
    dilation_base: int = 2
    """Dilation of the j-th residual block of a stage is this to the power of j."""
    compress: int = 2
    """Width of a stage over the width inside its residual blocks."""
    num_lstm_layers: int = 2
    """LSTM layers at the frame rate on either side of the quantizer, 1 or more."""
    causal: bool = False
    """Whether convolutions look into the past only."""
    pad_mode: str = "reflect"
    """How convolutions are padded at the ends of the audio: "reflect", "constant" or "replicate"."""
    true_skip: bool = True
    """Whether residual blocks skip by identity; else by a convolution."""
    trim_right_ratio: float = 1.0
    """Share of the padding that causal upsampling trims on the right."""
    num_codebooks: int = 4
    """Stages of the residual quantizer, K."""
    codebook_size: int = 2048
    """Codes per stage, V; a power of two."""
    stored_codebooks: int = 0
    """Stages in the checkpoint; those beyond `num_codebooks` are left out. 0 is as many as `num_codebooks`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratios", tuple(self.ratios))  # JSON has lists only
        require(1 <= len(self.ratios) <= 16, f"ratios must be 1 to 16 numbers, got {len(self.ratios)}")

        for name, low, high in _RANGES:
            for value in self.ratios if name == "ratios" else (getattr(self, name),):
                fits = type(value) is int and low <= value <= high
                require(fits, f"{name} must be a whole number in {low}..{high}, got {value!r:.40}")

        # What a range cannot say.
        require(type(self.trim_right_ratio) in (int, float), f"trim_right_ratio is {self.trim_right_ratio!r:.40}")
        require(self.channels in (1, 2), f"channels must be 1 or 2, got {self.channels}")
        require(
            self.compress <= self.num_filters,
            f"compress must be in 1..num_filters, got {self.compress}, {self.num_filters}",
        )
        require(self.pad_mode in PAD_MODES, f"pad_mode must be one of {', '.join(PAD_MODES)}, got {self.pad_mode!r}")
        require(
            self.codebook_size.bit_count() == 1,
            f"codebook_size must be a power of two, got {self.codebook_size}",
        )

    @property
    def hop_samples(self) -> int:
        """Samples per frame."""
        return math.prod(self.ratios)

    @property
    def codes_per_frame(self) -> int:
        """Codes that a frame has."""
        return self.num_codebooks

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second."""
        return self.sample_rate_hz / self.hop_samples


PUBLISHED = {
    "encodec-32khz": EncodecConfig(),
    "encodec-24khz": EncodecConfig(
        name="encodec-24khz",
        sample_rate_hz=24000,
        ratios=(8, 5, 4, 2),
        num_filters=32,
        causal=True,
        true_skip=False,
        num_codebooks=8,  # 6 kbit/s, as in VALL-E; the file has 24 kbit/s
        codebook_size=1024,
        stored_codebooks=32,
    ),
}
"""Shapes of published checkpoints by their names in the catalogue."""


def read_codec_shape(codec: dict[str, Any], carried: bool) -> SpectralConfig | EncodecConfig:
    """The shape of the codec that a model folder describes, which must be of a known family.

    Args:
        codec: family, name and config, as the folder has them.
        carried: whether the codec lies in the folder; else the folder may have no more of it than its name.

    Raises:
        ModelError: the config does not fit.
    """
    if codec["family"] == "spectral":
        return SpectralConfig.from_dict(codec["config"])

    published = None if carried else PUBLISHED.get(str(codec["name"]))
    return published or EncodecConfig.from_dict(codec["config"])
