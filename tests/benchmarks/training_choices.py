"""What the choices of training are worth at equal compute, on a token store; prints one Markdown table per question.

    python tests/benchmarks/training_choices.py TOKENS CODEC optimizers infill --seconds 120 --seeds 3 -o RESULTS

`optimizers` compares optimizers and schedules, `infill` the share of steps that fill a gap; in its last row positions
are those of a packed sequence, in which the target follows the context as if no gap were there. `scaling` compares
widths, depths, batches, rates and amounts of data, `context` what the AR decoder makes of a context. `sizes` compares
models like the bundled one, whose AR decoder makes all codebooks of `sound`; with several --seconds it is a scaling
curve. `decoder` takes away what that model has, one thing at a time.

Every setting of a table trains the same small model (but for `scaling` and `sizes`), started from the spectral codec's
codebooks, for the same processor time: the time of a step is measured first, settings in turn, and the steps follow
from it (of `infill` the same for all, whose steps cost alike). Held-out bits per frame are those of averaged weights
on the same windows: the first codebook and the others together, of continuations and of infills of 0.5 s in the middle.
A line of RESULTS per run; those that are there are not run again.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measuring import with_error
from torch import Tensor

from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.batching import WindowSampler
from audiolm_cli.data.manifest import read_facts, read_store
from audiolm_cli.data.tokens import TokenClip
from audiolm_cli.devices import prepare_cpu
from audiolm_cli.evaluation.model import continuation_geometry, score_windows
from audiolm_cli.library.loading import load_codec
from audiolm_cli.model.decoders import build
from audiolm_cli.model.geometry import Geometry
from audiolm_cli.training.average import swap_average
from audiolm_cli.training.batches import Batches
from audiolm_cli.training.steps import Stepper

WINDOW_S = 5.0
GAP_S = 0.5
"""Of the infill that is scored."""
WINDOWS = 96
"""Held-out windows."""
TIMED_STEPS = 12
"""Steps of each setting that tell what one costs."""
LIKE_BUNDLED: dict[str, object] = {
    "context_attention": "causal",
    "context_codebooks": "own",
    "ar_codebooks": 9,
    "ar_holding": True,
}
CHOICES: dict[str, dict[str, dict[str, object]]] = {
    "optimizers": {
        "Muon 0.02, wsd": {},
        "Muon 0.02, the rest 0.004, wsd": {"adam_learning_rate": 4e-3},
        "Muon 0.02, cosine": {"schedule": "cosine"},
        "AdamW 0.001, wsd": {"optimizer": "adamw", "learning_rate": 1e-3},
        "AdamW 0.003, wsd": {"optimizer": "adamw", "learning_rate": 3e-3},
        "ScaledAdam 0.05, eden": {"optimizer": "scaled-adam"},
    },
    "infill": {
        "share 0.35": {},
        "share 0": {"infill_share": 0.0},
        "share 0.20": {"infill_share": 0.2},
        "share 0.60": {"infill_share": 0.6},
        "share 0.35, packed positions": {"packed": True},
    },
    "scaling": {
        "4 x 128, batch 1000": {},
        "2 x 128": {"num_layers": 2},
        "8 x 128": {"num_layers": 8},
        "2 x 256": {"num_layers": 2, "d_model": 256},
        "4 x 256": {"d_model": 256},
        "batch 500": {"batch_frames": 500},
        "batch 2000": {"batch_frames": 2000},
        "rates halved": {"learning_rate": 0.01, "adam_learning_rate": 1e-3},
        "rates doubled": {"learning_rate": 0.04, "adam_learning_rate": 4e-3},
        "a third of the data": {"data": 1 / 3},
    },
    "sizes": {
        "4 x 128": LIKE_BUNDLED,
        "6 x 256": LIKE_BUNDLED | {"num_layers": 6, "d_model": 256},
        "8 x 384": LIKE_BUNDLED | {"num_layers": 8, "d_model": 384},
    },
    "decoder": {
        "as bundled": LIKE_BUNDLED,
        "full context": LIKE_BUNDLED | {"context_attention": "full"},
        "all codebooks of the context": LIKE_BUNDLED | {"context_codebooks": "all"},
        "no term for a held code": LIKE_BUNDLED | {"ar_holding": False},
        "codebooks 2 to 9 by a NAR decoder": LIKE_BUNDLED | {"ar_codebooks": 1},
    },
    "context": {
        "full, all codebooks": {},
        "causal, all codebooks": {"context_attention": "causal"},
        "causal, its own codebook": {"context_attention": "causal", "context_codebooks": "own"},
    },
}
"""Settings by table and row: of `TrainConfig`, of `ModelConfig`, and `packed` and `data` (a share of the clips) of this
file."""
SHAPE = {"d_model", "num_layers", *LIKE_BUNDLED}
MEASURES = ("codebook 1, continuation", "the others, continuation", "codebook 1, infill", "the others, infill")


class Packed(Geometry):
    """A geometry whose target follows its context, right side first, as if all were one sequence."""

    def context_positions(self, device: torch.device | None = None) -> Tensor:
        """0 to L - 1 [L], in memory order."""
        return torch.arange(self.context, device=device)

    def target_positions(self, device: torch.device | None = None) -> Tensor:
        """L to L + gap - 1 [gap]."""
        return torch.arange(self.context, self.frames, device=device)


class PackedBatches(Batches):
    """Batches with packed positions."""

    def _draw_geometry(self, frames: int, rng: np.random.Generator) -> Geometry:
        drawn = super()._draw_geometry(frames, rng)
        return Packed(drawn.left, drawn.gap, drawn.right)


def main() -> None:
    """Run what is missing, print each result as it comes and the tables at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokens", type=Path)
    parser.add_argument("codec", help="the store's spectral codec: a name or a folder")
    parser.add_argument("tables", nargs="+", choices=CHOICES)
    parser.add_argument("--seconds", type=float, default=[120.0], nargs="+", help="processor time of each training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--results", type=Path, required=True, help="JSON lines, one per run")
    given = parser.parse_args()
    prepare_cpu(given.threads)
    facts = read_facts(given.tokens)
    train = read_store(given.tokens, "train")
    rest = [clip for split in ("dev", "test") for clip in read_store(given.tokens, split)]
    codec = load_codec(given.codec)
    assert isinstance(codec, SpectralCodec)
    codebooks = codec.network.quantizer.codebooks
    frames, gap = round(WINDOW_S / facts.frame_shift_s), round(GAP_S / facts.frame_shift_s)
    shape = ModelConfig(
        d_model=128,
        nhead=4,
        num_layers=4,
        num_quantizers=facts.num_codebooks,
        codebook_size=facts.codebook_size,
        max_frames=frames,
    )
    make = partial(make_stepper, shape, codebooks, train)
    held_out = torch.from_numpy(WindowSampler(rest, frames).fixed(WINDOWS).codes)
    done = read_results(given.results)
    for table in given.tables:
        step_s = time_steps(CHOICES[table], make)
        for seconds, seed, name in itertools.product(given.seconds, range(given.seeds), CHOICES[table]):
            key = {"table": table, "row": name, "seconds": seconds, "seed": seed}
            if any(key.items() <= own.items() for own in done):
                continue
            steps = max(1, round(seconds / step_s[name]))
            bits, spent = run(make(CHOICES[table][name], steps, seed), steps, held_out, gap)
            done.append(key | {"steps": steps, "cpu_s": spent, "bits": bits})
            with given.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[-1]) + "\n")
            print(f"{name}, seed {seed}: {steps} steps, {spent:.0f} s, bits {bits}", flush=True)
    for table, seconds in itertools.product(given.tables, given.seconds):
        print_table(table, [own for own in done if (own["table"], own["seconds"]) == (table, seconds)])


