"""How much of the processor's matrix rate a training step uses; prints a Markdown table.

python tests/benchmarks/training_speed.py --preset small --frames 1500

Rates are operations per second of processor time of this process, so that other programs on the machine change little.
Operations are those of the matrix products, counted from their shapes: two per multiply-add, three products for each of
the forward pass, attention by the pairs that see each other. The optimizer's are no part of the step's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from audiolm_cli.config.shapes import PRESETS
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.tokens import TokenClip
from audiolm_cli.devices import prepare_cpu
from audiolm_cli.model.decoders import build
from audiolm_cli.model.quantize import multiplies_bf16
from audiolm_cli.training.batches import Batch
from audiolm_cli.training.steps import Stepper


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Processor seconds of one call, after one that warms up."""
    work()
    started = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - started) / repeats


def operations(stepper: Stepper, batch: Batch) -> int:
    """Of one forward and backward pass."""
    counted = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal counted
        assert isinstance(module, nn.Linear)
        counted += 2 * output.numel() * module.in_features

    hooks = [m.register_forward_hook(count) for m in stepper.model.modules() if isinstance(m, nn.Linear)]  # type: ignore[arg-type]
    stepper.compute_gradients(batch, 0, 0)
    for hook in hooks:
        hook.remove()
    B, shape = len(batch.windows.codes), stepper.model.config
    L, M = batch.geometry.context, batch.geometry.gap
    for target in (L * M + M * (M + 1) // 2, M * (L + M)):  # AR and NAR
        counted += 4 * B * shape.d_model * (shape.num_layers * target + (shape.num_layers - 1) * L * L)
    return 3 * counted


def drawn(preset: str, frames: int, optimizer: str = "muon") -> tuple[Stepper, Batch]:
    """The training of a preset with random codes, and a batch of whole windows."""
    shape, rng = PRESETS[preset], np.random.default_rng(0)
    codes = rng.integers(shape.codebook_size, size=(2 * shape.max_frames, shape.num_quantizers)).astype(np.int16)
    config = TrainConfig(batch_frames=frames, full_windows=1.0, fixed_split=True, device="cpu", optimizer=optimizer)
    torch.manual_seed(0)
    stepper = Stepper(build(shape), config, [TokenClip(id="a", codes=codes)])
    return stepper, stepper.batches.draw(0)


def main() -> None:
    """Time products of the preset's own feed-forward shape, a step, and its optimizer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=list(PRESETS), default="small")
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--optimizer", default="muon")
    given = parser.parse_args()
    prepare_cpu(given.threads)
    shape = PRESETS[given.preset]
    dtype = torch.bfloat16 if multiplies_bf16(torch.device("cpu")) else torch.float32
    a, b = torch.randn(given.frames, shape.d_model).to(dtype), torch.randn(shape.d_model, 4 * shape.d_model).to(dtype)
    rate = 2 * a.numel() * b.shape[1] / seconds(lambda: a @ b, 20)

    stepper, batch = drawn(given.preset, given.frames, given.optimizer)
    counted = operations(stepper, batch)
    step_s = seconds(lambda: stepper.compute_gradients(batch, 0, 0), 1)
    optimizer_s = seconds(lambda: [optimizer.step() for optimizer in stepper.optimizers], 1)
    print("| what | figure |\n|---|---|")
    print(
        f"| {dtype} products of [{given.frames}, {shape.d_model}] and [{shape.d_model}, {4 * shape.d_model}] "
        f"| {rate / 1e9:.0f} Gop/s |"
    )
    print(f"| a step of {given.preset}, {given.frames} frames: operations | {counted / 1e9:.0f} G |")
    print(f"| the same: forward and backward | {step_s:.2f} s, {counted / step_s / 1e9:.0f} Gop/s |")
    print(f"| share of the matrix rate | {100 * counted / step_s / rate:.0f} % |")
    print(f"| the optimizer ({given.optimizer}) | {optimizer_s:.2f} s |")


if __name__ == "__main__":
    main()
