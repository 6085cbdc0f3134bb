"""The spectral codec: log magnitudes, a ConvNeXt autoencoder around a residual quantizer, and Griffin-Lim.

Trains on a CPU in an hour. No recurrence, so its receptive field is finite and chunked encoding equals whole-file
encoding. Knows nothing about files or training.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiolm_cli.codec.base import KnownSamples
from audiolm_cli.codec.phase import absolute, griffin_lim, stft
from audiolm_cli.codec.quantizer import ResidualVectorQuantizer
from audiolm_cli.config.shapes import SpectralConfig

COLUMNS_PER_FRAME = 2
"""STFT columns that a frame holds side by side."""


class Block(nn.Module):
    """ConvNeXt block over time: depthwise convolution, norm, feed-forward, scaled residual.

    After Liu et al., "A ConvNet for the 2020s" (2022), section 2, as used along time by Vocos (Siuzdak 2023).
    """

    def __init__(self, width: int, kernel: int, expansion: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, width * expansion)
        self.down = nn.Linear(width * expansion, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, W] to [B, T, W]."""
        y = self.mix(x.transpose(1, 2)).transpose(1, 2)
        y = self.down(F.gelu(self.up(self.norm(y))))

        return x + self.scale * y


class SpectralNetwork(nn.Module):
    """Log-magnitude features [B, T, F] to latents and back, F = 2 columns x bins."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        features = COLUMNS_PER_FRAME * (config.window_samples // 2 + 1)
        block = (config.width, config.kernel, config.expansion)

        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(()))

        self.analysis = nn.Linear(features, config.width)
        self.encoder = nn.Sequential(*(Block(*block) for _ in range(config.encoder_blocks)))
        self.to_latent = nn.Linear(config.width, config.latent)

        self.quantizer = ResidualVectorQuantizer(config.num_codebooks, config.codebook_size, config.latent)

        self.from_latent = nn.Linear(config.latent, config.width)
        self.decoder = nn.Sequential(*(Block(*block) for _ in range(config.decoder_blocks)))
        self.synthesis = nn.Linear(config.width, features)

    def latents(self, features: Tensor) -> Tensor:
        """Latents [B, T, D] of log-magnitude features [B, T, F]."""
        return self.to_latent(self.encoder(self.analysis((features - self.mean) / self.deviation)))

    def features(self, latents: Tensor) -> Tensor:
        """Log-magnitude features [B, T, F] of latents [B, T, D]."""
        return self.synthesis(self.decoder(self.from_latent(latents))) * self.deviation + self.mean

    def after_quantizer(self) -> Iterator[nn.Parameter]:
        """The weights that make features of latents."""
        return itertools.chain.from_iterable(
            part.parameters() for part in (self.from_latent, self.decoder, self.synthesis)
        )

    @torch.no_grad()
    def initialise(self, features: Tensor) -> None:
        """Start as the best linear autoencoder of features [M, F]: analysis and synthesis by principal components.

        With the blocks near identity, training begins from the reconstruction that `latent` components give.
        """
        self.mean.copy_(features.mean(0))
        centred = features - self.mean
        self.deviation.copy_(centred.std())

        # Principal components, scaled so that the first one has a deviation of 4 after the analysis.
        width, latent = self.analysis.out_features, self.to_latent.out_features
        _, _, components = torch.pca_lowrank(centred, q=width, center=False, niter=4)  # [F, W]
        scores = centred @ components / self.deviation  # [M, W]
        spread = scores[:, 0].std() / 4
        self.analysis.weight.copy_(components.T / spread)
        self.synthesis.weight.copy_(components * spread)

        # The latents begin as the leading components themselves.
        for linear in (self.analysis, self.to_latent, self.from_latent, self.synthesis):
            linear.bias.zero_()
        self.to_latent.weight.copy_(torch.eye(latent, width))
        self.from_latent.weight.copy_(torch.eye(width, latent))


def least_weights(config: SpectralConfig) -> tuple[int, int]:
    """The fewest (tensors, numbers) that a codec of this shape has; to judge a file before anything is built."""
    blocks = config.encoder_blocks + config.decoder_blocks
    block = config.width * (config.kernel + 2 * config.expansion * config.width)
    codebooks = config.num_codebooks * config.codebook_size * config.latent

    return blocks, blocks * block + config.width * config.window_samples + codebooks


class SpectralCodec(nn.Module):
    """The `Codec` around a `SpectralNetwork`; see `codec.base.Codec` for the methods."""

    window: Tensor

    def __init__(self, config: SpectralConfig, name: str = "spectral") -> None:
        super().__init__()
        self.config = config
        self.name = name
        self.sample_rate_hz = config.sample_rate_hz
        self.hop_samples = config.hop_samples
        self.channels = 1
        self.num_codebooks = config.num_codebooks
        self.codebook_size = config.codebook_size

        # To either side: the convolutions of the encoder, and the window of a column.
        reach = math.ceil((config.window_samples - config.hop_samples // COLUMNS_PER_FRAME) / 2 / config.hop_samples)
        self.receptive_field_frames: int | None = config.encoder_blocks * (config.kernel // 2) + reach

        self.network = SpectralNetwork(config)
        self.register_buffer("window", torch.hann_window(config.window_samples), persistent=False)

    @property
    def column_samples(self) -> int:
        """Samples between STFT columns."""
        return self.config.hop_samples // COLUMNS_PER_FRAME

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second."""
        return self.sample_rate_hz / self.hop_samples

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.window.device

    def log_magnitudes(self, wav: Tensor) -> Tensor:
        """Features [B, T, 2 * bins]: log(|STFT| + floor) of wav [B, N], both columns of a frame side by side."""
        padded = F.pad(wav, (0, -wav.shape[-1] % self.hop_samples))
        columns = stft(padded, self.window, self.column_samples)
        features = (absolute(columns) + self.config.floor).log()  # [B, 2T, bins]

        return features.reshape(len(features), -1, COLUMNS_PER_FRAME * features.shape[-1])

    def magnitudes(self, features: Tensor) -> Tensor:
        """STFT magnitudes [B, 2T, bins] of features [B, T, 2 * bins]."""
        columns = features.reshape(len(features), -1, features.shape[-1] // COLUMNS_PER_FRAME)
        return (columns.exp() - self.config.floor).clamp(min=0)

    @torch.inference_mode()
    def encode(self, wav: Tensor) -> Tensor:
        """Codes [B, T, K] of wav [B, 1, N], T = ceil(N / hop)."""
        if wav.shape[-1] == 0:
            return torch.zeros(len(wav), 0, self.num_codebooks, dtype=torch.int64, device=wav.device)

        return self.network.quantizer.encode(self.network.latents(self.log_magnitudes(wav[:, 0])))

    @torch.inference_mode()
    def decode(self, codes: Tensor, known: KnownSamples | None = None) -> Tensor:
        """Audio [B, 1, T * hop] of codes [B, T, K]; its phase runs on from `known` samples."""
        if codes.shape[1] == 0:
            return torch.zeros(len(codes), 1, 0, device=codes.device)

        magnitudes = self.magnitudes(self.network.features(self.network.quantizer.decode(codes)))  # [B, 2T, bins]
        wav = griffin_lim(magnitudes, self.window, self.column_samples, self.config.griffin_lim_iterations, known)
        return wav[:, None]
