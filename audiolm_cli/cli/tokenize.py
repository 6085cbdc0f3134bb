"""`audiolm tokenize`: options and display. The work is in `workflows/tokenize.py`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.fetching import fetch_missing
from audiolm_cli.cli.render import Renderer

Inputs = Annotated[list[Path], typer.Argument(metavar="IN...", help="Audio files or folders of them.")]
Store = Annotated[Path, options.shared("-o", "--output", metavar="DIR", help="Folder of the token store.")]
Workers = Annotated[
    int | None,
    options.shared(
        "--workers", min=1, max=1024, metavar="N", help="Processes that encode; one per core if there is work."
    ),
]
CACHED_SHAPES = "8"
"""torch keeps what it prepares for up to 1024 shapes of data, and nearly every clip ends in a shape of its own."""


def torchrun_ranks() -> tuple[int, int, int]:
    """(this process, all processes, those on this machine) as torchrun tells them; (0, 1, 1) without it.

    Schedulers set some of its variables, too, and mean other things by them.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    rank, world, local = (int(value) if (value := os.environ.get(name, "")).isdecimal() else -1 for name in names)
    if "MASTER_ADDR" not in os.environ or not (0 <= rank < world and 1 <= local <= world):
        return 0, 1, 1
    return rank, world, local


def tokenize_command(
    inputs: Inputs,
    output: Store,
    codec: options.CodecName = "encodec-32khz",
    device: options.Device = "auto",
    threads: options.Threads = None,
    workers: Workers = None,
    force: options.Force = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_progress: options.NoProgress = False,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
) -> None:
    """Encode recordings into a token store that `audiolm train` reads."""
    rank, world, local_world = torchrun_ranks()
    quiet = quiet or rank > 0  # rank 0 speaks for all
    with Renderer(quiet=quiet, verbose=verbose, no_progress=no_progress, json=json_output) as out:
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", CACHED_SHAPES)
        from audiolm_cli.workflows.allocator import give_back_freed_memory
        from audiolm_cli.workflows.tokenize import Sharing, check_failures, tokenize

        give_back_freed_memory()
        fetch_missing(out, cache_dir, offline, codec if all(path.exists() for path in inputs) else None)
        result = tokenize(
            inputs,
            output,
            codec,
            device=device,
            threads=threads,
            workers=workers,
            cache=cache_dir,
            force=force,
            sharing=Sharing(rank=rank, world=world, local_world=local_world),
            on_event=out.on_event,
        )
        if rank:
            return
        if out.json:
            out.print_json(result)
        else:
            out.print(
                f"{result.path}  ({result.hours:.2f} h; " + ", ".join(f"{n} {s}" for s, n in result.cuts.items()) + ")"
            )
        check_failures(result)
