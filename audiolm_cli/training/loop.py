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

from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.tokens import Corpus
from audiolm_cli.distributed import Ranks
from audiolm_cli.errors import OutputError, UsageError
from audiolm_cli.events import Activity, Note, OnEvent, TrainStep, Validation, ignore
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.reports.past import JOURNAL
from audiolm_cli.stopping import StopSignals
from audiolm_cli.training.average import holding_average
from audiolm_cli.training.batches import fixed_windows
from audiolm_cli.training.endings import finishing_step, note_saved
from audiolm_cli.training.journal import Journal
from audiolm_cli.training.running import Running
from audiolm_cli.training.state import (
    STATE_FOLDER,
    check_same_settings,
    keep_newest_state,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
    with_prefix,
    without_prefix,
)
from audiolm_cli.training.steps import Stepper, StepReport
from audiolm_cli.wording import counted

ATTEMPTS = 3
"""How often training goes back to one saved state before it gives up."""
IMPATIENT, SIGNAL, DIVERGED = 1, 1 << 8, 1 << 16
"""Why training does not go on to the next step: patience has run out, a signal (with its number added), broken losses.

Processes agree on the largest.
"""
COUNTERS = ("best", "stale", "validated", "skipped", "unusable", "attempt", "elapsed_s")
"""Numbers of a `Trainer` that its states hold."""


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
OnSample = Callable[[int, Decoders], None]
"""Gets the steps done and the model in eval mode, holding the averaged weights, every `sample_every` steps."""


