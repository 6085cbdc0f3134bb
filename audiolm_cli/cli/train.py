"""`audiolm train`: options and display. The work is in `workflows/train.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.render import Renderer
from audiolm_cli.config import PRESETS, TrainConfig
from audiolm_cli.errors import UsageError

Source = Annotated[Path, typer.Argument(metavar="PATH", help="A folder of audio, or a token store.")]
Run = Annotated[Path, options.shared("-o", "--output", metavar="RUN", help="The run folder; `-m RUN` reads it.")]
Preset = Annotated[
    Literal["tiny", "small", "base"] | None,
    options.shared("--preset", panel="Training", help="Size of the model; tiny when nothing is said."),
]
Init = Annotated[
    str | None, options.shared("--init", metavar="NAME|PATH", panel="Training", help="Start from this model.")
]
Steps = Annotated[int, options.shared("--steps", min=1, metavar="N", panel="Training", help="Optimizer steps.")]
BatchFrames = Annotated[
    int, options.shared("--batch-frames", min=1, metavar="N", panel="Training", help="Frames per step.")
]
Stage = Annotated[
    int,
    options.shared("--train-stage", min=0, max=2, panel="Training", help="0 trains both decoders, 1 AR, 2 NAR."),
]
ValidateEvery = Annotated[
    int, options.shared("--validate-every", min=1, metavar="N", panel="Training", help="Steps between validations.")
]


def train_command(
    source: Source,
    run: Run,
    codec: options.OptionalCodecName = None,
    preset: Preset = None,
    init: Init = None,
    steps: Steps = TrainConfig.steps,
    batch_frames: BatchFrames = TrainConfig.batch_frames,
    train_stage: Stage = 0,
    validate_every: ValidateEvery = TrainConfig.validate_every,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_progress: options.NoProgress = False,
    cache_dir: options.CacheDir = None,
) -> None:
    """Train a model on a folder of recordings; stopped and started again, it goes on."""
    if preset is not None and init is not None:
        raise UsageError("--preset and --init: a model to start from has its own size; leave one of them out")
    config = TrainConfig(
        steps=steps,
        batch_frames=batch_frames,
        train_stage=train_stage,
        validate_every=validate_every,
        seed=seed or 0,
        device=device,
        threads=threads,
    )
    with Renderer(quiet=quiet, verbose=verbose, no_progress=no_progress, json=json_output) as out:
        from audiolm_cli.workflows.train import train

        result = train(
            source,
            run,
            codec=codec,
            shape=PRESETS[preset or "tiny"],
            config=config,
            init=init,
            cache=cache_dir,
            on_event=out.on_event,
        )
        if out.json:
            out.print_json({"run": result.run, "model": {"name": result.folder.name, "sha256": result.folder.sha256}})
        else:
            out.print(f"{result.run}  (use it: audiolm continue IN -m {result.run})")
