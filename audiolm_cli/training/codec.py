"""Training a spectral codec, from nothing or from its weights. Batches and every draw are functions of (seed, step).

Knows nothing about commands.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.config import CodecTrainConfig
from audiolm_cli.data.files import AudioFile, draw_clips, read_clip
from audiolm_cli.errors import DataError
from audiolm_cli.events import Note, OnEvent, Progress
from audiolm_cli.training.average import start_average, swap_average, update_average
from audiolm_cli.training.schedules import cosine
from audiolm_cli.training.state import (
    check_same_settings,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
    with_prefix,
    without_prefix,
)

START_FRAMES = 60_000
"""Most frames for principal components and k-means: thirty times the usual codebook size."""
USUAL_RATE, USUAL_FINE_TUNING_RATE = 1e-3, 3e-4
"""Peak learning rates where none is given."""
EMPHASIS_BELOW_HZ = 4000.0
"""Bins below this weigh double: most of what is heard as pitch lies there."""


@dataclass(frozen=True, kw_only=True)
class CodecLosses:
    """What a batch or a held-out set gave."""

    log: float
    """Weighted mean absolute difference of natural log magnitudes."""
    linear: float
    """Mean absolute difference of square roots of magnitudes."""
    commitment: float
    """Quantization error over latent variance; 0 before the quantizer comes in."""


class CodecTrainer:
    """Trains `codec` on `train` and keeps averaged weights; `run` may be interrupted and called again."""

    def __init__(
        self,
        codec: SpectralCodec,
        config: CodecTrainConfig,
        train: list[AudioFile],
        dev: list[AudioFile],
        state_folder: Path,
        on_event: OnEvent,
        init: str | None = None,
    ) -> None:
        """`init` is the hash of the weights that `codec` starts from; None starts from nothing."""
        self.codec, self.config, self.train, self.dev, self.init = codec, config, train, dev, init
        self.state_folder, self.on_event = state_folder, on_event
        self.network = codec.network
        self.step, self.elapsed_s = 0, 0.0
        self.damaged: dict[str, str] = {}
        """Recordings that could not be read everywhere, and why."""
        self.quantize_from_step = 0 if init else int(config.quantize_from * config.steps)
        self.learning_rate = config.learning_rate or (USUAL_FINE_TUNING_RATE if init else USUAL_RATE)
        self.weights = _bin_weights(codec).to(codec.device)
        self.average = start_average(self.network)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
        )

    def run(self) -> CodecLosses:
        """Train to the last step and return the held-out losses of the averaged weights, which the codec then holds."""
        if not self._resume():
            self._start()
        started, first, before_s = time.monotonic(), self.step, self.elapsed_s
        held_out = None
        while self.step < self.config.steps:
            if self.step >= self.quantize_from_step and not self.network.quantizer.counts.any():
                self._start_quantizer()
            losses = self._train_step()
            self.step += 1
            self.elapsed_s = before_s + time.monotonic() - started
            speed = (self.step - first) / (self.elapsed_s - before_s)
            detail = f"log {losses.log:.4f} linear {losses.linear:.4f} vq {losses.commitment:.4f} {speed:.2f} steps/s"
            self.on_event(Progress(stage="train", done=self.step, total=self.config.steps, unit="steps", detail=detail))
            if self.step % self.config.state_every == 0 or self.step == self.config.steps:
                self._save()
                held_out = self._report()
        held_out = held_out or self.evaluate()
        swap_average(self.average, self.network)
        return held_out

    def _start(self) -> None:
        """What comes before the first step."""
        if self.init is not None:
            self.network.quantizer.start_averages(self._many_latents("codebooks"))
            self._report()
            return
        self.on_event(Note(message="principal components of the training clips"))
        with torch.random.fork_rng(devices=[]):  # the principal components start from random directions
            torch.manual_seed(self.config.seed)
            self.network.initialise(self._many_features("components"))
        self.average = start_average(self.network)

    def _report(self) -> CodecLosses:
        """Held-out losses, which are told."""
        held_out = self.evaluate()
        usage = "/".join(f"{p:.0f}" for p in self.network.quantizer.perplexities())
        self.on_event(
            Note(
                message=f"step {self.step}: held-out log {held_out.log:.4f}, linear {held_out.linear:.4f}, "
                f"vq {held_out.commitment:.4f}, codebook perplexity {usage}"
            )
        )
        return held_out

    def _train_step(self) -> CodecLosses:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * cosine(self.step, self.config.steps, self.config.warmup_steps)
        features = self.codec.log_magnitudes(self._clips(self._rng("clips", self.step)))
        quantizing = self.step >= self.quantize_from_step
        loss, losses = self._loss(features, quantizing, update=True)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        update_average(self.average, self.network, self.config.ema_decay, self.step)
        return losses

    def _loss(self, features: Tensor, quantizing: bool, update: bool) -> tuple[Tensor, CodecLosses]:
        """The loss of features [B, T, F]; with `update`, codebooks move as well."""
        latents = self.network.latents(features)
        commitment = latents.new_zeros(())
        if quantizing:
            flat = latents.detach().reshape(-1, latents.shape[-1])
            quantizer = self.network.quantizer
            before = quantizer.codebooks.clone()
            codes = (
                quantizer.update(flat, 0.99, revive=3, generator=self._torch_rng("revive", self.step))
                if update
                else quantizer.encode(flat)
            )
            quantized = sum(before[k][codes[:, k]] for k in range(codes.shape[1])).reshape(latents.shape)  # type: ignore[union-attr]
            commitment = (latents - quantized).square().mean() / latents.detach().var()
            latents = latents + (quantized - latents).detach()
        decoded = self.network.features(latents)
        log = ((decoded - features).abs() * self.weights).mean()
        linear = ((decoded / 2).exp() - (features / 2).exp()).abs().mean()
        loss = log + self.config.linear_weight * linear + self.config.commitment * commitment
        return loss, CodecLosses(log=log.item(), linear=linear.item(), commitment=commitment.item())

    @torch.no_grad()
    def evaluate(self, clips: int = 24) -> CodecLosses:
        """Held-out losses of the averaged weights, on clips that are the same at every call."""
        swap_average(self.average, self.network)
        features = self._dev_features(clips)
        _, losses = self._loss(features, bool(self.network.quantizer.counts.any()), update=False)
        swap_average(self.average, self.network)
        return losses

    def _dev_features(self, clips: int) -> Tensor:
        rng = self._rng("dev", 0)
        num_samples = self._clip_samples()
        files = [self.dev[i % len(self.dev)] for i in range(clips)]
        rate = self.codec.sample_rate_hz
        starts = [rng.random() * max(0.0, f.duration_s - self.config.clip_s) for f in files]
        wav = []
        for file, start in zip(files, starts, strict=True):
            try:
                wav.append(read_clip(file, start, num_samples, rate))
            except DataError as error:
                self._on_damage(file, error)
        if not wav:
            raise DataError(
                f"none of the clips to measure on can be read; the first: {next(iter(self.damaged.values()))}"
            )
        return self.codec.log_magnitudes(torch.from_numpy(np.stack(wav)).to(self.codec.device))

    def _on_damage(self, file: AudioFile, error: DataError) -> None:
        """Remember a recording that is damaged somewhere; what can be read of it is used."""
        if str(file.path) not in self.damaged:
            self.damaged[str(file.path)] = str(error)
            self.on_event(Note(message=str(error), warning=True))

    def _start_quantizer(self) -> None:
        self.on_event(Note(message=f"step {self.step}: k-means for {self.codec.num_codebooks} codebooks"))
        self.network.quantizer.initialise(self._many_latents("codebooks"), 12, self._torch_rng("codebooks", 0))

    @torch.no_grad()
    def _many_latents(self, purpose: str) -> Tensor:
        """Latents [M, D] of as many features."""
        features = self._many_features(purpose)
        return torch.cat([self.network.latents(part[None])[0] for part in features.split(4000)])

    def _many_features(self, purpose: str) -> Tensor:
        """Features [M, F] of random training clips: thirty times as many as codes, START_FRAMES at most."""
        shape = self.codec.config
        frames = min(START_FRAMES, max(30 * shape.codebook_size, 4 * shape.width))
        parts: list[Tensor] = []
        draw = 0
        while sum(len(part) for part in parts) < frames:
            clips = self.codec.log_magnitudes(self._clips(self._rng(purpose, draw)))
            parts.append(clips.flatten(0, 1))
            draw += 1
        return torch.cat(parts)[:frames]

    def _clips(self, rng: np.random.Generator) -> Tensor:
        """Random training clips [B, N], each with a random gain."""
        shape = self.config.clips, self._clip_samples(), self.codec.sample_rate_hz
        wav = draw_clips(self.train, *shape, rng, self._on_damage)
        gains = 10 ** (rng.uniform(*self.config.gain_db, size=(len(wav), 1)) / 20)
        return torch.from_numpy(wav * gains.astype(np.float32)).to(self.codec.device)

    def _clip_samples(self) -> int:
        return round(self.config.clip_s * self.codec.frame_rate_hz) * self.codec.hop_samples

    def _rng(self, purpose: str, step: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, step, *purpose.encode()])

    def _torch_rng(self, purpose: str, step: int) -> torch.Generator:
        return torch.Generator().manual_seed(int(self._rng(purpose, step).integers(2**62)))

    def _save(self) -> None:
        quantizer = self.network.quantizer
        tensors = (
            with_prefix("network", self.network.state_dict())
            | with_prefix("average", self.average)
            | with_prefix("optimizer", optimizer_tensors(self.optimizer))
            | {"quantizer.counts": quantizer.counts, "quantizer.sums": quantizer.sums}
        )
        meta = {"config": self._settings(), "elapsed_s": self.elapsed_s, "damaged": self.damaged}
        save_state(self.state_folder, self.step, tensors, meta)

    def _settings(self) -> dict[str, Any]:
        """What a training that goes on must have been started with."""
        return {**self.config.to_dict(), "learning_rate": self.learning_rate, "init": self.init and self.init[:12]}

    def _resume(self) -> bool:
        found = load_state(self.state_folder)
        if found is None:
            return False
        self.step, tensors, meta = found
        check_same_settings(self.state_folder, meta["config"], self._settings())
        self.elapsed_s, self.damaged = float(meta.get("elapsed_s", 0.0)), dict(meta.get("damaged", {}))
        self.network.load_state_dict(without_prefix("network", tensors))
        average = without_prefix("average", tensors)
        self.average = {name: average[name].to(self.codec.device) for name in self.average}
        restore_optimizer(self.optimizer, without_prefix("optimizer", tensors))
        self.network.quantizer.counts.copy_(tensors["quantizer.counts"])
        self.network.quantizer.sums.copy_(tensors["quantizer.sums"])
        self.on_event(Note(message=f"resumed at step {self.step}"))
        return True


def _bin_weights(codec: SpectralCodec) -> Tensor:
    """Weights [F] of mean 1: double below EMPHASIS_BELOW_HZ, falling to a half at the highest bin."""
    bins = codec.config.window_samples // 2 + 1
    nyquist = codec.sample_rate_hz / 2
    frequency = torch.linspace(0, nyquist, bins)
    above = max(nyquist - EMPHASIS_BELOW_HZ, 1.0)  # a codec of 8 kHz has no such bins
    weights = 2.0 - 1.5 * ((frequency - EMPHASIS_BELOW_HZ) / above).clamp(0, 1)
    return (weights / weights.mean()).repeat(2)
