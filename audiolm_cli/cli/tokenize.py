"""`audiolm tokenize`: options and display. The work is in `workflows/tokenize.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.fetching import fetch_missing
from audiolm_cli.cli.render import Renderer

Inputs = Annotated[list[Path], typer.Argument(metavar="IN...", help="Audio files or folders of them.")]
Store = Annotated[Path, options.shared("-o", "--output", metavar="DIR", help="Folder of the token store.")]


def tokenize_command(
    inputs: Inputs,
    output: Store,
    codec: options.CodecName = "encodec-32khz",
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
    """Encode recordings into a token store that `audiolm train` reads."""
    with Renderer(quiet=quiet, verbose=verbose, no_progress=no_progress, json=json_output) as out:
        from audiolm_cli.workflows.tokenize import check_failures, tokenize_with

        fetch_missing(out, cache_dir, offline, codec if all(path.exists() for path in inputs) else None)
        result = tokenize_with(
            inputs, output, codec, device=device, threads=threads, cache=cache_dir, force=force, on_event=out.on_event
        )
        if out.json:
            out.print_json(result)
        else:
            out.print(
                f"{result.path}  ({result.hours:.2f} h; " + ", ".join(f"{n} {s}" for s, n in result.cuts.items()) + ")"
            )
        check_failures(result)
