"""What is tried before a training begins, so that it does not fail, or prove useless, hours later.

Each check is small and says what it found and, where it failed, what to do. They work on a copy of the model and leave
the global random state alone: a training is the same with and without them. Knows nothing about terminals.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from audiolm_cli.codec.base import Codec
from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.manifest import CodecFacts, TokenClip
from audiolm_cli.devices import total_memory
from audiolm_cli.errors import AudioLMError, DataError, MemoryLimitError, ModelError, OutputError
from audiolm_cli.model.decode import generate
from audiolm_cli.model.decoders import Decoders, Predictions, build, load_weights
from audiolm_cli.model.geometry import Geometry
from audiolm_cli.training.running import memory_bytes
from audiolm_cli.training.state import optimizer_tensors
from audiolm_cli.training.steps import Stepper
from audiolm_cli.wording import counted

SHORTEST_CLIP_S = 5.0
"""Clips of 5 to 15 s are recommended; half of the audio in shorter ones brings a warning."""
NEAR_UNIFORM = 0.25
"""An untrained model's loss may be this share away from that of a blind guess; embeddings that start from the codec's
codebooks were measured to bring up to 12 % more in the further ones. That of codebook 1 may be any amount below: from
those large embeddings and a head alike, an untrained decoder already guesses codes near the last one, which on piano
was measured to bring 37 % less."""
MEMORISE_STEPS, MEMORISE_FALL = 20, 0.1
"""A small batch is trained on for at most so many steps, until its loss has fallen by this share."""
SMALL_BATCH, SMALL_FRAMES = 2, 64
"""Windows of the small batch, and the frames of each at most."""
TIMED_STEPS, PATIENCE_S = 3, 20.0
"""Real steps that are timed; only the first when it takes longer than this."""
FULL = 0.9
"""Share of all memory that brings a warning when it is expected to be used."""
STATES = 3.5
"""Saved states that lie on the disk at once: two kept, one being written, and the best model."""
TRIED_FRAMES = 25
"""Frames of the short generation: half a second."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the list."""

    name: str
    """What was tried."""
    status: str
    """"ok", "warning", "failed", or "skipped"."""
    found: str
    """What came out, with the numbers."""
    remedy: str = ""
    """What to do; empty when all is well."""
    error: type[AudioLMError] = ModelError
    """What a failure of it is."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a training will need."""

    step_s: float
    """Seconds per step."""
    memory_bytes: int
    """Most memory in use; 0 where unknown."""
    state_bytes: int
    """Size of one saved state."""


