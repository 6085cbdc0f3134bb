"""The shapes of models and codecs."""

from __future__ import annotations

from dataclasses import dataclass

from audiolm_cli.config.base import (
    Settings,
    require,
    require_ranges,
)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Settings):
    """The shape of an AudioLM."""

    d_model: int = 1024
    """Width of both decoders; a multiple of 2 * nhead."""
    nhead: int = 16
    """Attention heads."""
    num_layers: int = 12
    """Layers of each decoder."""
    num_quantizers: int = 4
    """Codebooks per frame, K."""
    codebook_size: int = 2048
    """Codes per codebook, V."""
    max_frames: int = 750
    """Longest window (context + target) the model was trained on, in frames."""
    positions: str = "rotary"
    """"rotary" or "sine" (VALL-E's sinusoids with a learned scale)."""
    dropout: float = 0.0
    """Dropout in attention output, feed-forward and embeddings, 0..1."""
    prompt_share: float = 0.4
    """Share of an item that the two-argument `forward` of the training recipes takes as prompt."""
    nar_passes: int = 1
    """NAR passes per codebook when generating; over 1 for models trained with some of its frames known."""

    def __post_init__(self) -> None:
        require_ranges(
            self,
            ("d_model", 2, 1 << 20),
            ("nhead", 1, 1 << 20),
            ("num_layers", 1, 10_000),
            ("num_quantizers nar_passes", 1, 1000),
            ("codebook_size", 2, 1 << 24),
            ("max_frames", 2, 1_000_000),
        )
        fits = self.d_model % (2 * self.nhead) == 0
        require(fits, f"d_model must be a multiple of 2 * nhead, got {self.d_model}, {self.nhead}")
        require(self.positions in ("rotary", "sine"), f'positions must be "rotary" or "sine", got {self.positions!r}')
        require(0 <= self.dropout < 1, f"dropout must be in [0, 1), got {self.dropout}")
        require(0 < self.prompt_share < 1, f"prompt_share must be in (0, 1), got {self.prompt_share}")


@dataclass(frozen=True, kw_only=True)
class SpectralConfig(Settings):
    """The shape of a spectral codec: log magnitudes, ConvNeXt autoencoder, residual quantizer, Griffin-Lim."""

    sample_rate_hz: int = 32000
    """Sample rate in Hz."""
    hop_samples: int = 640
    """Samples per frame; two STFT columns per frame."""
    window_samples: int = 2048
    """STFT window, Hann."""
    width: int = 384
    """Channels of the ConvNeXt blocks."""
    latent: int = 64
    """Channels of the quantized latent."""
    encoder_blocks: int = 3
    """ConvNeXt blocks before the quantizer."""
    decoder_blocks: int = 5
    """ConvNeXt blocks after the quantizer."""
    kernel: int = 7
    """Depthwise kernel of a block, in frames; odd."""
    expansion: int = 3
    """Width of a block's feed-forward, in multiples of `width`."""
    num_codebooks: int = 4
    """Stages of the residual quantizer, K."""
    codebook_size: int = 2048
    """Codes per stage, V."""
    floor: float = 0.1
    """Magnitude added before the logarithm, in units of an un-normalised Hann STFT (full-scale sine: 512)."""
    griffin_lim_iterations: int = 32
    """Iterations of fast Griffin-Lim in `decode`."""

    def __post_init__(self) -> None:
        require(self.hop_samples % 2 == 0, f"hop_samples must be even, got {self.hop_samples}")
        require(self.kernel % 2 == 1, f"kernel must be odd, got {self.kernel}")
        require_ranges(
            self,
            ("sample_rate_hz", 1000, 768_000),
            ("hop_samples", 2, 1 << 16),
            ("window_samples", 4, 1 << 20),
            ("width latent", 1, 1 << 20),
            ("encoder_blocks decoder_blocks", 0, 1000),
            ("kernel expansion", 1, 1 << 16),
            ("num_codebooks", 1, 1000),
            ("codebook_size", 2, 1 << 20),
            ("floor", 1e-9, 1e9),
            ("griffin_lim_iterations", 0, 10_000),
        )


PRESETS = {
    "tiny": ModelConfig(d_model=256, nhead=4, num_layers=4, max_frames=500),
    "small": ModelConfig(d_model=512, nhead=8, num_layers=8, max_frames=750),
    "base": ModelConfig(),
}
"""Model shapes by name; `base` is the published 1024 x 12 x 16."""
