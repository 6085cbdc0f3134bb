"""`audiolm continue`: options and display. The work is in `workflows/continue_audio.py`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.fetching import fetch_missing
from audiolm_cli.cli.generated import show_generation
from audiolm_cli.cli.render import Renderer
from audiolm_cli.config.generation import AR_TEMPERATURE, GenerateConfig, SamplingConfig
from audiolm_cli.errors import UsageError

Inputs = Annotated[list[str], typer.Argument(metavar="IN...", help="Audio files; '-' is a WAV on standard input.")]
Before = Annotated[bool, options.shared("--before", panel="Generation", help="Put the new audio in front.")]
Stream = Annotated[
    bool, options.shared("--stream", panel="Generation", help="Write audio while it is made, to a WAV or to '-'.")
]


def continue_command(
    inputs: Inputs,
    duration: options.Duration = 10.0,
    before: Before = False,
    stream: Stream = False,
    output: options.Output = None,
    model: options.Model = "piano",
    takes: options.Takes = 1,
    best_of: options.BestOf = None,
    prompt: options.Prompt = None,
    temperature: options.Temperature = AR_TEMPERATURE,
    top_k: options.TopK = SamplingConfig.top_k,
    top_p: options.TopP = SamplingConfig.top_p,
    nar_temperature: options.NarTemperature = SamplingConfig.nar_temperature,
    nar_passes: options.NarPasses = SamplingConfig.nar_passes,
    guidance: options.Guidance = SamplingConfig.guidance,
    channels: options.Channels = "mid",
    only_new: options.OnlyNew = False,
    until_end: options.UntilEnd = False,
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
    """Continue recordings: append new audio that goes on where each one ends."""
    started = time.perf_counter()
    if json_output and output == "-":
        raise UsageError("--json and -o - both want standard output; write the audio to a file")
    sampling = SamplingConfig(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        nar_temperature=nar_temperature,
        nar_passes=nar_passes,
        guidance=guidance,
    )
    config = GenerateConfig(
        model=model,
        device=device,
        dtype=dtype,
        threads=threads,
        seed=seed,
        takes=takes,
        best_of=best_of,
        prompt_s=prompt,
        until_end=until_end,
        channels=channels,
        only_new=only_new,
        force=force,
        cache_dir=None if cache_dir is None else str(cache_dir),
    )
    with Renderer(quiet=quiet, verbose=verbose, no_progress=no_progress, json=json_output) as out:
        from audiolm_cli.workflows.continue_audio import continue_files

        fetch_missing(out, cache_dir, offline, model)
        result = continue_files(
            inputs,
            duration,
            before,
            output,
            plot,
            config,
            sampling,
            stream=stream,
            on_event=out.on_event,
            started=started,
        )
        show_generation(out, result)
