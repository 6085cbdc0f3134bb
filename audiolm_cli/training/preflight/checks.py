"""What is looked at before a training begins, so that it does not fail, or prove useless, hours later.

The user's data, the time of a real step, memory and disk. Each check says what it found and, where something is wrong,
what to do. Checks work on a copy of the model and leave the global random state alone: a training is the same with and
without them. Knows nothing about terminals.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.devices import total_memory
from audiolm_cli.errors import AudioLMError, DataError, MemoryLimitError, ModelError, OutputError
from audiolm_cli.evaluation.model import score_windows
from audiolm_cli.events import Activity
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.geometry import Geometry
from audiolm_cli.training.batches import fixed_windows
from audiolm_cli.training.preflight.preparing import Prepared
from audiolm_cli.training.running import peak_memory_bytes
from audiolm_cli.training.state import optimizer_tensors
from audiolm_cli.training.steps import Stepper
from audiolm_cli.wording import counted

SHORTEST_CLIP_S = 5.0
"""Clips of 5 to 15 s are recommended; half of the audio in shorter ones brings a warning."""
MOST_NAMED = 3
"""Held-out clips that are named; more are only counted."""
HARDLY_VARY = 0.9
"""One code in this share of the frames of the first codebook brings a warning: there is next to nothing to learn."""
SMALL_BATCH, SMALL_FRAMES = 2, 64
"""Windows on which a model to start from is tried, and the frames of each at most."""
TIMED_STEPS, MOST_TIMED_STEPS, TIMED_S = 3, 10, 3.0
"""Real steps that are timed, behind one that warms up: three, and of short ones more, until there are ten or 3 s."""
TIMED_WINDOWS = 4
"""Windows that are scored to see how long a validation takes, at most."""
PATIENCE_S = 20.0
"""Only the first step is timed when it takes longer than this."""
BUSY = 0.3
"""Waiting for cores for this share of a step means that the computer is busy: threads wait a little for each other."""
FULL = 0.9
"""Share of all memory that brings a warning when it is expected to be used."""
STATES_ON_DISK = 3.5
"""Saved states that lie on the disk at once: two kept, one being written, and the best model."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check came to."""

    name: str
    """What was looked at."""
    status: str
    """"ok", "warning" or "failed"."""
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
    """Seconds per step, while the computer is as busy as it was."""
    score_s: float
    """Seconds per validation, the same."""
    waited: float
    """Share of that time in which a step waited for cores that other programs used; 0 beside a GPU."""
    memory_bytes: int
    """Most memory in use; 0 where unknown."""
    state_bytes: int
    """Size of one saved state."""

    @property
    def free_share(self) -> float | None:
        """Share of these seconds that a free computer takes, at most; None where it was free."""
        return 1 - self.waited if self.waited >= BUSY else None


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What all checks came to."""

    findings: list[Finding]
    """Those of the checks that were done; the last one may be a failure, after which no other is done."""
    expected: Expected | None
    """None where a check failed before a step was timed."""


def run_checks(prepared: Prepared, model: Decoders, on_finding: Callable[[Finding], None]) -> Checked:
    """All checks in order, each finding handed to `on_finding` as it comes; those after a failure are left out."""
    findings: list[Finding] = []
    expected: list[Expected] = []
    device = model.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for finding in _findings(prepared, model, expected):
            findings.append(finding)
            on_finding(finding)
            if finding.status == "failed":
                break
    return Checked(findings=findings, expected=expected[0] if expected else None)


def _findings(prepared: Prepared, model: Decoders, expected: list[Expected]) -> Iterator[Finding]:
    """The findings one after the other; what a training will need goes into `expected` on the way."""
    yield check_clips(prepared)
    yield check_codes(prepared)
    say = prepared.request.on_event
    if prepared.fine_tunes:
        say(Activity(stage="score the model to start from"))
        yield check_start(prepared, model)

    say(Activity(stage="time real steps"))
    finding, needs = time_steps(prepared, copy.deepcopy(model))
    yield finding
    if needs is not None:
        expected.append(needs)
        yield check_memory(needs, model.device)
        yield check_disk(needs, prepared.request.run)


def check_clips(prepared: Prepared) -> Finding:
    """How much there is to train on, in clips of which length, and how much to validate on."""
    lengths = np.array([len(clip.codes) for clip in prepared.corpus.train])
    shift_s = prepared.facts.frame_shift_s
    held_out = [clip for clip in prepared.corpus.dev if all(clip is not own for own in prepared.corpus.train)]
    names = f" ({', '.join(clip.id for clip in held_out)})" if 0 < len(held_out) <= MOST_NAMED else ""
    found = (
        f"{prepared.hours:.2f} h in {counted(len(prepared.corpus.train), 'clip')} of {lengths.min() * shift_s:.1f} to "
        f"{lengths.max() * shift_s:.1f} s, {counted(len(held_out), 'clip')} held out{names}"
    )

    if lengths[lengths * shift_s < SHORTEST_CLIP_S].sum() > lengths.sum() / 2:
        remedy = f"clips of {SHORTEST_CLIP_S:g} s and more teach longer connections; join short recordings"
        return Finding(name="data", status="warning", found=found, remedy=remedy)
    if not held_out:
        remedy = "validation runs on training audio and cannot see over-fitting; add recordings"
        return Finding(name="data", status="warning", found=found, remedy=remedy)
    return Finding(name="data", status="ok", found=found)


def check_codes(prepared: Prepared) -> Finding:
    """Whether the codes are those of the model's codebooks, and whether they vary."""
    clips = [*prepared.corpus.lessons, *prepared.corpus.dev]
    low, high = min(int(clip.codes.min()) for clip in clips), max(int(clip.codes.max()) for clip in clips)
    K, V = prepared.shape.num_quantizers, prepared.shape.codebook_size
    found = f"{K} codebooks, codes {low}..{high} of 0..{V - 1}, {1 / prepared.facts.frame_shift_s:g} frames per second"

    remedy = "tokenize the recordings again with the codec of the model"
    other = next((clip for clip in clips if clip.codes.ndim != 2 or clip.codes.shape[1] != K), None)
    if other is not None:
        found = f"{other.id} has the shape {tuple(other.codes.shape)}, expected (frames, {K})"
        return Finding(name="codes", status="failed", found=found, remedy=remedy, error=DataError)
    if low < 0 or high >= V:
        return Finding(name="codes", status="failed", found=found, remedy=remedy, error=DataError)

    first = np.concatenate([clip.codes[:, 0] for clip in prepared.corpus.train])
    share = np.bincount(first.astype(np.int64)).max() / len(first)
    if share > HARDLY_VARY:
        found = f"{100 * share:.0f} % of all frames have the same first code"
        remedy = (
            f"the codec {prepared.facts.name} hardly hears this sound, so there is next to nothing to learn; train a "
            "codec on it first (audiolm codec train), and compare with audiolm evaluate"
        )
        return Finding(name="codes", status="warning", found=found, remedy=remedy)
    return Finding(name="codes", status="ok", found=found)


