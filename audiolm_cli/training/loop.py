"""Training an AudioLM on windows of codes: steps, validations, states. Every draw is a function of (seed, step).

Knows nothing about commands, codecs or audio.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from audiolm_cli.config import TrainConfig
from audiolm_cli.data.batching import WindowSampler, full_window
from audiolm_cli.data.manifest import TokenClip
from audiolm_cli.errors import UsageError
from audiolm_cli.events import Note, OnEvent, Progress, Validation
from audiolm_cli.model.audiolm import AudioLM
from audiolm_cli.training.average import swap_average
from audiolm_cli.training.journal import Journal
from audiolm_cli.training.running import Running
from audiolm_cli.training.state import (
    check_same_settings,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
    with_prefix,
    without_prefix,
)
from audiolm_cli.training.steps import Stepper, StepReport


class Scores(Protocol):
    """How well a model does on held-out windows."""

    @property
    def total_bits(self) -> float:
        """Bits per frame over all codebooks: what the best weights have least of."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        ...

    def summary(self) -> str:
        """One line for a person."""
        ...


OnBest = Callable[[dict[str, Tensor], Scores], None]
"""Gets the averaged weights by name whenever they validate better than ever."""
OnSample = Callable[[int, AudioLM], None]
"""Gets the steps done and the model in eval mode, holding the averaged weights, every `sample_every` steps."""


class Trainer:
    """Trains `model`; `run` may be killed and called again with the same arguments, and ends with the same weights."""

    def __init__(
        self,
        model: AudioLM,
        config: TrainConfig,
        train: list[TokenClip],
        dev: list[TokenClip],
        run_folder: Path,
        score: Callable[[AudioLM, Tensor], Scores],
        on_event: OnEvent,
    ) -> None:
        if config.train_stage == 2 and model.config.num_quantizers == 1:
            raise UsageError(
                "train-stage 2 trains the NAR decoder, but a model of one codebook has nothing for it to do"
            )
        self.model, self.config, self.score, self.on_event = model, config, score, on_event
        self.state_folder, self.journal = run_folder / "state", Journal(run_folder / "metrics.jsonl")
        self.stepper = Stepper(model, config, train)
        self.validation = WindowSampler(dev, full_window(dev, model.config.max_frames)).fixed(config.validation_windows)
        self.step, self.elapsed_s = 0, 0.0
        self.skipped = 0
        """Steps so far that changed nothing."""
        self.validated, self.best, self.stale = 0, math.inf, 0
        """Steps at the latest validation, the least total bits of any, and validations since then."""

    @property
    def average(self) -> dict[str, Tensor]:
        """The averaged weights by name."""
        return self.stepper.average

    def run(self, on_best: OnBest, on_sample: OnSample | None = None) -> None:
        """Train to the last step, or until patience runs out."""
        self._resume()
        running = Running(self.model.config.num_quantizers, self.model.device)
        started, before_s = time.monotonic(), self.elapsed_s
        while True:
            self.elapsed_s = before_s + time.monotonic() - started
            if self._validation_due():
                self._validate(on_best)
            if self._finished():
                break
            report = self.stepper.step(self.step)
            self.step += 1
            self.skipped += not report.used
            self._report(report, running)
            if on_sample is not None and self.config.sample_every and self.step % self.config.sample_every == 0:
                self._sample(on_sample)
        self.on_event(Note(message=f"trained {self.step} steps in {self.elapsed_s / 60:.1f} min"))

    def _validation_due(self) -> bool:
        at_end = self.step == self.config.steps
        return self.step > self.validated and (at_end or self.step % self.config.validate_every == 0)

    def _finished(self) -> bool:
        return self.step >= self.config.steps or 0 < self.config.patience <= self.stale

    def _report(self, report: StepReport, running: Running) -> None:
        config = self.config
        event = running.add(report, self.step, config.steps, self.skipped)
        bits = {decoder.codebook: decoder.bits for decoder in report.decoders}
        codebook = max(bits)
        ar_bits, nar_bits = bits.get(0, math.nan), bits[codebook] if codebook else math.nan
        detail = f"loss {report.loss:.3f}  AR {ar_bits:.2f}  NAR {nar_bits:.2f} bits  {event.frames_per_s:.0f} frames/s"
        if self.step % config.log_every == 0:
            self.journal.write(
                {
                    "step": self.step,
                    "loss": report.loss,
                    "ar_bits": ar_bits,
                    "nar_bits": nar_bits,
                    "nar_codebook": codebook + 1 if codebook else None,
                    "learning_rate": report.learning_rate,
                    "gradient_norm": report.gradient_norm,
                    "skipped": self.skipped,
                    "frames_per_s": round(event.frames_per_s, 1),
                }
            )
        self.on_event(Progress(stage="train", done=self.step, total=config.steps, unit="steps", detail=detail))
        self.on_event(event)

    def _validate(self, on_best: OnBest) -> None:
        swap_average(self.average, self.model)
        scores = self.score(self.model, torch.from_numpy(self.validation.codes))
        swap_average(self.average, self.model)
        self.validated = self.step
        self.journal.write({"step": self.step, "validation": scores.to_dict()})
        is_best = scores.total_bits < self.best
        self.on_event(Note(message=f"step {self.step}: held-out {scores.summary()}"))
        self.on_event(Validation(step=self.step, scores=scores.to_dict(), summary=scores.summary(), best=is_best))
        self.stale = 0 if is_best else self.stale + 1
        if is_best:
            self.best = scores.total_bits
            on_best(self.average, scores)
        self._save()
        if 0 < self.config.patience <= self.stale and self.step < self.config.steps:
            self.on_event(Note(message=f"step {self.step}: {self.stale} validations without a better one; done"))

    def _sample(self, on_sample: OnSample) -> None:
        swap_average(self.average, self.model)
        self.model.eval()
        with torch.no_grad(), torch.random.fork_rng():
            on_sample(self.step, self.model)
        swap_average(self.average, self.model)

    def _save(self) -> None:
        tensors = with_prefix("model", self.model.state_dict()) | with_prefix("average", self.average)
        for i, optimizer in enumerate(self.stepper.optimizers):
            tensors |= with_prefix(f"optimizer{i}", optimizer_tensors(optimizer))
        meta = {
            "best": self.best,
            "stale": self.stale,
            "validated": self.validated,
            "skipped": self.skipped,
            "spikes": self.stepper.spikes.to_dict(),
            "elapsed_s": self.elapsed_s,
            "config": self.config.to_dict(),
        }
        save_state(self.state_folder, self.step, tensors, meta)

    def _resume(self) -> None:
        found = load_state(self.state_folder)
        self.journal.cut(0 if found is None else found[0])
        if found is None:
            return
        self.step, tensors, meta = found
        check_same_settings(self.state_folder, meta["config"], self.config.to_dict())
        self.best, self.elapsed_s = float(meta["best"]), float(meta.get("elapsed_s", 0.0))
        self.validated, self.stale = int(meta.get("validated", self.step)), int(meta.get("stale", 0))
        self.skipped = int(meta.get("skipped", 0))
        if "spikes" in meta:
            self.stepper.spikes.restore(meta["spikes"])
        self.model.load_state_dict(without_prefix("model", tensors))
        average = without_prefix("average", tensors)
        for name in self.average:
            self.average[name] = average[name].to(self.model.device)
        for i, optimizer in enumerate(self.stepper.optimizers):
            restore_optimizer(optimizer, without_prefix(f"optimizer{i}", tensors))
        self.on_event(Note(message=f"resumed at step {self.step}"))
