"""`audiolm tokenize`: options and display. The work is in `workflows/tokenize.py`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.fetching import fetch_missing
from audiolm_cli.cli.render import Renderer
from audiolm_cli.cli.spread import spread
from audiolm_cli.cli.torchrun import torchrun_ranks

Inputs = Annotated[list[Path], typer.Argument(metavar="IN...", help="Audio files or folders of them.")]
Store = Annotated[Path, options.shared("-o", "--output", metavar="DIR", help="Folder of the token store.")]
Workers = Annotated[
    int | None,
    options.shared(
        "--workers",
        min=1,
        max=1024,
        metavar="N",
        help="Processes that encode. Default: one per core, if there is work.",
    ),
]
Transpose = Annotated[
    int | None,
    options.shared(
        "--transpose",
        min=0,
        max=12,
        metavar="N",
        help="For trainings to learn from: copies N semitones up and down.",
    ),
]
CACHED_SHAPES = "8"
"""torch keeps what it prepares for up to 1024 shapes of data, and nearly every clip ends in a shape of its own."""


@spread
def tokenize_command(
    *,
    inputs: Inputs,
    output: Store,
    codec: options.CodecName = "sound",
    device: options.Device = "auto",
    threads: options.Threads = None,
    workers: Workers = None,
    transpose: Transpose = None,
    force: options.Force = False,
    display: options.Display,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
) -> None:
    """Encode recordings into a token store that `audiolm train` reads."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", CACHED_SHAPES)
    ranks = torchrun_ranks()
    with Renderer(**display.to_dict() | {"quiet": display.quiet or not ranks.main}) as out:
        out.load_torch()
        from audiolm_cli.devices import give_back_freed_memory
        from audiolm_cli.tokenizing.recordings import check_failures
        from audiolm_cli.workflows.tokenize import tokenize

        give_back_freed_memory()
        fetch_missing(out, cache_dir, offline, codec if all(path.exists() for path in inputs) else None, ranks=ranks)
        result = tokenize(
            inputs,
            output,
            codec,
            device=device,
            threads=threads,
            workers=workers,
            cache=cache_dir,
            force=force,
            transpose=lambda minutes: transpose or 0,
            ranks=ranks,
            on_event=out.on_event,
        )
        if not ranks.main:
            return
        if out.json:
            out.print_json(result)
        else:
            out.print(
                f"{result.path}  ({result.hours:.2f} h; " + ", ".join(f"{n} {s}" for s, n in result.cuts.items()) + ")"
            )
        check_failures(result.failed)
