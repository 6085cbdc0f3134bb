"""Compare optimizers and schedules at equal compute on a token store; prints a Markdown table, one row per setting.

python tests/benchmarks/optimizers.py TOKENS --steps 300 --seeds 3

Every setting trains a small model on the same batches for the same number of steps; the processor time of a step
stands beside the held-out bits, so that a slower optimizer shows as one.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

import torch

from audiolm_cli.config import ModelConfig, TrainConfig
from audiolm_cli.data.manifest import read_facts, read_store
from audiolm_cli.evaluation.model import score_windows
from audiolm_cli.events import ignore
from audiolm_cli.model.audiolm import build
from audiolm_cli.training.loop import Trainer

SETTINGS: dict[str, dict[str, object]] = {
    "Muon 0.02, wsd": {"optimizer": "muon"},
    "Muon 0.02, cosine": {"optimizer": "muon", "schedule": "cosine"},
    "AdamW 0.001, wsd": {"optimizer": "adamw", "learning_rate": 1e-3},
    "AdamW 0.003, wsd": {"optimizer": "adamw", "learning_rate": 3e-3},
    "ScaledAdam 0.05, eden": {"optimizer": "scaled-adam"},
    "ScaledAdam 0.05, wsd": {"optimizer": "scaled-adam", "schedule": "wsd"},
}


def main() -> None:
    """Train every setting with every seed; each result is printed as it comes, the table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokens", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    facts = read_facts(given.tokens)
    train, dev = read_store(given.tokens, "train"), read_store(given.tokens, "dev")
    shape = ModelConfig(
        d_model=128,
        nhead=4,
        num_layers=2,
        num_quantizers=facts.num_codebooks,
        codebook_size=facts.codebook_size,
        max_frames=250,
    )
    base = TrainConfig(steps=given.steps, batch_frames=1000, validate_every=given.steps, validation_windows=48)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in SETTINGS}
    for seed in range(given.seeds):
        for name, setting in SETTINGS.items():
            config = dataclasses.replace(base, **{"learning_rate": None, "schedule": None, **setting, "seed": seed})  # type: ignore[arg-type]
            torch.manual_seed(seed)
            with tempfile.TemporaryDirectory() as folder:
                trainer = Trainer(build(shape), config, train, dev, Path(folder), score_windows, ignore)
                started = time.process_time()
                trainer.run(lambda weights, scores: None)
            seconds = (time.process_time() - started) / given.steps
            best = score_windows_of(trainer)
            found[name].append((best[0], best[1], seconds))
            print(f"{name}, seed {seed}: {best[0]:.3f} + {best[1]:.3f} bits, {seconds:.3f} s per step", flush=True)
    print("\n| setting | AR bits | NAR bits | all bits | s per step |\n|---|---|---|---|---|")
    for name, results in found.items():
        ar, nar, seconds_of = zip(*results, strict=True)
        total = [a + b for a, b in zip(ar, nar, strict=True)]
        cells = " | ".join(with_error(values) for values in (ar, nar, total))
        print(f"| {name} | {cells} | {statistics.mean(seconds_of):.3f} |")


def score_windows_of(trainer: Trainer) -> tuple[float, float]:
    """Held-out bits of the averaged weights: first codebook, and the others together."""
    trainer.model.load_state_dict(trainer.average)
    scores = score_windows(trainer.model, torch.from_numpy(trainer.validation.codes))
    return scores.bits[0], sum(scores.bits[1:])


def with_error(values: tuple[float, ...] | list[float]) -> str:
    """Mean and standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.2f} ± {error:.2f}"


if __name__ == "__main__":
    main()
