"""`audiolm infill`: options and display. The work is in `workflows/infill.py`."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.fetching import fetch_missing
from audiolm_cli.cli.generated import show_generation
from audiolm_cli.cli.render import Renderer
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
    started = time.perf_counter()
    display.check_stdout(config.output, play)
    gaps = [parse_gap(text) for text in gap]
    with Renderer(**display.to_dict()) as out:
        from audiolm_cli.workflows.infill import infill_files

        fetch_missing(out, config.cache_dir, offline, model=config.model)
        result = infill_files(
            inputs, gaps, length, config, sampling, labels=labels, on_event=out.on_event, started=started
        )
        show_generation(out, result, play)
