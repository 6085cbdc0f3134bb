"""`audiolm restyle`: options and display. The work is in `workflows/restyle.py`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.fetching import fetch_missing
from audiolm_cli.cli.generated import show_generation
from audiolm_cli.cli.render import Renderer
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.errors import UsageError

Inputs = Annotated[list[str], typer.Argument(metavar="IN...", help="Audio files; '-' is a WAV on standard input.")]
Style = Annotated[
    str,
    options.shared("--style", metavar="REF", panel="Generation", help="A recording whose sound the result takes over."),
]
Strength = Annotated[
    int,
    options.shared("--strength", min=1, metavar="N", panel="Generation", help="Codebooks kept: 1 changes most."),
]


def restyle_command(
    inputs: Inputs,
    style: Style,
    strength: Strength = 1,
    output: options.Output = None,
    model: options.Model = "piano",
    takes: options.Takes = 1,
    prompt: options.Prompt = None,
    nar_temperature: options.NarTemperature = SamplingConfig.nar_temperature,
    nar_passes: options.NarPasses = SamplingConfig.nar_passes,
    guidance: options.Guidance = SamplingConfig.guidance,
    channels: options.Channels = "mid",
    plot: options.Plot = None,
    seed: options.Seed = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = None,
    force: options.Force = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_progress: options.NoProgress = False,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
) -> None:
    """Give recordings the sound of another: their coarse codes stay, the fine ones are made anew."""
    started = time.perf_counter()
    if json_output and output == "-":
        raise UsageError("--json and -o - both want standard output; write the audio to a file")
    sampling = SamplingConfig(nar_temperature=nar_temperature, nar_passes=nar_passes, guidance=guidance)
    config = GenerateConfig(
        model=model,
        device=device,
        dtype=dtype,
        threads=threads,
        seed=seed,
        takes=takes,
        prompt_s=prompt,
        channels=channels,
        force=force,
        cache_dir=None if cache_dir is None else str(cache_dir),
    )
    with Renderer(quiet=quiet, verbose=verbose, no_progress=no_progress, json=json_output) as out:
        from audiolm_cli.workflows.restyle import restyle_files

        fetch_missing(out, cache_dir, offline, model)
        result = restyle_files(
            inputs, style, strength, output, plot, config, sampling, on_event=out.on_event, started=started
        )
        show_generation(out, result)
