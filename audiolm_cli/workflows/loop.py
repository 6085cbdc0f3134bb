"""`audiolm loop`: a bridge from the end of a recording back to its start. Knows nothing about commands or terminals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from audiolm_cli.audio import Recording
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.editing.channels import generate_takes
from audiolm_cli.editing.jobs import LONGEST_INPUT_S, Job, load_for, plan_jobs, read_input, run_jobs
from audiolm_cli.editing.result import Generation, Output, Stopwatch, used_settings
from audiolm_cli.editing.splicing import Gap, Take
from audiolm_cli.editing.writing import write_takes
from audiolm_cli.errors import UsageError
from audiolm_cli.events import OnEvent, ignore
from audiolm_cli.library.loading import Loaded
from audiolm_cli.workflows.continue_audio import LONGEST_S


def loop_files(
    inputs: list[str],
    bridge_s: float = 2.0,
    repeat: int = 1,
    output: str | None = None,
    plot: Path | None = None,
    config: GenerateConfig | None = None,
    sampling: SamplingConfig | None = None,
    *,
    on_event: OnEvent = ignore,
    started: float | None = None,
) -> Generation:
    """Write each input with a bridge behind it that leads back to its start, and say what was written.

    Args:
        inputs: audio files; "-" is a WAV on standard input.
        bridge_s: length of the bridge; exactly `round(bridge_s * rate)` samples.
        repeat: how often recording and bridge are written, one after the other.
        output: file, folder or "-"; None is `<stem>.looped.wav` in the current folder.
        plot: where to draw the result; None draws nothing.
        config: model, device, takes, seed, ...; `until_end` does not apply.
        sampling: how codes are drawn.
        on_event: gets the progress.
        started: when the command began, by `time.perf_counter`.

    Returns:
        What was written. With several inputs, those that failed are in `failed`, and the others are done.

    Raises:
        AudioInputError: the only recording cannot be used.
        UsageError: a number is out of range, or options contradict each other.
        OutputError: an output exists already or cannot be written.
    """
    config, sampling = config or GenerateConfig(), sampling or SamplingConfig()
    watch = Stopwatch() if started is None else Stopwatch(started=started)
    if not 0 < bridge_s <= LONGEST_S:
        raise UsageError(f"bridge must be over 0 and at most {LONGEST_S:.0f} seconds, got {bridge_s:g}")
    if repeat < 1:
        raise UsageError(f"repeat must be 1 or more, got {repeat}")
    if config.only_new and repeat > 1:
        raise UsageError("--only-new writes the bridge alone; leave out --repeat")
    if config.until_end:
        raise UsageError("a bridge ends where the recording begins; until_end is for continuations")
    jobs = plan_jobs(inputs, "looped", output, plot, config)
    loaded = load_for(config, watch, on_event)
    return run_jobs(
        jobs,
        lambda job: loop_recording(
            job, loaded, bridge_s, repeat, config=config, sampling=sampling, on_event=on_event, watch=watch
        ),
        loaded,
        {"bridge_s": bridge_s, "repeat": repeat, **used_settings(config, sampling, loaded)},
        on_event,
        watch,
    )


def loop_recording(
    job: Job,
    loaded: Loaded,
    bridge_s: float,
    repeat: int,
    *,
    config: GenerateConfig,
    sampling: SamplingConfig,
    on_event: OnEvent,
    watch: Stopwatch,
) -> list[Output]:
    """Make one recording a loop; see `loop_files`."""
    recording = read_input(job, watch, on_event)
    if (recording.duration_s + bridge_s) * repeat > LONGEST_INPUT_S:
        raise UsageError(f"{job.source}: {repeat} times are over {LONGEST_INPUT_S:.0f} s, the longest; lower --repeat")
    takes = bridge_takes(recording, loaded, bridge_s, config, sampling, on_event, watch)
    end, bridge = recording.num_samples, round(bridge_s * recording.sample_rate_hz)
    takes = [dataclasses.replace(take, pieces=take.pieces * repeat) for take in takes]
    result = dataclasses.replace(recording, samples=np.concatenate([recording.samples] * repeat))
    gaps = [Gap(start=end * (i + 1), stop=end * (i + 1), new_samples=bridge) for i in range(repeat)]
    settings = {"bridge_s": bridge_s, "repeat": repeat}
    return write_takes(job, result, gaps, takes, "loop", settings, loaded, config, sampling, on_event)


def bridge_takes(
    recording: Recording,
    loaded: Loaded,
    bridge_s: float,
    config: GenerateConfig,
    sampling: SamplingConfig,
    on_event: OnEvent,
    watch: Stopwatch,
) -> list[Take]:
    """Bridges from the end of a recording to its start.

    Raises:
        UsageError: the bridge has no sample.
    """
    end, bridge = recording.num_samples, round(bridge_s * recording.sample_rate_hz)
    if bridge < 1:
        raise UsageError(f"bridge must be at least one sample, got {bridge_s:g} s at {recording.sample_rate_hz} Hz")
    twice = dataclasses.replace(recording, samples=np.concatenate([recording.samples, recording.samples]))
    gap = Gap(start=end, stop=end, new_samples=bridge)
    return generate_takes(loaded, twice, [gap], config, sampling, on_event, watch)
