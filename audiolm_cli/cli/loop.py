"""`audiolm loop`: options and display. The work is in `workflows/loop.py`."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.fetching import fetch_missing
from audiolm_cli.cli.generated import show_generation
from audiolm_cli.cli.render import Renderer
from audiolm_cli.cli.spread import spread
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig

Inputs = Annotated[list[str], typer.Argument(metavar="IN...", help="Audio files; '-' is a WAV on standard input.")]
Bridge = Annotated[
    Any,
    options.shared(
        "--bridge",
        metavar="TIME",
        parser=options.time_option,
        panel="Generation",
        help="Length of the new part. Default: 2.",
    ),
]
Bars = Annotated[
    float | None,
    options.shared(
        "--bars", metavar="N", parser=options.positive, panel="Generation", help="Length of the whole loop in bars."
    ),
]
Repeat = Annotated[
    int, options.shared("--repeat", min=1, metavar="N", panel="Generation", help="Write the loop N times, to hear it.")
]


@spread
def loop_command(
    inputs: Inputs,
    *,
    bridge: Bridge = None,
    bars: Bars = None,
    repeat: Repeat = 1,
    config: Annotated[GenerateConfig, options.Only(without=("until_end",))],
    sampling: SamplingConfig,
    play: options.Play = False,
    display: options.Display,
    offline: options.Offline = False,
) -> None:
    """Make recordings loop: append a bridge from the end of each back to its start."""
    started = time.perf_counter()
    display.check_stdout(config.output, play)
    with Renderer(**display.to_dict()) as out:
        from audiolm_cli.workflows.loop import loop_files

        fetch_missing(out, config.cache_dir, offline, model=config.model)
        result = loop_files(inputs, bridge, repeat, config, sampling, bars=bars, on_event=out.on_event, started=started)
        show_generation(out, result, play, wraps=not config.only_new)
