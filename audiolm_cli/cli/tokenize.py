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


def torchrun_ranks() -> tuple[int, int, int]:
    """(this process, all processes, those on this machine) as torchrun tells them; (0, 1, 1) without it."""
    rank, world, local = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        return 0, 1, 1
    return int(rank), int(world), max(1, int(local)) if local.isdecimal() else 1


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
        from audiolm_cli.workflows.tokenize import Sharing, check_failures, tokenize

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
