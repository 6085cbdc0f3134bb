"""What starting from a trained model is worth on little data; prints a Markdown table.

    python tests/benchmarks/fine_tuning.py RECORDINGS HELD_OUT --steps 300 --seeds 3 -o WORK

RECORDINGS is a folder with some minutes of an instrument that the bundled `piano` never heard, HELD_OUT one with other
pieces of it. Both are tokenized with its codec; then `audiolm train` runs with the same settings from `piano` and from
random weights of the same shape, the same number of steps and so the same time. Bits per frame are those of the best
weights of each run on windows of HELD_OUT. What is in WORK already is not made again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from measuring import with_error

from audiolm_cli.data.batching import WindowSampler
from audiolm_cli.data.manifest import read_store
from audiolm_cli.devices import prepare_cpu
from audiolm_cli.evaluation.model import ModelScores, score_windows
from audiolm_cli.library.loading import load_model

FRAMES = 500
"""Of a held-out window."""
WINDOWS = 48


def main() -> None:
    """Tokenize, train and score what is missing; the table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("held_out", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--work", type=Path, required=True)
    given = parser.parse_args()
    prepare_cpu(given.threads)
    given.work.mkdir(parents=True, exist_ok=True)
    for folder, name in ((given.recordings, "train"), (given.held_out, "held-out")):
        if not (given.work / name).exists():
            audiolm("tokenize", folder, "-o", given.work / name, "--codec", "piano")
    clips = [c for split in ("train", "dev", "test") for c in read_store(given.work / "held-out", split)]
    windows = torch.from_numpy(WindowSampler(clips, FRAMES).fixed(WINDOWS).codes)
    rows = {"piano, untouched": [(score("piano", windows), 0.0)]}
    shape = load_model("piano", torch.device("cpu")).model.config
    sizes = ["--decoder-dim", shape.d_model, "--nhead", shape.nhead, "--num-decoder-layers", shape.num_layers]
    for name, start in (("from piano", ["--init", "piano"]), ("from random weights", sizes)):
        rows[name] = []
        for seed in range(given.seeds):
            run = given.work / f"{name.split()[1]}-{seed}"
            spent = run.with_suffix(".json")
            if not spent.exists():
                started = time.monotonic()
                audiolm(
                    "train", given.work / "train", "-o", run, *start, "--steps", given.steps, "--seed", seed,
                    "--threads", given.threads, "--batch-frames", 1500,
                )  # fmt: skip
                spent.write_text(json.dumps(time.monotonic() - started))
            rows[name].append((score(run, windows), json.loads(spent.read_text())))
            print(f"{name}, seed {seed}: {rows[name][-1][0].summary()}", flush=True)
    print("\n| model | codebook 1 | the others | all | training, wall |\n|---|---|---|---|---|")
    for name, results in rows.items():
        bits = [(s.bits[0], sum(s.bits[1:]), s.total_bits) for s, _ in results]
        cells = [with_error(values) for values in zip(*bits, strict=True)]
        print(f"| {name} | {' | '.join(cells)} | {statistics.mean(t for _, t in results):.0f} s |")


def audiolm(*arguments: object) -> None:
    """Run a command as a person would; its output goes to ours."""
    subprocess.run([sys.executable, "-m", "audiolm_cli", *map(str, arguments)], check=True)


def score(model: str | Path, windows: torch.Tensor) -> ModelScores:
    """Held-out scores of a model by name or run folder."""
    return score_windows(load_model(str(model), torch.device("cpu")).model, windows)


if __name__ == "__main__":
    main()
