"""`audiolm restyle`: a recording with its coarse codes kept and its fine codes made anew in the manner of another.

Knows nothing about commands or terminals.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.editing.jobs import Job, load_for, plan_jobs, read_input, read_recording, run_jobs
from audiolm_cli.editing.restyling import (
    check_settings,
    restyle_takes,
    style_prompt,
)
from audiolm_cli.editing.result import Generation, Output, Stopwatch, used_settings
from audiolm_cli.editing.splicing import Gap
from audiolm_cli.editing.writing import write_takes
from audiolm_cli.errors import UsageError
from audiolm_cli.events import OnEvent, ignore
from audiolm_cli.library.loading import Loaded


def restyle_files(
    inputs: list[str],
    style: str,
    strength: int = 1,
    output: str | None = None,
    plot: Path | None = None,
    config: GenerateConfig | None = None,
    sampling: SamplingConfig | None = None,
    *,
    on_event: OnEvent = ignore,
    started: float | None = None,
) -> Generation:
    """Write each input with its fine codebooks made anew after a reference, and say what was written.

    Args:
        inputs: audio files; "-" is a WAV on standard input.
        style: the reference, an audio file; its loudest stretch is the acoustic prompt.
        strength: how many codebooks of the input are kept, from the coarsest on: 1 to K - 1.
        output: file, folder or "-"; None is `<stem>.restyled.wav` in the current folder.
        plot: where to draw the result; None draws nothing.
        config: model, device, takes, seed, ...; `prompt_s` is how much of the reference is heard.
        sampling: how codes are drawn; only the NAR settings count.
        on_event: gets the progress.
        started: when the command began, by `time.perf_counter`.

    Returns:
        What was written. With several inputs, those that failed are in `failed`, and the others are done.

    Raises:
        AudioInputError: the reference or the only recording cannot be used.
        UsageError: the strength is out of range, or options contradict each other.
        OutputError: an output exists already or cannot be written.
    """
    config, sampling = config or GenerateConfig(), sampling or SamplingConfig()
    watch = Stopwatch() if started is None else Stopwatch(started=started)
    if config.takes > 1 and sampling.nar_temperature == 0:
        raise UsageError("all takes are the same at NAR temperature 0; add --nar-temperature 0.7, or leave out --takes")
    check_settings(config)
    jobs = plan_jobs(inputs, "restyled", output, plot, config)
    with watch.stage("encode"):
        reference = read_recording(style)
    loaded = load_for(config, watch, on_event)
    with watch.stage("encode"):
        prompt = style_prompt(reference, style, strength, loaded, config)
    return run_jobs(
        jobs,
        lambda job: restyle_recording(
            job, loaded, prompt, style, strength, config=config, sampling=sampling, on_event=on_event, watch=watch
        ),
        loaded,
        {"style": style, "strength": strength, **used_settings(config, sampling, loaded)},
        on_event,
        watch,
    )


def restyle_recording(
    job: Job,
    loaded: Loaded,
    prompt: Tensor,
    style: str,
    strength: int,
    *,
    config: GenerateConfig,
    sampling: SamplingConfig,
    on_event: OnEvent,
    watch: Stopwatch,
) -> list[Output]:
    """Restyle one recording after prompt codes [1, P, K]; see `restyle_files`."""
    recording = read_input(job, watch, on_event)
    takes = restyle_takes(recording, loaded, prompt, strength, config, sampling, on_event, watch)
    whole = [Gap(start=0, stop=recording.num_samples, new_samples=recording.num_samples)]
    settings = {"style": Path(style).name, "strength": strength}
    return write_takes(job, recording, whole, takes, "restyle", settings, loaded, config, sampling, on_event)
