"""`audiolm decode`: options and display. The work is in `workflows/decode.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.fetching import fetch_missing
from audiolm_cli.cli.render import Renderer
from audiolm_cli.cli.spread import spread

Tokens = Annotated[Path, typer.Argument(metavar="TOKENS", help="A token store, or one of its manifests.")]
Out = Annotated[
    str,
    options.shared("-o", "--output", metavar="PATH", help="Folder for WAVs; for one clip also a file, or '-'."),
]
Ids = Annotated[list[str] | None, options.shared("--id", metavar="ID", help="Only the clip of this name; repeatable.")]


@spread
def decode_command(
    *,
    tokens: Tokens,
    output: Out,
    ids: Ids = None,
    codec: options.OptionalCodecName = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    force: options.Force = False,
    display: options.Display,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
) -> None:
    """Decode a token store, or single clips of it, back to audio."""
    display.check_stdout(output)
    with Renderer(**display.to_dict()) as out:
        out.load_torch()
        from audiolm_cli.workflows.decode import decode, find_codec_name

        fetch_missing(out, cache_dir, offline, codec or find_codec_name(tokens))
        result = decode(
            tokens,
            output,
            ids=ids,
            codec=codec,
            device=device,
            threads=threads,
            cache=cache_dir,
            force=force,
            on_event=out.on_event,
        )
        if out.json:
            out.print_json(result)
        elif output != "-":
            for clip in result.outputs:
                out.print(f"{clip.path}  ({clip.duration_s:.2f} s)")
        result.check_failures()
