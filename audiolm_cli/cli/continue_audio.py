"""`audiolm continue`: options and display. The work is in `workflows/continue_audio.py`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.fetching import fetch_missing
from audiolm_cli.cli.generated import show_generation
from audiolm_cli.cli.render import Renderer
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
    started = time.perf_counter()
    display.check_stdout(config.output, play)
    with Renderer(**display.to_dict()) as out:
        from audiolm_cli.workflows.continue_audio import continue_files

        fetch_missing(out, config.cache_dir, offline, model=config.model)
        result = continue_files(
            inputs,
            duration,
            before,
            config,
            sampling,
            stream=stream,
            sound_of=sound_of,
            on_event=out.on_event,
            started=started,
        )
        show_generation(out, result, play)