@torch.no_grad()
def check_start(prepared: Prepared, model: Decoders) -> Finding:
    """Whether the model to start from knows anything of this sound: its loss against that of a blind guess."""
    codes, geometry = _small_batch(prepared, model)
    blind = math.log(prepared.shape.codebook_size)
    losses = _losses(prepared, model, codes, geometry)
    found = f"loss per codebook {', '.join(f'{loss:.2f}' for loss in losses)} nats; a blind guess has {blind:.2f}"

    if not all(math.isfinite(loss) for loss in losses):
        remedy = "the weights to start from are damaged; name another model with --init, or leave it out"
        return Finding(name="loss at the start", status="failed", found=found, remedy=remedy)
    if sum(losses) / len(losses) > blind:
        remedy = "the model of --init knows nothing of this sound; training without it may do as well"
        return Finding(name="loss at the start", status="warning", found=found, remedy=remedy)
    return Finding(name="loss at the start", status="ok", found=found)


def _small_batch(prepared: Prepared, model: Decoders) -> tuple[Tensor, Geometry]:
    """Codes [B, T, K] on the device, and a continuation of them."""
    longest = max(len(clip.codes) for clip in prepared.corpus.train)
    frames = max(2, min(SMALL_FRAMES, prepared.shape.max_frames, longest))
    clips = [clip for clip in prepared.corpus.train if len(clip.codes) >= frames][:SMALL_BATCH]

    # From the middle: recordings begin and end with silence.
    starts = [(len(clip.codes) - frames) // 2 for clip in clips]
    windows = [clip.codes[start : start + frames] for clip, start in zip(clips, starts, strict=True)]
    codes = torch.from_numpy(np.stack(windows).astype(np.int64)).to(model.device)
    left = max(1, round(0.4 * frames))
    return codes, Geometry(left, frames - left)


def _losses(prepared: Prepared, model: Decoders, codes: Tensor, geometry: Geometry) -> list[float]:
    """Cross-entropy in nats of every codebook that will be trained, the first one first."""
    context, target = geometry.split(codes)
    model.eval()
    predictions = []
    if prepared.config.train_stage != 2:
        predictions += model.ar_predict(context, target, geometry)
    if prepared.config.train_stage != 1:
        further = range(prepared.shape.ar_codebooks, prepared.shape.num_quantizers)
        predictions += [model.nar_predict(context, target, geometry, codebook) for codebook in further]
    return [own.loss().item() for own in predictions]


def time_steps(prepared: Prepared, model: Decoders) -> tuple[Finding, Expected | None]:
    """Real steps on the real batch size, timed; the model is changed.

    Of a training in several processes, this one takes its own share of a step.
    """
    device, config = model.device, prepared.config
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    share = max(1, config.batch_frames // prepared.request.ranks.size)
    stepper = Stepper(model, dataclasses.replace(config, batch_frames=share), prepared.corpus.lessons)

    times: list[float] = []
    computed: list[float] = []  # by this thread, which has a share in everything, and waits where others are kept
    try:
        for step in range(1 + MOST_TIMED_STEPS):
            started, used = time.perf_counter(), time.thread_time()
            stepper.step(step)
            times.append(time.perf_counter() - started)
            computed.append(time.thread_time() - used)
            if times[0] > PATIENCE_S or (step >= TIMED_STEPS and sum(times[1:]) >= TIMED_S):
                break
        score_s = _time_scoring(prepared, model)
    except (torch.OutOfMemoryError, MemoryError, MemoryLimitError):
        found = f"a step of {config.batch_frames} frames does not fit into the memory of {device}"
        remedy = "use a smaller --batch-frames or --preset"
        failure = Finding(name="a real step", status="failed", found=found, remedy=remedy, error=MemoryLimitError)
        return failure, None

    # The first step warms up.
    step_s, computed_s = (float(np.mean(seconds[1:] or seconds)) for seconds in (times, computed))
    waited = max(0.0, 1 - computed_s / step_s) if device.type == "cpu" else 0.0
    copied = sum(p.numel() * p.element_size() for p in model.parameters())  # in memory only for this check
    expected = Expected(
        step_s=step_s,
        score_s=score_s,
        waited=waited,
        memory_bytes=max(0, peak_memory_bytes(device) - copied),
        state_bytes=state_bytes(stepper),
    )
    found = f"{step_s:.2f} s for {config.batch_frames} frames, {config.batch_frames / step_s:.0f} frames/s"
    if waited >= BUSY:
        found += f", of which {100 * waited:.0f} % waiting for other programs"
    return Finding(name="a real step", status="ok", found=found), expected


def _time_scoring(prepared: Prepared, model: Decoders) -> float:
    """Seconds that a validation takes, by a part of its windows."""
    count = prepared.config.validation_windows
    windows = fixed_windows(prepared.corpus.dev, prepared.shape.max_frames, min(count, TIMED_WINDOWS))  # [N, T, K]
    started = time.perf_counter()
    score_windows(model, torch.from_numpy(windows))
    return (time.perf_counter() - started) * count / len(windows)


def check_memory(expected: Expected, device: torch.device) -> Finding:
    """Whether the training fits into memory with room to spare."""
    total = total_memory(device)
    found = f"{expected.memory_bytes / 1e9:.1f} GB of {total / 1e9:.1f} GB on {device}"
    if 0 < FULL * total < expected.memory_bytes:
        remedy = "this is close to all there is; use a smaller --batch-frames or --preset"
        return Finding(name="memory", status="warning", found=found, remedy=remedy)
    return Finding(name="memory", status="ok", found=found)


def check_disk(expected: Expected, run: Path) -> Finding:
    """Whether the saved states fit on the disk of the run folder."""
    existing = next(folder for folder in (run.resolve(), *run.resolve().parents) if folder.is_dir())
    free, needed = shutil.disk_usage(existing).free, STATES_ON_DISK * expected.state_bytes
    found = f"{needed / 1e9:.1f} GB for saved states, {free / 1e9:.1f} GB free"
    if needed > free:
        remedy = "free some space, or choose another run folder with -o"
        return Finding(name="disk", status="failed", found=found, remedy=remedy, error=OutputError)
    return Finding(name="disk", status="ok", found=found)


def state_bytes(stepper: Stepper) -> int:
    """Size of a saved state: weights, their average and what the optimizers keep."""
    tensors = [*stepper.model.state_dict().values(), *stepper.average.values()]
    for optimizer in stepper.optimizers:
        tensors += optimizer_tensors(optimizer).values()
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
