"""Training a codec, from nothing or from its weights. Batches and every draw are functions of (seed, step).

What the families do each in their own way is a `Trainee`. Knows nothing about commands.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.config.training import CodecTrainConfig
from audiolm_cli.data.files import AudioFile, draw_clips, read_mono_clip
from audiolm_cli.errors import DataError
from audiolm_cli.events import Activity, Note, OnEvent, Progress
from audiolm_cli.stopping import StopSignals
from audiolm_cli.training.average import start_average, swap_average, update_average
from audiolm_cli.training.codec.disturbance import disturb, draw_delays
from audiolm_cli.training.codec.trainee import CodecLosses, Trainee
from audiolm_cli.training.endings import finishing_step, note_saved
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
from audiolm_cli.wording import counted, length_of

TIMED_STEPS = 10
"""After so many steps it is said how long the others will take."""
OLDER_SETTINGS = {
    "family": "spectral",
    "keep_codes": False,
    "consistency": 0.0,
    "columns": 2,
    "level_s": 0.0,
    "steady_frames": 1,
}
"""What a training was started with whose state does not say so, because it is older than the setting."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A batch, as the codec's network takes it."""

    wanted: Tensor
    """[B, ...], what is to be given back: clean."""
    heard: Tensor | None = None
    """[B, ...], what the codec hears instead; None is the same."""
    undelayed: Tensor | None = None
    """[B, ...], the clean clips to whose latents those of what is heard are drawn; None draws them nowhere."""


