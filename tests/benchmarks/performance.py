"""How fast everything is that generates, against what this machine could do at best; prints Markdown tables.

    python tests/benchmarks/performance.py --threads 2
    python tests/benchmarks/performance.py decode continue --write audiolm_cli/assets/guide/performance.md

Without names, every table. With --write, each table also goes into that file, between its markers. Floors are measured
in the same run: the bytes of the weights over the rate at which a large array is summed, or the operations over the
rate of a large product. Times are medians with half the distance between the quartiles.

decode: a step of the AR decoder in the shape of `train --preset base`, random weights. large: 10 s after 3 s with such
weights, and the parent's algorithm (tests/parent_algorithm.py), timed at three lengths of what is there and summed
over all by the trapezoidal rule. continue: the command, with the bundled model, in processes of its own. codec: the
bundled ones. tokenize: the command, on FLAC recordings in stereo at 44.1 kHz; the floor is their encoding alone. train:
forward and backward, and the optimizer (`training_speed.py`). start: processes that do nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from decoding import BYTES, codes, fresh, step_ms
from measuring import machine, product_rate, read_rate, spread
from parent_algorithm import greedy_first
from tokenizing import FILE_S, run, write
from training_speed import drawn, operations

from audiolm_cli.checkpoints.catalogue import BUNDLED_CODEC
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.config.training import CodecTrainConfig
from audiolm_cli.devices import prepare_cpu
from audiolm_cli.library.loading import load_codec
from audiolm_cli.model.decode import Timing, fill_codebooks, generate
from audiolm_cli.model.geometry import Geometry
from audiolm_cli.model.quantize import use_dtype
from audiolm_cli.model.stepping import AR
from audiolm_cli.reports.tables import table
from audiolm_cli.training.codec.spectral import SpectralTrainee
from audiolm_cli.training.preflight.preparing import NAR_PASSES

PRELUDE = Path(__file__).parents[2] / "audiolm_cli" / "assets" / "demo" / "prelude.flac"
CONTEXT, FRAMES = 150, 500
"""3 s and 10 s."""
PASSES = (1, NAR_PASSES)
"""NAR passes: the fastest, and what models are trained for."""


def decode(threads: int) -> str:
    """A step of the AR decoder."""
    large, rows = torch.ones(64 * 2**20), []
    for dtype in ("bf16", "int8"):
        model = fresh(None)
        weights = sum(m.weight.numel() for m in model.ar_decoder.modules() if isinstance(m, torch.nn.Linear))
        use_dtype(model, dtype)
        for takes, context in ((1, 250), (1, 500), (1, 750), (1, 2000), (8, 500)):
            before = read_rate(large)
            ms, error = step_ms(model, context, takes, 15)
            floor = 1000 * weights * BYTES[dtype] / ((before + read_rate(large)) / 2)
            rows.append([dtype, takes, context, f"{floor:.1f}", f"{ms:.1f} ± {error:.1f}", f"{ms / floor:.2f}"])
    return table(["weights", "takes", "context, frames", "floor, ms", "step, ms", "of the floor"], rows)


@torch.inference_mode()
def large(threads: int) -> str:
    """10 s after 3 s with a model of the base preset, and by the parent's algorithm."""
    rows, geometry = [], Geometry(CONTEXT, FRAMES)
    model = fresh(None)
    context, seeds = codes(model, CONTEXT), [torch.Generator().manual_seed(1)]
    points = [0, FRAMES // 2, FRAMES - 1]
    times = []
    for done in points:  # a step costs what it costs for one frame after so many
        ahead = Geometry(CONTEXT + done, 1)
        started = time.perf_counter()
        greedy_first(model, codes(model, CONTEXT + done), ahead, 1)
        times.append(time.perf_counter() - started)
    parent = sum((times[i] + times[i + 1]) / 2 * (points[i + 1] - points[i]) for i in range(len(points) - 1))
    few = Geometry(CONTEXT, 4)
    ar, own = AR(model, context, few, 1), []
    for _ in range(few.gap):
        own.append(ar.step(own[-1] if own else None)[:, : model.eos].argmax(-1, keepdim=True))
    assert torch.equal(torch.cat(own, dim=1), greedy_first(model, context, few, few.gap)), "other codes"
    rows.append(["the parent's algorithm, fp32: codebook 1 alone", "", f"{parent:.0f}", "", f"{parent / 10:.1f}", "1"])
    for dtype in ("bf16", "int8"):
        use_dtype(model, dtype) if dtype == "bf16" else None
        if dtype == "int8":
            model = fresh(None)
            use_dtype(model, dtype)
        for passes in PASSES:
            timing, started = Timing(), time.perf_counter()
            generate(model, context, geometry, SamplingConfig(nar_passes=passes), seeds, timing=timing)
            total = time.perf_counter() - started
            whole = [f"{timing.ar_s:.1f}", f"{timing.nar_s:.1f}", f"{total / 10:.2f}", f"{parent / timing.ar_s:.0f}"]
            rows.append([f"{dtype}, {_named(passes)}", f"{1000 * timing.ar_s / FRAMES:.1f}", *whole])
    head = ["10 s after 3 s, base preset", "ms a frame", "AR, s", "NAR, s", "of real time", "times the parent's AR"]
    return table(head, rows)


def _named(passes: int) -> str:
    return f"{passes} NAR passes" if passes > 1 else "one NAR pass"


def command(*args: object, threads: int) -> tuple[dict[str, float], float, float]:
    """Timings of one `audiolm continue`, the seconds it took, and its peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        out, shown = Path(folder) / "out.wav", Path(folder) / "shown.json"
        line = [sys.executable, "-m", "audiolm_cli", "continue", PRELUDE, "-o", out, "--seed", 1, "--json", "-q"]
        started = time.perf_counter()
        with shown.open("w") as stdout:
            program = subprocess.Popen([*map(str, [*line, "--threads", threads, *args])], stdout=stdout)
            _, status, usage = os.wait4(program.pid, 0)
        took = time.perf_counter() - started
        program.returncode = os.waitstatus_to_exitcode(status)
        if program.returncode:
            sys.exit(f"audiolm continue ended with {program.returncode}")
        return json.loads(shown.read_text())["timing"], took, usage.ru_maxrss / 1024


def continue_(threads: int) -> str:
    """The command with the bundled model."""
    rows = []
    for name, *args in (
        ("1 take", "--dtype", "fp32"),
        ("1 take", "--dtype", "bf16"),
        ("1 take", "--dtype", "int8"),
        ("8 takes", "--dtype", "fp32", "--takes", 8),
        ("8 takes", "--dtype", "bf16", "--takes", 8),
        ("8 takes", "--dtype", "int8", "--takes", 8),
    ):
        timing, took, memory = command(*args, threads=threads)
        stages = [f"{timing[stage]:.1f}" for stage in ("load_s", "encode_s", "ar_s", "nar_s", "decode_s")]
        rows.append([name, args[1], *stages, f"{took:.1f}", f"{memory:.0f}"])
    head = ["10 s, bundled model", "weights", "load, s", "encode", "AR", "NAR", "decode", "all of it", "peak, MB"]
    return table(head, rows)


@torch.inference_mode()
def nar(threads: int) -> str:
    """The three fine codebooks, base preset."""
    rows, geometry = [], Geometry(CONTEXT, FRAMES)
    rate = product_rate(CONTEXT + FRAMES, 1024, torch.bfloat16)
    model = fresh(None)
    use_dtype(model, "bf16")
    layers = 12 * 1024**2 * model.config.num_layers
    for takes, passes in ((1, PASSES[0]), (1, PASSES[1]), (4, PASSES[0])):
        target = codes(model, FRAMES).repeat(takes, 1, 1)
        noise = torch.rand(takes, 4, FRAMES)
        context, greedy = codes(model, CONTEXT), SamplingConfig(nar_temperature=0, nar_passes=passes)
        work = lambda: fill_codebooks(model, context, target, geometry, greedy, noise)  # noqa: B023, E731
        ms, error = spread(work, 3)
        floor = 1000 * 3 * 2 * layers * (CONTEXT + takes * passes * FRAMES) / rate
        rows.append([takes, passes, f"{floor:.0f}", f"{ms:.0f} ± {error:.0f}", f"{ms / floor:.2f}"])
    return table(["takes, bf16", "passes", "floor, ms", "three codebooks of 10 s, ms", "of the floor"], rows)


def codec(threads: int) -> str:
    """The bundled codec: ten seconds there and back, and a step of training on ten clips of two seconds."""
    loaded = load_codec(BUNDLED_CODEC)
    assert isinstance(loaded, SpectralCodec)
    wav = torch.randn(1, 1, 10 * loaded.sample_rate_hz) * 0.1
    with torch.inference_mode():
        made = loaded.encode(wav)
        times = [spread(lambda: loaded.encode(wav), 5), spread(lambda: loaded.decode(made), 5)]
    times.append(spread(_codec_step(loaded), 3))
    rows = [[BUNDLED_CODEC, *(f"{ms:.0f} ± {error:.0f}" for ms, error in times), f"{times[1][0] / 10_000:.3f}"]]
    head = ["bundled codec", "encode 10 s, ms", "decode, ms", "step of training, ms", "decode, of real time"]
    return table(head, rows)


def _codec_step(codec: SpectralCodec) -> Callable[[], object]:
    """Forward and backward of ten clips of two seconds, without what wears them."""
    trainee = SpectralTrainee(codec, CodecTrainConfig())
    clips = torch.randn(10, 2 * codec.sample_rate_hz) * 0.1

    def step() -> None:
        inputs = trainee.inputs(clips)
        loss, _ = trainee.distance(trainee.outputs(trainee.latents(inputs)), inputs, 0)
        loss.backward()

    return step


def tokenize(threads: int) -> str:
    """The command, with as many workers as threads."""
    loaded, files = load_codec(BUNDLED_CODEC), 8
    wav = torch.randn(1, 1, 10 * loaded.sample_rate_hz) * 0.1
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in").mkdir()
        for i in range(files):
            write(Path(folder) / "in" / f"{i}.flac", FILE_S, i)
        places = iter(Path(folder) / f"out-{i}" for i in range(10))
        work = lambda: run(Path(folder) / "in", "-o", next(places), "--codec", BUNDLED_CODEC, "--workers", threads)  # noqa: E731
        ms, error = spread(work, 3, warm_up=1, now=time.perf_counter)
    with torch.inference_mode():
        floor = spread(lambda: loaded.encode(wav), 5, now=time.perf_counter)[0] / 10 * FILE_S * files
    times = 1000 * FILE_S * files / ms
    row = [f"{files * FILE_S / 60:.0f} min", threads, f"{floor:.0f}", f"{ms:.0f} ± {error:.0f}", f"{ms / floor:.2f}"]
    return table(
        ["stereo FLAC", "workers", "floor, ms", "ms", "of the floor", "times real time"], [[*row, f"{times:.0f}"]]
    )


def train(threads: int) -> str:
    """A step on the processor."""
    rows = []
    for preset, frames in (("tiny", 2500), ("small", 1500)):
        stepper, batch = drawn(preset, frames)
        counted = operations(stepper, batch)
        ms, error = spread(lambda: stepper.compute_gradients(batch, 0, 0), 3)  # noqa: B023
        optimizer, _ = spread(lambda: [one.step() for one in stepper.optimizers], 3)  # noqa: B023
        floor = 1000 * counted / product_rate(frames, stepper.model.config.d_model, torch.bfloat16)
        took = [f"{floor:.0f}", f"{ms:.0f} ± {error:.0f}", f"{ms / floor:.2f}", f"{optimizer:.0f}"]
        rows.append([preset, frames, *took, f"{1000 * frames / (ms + optimizer):.0f}"])
    head = ["preset", "frames", "floor, ms", "forward and backward, ms", "of the floor", "optimizer, ms", "frames/s"]
    return table(head, rows)


def start(threads: int) -> str:
    """Processes that do next to nothing."""
    rows = []
    imports = "import torch, audiolm_cli.workflows.continue_audio"
    for name, *args in (
        ("python -c pass", "-c", "pass"),
        ("audiolm --help", "-m", "audiolm_cli", "--help"),
        ("import torch", "-c", "import torch"),
        ("import what continue needs", "-c", imports),
    ):
        line = [sys.executable, *args]
        work = lambda: subprocess.run(line, stdout=subprocess.DEVNULL, check=True)  # noqa: B023, E731
        ms, error = spread(work, 5, now=time.perf_counter)
        rows.append([name, f"{ms:.0f} ± {error:.0f}"])
    return table(["process", "ms"], rows)


TABLES = {
    "continue": continue_,
    "start": start,
    "tokenize": tokenize,
    "codec": codec,
    "train": train,
    "nar": nar,
    "decode": decode,
    "large": large,
}
"""In this order: a process that is started counts the memory of this one as its peak, which large models raise."""


def put(path: Path, name: str, text: str) -> None:
    """Replace what stands between the markers of a table."""
    whole = path.read_text()
    before, opening, rest = whole.partition(f"<!-- performance: {name} -->")
    _, closing, after = rest.partition("<!-- /performance -->")
    if not opening or not closing:
        sys.exit(f"{path} has no markers for the table {name}")
    path.write_text(f"{before}{opening}\n{text}\n{closing}{after}")


def main() -> None:
    """Measure, print, and write where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="|".join(TABLES))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--write", type=Path, metavar="FILE")
    given = parser.parse_args()
    if unknown := set(given.tables) - set(TABLES):
        parser.error(f"no table {', '.join(unknown)}")
    prepare_cpu(given.threads)
    torch.manual_seed(0)
    print(machine())
    if given.write:
        put(given.write, "machine", f"On {machine()}.")
    for name in (name for name in TABLES if name in (given.tables or TABLES)):
        text = TABLES[name](given.threads)
        print(f"\n{text}", flush=True)
        if given.write:
            put(given.write, name, text)


if __name__ == "__main__":
    main()
