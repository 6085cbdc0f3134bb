"""What a step of the AR decoder costs against reading its weights once; prints a Markdown table.

    python tests/benchmarks/decoding.py --threads 2
    python tests/benchmarks/decoding.py --model piano

Without --model: random weights in the shape of `train --preset base`. The floor is the bytes of the layers' weights
over the rate at which a large array is summed, measured in the same run with as many threads. With one thread, times
are processor time, so that other programs change them less. They are medians, with half the distance between the
quartiles. With --parent FRAMES, the parent's algorithm (tests/parent_algorithm.py) makes the same codes of the first
codebook from the same float32 weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from measuring import clock, read_rate, spread
from parent_algorithm import greedy_first

from audiolm_cli.config.shapes import PRESETS
from audiolm_cli.devices import prepare_cpu
from audiolm_cli.library.loading import load_model
from audiolm_cli.model.decoders import Decoders, build
from audiolm_cli.model.geometry import Geometry
from audiolm_cli.model.quantize import use_dtype
from audiolm_cli.model.stepping import AR

BYTES = {"fp32": 4, "bf16": 2, "int8": 1}
ROOM = 64
"""Target frames there is room for beside the context."""


def fresh(name: str | None) -> Decoders:
    """The model in float32; without a name, random weights of the base preset."""
    if name is not None:
        return load_model(name, torch.device("cpu"), "fp32").model
    torch.manual_seed(0)
    return build(PRESETS["base"]).eval().requires_grad_(False)


def codes(model: Decoders, frames: int) -> torch.Tensor:
    """Random ones [1, frames, K]."""
    return torch.randint(model.config.codebook_size, (1, frames, model.config.num_quantizers))


@torch.inference_mode()
def step_ms(model: Decoders, context: int, takes: int, repeats: int) -> tuple[float, float]:
    """Of one step behind a context that the takes share."""
    geometry = Geometry(context, ROOM)
    ar = AR(model, codes(model, context), geometry, takes)
    previous = torch.zeros(takes, 1, dtype=torch.long)

    def step() -> None:
        ar.rewind(ar.done % ROOM)
        ar.step(previous)

    return spread(step, repeats)


@torch.inference_mode()
def ours(model: Decoders, context: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """The likeliest first codes [1, M]."""
    ar, made = AR(model, context, geometry, 1), []
    for _ in range(geometry.gap):
        made.append(ar.step(made[-1] if made else None)[:, : model.eos].argmax(-1, keepdim=True))
    return torch.cat(made, dim=1)


def compare(model: Decoders, frames: int) -> None:
    """Print how long the parent's algorithm takes for the same codes."""
    geometry = Geometry(150, frames)
    context = codes(model, 150)
    times, made = [], []
    for work in (lambda: ours(model, context, geometry), lambda: greedy_first(model, context, geometry, frames)):
        started = clock()
        made.append(work())
        times.append(clock() - started)
    same = (made[0] == made[1]).float().mean().item()
    print(f"\n| {frames} frames after 150, fp32, greedy | seconds |\n|---|---|")
    print(f"| the parent's algorithm | {times[1]:.2f} |\n| here | {times[0]:.2f} |")
    print(f"| ratio | {times[1] / times[0]:.1f} |\n| the same first codes | {100 * same:.1f} % |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model's name or folder")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--contexts", type=int, nargs="+", default=[250, 500, 1000, 2000])
    parser.add_argument("--takes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--parent", type=int, default=0, metavar="FRAMES")
    given = parser.parse_args()
    prepare_cpu(given.threads)
    rate = read_rate(torch.ones(64 * 2**20))
    print(f"{given.threads} thread(s); a large array is summed at {rate / 1e9:.1f} GB/s\n")
    print("| weights | takes | context | floor, ms | step, ms | of the floor |\n|---|---|---|---|---|---|")
    for dtype, size in BYTES.items():
        model = fresh(given.model)
        weights = sum(m.weight.numel() for m in model.ar_decoder.modules() if isinstance(m, torch.nn.Linear))
        use_dtype(model, dtype)
        floor = 1000 * weights * size / rate
        for takes in given.takes:
            for context in given.contexts:
                ms, error = step_ms(model, context, takes, given.repeats)
                row = (dtype, takes, context, f"{floor:.2f}", f"{ms:.2f} ± {error:.2f}", f"{ms / floor:.2f}")
                print("| " + " | ".join(map(str, row)) + " |", flush=True)
    if given.parent:
        compare(fresh(given.model), given.parent)


if __name__ == "__main__":
    main()
