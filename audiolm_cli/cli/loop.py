"""`audiolm loop`: options and display. The work is in `workflows/loop.py`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.generated import generating
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
    context: typer.Context,
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
    with generating(context, config, display, play, offline) as run:
        from audiolm_cli.workflows.loop import loop_files

        result = loop_files(inputs, bridge, repeat, run.config, sampling, bars=bars, **run.shared)
        run.show(result, wraps=not config.only_new)