def make_stepper(
    shape: ModelConfig, codebooks: Tensor, clips: list[TokenClip], setting: dict[str, object], steps: int, seed: int
) -> Stepper:
    """A fresh model and its optimizers under a setting."""
    shape = dataclasses.replace(shape, **{key: value for key, value in setting.items() if key in SHAPE})  # type: ignore[arg-type]
    clips = clips[: round(len(clips) * float(setting.get("data", 1)))]  # type: ignore[arg-type]
    values = {key: value for key, value in setting.items() if key not in SHAPE | {"packed", "data"}}
    base = TrainConfig(steps=steps, batch_frames=1000, device="cpu", seed=seed, ema_decay=0.99)
    config = dataclasses.replace(base, **{"learning_rate": None, "schedule": None, **values})  # type: ignore[arg-type]
    torch.manual_seed(seed)
    model = build(shape)
    model.adopt_codebooks(codebooks)
    stepper = Stepper(model, config, clips)
    if setting.get("packed"):
        stepper.batches = PackedBatches(clips, shape, config)
    return stepper


def time_steps(settings: dict[str, dict[str, object]], make: Callable[..., Stepper]) -> dict[str, float]:
    """Processor seconds of a step by setting: the mean, all settings in turn on the same batches."""
    steppers = {name: make(setting, 1000, 0) for name, setting in settings.items()}
    spent: dict[str, list[float]] = {name: [] for name in settings}
    for step in range(TIMED_STEPS):
        for name, stepper in steppers.items():
            started = time.process_time()
            stepper.step(step)
            spent[name].append(time.process_time() - started)
    found = {name: statistics.mean(values[2:]) for name, values in spent.items()}
    if all(setting.keys() <= {"infill_share", "packed"} for setting in settings.values()):
        found = dict.fromkeys(found, statistics.mean(found.values()))
    print("seconds per step: " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()), flush=True)
    return found


