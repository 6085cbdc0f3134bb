"""`audiolm codec train`: options and display. The work is in `workflows/codec_train.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.fetching import fetch_missing
from audiolm_cli.cli.render import Renderer
from audiolm_cli.config import CodecTrainConfig

Source = Annotated[Path, typer.Argument(metavar="PATH", help="A folder of audio.")]
Folder = Annotated[Path, options.shared("-o", "--output", metavar="DIR", help="The codec folder to write.")]
Steps = Annotated[int, options.shared("--steps", min=1, metavar="N", panel="Training", help="Optimizer steps.")]
Clips = Annotated[int, options.shared("--clips", min=1, metavar="N", panel="Training", help="2-second clips per step.")]
Init = Annotated[
    str | None,
    options.shared("--init", metavar="NAME|PATH", panel="Training", help="Start from this codec, or a model's."),
]
BaseLr = Annotated[
    float | None,
    options.shared(
        "--base-lr",
        parser=options.positive,
        metavar="X",
        panel="Training",
        help="Peak learning rate; 0.001 if unset, 0.0003 with --init.",
    ),
]
StateEvery = Annotated[
    int, options.shared("--state-every", min=1, metavar="N", panel="Training", help="Steps between saved states.")
]


def codec_train_command(
    source: Source,
    output: Folder,
    init: Init = None,
    steps: Steps = CodecTrainConfig.steps,
    clips: Clips = CodecTrainConfig.clips,
    state_every: StateEvery = CodecTrainConfig.state_every,
    base_lr: BaseLr = CodecTrainConfig.learning_rate,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    force: options.Force = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_progress: options.NoProgress = False,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
) -> None:
    """Train a spectral codec on a folder of recordings; stopped and started again, it goes on."""
    config = CodecTrainConfig(
        steps=steps,
        clips=clips,
        learning_rate=base_lr,
        state_every=state_every,
        seed=seed or 0,
        device=device,
        threads=threads,
    )
    with Renderer(quiet=quiet, verbose=verbose, no_progress=no_progress, json=json_output) as out:
        from audiolm_cli.workflows.codec_train import train_codec
        from audiolm_cli.workflows.recordings import check_failures

        fetch_missing(out, cache_dir, offline, init)
        result = train_codec(
            source, output, config=config, init=init, force=force, cache=cache_dir, on_event=out.on_event
        )
        if out.json:
            facts = {"path": result.folder.path, "sha256": result.folder.sha256}
            out.print_json({**facts, "held_out": result.losses, "failed": result.failed})
        else:
            out.print(f"{result.folder.path}  (use it: audiolm train PATH --codec {result.folder.path})")
        check_failures(result.failed)
