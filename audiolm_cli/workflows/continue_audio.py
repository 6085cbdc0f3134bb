"""`audiolm continue`: more audio after a recording, or before it. Knows nothing about commands or terminals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from audiolm_cli.audio import output_format, read_audio
from audiolm_cli.config import GenerateConfig, SamplingConfig
from audiolm_cli.errors import AudioInputError, UsageError
from audiolm_cli.events import Note, OnEvent, ignore
from audiolm_cli.workflows.generation import Generation, Output, Stopwatch, comment, make_takes, splice, used_settings
from audiolm_cli.workflows.jobs import Job, load_for, plan_jobs, run_jobs, write_take
from audiolm_cli.workflows.loading import Loaded

SHORTEST_PROMPT_S = 0.1
"""Less context than this is refused: it says nothing."""
LONGEST_COMMENT = 150
"""Characters of the input's own comment that go into the new one."""
LONGEST_S = 600.0
"""Longest continuation in one call."""


def continue_files(
    inputs: list[str],
    duration_s: float = 10.0,
    before: bool = False,
    output: str | None = None,
    plot: Path | None = None,
    config: GenerateConfig | None = None,
    sampling: SamplingConfig | None = None,
    *,
    on_event: OnEvent = ignore,
    started: float | None = None,
) -> Generation:
    """Write each input with `duration_s` seconds more, and say what was written.

    Args:
        inputs: audio files; "-" is a WAV on standard input.
        duration_s: how much to generate; exactly `round(duration_s * rate)` samples.
        before: put them in front instead of behind.
        output: file, folder or "-"; None is `<stem>.continued.wav` in the current folder.
        plot: where to draw the result; None draws nothing.
        config: model, device, takes, seed, ...
        sampling: how codes are drawn.
        on_event: gets the progress.
        started: when the command began, by `time.perf_counter`.

    Returns:
        What was written. With several inputs, those that failed are in `failed`, and the others are done.

    Raises:
        AudioInputError: the only recording cannot be used.
        UsageError: the duration is out of range, the options contradict each other, or the outputs do not fit.
        OutputError: an output exists already or cannot be written.
    """
    config, sampling = config or GenerateConfig(), sampling or SamplingConfig()
    watch = Stopwatch() if started is None else Stopwatch(started=started)
    if not 0 < duration_s <= LONGEST_S:
        raise UsageError(f"duration must be over 0 and at most {LONGEST_S:.0f} seconds, got {duration_s:g}")
    if before and config.until_end:
        raise UsageError("--until-end goes with a continuation, not with --before: what is put in front leads into it")
    jobs = plan_jobs(inputs, "continued", output, plot, config)
    loaded = load_for(config, watch)
    return run_jobs(
        jobs,
        lambda job: continue_recording(
            job, loaded, duration_s, before, config=config, sampling=sampling, on_event=on_event, watch=watch
        ),
        loaded,
        {"duration_s": duration_s, "before": before, **used_settings(config, sampling)},
        on_event,
        watch,
    )


def continue_recording(
    job: Job,
    loaded: Loaded,
    duration_s: float,
    before: bool,
    *,
    config: GenerateConfig,
    sampling: SamplingConfig,
    on_event: OnEvent,
    watch: Stopwatch,
) -> list[Output]:
    """Continue one recording; see `continue_files`."""
    with watch.stage("encode"):
        recording = read_audio(job.source)
    if recording.duration_s < SHORTEST_PROMPT_S:
        raise AudioInputError(
            f"{job.source}: {1000 * recording.duration_s:.0f} ms of audio is too little to continue; "
            f"expected at least {1000 * SHORTEST_PROMPT_S:.0f} ms"
        )
    if not recording.samples.any():
        on_event(Note(message=f"{job.source} is silent; it continues as the model thinks fit", warning=True))
    rate = recording.sample_rate_hz
    if round(duration_s * rate) < 1:
        raise UsageError(f"duration must be at least one sample, got {duration_s:g} s at {rate} Hz")
    for path in job.paths:
        output_format(path, recording)  # raises before the work what writing would raise after it
    at = 0 if before else recording.num_samples
    takes = make_takes(loaded, recording, at, at, round(duration_s * rate), config, sampling, on_event, watch)
    outputs = []
    for number, take in enumerate(takes, start=1):
        result, length = splice(recording, at, at, take, on_event), take.audio.shape[1]
        start = at
        if config.only_new:
            result, start = dataclasses.replace(result, samples=result.samples[at : at + length]), 0
        said = recording.tags.get("comment", "")[:LONGEST_COMMENT] or None
        settings = {"duration_s": duration_s, "before": before, "input_comment": said}
        note = comment("continue", loaded, config, sampling, take.seed, **settings)
        result = dataclasses.replace(result, tags=recording.tags | {"comment": note})
        spans = [(start / rate, (start + length) / rate)]
        outputs.append(write_take(job, number, take, result, spans, force=config.force))
    return outputs