class Trainer:
    """Trains a model; `run` may be killed and called again with the same arguments, and ends with the same weights."""

    def __init__(
        self,
        model: Decoders,
        config: TrainConfig,
        corpus: Corpus,
        run_folder: Path,
        score: Callable[[Decoders, Tensor], Scores],
        on_event: OnEvent,
        ranks: Ranks | None = None,
    ) -> None:
        """Get ready.

        Args:
            model: what is trained, on its device.
            config: how; steps and frames per step worked out.
            corpus: what to train on and to validate on.
            run_folder: where states and `metrics.jsonl` go.
            score: tells how well a model does on windows [N, T, K].
            on_event: hears of every step and validation.
            ranks: this process among others.

        Raises:
            UsageError: there is nothing to train.
            DataError: there are no clips.
        """
        if config.train_stage == 2 and model.config.num_quantizers == model.config.ar_codebooks:
            raise UsageError(
                "train-stage 2 trains the NAR decoder, but a model of one codebook has nothing for it to do"
            )

        self.model, self.config, self.score, self.on_event = model, config, score, on_event
        self.run_folder, self.state_folder = run_folder, run_folder / STATE_FOLDER
        self.journal = Journal(run_folder / JOURNAL)
        self.stepper = Stepper(model, config, corpus.lessons, ranks)
        self.ranks = self.stepper.ranks
        held_out = fixed_windows(corpus.dev, model.config.max_frames, config.validation_windows)
        self.held_out = torch.from_numpy(held_out)
        """Windows int64 [N, T, K] that every validation scores."""

        self.step, self.elapsed_s = 0, 0.0
        self.saved = -1
        """Steps in the newest saved state; -1 while there is none."""
        self.skipped, self.unusable = 0, 0
        """Steps so far that changed nothing: all, and those since one that did."""
        self.attempt = 0
        """How often training went back to a saved state; each attempt draws other batches."""
        self.validated, self.best, self.stale = 0, math.inf, 0
        """Steps at the latest validation, the least total bits of any, and validations since then."""
        self.diverged = False
        """Whether the latest validation found weights that predict nothing: its bits were no number."""

    @property
    def average(self) -> dict[str, Tensor]:
        """The averaged weights by name."""
        return self.stepper.average

    def run(self, on_best: OnBest, on_sample: OnSample | None = None, score_start: bool = False) -> None:
        """Train to the last step, or until patience runs out.

        SIGINT and SIGTERM wait until the step is done and saved; then they do what they did before. That they came is
        said at once, so `on_event` may be called from another thread.

        Args:
            on_best: gets the best weights.
            on_sample: gets the model where samples are due.
            score_start: validate before the first step: a model that has been trained may already be the best.

        Raises:
            UsageError: the loss or the weights are not usable, again and again.
            OutputError: a state cannot be saved.
            MemoryLimitError: not even one window fits into memory.
        """
        self.validated = -1 if score_start else 0
        self._resume()

        with finishing_step(self.on_event if self.ranks.main else ignore) as signals:
            self._train(on_best, on_sample, signals)
            if signals.came is None:
                self.on_event(Note(message=f"trained {counted(self.step, 'step')} in {self.elapsed_s / 60:.1f} min"))
            elif self.ranks.main and self.step > max(0, self.saved):
                self.on_event(Activity(stage="save, to go on later"))
                self._save()

            if signals.came is not None:
                self.on_event(note_saved(self.step, self.saved))
            if self.ranks.main:
                keep_newest_state(self.state_folder, self.saved)

    def _train(self, on_best: OnBest, on_sample: OnSample | None, signals: StopSignals) -> None:
        """Step after step until the last one is done, patience has run out, or a signal came."""
        running: Running | None = None
        started, before_s = time.monotonic(), self.elapsed_s
        while True:
            self.elapsed_s = before_s + time.monotonic() - started
            if self.ranks.main and self._validation_due():
                self._validate(on_best)

            # Only the first process validates, and a signal may reach one process alone.
            reason = self.ranks.agree(self._reason_to_stop(signals), self.model.device)
            if reason == DIVERGED:
                self._go_back(f"at step {self.step} the held-out loss is no number: training has diverged")
                continue
            if reason > SIGNAL:
                signals.note(reason - SIGNAL)
            if reason or self.step >= self.config.steps:
                return

            # Its clock starts with the first step: a validation before that does not come again with every step.
            running = running or Running(self.model.config.num_quantizers, self.model.device)
            report = self._take_step()
            self._report(report, running)
            if self.unusable >= self.config.unusable_steps:
                self._go_back(
                    f"{self.unusable} steps in a row up to step {self.step} were not usable "
                    f"(loss {report.loss:.3g}, gradient {report.gradient_norm:.3g})"
                )
            elif on_sample is not None and self._samples_due():
                self._sample(on_sample)

    def _validation_due(self) -> bool:
        at_end = self.step >= self.config.steps
        return self.step > self.validated and (at_end or self.step % self.config.validate_every == 0)

    def _samples_due(self) -> bool:
        every = self.config.sample_every
        return self.ranks.main and every > 0 and self.step % every == 0

    def _out_of_patience(self) -> bool:
        return 0 < self.config.patience <= self.stale

    def _reason_to_stop(self, signals: StopSignals) -> int:
        """Why this process would not go on to the next step; 0 where it would."""
        stopped = 0 if signals.came is None else SIGNAL + signals.came
        return max(stopped, IMPATIENT * self._out_of_patience(), DIVERGED * self.diverged)

    def _take_step(self) -> StepReport:
        """One optimizer step, counted."""
        micro_frames = self.stepper.micro_frames
        report = self.stepper.step(self.step, self.attempt)
        if self.stepper.micro_frames != micro_frames:
            text = f"out of memory: going on with at most {self.stepper.micro_frames} frames at once"
            self.on_event(Note(message=text, warning=True))

        self.step += 1
        self.skipped += not report.used
        self.unusable = 0 if report.used else self.unusable + 1
        return report

    def _report(self, report: StepReport, running: Running) -> None:
        """Tell of a step, and write it into the journal where that is due."""
        if not self.ranks.main:
            return
        event = running.add(report, self.step, self.config.steps, self.skipped)
        if self.step % self.config.log_every == 0:
            self.journal.write(describe_step(event, report))
        self.on_event(event)

    def _validate(self, on_best: OnBest) -> None:
        """Score the averaged weights on the held-out windows, and save."""
        self.on_event(Activity(stage="score held-out recordings"))
        with holding_average(self.average, self.model):
            scores = self.score(self.model, self.held_out)
        self.validated = self.step
        self.journal.write({"step": self.step, "validation": scores.to_dict()})

        # A state of weights that predict nothing would lead nowhere: training goes back to the one before.
        self.diverged = not math.isfinite(scores.total_bits)
        if self.diverged:
            return

        is_best = scores.total_bits < self.best
        self.on_event(Note(message=f"step {self.step}: held-out {scores.summary()}"))
        self.stale = 0 if is_best else self.stale + 1
        if is_best:
            self.best = scores.total_bits
            on_best(self.average, scores)

        # Saved before the event: who listens to it writes files, which may fail.
        self._save()
        self.on_event(Validation(step=self.step, scores=scores.to_dict(), summary=scores.summary(), best=is_best))
        if self._out_of_patience() and self.step < self.config.steps:
            self.on_event(Note(message=f"step {self.step}: {self.stale} validations without a better one; done"))

    def _sample(self, on_sample: OnSample) -> None:
        """Hand the model on with its averaged weights. Training goes on as if nothing had been drawn."""
        self.on_event(Activity(stage="make samples"))
        with holding_average(self.average, self.model), torch.no_grad(), torch.random.fork_rng():
            self.model.eval()
            on_sample(self.step, self.model)

    def _go_back(self, what: str) -> None:
        """Put the newest saved state back, because of `what`, and train on other batches from there.

        Raises:
            UsageError: there is none, or that was done several times already.
        """
        attempt, skipped = self.attempt + 1, self.skipped
        if not self._load() or attempt > self.attempt + ATTEMPTS:
            kept = f"; the best weights so far are kept in {self.run_folder}" if math.isfinite(self.best) else ""
            raise UsageError(
                f"{what}; start again in another folder, with a lower --base-lr or with --dtype fp32{kept}"
            )

        # The state has brought its own counters: these two go on from before.
        self.attempt, self.skipped, self.unusable, self.diverged = attempt, skipped, 0, False
        if self.ranks.main:
            self.journal.cut(self.step)
        self.on_event(Note(message=f"{what}; going on from step {self.step} on other batches", warning=True))

    def _resume(self) -> None:
        """Go on from the newest saved state, or begin."""
        found = self._load()
        if self.ranks.main:
            self.journal.cut(self.step if found else -1)
        if found:
            self.on_event(Note(message=f"resumed at step {self.step}"))

    def _save(self) -> None:
        """Save weights, their average, optimizers and counters."""
        tensors = with_prefix("model", self.model.state_dict()) | with_prefix("average", self.average)
        for i, optimizer in enumerate(self.stepper.optimizers):
            tensors |= with_prefix(f"optimizer{i}", optimizer_tensors(optimizer))

        meta = {
            **{name: getattr(self, name) for name in COUNTERS},
            "spikes": self.stepper.spikes.to_dict(),
            "config": self.config.to_dict(),
        }
        save_state(self.state_folder, self.step, tensors, meta)
        self.saved = self.step

    def _load(self) -> bool:
        """Put the newest saved state back, in every process the same one; False when there is none.

        Raises:
            UsageError: other settings led to it.
            OutputError: a process does not see what another does.
        """
        # The first process chooses the state; the others take the same or none.
        found = load_state(self.state_folder, on_event=self.on_event) if self.ranks.main else None
        step = self.ranks.agree(found[0] if found else -1, self.model.device)
        if step < 0:
            return False

        if not self.ranks.main:
            found = load_state(self.state_folder, step)
        if found is None:
            raise OutputError(f"{self.state_folder}: process {self.ranks.rank} does not see the state of step {step}")
        self._restore(*found)
        return True

    def _restore(self, step: int, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Put back what `_save` saved.

        Raises:
            UsageError: other settings led to it, or its model has another shape.
        """
        check_same_settings(self.state_folder, meta["config"], self.config.to_dict())

        # Checked before anything is put back.
        weights, own = without_prefix("model", tensors), self.model.state_dict()
        if {n: t.shape for n, t in weights.items()} != {n: t.shape for n, t in own.items()}:
            raise UsageError(
                f"{self.state_folder}: holds the state of a model of another shape; give the sizes that it was started "
                "with, or another output with -o"
            )

        # States of earlier versions have fewer counters, and no spikes.
        self.step = self.saved = self.validated = step
        for name in COUNTERS:
            if name in meta:
                setattr(self, name, type(getattr(self, name))(meta[name]))
        if "spikes" in meta:
            self.stepper.spikes.restore(meta["spikes"])

        # The network is on its device, the state on the processor.
        self.model.load_state_dict(weights)
        average = without_prefix("average", tensors)
        for name in self.average:
            self.average[name] = average[name].to(self.model.device)
        for i, optimizer in enumerate(self.stepper.optimizers):
            restore_optimizer(optimizer, without_prefix(f"optimizer{i}", tensors))


def describe_step(event: TrainStep, report: StepReport) -> dict[str, object]:
    """The entry of a step in the journal; None for decoders that are not trained."""
    by_name = {decoder.name: decoder for decoder in reversed(report.decoders)}  # of the AR decoder, its first codebook
    ar, nar = by_name.get("ar"), by_name.get("nar")
    further = [decoder.bits for decoder in report.decoders if decoder.name == "ar" and decoder.codebook > 0]

    return {
        "step": event.step,
        "loss": report.loss,
        "ar_bits": ar and ar.bits,
        **({"ar_further_bits": further} if further else {}),
        "nar_bits": nar and nar.bits,
        "nar_codebook": nar and nar.codebook + 1,
        "ar_labels": ar and ar.labels,
        "nar_labels": nar and nar.labels,
        "learning_rate": report.learning_rate,
        "gradient_norm": report.gradient_norm,
        "skipped": event.skipped,
        "frames_per_s": round(event.frames_per_s, 1),
    }
