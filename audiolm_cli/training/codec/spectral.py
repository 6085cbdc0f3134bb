"""The spectral codec in training: distances of log magnitudes and mel bands, and a start from principal components.

Knows nothing about steps, files or optimizers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from audiolm_cli.audio import mel_filters
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.config.training import CodecTrainConfig
from audiolm_cli.model.quantize import multiplies_bf16
from audiolm_cli.training.codec.trainee import CodecLosses
from audiolm_cli.training.codec.waveforms import log_difference

MOST_START_FRAMES = 60_000
"""Most frames for principal components and k-means: thirty times the usual codebook size."""
SAMPLES_PER_BAND = 12
"""Window samples per mel band: 170 bands of the usual window, about as many as it resolves; and a quarter as many."""
EMPHASIS_BELOW_HZ = 4000.0
"""Bins below this weigh double: most of what is heard as pitch lies there."""


class SpectralTrainee:
    """A `Trainee`; "log" is the weighted mean absolute difference of natural log magnitudes, "linear" that of square
    roots of magnitudes. Where the codec is trained already, "mel" is that of log10 mel magnitudes, narrow and wide
    bands.

    The best guess for each bin by itself is a median, and medians add up to too little: the mel bands keep the level. A
    codec from nothing (`trained` is False) does without them, since it would learn pitch more slowly.
    """

    family = "spectral"
    usual_rates = (1e-3, 3e-4)

    def __init__(self, codec: SpectralCodec, config: CodecTrainConfig, trained: bool = False) -> None:
        self.codec, self.config, self.trained = codec, config, trained
        self.network, self.quantizer = codec.network, codec.network.quantizer
        self.network.requires_grad_(True)

        self.weights = bin_weights(codec).to(codec.device)
        bands = max(4, codec.config.window_samples // SAMPLES_PER_BAND)
        self.filters = [
            torch.from_numpy(mel_filters(codec.config.window_samples, count, codec.sample_rate_hz)).to(codec.device)
            for count in (bands, bands // 4)
        ]

        self.bf16 = multiplies_bf16(codec.device)
        self.start_frames = min(MOST_START_FRAMES, max(30 * codec.codebook_size, 4 * codec.config.width))

    @property
    def after_quantizer(self) -> Iterable[nn.Parameter]:
        """The decoder's weights."""
        return self.network.after_quantizer()

    def settings(self) -> dict[str, Any]:
        """The shape of the codec, but for its gains, which follow from the weights."""
        return {name: value for name, value in self.codec.config.to_dict().items() if name != "gains_db"}

    def inputs(self, wav: Tensor) -> Tensor:
        """Log magnitudes [B, T, F] of clips [B, N]."""
        return self.codec.log_magnitudes(wav)

    def latents(self, inputs: Tensor) -> Tensor:
        """Latents [B, T, D] of log magnitudes [B, T, F]."""
        with self._autocast():
            return self.network.latents(inputs).float()

    def steady(self, latents: Tensor) -> list[Tensor]:
        """Means of latents [B, T, D] over some frames, for each of the first codebooks that looks at one."""
        return self.network.steady(latents)

    def outputs(self, latents: Tensor) -> Tensor:
        """Log magnitudes [B, T, F] of latents [B, T, D]."""
        with self._autocast():
            return self.network.features(latents).float()

    def _autocast(self) -> AbstractContextManager[object]:
        """Products in bf16 while learning, where that is faster; log magnitudes, unlike waveforms, do not suffer."""
        learning = torch.is_grad_enabled()
        return torch.autocast(self.codec.device.type, torch.bfloat16, enabled=self.bf16 and learning)

    def distance(self, outputs: Tensor, inputs: Tensor, step: int | None) -> tuple[Tensor, CodecLosses]:
        """The loss of log magnitudes [B, T, F], and its parts by name."""
        log = ((outputs - inputs).abs() * self.weights).mean()
        linear = ((outputs / 2).exp() - (inputs / 2).exp()).abs().mean()  # exp(x / 2): square roots of magnitudes
        loss, parts = log + self.config.linear_weight * linear, {"log": log.item(), "linear": linear.item()}
        if not self.trained:
            return loss, parts

        made, true = self.codec.magnitudes(outputs), self.codec.magnitudes(inputs)
        floor = self.codec.config.floor
        mel = torch.stack([log_difference(made @ bands, true @ bands, floor) for bands in self.filters]).mean()
        return loss + mel, {**parts, "mel": mel.item()}

    def initialise(self, clips: Iterator[Tensor], seed: int) -> None:
        """Start from principal components of training clips."""
        parts: list[Tensor] = []
        while sum(map(len, parts)) < self.start_frames:
            parts.append(self.inputs(next(clips)).flatten(0, 1))

        with torch.random.fork_rng(devices=[]):  # the principal components start from random directions
            torch.manual_seed(seed)
            self.network.initialise(torch.cat(parts)[: self.start_frames])

    def take_codebooks(self) -> None:
        """Nothing: they are the same."""

    def give_codebooks(self) -> None:
        """Nothing: the codec reads the codebooks that are trained."""

    def extra_state(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def restore_extra(self, tensors: dict[str, Tensor]) -> None:
        """Nothing."""


def bin_weights(codec: SpectralCodec) -> Tensor:
    """Weights [F] of mean 1: double below EMPHASIS_BELOW_HZ, falling to a half at the highest bin."""
    bins = codec.config.window_samples // 2 + 1
    nyquist = codec.sample_rate_hz / 2
    frequency_hz = torch.linspace(0, nyquist, bins)

    above = max(nyquist - EMPHASIS_BELOW_HZ, 1.0)  # a codec of 8 kHz has no such bins
    weights = 2.0 - 1.5 * ((frequency_hz - EMPHASIS_BELOW_HZ) / above).clamp(0, 1)
    return (weights / weights.mean()).repeat(codec.config.columns)
