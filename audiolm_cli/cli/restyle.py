"""`audiolm restyle`: options and display. The work is in `workflows/restyle.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.generated import generating
from audiolm_cli.cli.spread import spread
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig

Inputs = Annotated[list[str], typer.Argument(metavar="IN...", help="Audio files; '-' is a WAV on standard input.")]
Style = Annotated[
    str,
    options.shared("--style", metavar="REF", panel="Generation", help="A recording whose sound the result takes over."),
]
Strength = Annotated[
    int,
    options.shared("--strength", min=1, metavar="N", panel="Generation", help="Codebooks to keep; 1 changes most."),
]


@spread
def restyle_command(
    context: typer.Context,
    inputs: Inputs,
    *,
    style: Style,
    strength: Strength = 1,
    config: Annotated[GenerateConfig, options.Only(without=("best_of", "only_new", "until_end"), taken=("--style",))],
    sampling: Annotated[SamplingConfig, options.Only(("nar_temperature", "nar_passes", "guidance"))],
    play: options.Play = False,
    display: options.Display,
    offline: options.Offline = False,
) -> None:
    """Give recordings the sound of another: coarse codes stay, fine ones are made anew."""
    with generating(context, config, display, play, offline) as run:
        from audiolm_cli.workflows.restyle import restyle_files

        run.show(restyle_files(inputs, style, strength, run.config, sampling, **run.shared))