class Checklist:
    """Runs the checks of one training."""

    def __init__(
        self,
        model: Decoders,
        config: TrainConfig,
        facts: CodecFacts,
        train: list[TokenClip],
        dev: list[TokenClip],
        codec: Codec | None,
        run: Path,
        trained_before: bool = False,
        processes: int = 1,
    ) -> None:
        """`codec` is None when it is not here; `trained_before` when the model starts from trained weights.

        Of a training in several processes, this one tries what is its own share of a step.
        """
        self.run_folder, self.processes = run, processes
        self.config, self.facts, self.train, self.dev, self.codec = config, facts, train, dev, codec
        self.trained_before = trained_before
        self.shape, self.device = model.config, model.device
        self.given, self.model = model, copy.deepcopy(model)
        self.expected: Expected | None = None

    def run(self, on_check: Callable[[Check], None]) -> list[Check]:
        """All checks in order, each handed to `on_check` when it is done; those after a failure are left out."""
        done: list[Check] = []
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            for check in self._checks():
                done.append(check)
                on_check(check)
                if check.status == "failed":
                    break
        self.model.zero_grad(set_to_none=True)
        return done

    def _checks(self) -> Iterator[Check]:
        for check in (self._data, self._codes, self._shapes, self._start, self._memorises, self._reloads):
            yield check()
        yield self._generates()
        yield self._steps()
        if self.expected is not None:
            yield self._memory(self.expected)
            yield self._disk(self.expected)

    def _data(self) -> Check:
        lengths = np.array([len(clip.codes) for clip in self.train])
        shift = self.facts.frame_shift_s
        hours = lengths.sum() * shift / 3600
        held_out = [clip for clip in self.dev if all(clip is not own for own in self.train)]
        found = (
            f"{hours:.2f} h in {counted(len(self.train), 'clip')} of {lengths.min() * shift:.1f} to "
            f"{lengths.max() * shift:.1f} s, {counted(len(held_out), 'clip')} held out"
        )
        if lengths[lengths * shift < SHORTEST_CLIP_S].sum() > lengths.sum() / 2:
            remedy = f"clips of {SHORTEST_CLIP_S:g} s and more teach longer connections; join short recordings"
            return Check(name="data", status="warning", found=found, remedy=remedy)
        if not held_out:
            remedy = "validation runs on training audio and cannot see over-fitting; add recordings"
            return Check(name="data", status="warning", found=found, remedy=remedy)
        return Check(name="data", status="ok", found=found)

    def _codes(self) -> Check:
        clips = [*self.train, *self.dev]
        low, high = min(int(clip.codes.min()) for clip in clips), max(int(clip.codes.max()) for clip in clips)
        K, V = self.shape.num_quantizers, self.shape.codebook_size
        other = next((clip for clip in clips if clip.codes.ndim != 2 or clip.codes.shape[1] != K), None)
        found = f"{K} codebooks, codes {low}..{high} of 0..{V - 1}, {1 / self.facts.frame_shift_s:g} frames per second"
        remedy = "tokenize the recordings again with the codec of the model"
        if other is not None:
            found = f"{other.id} has the shape {tuple(other.codes.shape)}, expected (frames, {K})"
            return Check(name="codes", status="failed", found=found, remedy=remedy, error=DataError)
        if low < 0 or high >= V:
            return Check(name="codes", status="failed", found=found, remedy=remedy, error=DataError)
        return Check(name="codes", status="ok", found=found)

    def _shapes(self) -> Check:
        codes, geometry = self._small_batch()
        B, M, V = len(codes), geometry.gap, self.shape.codebook_size
        wrong = []
        for predictions in self._predict(codes, geometry):
            wanted = (B, M, V + 1 if predictions.codebook == 0 else V)
            if tuple(predictions.logits.shape) != wanted:
                wrong.append(f"codebook {predictions.codebook + 1}: {tuple(predictions.logits.shape)} for {wanted}")
            if not torch.isfinite(predictions.logits).all():
                wrong.append(f"codebook {predictions.codebook + 1}: logits that are not finite")
        loss = self._loss(codes, geometry)
        loss.backward()
        bad = [name for name, p in self.model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
        silent = not any(p.grad is not None and p.grad.abs().max() > 0 for p in self.model.parameters())
        self.model.zero_grad(set_to_none=True)
        if wrong or bad or silent:
            what = wrong or [f"gradient of {name} is not finite" for name in bad[:3]] or ["all gradients are zero"]
            remedy = "the weights to start from are damaged; leave --init out, or --dtype fp32"
            return Check(name="forward and backward", status="failed", found="; ".join(what), remedy=remedy)
        found = f"batch {list(codes.shape)}, logits [{B}, {M}, {V} + end], gradients finite"
        return Check(name="forward and backward", status="ok", found=found)

    @torch.no_grad()
    def _start(self) -> Check:
        codes, geometry = self._small_batch()
        blind = math.log(self.shape.codebook_size)
        nats = [(p.codebook, p.loss().item()) for p in self._predict(codes, geometry)]
        said = ", ".join(f"{loss:.2f}" for _, loss in nats)
        found = f"loss per codebook {said} nats; a blind guess has {blind:.2f}"
        if not self.trained_before:
            away = {codebook: loss / blind - 1 for codebook, loss in nats}
            if any(by > NEAR_UNIFORM or (by < -NEAR_UNIFORM and codebook > 0) for codebook, by in away.items()):
                return Check(
                    name="loss at the start",
                    status="failed",
                    found=found,
                    remedy="an untrained model must begin near a blind guess; report this as a bug",
                )
        elif sum(loss for _, loss in nats) / len(nats) > blind:
            return Check(
                name="loss at the start",
                status="warning",
                found=found,
                remedy="the model of --init knows nothing of this sound; training without it may do as well",
            )
        return Check(name="loss at the start", status="ok", found=found)

    def _memorises(self) -> Check:
        codes, geometry = self._small_batch()
        rate = min(3e-3, 0.25 / self.shape.d_model)
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate)
        first = last = math.nan
        steps = 0
        for steps in range(MEMORISE_STEPS + 1):
            loss = self._loss(codes, geometry)
            last = loss.item()
            first = last if steps == 0 else first
            if last < (1 - MEMORISE_FALL) * first or not math.isfinite(last):
                break
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        self._restore()
        found = f"loss on one small batch {first:.2f} -> {last:.2f} nats in {steps} step{'s' * (steps != 1)}"
        if not last < first:
            remedy = "the model cannot even learn one batch by heart; report this as a bug, or leave --init out"
            return Check(name="learns", status="failed", found=found, remedy=remedy)
        return Check(name="learns", status="ok", found=found)

    @torch.no_grad()
    def _reloads(self) -> Check:
        codes, geometry = self._small_batch()
        self.model.eval()
        with tempfile.TemporaryDirectory(prefix="audiolm-check-") as folder:
            path = Path(folder) / "model.safetensors"
            safetensors.torch.save_file({n: t.cpu().contiguous() for n, t in self.model.state_dict().items()}, path)
            size = path.stat().st_size
            again = build(self.shape)
            load_weights(again, safetensors.torch.load_file(path))
        again.to(self.device).eval()
        pairs = zip(self._predict(codes, geometry), self._predict(codes, geometry, again), strict=True)
        same = all(torch.equal(a.logits, b.logits) for a, b in pairs)
        found = f"{size / 1e6:.1f} MB, {'the same' if same else 'other'} logits after loading"
        if not same:
            remedy = "the device does not compute the same twice; try --device cpu"
            return Check(name="save and load", status="failed", found=found, remedy=remedy)
        return Check(name="save and load", status="ok", found=found)

    @torch.no_grad()
    def _generates(self) -> Check:
        codes, geometry = self._small_batch()
        context, _ = geometry.split(codes[:1])
        wanted = Geometry(geometry.left, min(TRIED_FRAMES, max(1, self.shape.max_frames - geometry.left)))
        self.model.eval()
        made = generate(self.model, context, wanted, SamplingConfig(), [torch.Generator().manual_seed(0)])
        inside = bool((made >= 0).all() and (made < self.shape.codebook_size).all())
        if not inside:
            found = f"codes {made.min().item()}..{made.max().item()} of 0..{self.shape.codebook_size - 1}"
            return Check(name="generation", status="failed", found=found, remedy="report this as a bug")
        if self.codec is None:
            found = f"{wanted.gap} frames made; the codec is not here, so they were not decoded"
            return Check(name="generation", status="ok", found=found)
        wav = self.codec.decode(made.to(self.codec.device))
        right = wav.shape[-1] == wanted.gap * self.codec.hop_samples and bool(torch.isfinite(wav).all())
        found = f"{wanted.gap} frames made, {wav.shape[-1] / self.codec.sample_rate_hz:.2f} s of audio"
        if not right:
            remedy = "the codec does not decode what it should; name another with --codec"
            return Check(name="generation", status="failed", found=found, remedy=remedy)
        return Check(name="generation", status="ok", found=found)

    def _steps(self) -> Check:
        """Real steps on the real batch size, timed."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        share = max(1, self.config.batch_frames // self.processes)
        stepper = Stepper(self.model, dataclasses.replace(self.config, batch_frames=share), self.train)
        times: list[float] = []
        try:
            for step in range(1 + TIMED_STEPS):
                started = time.perf_counter()
                stepper.step(step)
                times.append(time.perf_counter() - started)
                if times[0] > PATIENCE_S:
                    break
        except (torch.OutOfMemoryError, MemoryError, MemoryLimitError):
            found = f"a step of {self.config.batch_frames} frames does not fit into the memory of {self.device}"
            remedy = "use a smaller --batch-frames or --preset"
            return Check(name="a real step", status="failed", found=found, remedy=remedy, error=MemoryLimitError)
        self._restore()
        step_s = float(np.mean(times[1:] or times))
        parameters = sum(p.numel() * p.element_size() for p in self.model.parameters())  # of the copy tried here
        self.expected = Expected(
            step_s=step_s,
            memory_bytes=max(0, memory_bytes(self.device) - parameters),
            state_bytes=state_bytes(stepper),
        )
        found = (
            f"{step_s:.2f} s for {self.config.batch_frames} frames, {self.config.batch_frames / step_s:.0f} frames/s"
        )
        return Check(name="a real step", status="ok", found=found)

    def _memory(self, expected: Expected) -> Check:
        total = total_memory(self.device)
        found = f"{expected.memory_bytes / 1e9:.1f} GB of {total / 1e9:.1f} GB on {self.device}"
        if 0 < FULL * total < expected.memory_bytes:
            remedy = "this is close to all there is; use a smaller --batch-frames or --preset"
            return Check(name="memory", status="warning", found=found, remedy=remedy)
        return Check(name="memory", status="ok", found=found)

    def _disk(self, expected: Expected) -> Check:
        place = next(
            folder for folder in (self.run_folder.resolve(), *self.run_folder.resolve().parents) if folder.is_dir()
        )
        free, needed = shutil.disk_usage(place).free, STATES * expected.state_bytes
        found = f"{needed / 1e9:.1f} GB for saved states, {free / 1e9:.1f} GB free"
        if needed > free:
            remedy = "free some space, or choose another run folder with -o"
            return Check(name="disk", status="failed", found=found, remedy=remedy, error=OutputError)
        return Check(name="disk", status="ok", found=found)

    def _small_batch(self) -> tuple[Tensor, Geometry]:
        """Codes [B, T, K] on the device, and a continuation of them."""
        frames = max(2, min(SMALL_FRAMES, self.shape.max_frames, max(len(clip.codes) for clip in self.train)))
        clips = [clip for clip in self.train if len(clip.codes) >= frames][:SMALL_BATCH]
        middle = [(len(clip.codes) - frames) // 2 for clip in clips]
        windows = [clip.codes[start : start + frames] for clip, start in zip(clips, middle, strict=True)]
        codes = torch.from_numpy(np.stack(windows).astype(np.int64)).to(self.device)
        left = max(1, round(0.4 * frames))
        return codes, Geometry(left, frames - left)

    def _predict(self, codes: Tensor, geometry: Geometry, model: Decoders | None = None) -> list[Predictions]:
        """Predictions of every trained codebook; the AR's with the step that may end the piece."""
        model = model or self.model
        context, target = geometry.split(codes)
        found = []
        if self.config.train_stage != 2:
            found.append(model.ar_predict(context, target, geometry))
        if self.config.train_stage != 1:
            found += [model.nar_predict(context, target, geometry, k) for k in range(1, self.shape.num_quantizers)]
        return found

    def _loss(self, codes: Tensor, geometry: Geometry) -> Tensor:
        self.model.train()
        return torch.stack([predictions.loss() for predictions in self._predict(codes, geometry)]).mean()

    def _restore(self) -> None:
        """The weights as they were given."""
        self.model.load_state_dict(self.given.state_dict())
        self.model.zero_grad(set_to_none=True)


def state_bytes(stepper: Stepper) -> int:
    """Size of a saved state: weights, their average and what the optimizers keep."""
    tensors = [*stepper.model.state_dict().values(), *stepper.average.values()]
    for optimizer in stepper.optimizers:
        tensors += optimizer_tensors(optimizer).values()
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