class CodecTrainer:
    """Trains a codec on `train` and keeps averaged weights; `run` may be interrupted and called again."""

    def __init__(
        self,
        trainee: Trainee,
        config: CodecTrainConfig,
        train: list[AudioFile],
        dev: list[AudioFile],
        state_folder: Path,
        on_event: OnEvent,
        init: str | None = None,
    ) -> None:
        """`init` is the hash of the weights that the codec starts from; None starts from nothing."""
        self.trainee, self.config, self.train, self.dev, self.init = trainee, config, train, dev, init
        self.state_folder, self.on_event = state_folder, on_event
        self.codec, self.network, self.quantizer = trainee.codec, trainee.network, trainee.quantizer

        self.step, self.elapsed_s = 0, 0.0
        self.saved = -1
        """Steps in the newest saved state; -1 while there is none."""
        self.damaged: dict[str, str] = {}
        """Recordings that could not be read everywhere, and why."""

        self.quantize_from_step = 0 if init else int(config.quantize_from * config.steps)

        # Where codes are kept, only what comes after the quantizer learns.
        if config.keep_codes:
            assert init, "there are no codes to keep"
            self.network.requires_grad_(False)
        self.learned = list(trainee.after_quantizer if config.keep_codes else self.network.parameters())
        for parameter in self.learned:
            parameter.requires_grad_(True)

        self.learning_rate = config.learning_rate or trainee.usual_rates[1 if init else 0]
        self.average = start_average(self.network)
        self.optimizer = torch.optim.AdamW(self.learned, lr=self.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)

    def run(self, on_sample: Callable[[int], None] | None = None) -> CodecLosses:
        """Train to the last step and return the held-out losses of the averaged weights, which the codec then holds.

        SIGINT and SIGTERM wait until the step is done and saved; then they do what they did before. That they came is
        said at once, so `on_event` may be called from another thread.

        Args:
            on_sample: called with the steps done every `sample_every` steps and at the end, while the codec holds the
                averaged weights; not before it has codebooks.
        """
        if not self._resume():
            self._start()

        with finishing_step(self.on_event) as signals:
            held_out = self._train(on_sample, signals)
            if signals.came is not None:
                if self.step > max(0, self.saved):
                    self.on_event(Activity(stage="save, to go on later"))
                    self._save()
                self.on_event(note_saved(self.step, self.saved))

        held_out = held_out or self.evaluate()
        swap_average(self.average, self.network)
        self.trainee.give_codebooks()
        return held_out

    def _train(self, on_sample: Callable[[int], None] | None, signals: StopSignals) -> CodecLosses | None:
        """Step after step until the last one is done or a signal came; the held-out losses after the last step."""
        started, first, before_s = time.monotonic(), self.step, self.elapsed_s
        held_out = None
        self.on_event(Activity(stage="train"))
        while self.step < self.config.steps and signals.came is None:
            if self.step >= self.quantize_from_step and not self.quantizing:
                self._start_quantizer()
            losses = self._train_step()

            self.step += 1
            self.elapsed_s = before_s + time.monotonic() - started
            steps_per_s = (self.step - first) / (self.elapsed_s - before_s)
            self._report_step(losses, steps_per_s)
            if self.step - first == TIMED_STEPS and self.step < self.config.steps:
                self._report_time((self.config.steps - self.step) / steps_per_s)

            last, every = self.step == self.config.steps, self.config.sample_every
            saves = last or self.step % self.config.state_every == 0
            if saves:
                self._save()
                held_out = self._report_held_out()

            samples = bool(every) and self.quantizing and (last or self.step % every == 0)
            if on_sample is not None and samples:
                self._make_sample(on_sample)

            if (saves or samples) and not last:  # what was done between two steps is over
                self._report_step(losses, steps_per_s)

        return held_out

    @property
    def quantizing(self) -> bool:
        """Whether the quantizer has come in."""
        return bool(self.quantizer.counts.any())

    def _start(self) -> None:
        """What comes before the first step."""
        if self.init is None:
            self.on_event(Note(message="first weights from the training clips"))
            self.on_event(Activity(stage="first weights"))
            self.trainee.initialise(self._endless_clips("components"), self.config.seed)
            self.average = start_average(self.network)
            return

        self.trainee.take_codebooks()
        if not self.quantizing or self.config.keep_codes:  # the codec does not say how often these recordings use it
            self.quantizer.start_averages(*self._sample_latents("count the codes of the recordings"))
        self._report_held_out()

    def _report_step(self, losses: CodecLosses, steps_per_s: float) -> None:
        """Say how far the training is, with the losses of the step."""
        detail = f"{_format_losses(losses)} {steps_per_s:.2f} steps/s"
        self.on_event(Progress(stage="train", done=self.step, total=self.config.steps, unit="steps", detail=detail))

    def _report_time(self, left_s: float) -> None:
        """Say how long the training will take."""
        left = counted(self.config.steps - self.step, "step")
        self.on_event(Note(message=f"expected: about {length_of(left_s)} for the other {left}"))

    def _report_held_out(self) -> CodecLosses:
        """Measure the held-out losses and say what they are."""
        self.on_event(Activity(stage="measure held-out clips"))
        held_out = self.evaluate()
        usage = "/".join(f"{p:.0f}" for p in self.quantizer.perplexities())
        self.on_event(
            Note(message=f"step {self.step}: held-out {_format_losses(held_out, ', ')}, codebook perplexity {usage}")
        )
        return held_out

    def _make_sample(self, on_sample: Callable[[int], None]) -> None:
        """Call `on_sample` while the codec holds the averaged weights."""
        swap_average(self.average, self.network)
        self.trainee.give_codebooks()
        on_sample(self.step)
        swap_average(self.average, self.network)

    def _train_step(self) -> CodecLosses:
        """One step of training: a gradient that is not finite is left out."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * cosine(self.step, self.config.steps, self.config.warmup_steps)

        loss, losses = self._loss(self._draw_lesson(self.step), self.step)

        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.learned, 1.0)
        if torch.isfinite(norm):
            self.optimizer.step()

        update_average(self.average, self.network, self.config.ema_decay, self.step)
        return losses

    def _draw_lesson(self, step: int) -> Lesson:
        """What a step of training hears, and what it is to give back."""
        rng, inputs = self._rng("clips", step), self.trainee.inputs
        if not self.config.consistency:
            return Lesson(wanted=inputs(self._draw_clips(rng)))

        # Each clip once more, delayed by up to half a frame: cut from a clip that is that much longer.
        spare = self.codec.hop_samples // 2
        longer = self._draw_clips(rng, spare)  # [B, N + spare]
        samples, delays = longer.shape[-1] - spare, draw_delays(len(longer), spare, rng)
        delayed = torch.stack([clip[spare - d :][:samples] for clip, d in zip(longer, delays, strict=True)])

        worn = torch.from_numpy(disturb(delayed.cpu().numpy(), self.codec.sample_rate_hz, rng)).to(delayed.device)
        undelayed = None if self.config.keep_codes else inputs(longer[:, spare:])  # latents are not drawn anywhere then
        return Lesson(wanted=inputs(delayed), heard=inputs(worn), undelayed=undelayed)

    def _loss(self, lesson: Lesson, step: int | None) -> tuple[Tensor, CodecLosses]:
        """The loss of a lesson; in a `step` of training, codebooks move as well, unless codes are kept."""
        heard = lesson.wanted if lesson.heard is None else lesson.heard
        if self.config.keep_codes:
            with torch.no_grad():
                latents = self.trainee.latents(heard)
                latents = self.quantizer.decode(self.quantizer.encode(latents, self.trainee.steady(latents)))
            loss, parts = self.trainee.distance(self.trainee.outputs(latents), lesson.wanted, step)
            return loss, {**parts, "commitment": 0.0}

        latents = self.trainee.latents(heard)  # [B, T, D]
        displacement = self._measure_displacement(latents, lesson)
        commitment = latents.new_zeros(())
        if self.quantizing:
            quantized = self._quantize(latents.detach(), step)
            commitment = (latents - quantized).square().mean() / latents.detach().var()
            latents = latents + (quantized - latents).detach()  # straight through: the encoder gets the same gradient

        loss, parts = self.trainee.distance(self.trainee.outputs(latents), lesson.wanted, step)
        loss = loss + self.config.commitment * commitment
        parts = {**parts, "commitment": commitment.item()}
        if displacement is None:
            return loss, parts
        return loss + self.config.consistency * displacement, {**parts, "displacement": displacement.item()}

    def _measure_displacement(self, latents: Tensor, lesson: Lesson) -> Tensor | None:
        """How far latents [B, T, D] lie from those of the clean clips, as a share of the variance of the latter."""
        if lesson.undelayed is None:
            return None
        with torch.no_grad():
            clean = self.trainee.latents(lesson.undelayed)
        return (latents - clean).square().mean() / clean.var()

    def _quantize(self, latents: Tensor, step: int | None) -> Tensor:
        """What the codebooks make of latents [B, T, D]; in a `step` of training, the codebooks move afterwards."""
        flat, *steady = _flatten([latents, *self.trainee.steady(latents)])  # [B * T, D] each
        if step is None:
            return self.quantizer.decode(self.quantizer.encode(flat, steady)).reshape(latents.shape)

        before = self.quantizer.codebooks.clone()
        codes = self.quantizer.update(flat, 0.99, revive=3, generator=self._generator("revive", step), steady=steady)
        quantized: Tensor = sum(before[k][codes[:, k]] for k in range(codes.shape[1]))  # type: ignore[assignment]
        return quantized.reshape(latents.shape)

    @torch.no_grad()
    def evaluate(self, clips: int = 24) -> CodecLosses:
        """Held-out losses of the averaged weights, on clips that are the same at every call."""
        swap_average(self.average, self.network)
        wav, totals = self._held_out_clips(clips), dict[str, float]()

        for part in wav.split(self.config.clips):  # no more at once than in a step
            _, losses = self._loss(Lesson(wanted=self.trainee.inputs(part)), None)
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + value * len(part) / len(wav)

        swap_average(self.average, self.network)
        return totals

    def _held_out_clips(self, clips: int) -> Tensor:
        """Held-out clips [B, N]."""
        rng = self._rng("dev", 0)
        files = [self.dev[i % len(self.dev)] for i in range(clips)]
        starts_s = [rng.random() * max(0.0, file.duration_s - self.config.clip_s) for file in files]

        wav = []
        for file, start_s in zip(files, starts_s, strict=True):
            try:
                wav.append(read_mono_clip(file, start_s, self._clip_samples(), self.codec.sample_rate_hz))
            except DataError as error:
                self._on_damage(file, error)

        if not wav:
            raise DataError(
                f"none of the clips to measure on can be read; the first: {next(iter(self.damaged.values()))}"
            )
        return torch.from_numpy(np.stack(wav)).to(self.codec.device)

    def _on_damage(self, file: AudioFile, error: DataError) -> None:
        """Remember a recording that is damaged somewhere; what can be read of it is used."""
        if str(file.path) not in self.damaged:
            self.damaged[str(file.path)] = str(error)
            self.on_event(Note(message=str(error), warning=True))

    def _start_quantizer(self) -> None:
        """Let the quantizer come in, its codebooks set by k-means."""
        self.on_event(Note(message=f"step {self.step}: k-means for {self.codec.num_codebooks} codebooks"))
        latents, steady = self._sample_latents("make the codebooks")
        self.quantizer.initialise(latents, 12, self._generator("codebooks", 0), steady)

    @torch.no_grad()
    def _sample_latents(self, stage: str) -> tuple[Tensor, list[Tensor]]:
        """Latents [M, D] of random training clips, as many as k-means needs, and the steady ones of the same frames.

        Says under the name of `stage` how far that is.
        """
        parts: list[list[Tensor]] = []
        done, frames = 0, self.trainee.start_frames
        for wav in self._endless_clips("codebooks"):
            self.on_event(Activity(stage=stage, share=done / frames))
            latents = self.trainee.latents(self.trainee.inputs(wav))
            parts.append(_flatten([latents, *self.trainee.steady(latents)]))
            done += len(parts[-1][0])
            if done >= frames:
                break
        self.on_event(Activity(stage=stage))

        latents, *steady = (torch.cat(views)[: self.trainee.start_frames] for views in zip(*parts, strict=True))
        return latents, steady

    def _endless_clips(self, purpose: str) -> Iterator[Tensor]:
        """Random training clips [B, N] without end."""
        return (self._draw_clips(self._rng(purpose, draw)) for draw in itertools.count())

    def _draw_clips(self, rng: np.random.Generator, spare: int = 0) -> Tensor:
        """Random training clips [B, N + spare], each with a random gain."""
        shape = self.config.clips, self._clip_samples() + spare, self.codec.sample_rate_hz
        wav = draw_clips(self.train, *shape, rng, self._on_damage)

        gains = 10 ** (rng.uniform(*self.config.gain_db, size=(len(wav), 1)) / 20)
        return torch.from_numpy(wav * gains.astype(np.float32)).to(self.codec.device)

    def _clip_samples(self) -> int:
        """Samples of a clip: whole frames."""
        return round(self.config.clip_s * self.codec.frame_rate_hz) * self.codec.hop_samples

    def _rng(self, purpose: str, step: int) -> np.random.Generator:
        """The random numbers of one purpose in one step, a function of the seed."""
        return np.random.default_rng([self.config.seed, step, *purpose.encode()])

    def _generator(self, purpose: str, step: int) -> torch.Generator:
        """The same for torch."""
        return torch.Generator().manual_seed(int(self._rng(purpose, step).integers(2**62)))

    def _save(self) -> None:
        """Write all that a training goes on from."""
        tensors = (
            with_prefix("network", self.network.state_dict())
            | with_prefix("average", self.average)
            | with_prefix("optimizer", optimizer_tensors(self.optimizer))
            | with_prefix("extra", self.trainee.extra_state())
            | {"quantizer.counts": self.quantizer.counts, "quantizer.sums": self.quantizer.sums}
        )

        meta = {"config": self._settings(), "elapsed_s": self.elapsed_s, "damaged": self.damaged}
        save_state(self.state_folder, self.step, tensors, meta)
        self.saved = self.step

    def _settings(self) -> dict[str, Any]:
        """What a training that goes on must have been started with."""
        own = {"family": self.trainee.family, "init": self.init and self.init[:12], "learning_rate": self.learning_rate}
        return {**self.config.to_dict(), **own, **self.trainee.settings()}

    def _resume(self) -> bool:
        """Go on from the state that was saved last; False where there is none."""
        found = load_state(self.state_folder)
        if found is None:
            return False

        self.step, tensors, meta = found
        self.saved = self.step
        saved = {**OLDER_SETTINGS, **meta["config"]}
        check_same_settings(self.state_folder, saved, self._settings())
        self.elapsed_s, self.damaged = float(meta.get("elapsed_s", 0.0)), dict(meta.get("damaged", {}))

        self.network.load_state_dict(without_prefix("network", tensors))
        average = without_prefix("average", tensors)
        self.average = {name: average[name].to(self.codec.device) for name in self.average}

        restore_optimizer(self.optimizer, without_prefix("optimizer", tensors))
        self.trainee.restore_extra(without_prefix("extra", tensors))
        self.quantizer.counts.copy_(tensors["quantizer.counts"])
        self.quantizer.sums.copy_(tensors["quantizer.sums"])

        self.on_event(Note(message=f"resumed at step {self.step}"))
        return True


def _flatten(views: list[Tensor]) -> list[Tensor]:
    """Each [B, T, D] as [B * T, D]."""
    return [view.flatten(0, 1) for view in views]


def _format_losses(losses: CodecLosses, between: str = " ") -> str:
    """Losses as they are shown: names and values."""
    return between.join(f"{name} {value:.4f}" for name, value in losses.items())
