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
from audiolm_cli.cli.spread import spread
from audiolm_cli.config.generation import DEMO_SEED, GenerateConfig

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Where to write.")]


SHOWN = options.Only(
    ("model", "page", "seed", "device", "dtype", "threads", "force", "cache_dir"), defaults={"seed": DEMO_SEED}
)


@spread
def demo_command(
    folder: Folder = Path("audiolm-demo"),
    *,
    config: Annotated[GenerateConfig, SHOWN],
    play: options.Play = False,
    display: options.Display,
    offline: options.Offline = False,
) -> None:
    """Write a prompt, its continuation and an infill, with their pictures."""
    started = time.perf_counter()
    with Renderer(**display.to_dict()) as out:
        out.load_torch()
        from audiolm_cli.workflows.demo import demo

        fetch_missing(out, config.cache_dir, offline, model=config.model)
        show_generation(out, demo(folder, config, on_event=out.on_event, started=started), play)
