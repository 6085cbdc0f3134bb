"""Training an AudioLM on windows of codes. Batches and every draw are functions of (seed, step).

Knows nothing about commands, codecs or audio.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.config import TrainConfig
from audiolm_cli.data.batching import Windows, WindowSampler, full_window
from audiolm_cli.data.manifest import TokenClip
from audiolm_cli.errors import UsageError
from audiolm_cli.events import Note, OnEvent, Progress
from audiolm_cli.model.audiolm import AudioLM
from audiolm_cli.model.geometry import TaskMix, draw_geometry
from audiolm_cli.training.average import start_average, swap_average, update_average
from audiolm_cli.training.optim import Muon, split_parameters, warmup_stable_decay
from audiolm_cli.training.state import (
    check_same_settings,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
    with_prefix,
    without_prefix,
)

STAGE_SHARES = (0.4, 0.3, 0.3)
"""How often codebooks 2, 3 and 4 are the NAR target; more codebooks share evenly."""


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one step did."""

    loss: float
    """Mean of the trained decoders' losses, in nats."""
    ar_bits: float
    """AR cross-entropy in bits per frame."""
    nar_bits: float
    """NAR cross-entropy in bits per frame."""
    gradient_norm: float
    """Before clipping."""


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
        self.state_folder, self.log = run_folder / "state", run_folder / "metrics.jsonl"
        self.clips = train
        self.validation = WindowSampler(dev, full_window(dev, model.config.max_frames)).fixed(config.validation_windows)
        self.longest = full_window(train, model.config.max_frames)
        self.samplers: dict[int, WindowSampler] = {}
        self.optimizers = _optimizers(model, config)
        self.bf16 = config.dtype == "bf16" or (config.dtype == "auto" and multiplies_bf16(model.device))
        self.average = start_average(model)
        self.step, self.best, self.elapsed_s = 0, math.inf, 0.0

    def run(self, on_best: OnBest) -> None:
        """Train to the last step; `on_best` gets the averaged weights whenever they validate better than ever."""
        self._resume()
        started, frames, before_s = time.monotonic(), 0, self.elapsed_s
        while self.step < self.config.steps:
            windows, report = self._train_step()
            self.step += 1
            frames += windows.codes.shape[0] * windows.codes.shape[1]
            self.elapsed_s = before_s + time.monotonic() - started
            speed = frames / (self.elapsed_s - before_s)
            detail = (
                f"loss {report.loss:.3f}  AR {report.ar_bits:.2f}  NAR {report.nar_bits:.2f} bits  {speed:.0f} frames/s"
            )
            self.on_event(Progress(stage="train", done=self.step, total=self.config.steps, unit="steps", detail=detail))
            if self.step % 10 == 0:
                self._log({"step": self.step, "frames_per_s": round(speed, 1), **report.__dict__})
            if self.step % self.config.validate_every == 0 or self.step == self.config.steps:
                self._validate(on_best)
        self.on_event(Note(message=f"trained {self.step} steps in {self.elapsed_s / 60:.1f} min"))

    def _train_step(self) -> tuple[Windows, StepReport]:
        factor = warmup_stable_decay(self.step, self.config.steps, self.config.warmup_steps, self.config.decay_share)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
        rng = np.random.default_rng([self.config.seed, self.step])
        windows = self._draw(rng)
        geometry = draw_geometry(windows.codes.shape[1], TaskMix(), rng)
        device = self.model.device
        context, target = geometry.split(torch.from_numpy(windows.codes).to(device))
        if self.model.config.dropout > 0:
            torch.manual_seed(int(np.random.default_rng([self.config.seed, self.step, 1]).integers(2**62)))
        losses: list[Tensor] = []
        ar_bits = nar_bits = math.nan
        self.model.train()
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            if self.config.train_stage != 2:
                ends = torch.from_numpy(windows.ends).to(device) if geometry.right == 0 else None
                losses.append(self.model.ar_predict(context, target, geometry, ends).loss())
                ar_bits = losses[-1].item() / math.log(2)
            if self.config.train_stage != 1 and self.model.config.num_quantizers > 1:
                codebook = _draw_codebook(self.model.config.num_quantizers, rng)
                known = _draw_known(target.shape[:2], self.config.nar_known, rng).to(device)
                losses.append(self.model.nar_predict(context, target, geometry, codebook, known).loss())
                nar_bits = losses[-1].item() / math.log(2)
        loss = torch.stack(losses).mean()
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        if torch.isfinite(norm):
            for optimizer in self.optimizers:
                optimizer.step()
        update_average(self.average, self.model, self.config.ema_decay, self.step)
        return windows, StepReport(loss=loss.item(), ar_bits=ar_bits, nar_bits=nar_bits, gradient_norm=norm.item())

    def _draw(self, rng: np.random.Generator) -> Windows:
        shortest = min(self.config.shortest_window, self.longest)
        frames = self.longest
        if rng.random() >= self.config.full_windows:
            frames = int(rng.integers(shortest, self.longest + 1))
        if frames not in self.samplers:
            self.samplers[frames] = WindowSampler(self.clips, frames)
        return self.samplers[frames].draw(max(1, round(self.config.batch_frames / frames)), rng)

    def _validate(self, on_best: OnBest) -> None:
        swap_average(self.average, self.model)
        scores = self.score(self.model, torch.from_numpy(self.validation.codes))
        swap_average(self.average, self.model)
        self._log({"step": self.step, "validation": scores.to_dict()})
        self.on_event(Note(message=f"step {self.step}: held-out {scores.summary()}"))
        if scores.total_bits < self.best:
            self.best = scores.total_bits
            on_best(self.average, scores)
        self._save()

    def _log(self, entry: dict[str, object]) -> None:
        with self.log.open("a") as stream:
            stream.write(json.dumps({key: _finite(value) for key, value in entry.items()}) + "\n")

    def _cut_log(self, step: int) -> None:
        """Drop the entries of steps after `step`, which will be done again, and a last line cut short."""
        if not self.log.exists():
            return
        lines = self.log.read_text().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        if kept != lines:
            temporary = self.log.with_suffix(".partial")
            temporary.write_text("".join(kept))
            temporary.replace(self.log)

    def _save(self) -> None:
        tensors = with_prefix("model", self.model.state_dict()) | with_prefix("average", self.average)
        for i, optimizer in enumerate(self.optimizers):
            tensors |= with_prefix(f"optimizer{i}", optimizer_tensors(optimizer))
        meta = {"best": self.best, "elapsed_s": self.elapsed_s, "config": self.config.to_dict()}
        save_state(self.state_folder, self.step, tensors, meta)

    def _resume(self) -> None:
        found = load_state(self.state_folder)
        self._cut_log(0 if found is None else found[0])
        if found is None:
            return
        self.step, tensors, meta = found
        check_same_settings(self.state_folder, meta["config"], self.config.to_dict())
        self.best, self.elapsed_s = float(meta["best"]), float(meta.get("elapsed_s", 0.0))
        self.model.load_state_dict(without_prefix("model", tensors))
        average = without_prefix("average", tensors)
        self.average = {name: average[name].to(self.model.device) for name in self.average}
        for i, optimizer in enumerate(self.optimizers):
            restore_optimizer(optimizer, without_prefix(f"optimizer{i}", tensors))
        self.on_event(Note(message=f"resumed at step {self.step}"))


