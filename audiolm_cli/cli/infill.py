"""`audiolm infill`: options and display. The work is in `workflows/infill.py`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.generated import generating
from audiolm_cli.cli.spread import spread
from audiolm_cli.config.base import RARE
from audiolm_cli.config.gaps import parse_gap
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig

Inputs = Annotated[list[str], typer.Argument(metavar="IN...", help="Audio files; '-' is a WAV on standard input.")]
Gaps = Annotated[
    list[str],
    options.shared(
        "--gap",
        metavar="START:END",
        panel="Generation",
        help="What to fill: 12.4:14, bar5:bar9, region:NAME; repeatable.",
    ),
]
Length = Annotated[
    Any,
    options.shared(
        "--length",
        metavar="TIME",
        parser=options.time_option,
        panel="Generation",
        help="Length of what replaces each gap; what follows moves.",
    ),
]

Labels = Annotated[
    str | None,
    options.shared(
        "--labels",
        metavar="LABELS",
        panel=RARE,
        help="Markers for --gap marker:NAME, region:NAME and markers, in a text file; else the recording's own.",
    ),
]


@spread
def infill_command(
    context: typer.Context,
    inputs: Inputs,
    *,
    gap: Gaps,
    length: Length = None,
    labels: Labels = None,
    config: Annotated[GenerateConfig, options.Only(without=("until_end",))],
    sampling: SamplingConfig,
    play: options.Play = False,
    display: options.Display,
    offline: options.Offline = False,
) -> None:
    """Make stretches of recordings anew, leading from what precedes them to what follows."""
    gaps = [parse_gap(text) for text in gap]
    with generating(context, config, display, play, offline) as run:
        from audiolm_cli.workflows.infill import infill_files

        run.show(infill_files(inputs, gaps, length, run.config, sampling, labels=labels, **run.shared))
