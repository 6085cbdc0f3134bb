"""The spectral codec: log magnitudes, a ConvNeXt autoencoder around a residual quantizer, and Griffin-Lim.

Trains on a CPU in an hour. No recurrence, so its receptive field is finite and chunked encoding equals whole-file
encoding. Knows nothing about files or training.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiolm_cli.audio.mel import mel_filters
from audiolm_cli.codec.base import KnownSamples, OnShare, ignore_share
from audiolm_cli.codec.level import average_around, decode_level, encode_level, measure_level
from audiolm_cli.codec.matching import correct, learn_corrections
from audiolm_cli.codec.phase import absolute, griffin_lim, stft
from audiolm_cli.codec.quantizer import ResidualVectorQuantizer
from audiolm_cli.codec.smoothing import smooth_columns
from audiolm_cli.config.shapes import SpectralConfig


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
    """Log-magnitude features [B, T, F] to latents and back, F = columns x bins of a frame."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        features = config.columns * (config.window_samples // 2 + 1)
        block = (config.width, config.kernel, config.expansion)

        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(()))

        self.analysis = nn.Linear(features, config.width)
        self.encoder = nn.Sequential(*(Block(*block) for _ in range(config.encoder_blocks)))
        self.to_latent = nn.Linear(config.width, config.latent)

        self.quantizer = ResidualVectorQuantizer(config.num_codebooks, config.codebook_size, config.latent)
        self.steady_frames = config.steady_frames

        self.from_latent = nn.Linear(config.latent, config.width)
        self.decoder = nn.Sequential(*(Block(*block) for _ in range(config.decoder_blocks)))
        self.synthesis = nn.Linear(config.width, features)

    def latents(self, features: Tensor) -> Tensor:
        """Latents [B, T, D] of log-magnitude features [B, T, F]."""
        return self.to_latent(self.encoder(self.analysis((features - self.mean) / self.deviation)))

    def steady(self, latents: Tensor) -> list[Tensor]:
        """What the first codebooks look at, of latents [B, T, D]: their means over some frames, [B, T, D] each.

        The first looks at the mean over `steady_frames`, every next one at that over half as many, until that is one.
        """
        found, frames = [], self.steady_frames

        while frames > 1:
            found.append(average_around(latents, frames // 2))
            frames = frames // 2 | 1  # odd again

        return found

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
    gains: Tensor
    """[bins], what decoded magnitudes are multiplied by."""

    def __init__(self, config: SpectralConfig, name: str = "spectral") -> None:
        super().__init__()
        self.config = config
        self.name = name
        self.sample_rate_hz = config.sample_rate_hz
        self.hop_samples = config.hop_samples
        self.channels = 1
        self.num_codebooks = config.codes_per_frame
        self.codebook_size = config.codebook_size

        # To either side: the convolutions of the encoder, the window of a column, that of the level, the steady means.
        self.level_reach = round(config.level_s * config.sample_rate_hz / self.column_samples / 2)  # columns
        reach = math.ceil((config.window_samples - self.column_samples) / 2 / config.hop_samples)
        reach += math.ceil(self.level_reach / config.columns) + config.steady_frames // 2
        self.receptive_field_frames: int | None = config.encoder_blocks * (config.kernel // 2) + reach

        self.network = SpectralNetwork(config)
        self.register_buffer("window", torch.hann_window(config.window_samples), persistent=False)
        self.register_buffer("gains", torch.ones(config.window_samples // 2 + 1), persistent=False)
        self.corrections: Tensor | None = None  # [levels, bins], what `matched` has learned
        self.use_gains(config.gains_db)

    def use_gains(self, gains_db: list[float]) -> None:
        """Raise decoded magnitudes by so much in each band; between the centres of two bands by what lies between."""
        self.config = dataclasses.replace(self.config, gains_db=gains_db)
        curve_db = self.bands(len(gains_db)) @ torch.tensor(gains_db, device=self.device)  # [bins]
        self.gains = 10 ** (curve_db / 20)

    def bands(self, count: int) -> Tensor:
        """Triangles [bins, count] around the centres of bands, evenly spaced on the mel scale."""
        if count == 0:
            return torch.zeros(len(self.gains), 0, device=self.device)
        return torch.from_numpy(mel_filters(self.config.window_samples, count, self.sample_rate_hz)).to(self.device)

    @property
    def column_samples(self) -> int:
        """Samples between STFT columns."""
        return self.config.hop_samples // self.config.columns

    @property
    def has_level(self) -> bool:
        """Whether loudness has a code of its own, the last one of a frame."""
        return self.config.level_s > 0

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second."""
        return self.config.frame_rate_hz

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.window.device

    def log_magnitudes(self, wav: Tensor) -> Tensor:
        """Features [B, T, columns * bins] of wav [B, N]; see `analyse`."""
        return self.analyse(wav)[0]

    def analyse(self, wav: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, T, columns * bins] of wav [B, N], and levels [B, T, 1], which are 1 where loudness is left in.

        Features are log(|STFT| / level + floor), the columns of a frame side by side.
        """
        magnitudes = self.stft_magnitudes(wav)
        frames = magnitudes.unflatten(1, (-1, self.config.columns))  # [B, T, columns, bins]

        level = frames.new_ones(*frames.shape[:2], 1)  # [B, T, 1]
        if self.has_level:
            level = measure_level(magnitudes, self.window, self.level_reach)[:, :: self.config.columns]

        return (frames / level[..., None] + self.config.floor).log().flatten(2), level

    def stft_magnitudes(self, wav: Tensor) -> Tensor:
        """STFT magnitudes [B, T * columns, bins] of wav [B, N], whose last frame is filled up with zeros."""
        padded = F.pad(wav, (0, -wav.shape[-1] % self.hop_samples))
        return absolute(stft(padded, self.window, self.column_samples))

    def magnitudes(self, features: Tensor) -> Tensor:
        """STFT magnitudes [B, T * columns, bins] of features [B, T, columns * bins], at level 1."""
        columns = features.reshape(len(features), -1, features.shape[-1] // self.config.columns)
        return (columns.exp() - self.config.floor).clamp(min=0)

    @torch.inference_mode()
    def encode(self, wav: Tensor) -> Tensor:
        """Codes [B, T, K] of wav [B, 1, N], T = ceil(N / hop)."""
        if wav.shape[-1] == 0:
            return torch.zeros(len(wav), 0, self.num_codebooks, dtype=torch.int64, device=wav.device)

        features, level = self.analyse(wav[:, 0])
        latents = self.network.latents(features)
        codes = self.network.quantizer.encode(latents, self.network.steady(latents))

        return torch.cat([codes, encode_level(level, self.codebook_size)], dim=-1) if self.has_level else codes

    @torch.inference_mode()
    def decode_magnitudes(self, codes: Tensor) -> Tensor:
        """STFT magnitudes [B, T * columns, bins] of codes [B, T, K]."""
        latents = self.network.quantizer.decode(codes[..., : self.config.num_codebooks])
        magnitudes = self.magnitudes(self.network.features(latents))
        if self.has_level:
            level = decode_level(codes[..., -1:], self.codebook_size)  # [B, T, 1]
            magnitudes = magnitudes * level.repeat_interleave(self.config.columns, 1)

        steady = smooth_columns(magnitudes, self.config.window_samples // self.column_samples) * self.gains
        return steady if self.corrections is None else correct(steady, self.corrections)

    @torch.inference_mode()
    def matched(self, heard: Sequence[tuple[Tensor, Tensor]]) -> SpectralCodec:
        """What it gets wrong of each bin and level in the stretches is put right: `learn_corrections`."""
        codec = copy.copy(self)
        codec.corrections = None
        margin = self.config.window_samples // self.column_samples // 2  # windows there reach out of the stretch
        pairs = [(codec.decode_magnitudes(codes)[0], self.stft_magnitudes(wav[:, 0])[0]) for codes, wav in heard]
        inner = [[each[margin:-margin] for each in pair] for pair in pairs if len(pair[0]) > 2 * margin]
        if inner:
            decoded, true = (torch.cat(each).cpu() for each in zip(*inner, strict=True))  # a GPU adds in any order
            codec.corrections = learn_corrections(decoded, true).to(self.device)
        return codec

    @torch.inference_mode()
    def decode(self, codes: Tensor, known: KnownSamples | None = None, on_share: OnShare = ignore_share) -> Tensor:
        """Audio [B, 1, T * hop] of codes [B, T, K]; its phase runs on from `known` samples."""
        if codes.shape[1] == 0:
            return torch.zeros(len(codes), 1, 0, device=codes.device)

        magnitudes = self.decode_magnitudes(codes)
        rounds = self.config.griffin_lim_iterations
        wav = griffin_lim(magnitudes, self.window, self.column_samples, rounds, known, on_share)
        return wav[:, None]
