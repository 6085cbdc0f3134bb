"""`audiolm demo`: options and display. The work is in `workflows/demo.py`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.fetching import fetch_missing
from audiolm_cli.cli.generated import show_generation
from audiolm_cli.cli.render import Renderer
from audiolm_cli.config.generation import GenerateConfig

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Where to write.")]


def demo_command(
    folder: Folder = Path("audiolm-demo"),
    model: options.Model = "piano",
    seed: options.Seed = 4,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = None,
    force: options.Force = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_progress: options.NoProgress = False,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
) -> None:
    """Write a prompt, its continuation and an infill, with pictures: the tour."""
    started = time.perf_counter()
    cache = None if cache_dir is None else str(cache_dir)
    config = GenerateConfig(
        model=model,
        device=device,
        dtype=dtype,
        threads=threads,
        seed=seed,
        force=force,
        cache_dir=cache,
    )
    with Renderer(quiet=quiet, verbose=verbose, no_progress=no_progress, json=json_output) as out:
        from audiolm_cli.workflows.demo import demo

        fetch_missing(out, cache_dir, offline, model)
        show_generation(out, demo(folder, config, on_event=out.on_event, started=started))