def run(stepper: Stepper, steps: int, held_out: Tensor, gap: int) -> tuple[list[float], float]:
    """Train; bits per frame in the order of `MEASURES`, and the processor seconds of the training.

    Args:
        held_out: windows int64 [N, T, K].
        gap: frames of the infill that is scored.
    """
    started = time.process_time()
    for step in range(steps):
        stepper.step(step)
    spent = time.process_time() - started
    swap_average(stepper.average, stepper.model)
    frames = held_out.shape[1]
    left = (frames - gap) // 2
    kind = Packed if isinstance(stepper.batches, PackedBatches) else Geometry
    continuation = continuation_geometry(frames)
    bits = []
    for geometry in (kind(continuation.left, continuation.gap), kind(left, gap, frames - gap - left)):
        scores = score_windows(stepper.model, held_out, geometry)
        bits += [scores.bits[0], sum(scores.bits[1:])]
    return bits, spent


def read_results(path: Path) -> list[dict]:
    """The runs that are there."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def print_table(table: str, results: list[dict]) -> None:
    """Mean and standard error over the seeds, and the difference to the first row, paired by seed."""
    first = next(iter(CHOICES[table]))
    reference = {r["seed"]: sum(r["bits"][:2]) for r in results if r["row"] == first}
    print(f"\n| {table} | steps | CPU-s | {' | '.join(MEASURES)} | continuation, against the first row |")
    print("|---" * (len(MEASURES) + 4) + "|")
    for name in CHOICES[table]:
        own = [r for r in results if r["row"] == name]
        cells = [with_error(values) for values in zip(*(r["bits"] for r in own), strict=True)]
        against = with_error([sum(r["bits"][:2]) - reference[r["seed"]] for r in own], signed=True)
        steps, spent = own[0]["steps"], statistics.mean(r["cpu_s"] for r in own)
        print(f"| {name} | {steps} | {spent:.0f} | {' | '.join(cells)} | {against} |")


if __name__ == "__main__":
    main()