def _finite(value: object) -> object:
    """None for numbers that JSON lacks: losses of a decoder that is not trained, or that diverged."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16 products; without them, autocast is slower than fp32."""
    return torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()


def _draw_codebook(num_quantizers: int, rng: np.random.Generator) -> int:
    """Which codebook the NAR decoder predicts in this step."""
    stages = num_quantizers - 1
    shares = np.array(STAGE_SHARES) if stages == len(STAGE_SHARES) else np.full(stages, 1 / stages)
    return 1 + int(rng.choice(stages, p=shares))


def _draw_known(shape: tuple[int, ...], share: float, rng: np.random.Generator) -> Tensor:
    """Which frames' codes are given, bool [B, M]: in `share` of the items some, in the others none.

    The masked part is the cosine of a uniform angle (Chang et al., "MaskGIT", 2022, section 3.3): mostly much.
    """
    B, M = shape
    given = 1 - np.cos(rng.uniform(0, np.pi / 2, size=B))
    given[rng.random(B) >= share] = 0
    known = rng.random((B, M)) < given[:, None]
    known[0, rng.integers(M)] = False  # something is left to predict
    return torch.from_numpy(known)


def _optimizers(model: AudioLM, config: TrainConfig) -> list[torch.optim.Optimizer]:
    hidden, other = split_parameters(model)
    if config.optimizer == "adamw":
        groups = [
            {"params": hidden, "weight_decay": config.weight_decay, "peak": config.learning_rate},
            {"params": other, "weight_decay": 0.0, "peak": config.learning_rate},
        ]
        return [torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95))]
    muon = Muon(hidden, lr=config.learning_rate, weight_decay=config.weight_decay)
    adam = torch.optim.AdamW(other, lr=config.adam_learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    for optimizer, peak in ((muon, config.learning_rate), (adam, config.adam_learning_rate)):
        for group in optimizer.param_groups:
            group["peak"] = peak
    return [muon, adam]
