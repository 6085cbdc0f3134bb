"""`audiolm continue`: options and display. The work is in `workflows/continue_audio.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.generated import generating
from audiolm_cli.cli.spread import spread
from audiolm_cli.config.base import RARE
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig

Inputs = Annotated[list[str], typer.Argument(metavar="IN...", help="Audio files; '-' is a WAV on standard input.")]
Before = Annotated[bool, options.shared("--before", panel="Generation", help="Put the new audio in front.")]
Stream = Annotated[
    bool, options.shared("--stream", panel="Generation", help="Write audio while it is made, to a WAV or to '-'.")
]

SoundOf = Annotated[
    str | None,
    options.shared(
        "--sound-of",
        metavar="REF",
        panel=RARE,
        help="A recording whose sound the new audio takes on, with a model trained for it.",
    ),
]


@spread
def continue_command(
    context: typer.Context,
    inputs: Inputs,
    *,
    duration: options.Duration = 10.0,
    before: Before = False,
    stream: Stream = False,
    sound_of: SoundOf = None,
    config: GenerateConfig,
    sampling: SamplingConfig,
    play: options.Play = False,
    display: options.Display,
    offline: options.Offline = False,
) -> None:
    """Continue recordings: append new audio that goes on where each one ends."""
    with generating(context, config, display, play, offline) as run:
        from audiolm_cli.workflows.continue_audio import continue_files

        run.show(
            continue_files(
                inputs, duration, before, run.config, sampling, stream=stream, sound_of=sound_of, **run.shared
            )
        )
