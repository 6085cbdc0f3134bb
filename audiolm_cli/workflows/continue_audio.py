"""`audiolm continue`: more audio after a recording, or before it. Knows nothing about commands or terminals."""

from __future__ import annotations

import itertools
from pathlib import Path

from audiolm_cli.audio import check_growing
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.config.musical import Time, describe_time, format_time
from audiolm_cli.editing.edit import Edit, run_edit
from audiolm_cli.editing.jobs import plan_jobs, read_recording
from audiolm_cli.editing.references import with_sound
from audiolm_cli.editing.result import Generation, Stopwatch
from audiolm_cli.editing.ruler import Ruler, check_length
from audiolm_cli.editing.session import LoadModel, open_session
from audiolm_cli.editing.splicing import Gap
from audiolm_cli.editing.streamed import stream_takes
from audiolm_cli.editing.takes import make_takes
from audiolm_cli.errors import UsageError
from audiolm_cli.events import OnEvent, ignore
from audiolm_cli.library.loading import load_model


def continue_files(
    inputs: list[str],
    duration_s: Time = 10.0,
    before: bool = False,
    config: GenerateConfig | None = None,
    sampling: SamplingConfig | None = None,
    *,
    stream: bool = False,
    sound_of: str | None = None,
    on_event: OnEvent = ignore,
    started: float | None = None,
    load: LoadModel = load_model,
) -> Generation:
    """Write each input with `duration_s` more; of several inputs, those that fail are in `failed`.

    Args:
        inputs: audio files; "-" is a WAV on standard input.
        duration_s: how much to generate, in seconds or in bars and beats, to the sample.
        before: put them in front instead of behind.
        config: output, model, device, takes, seed, ...
        sampling: how codes are drawn.
        stream: write audio while it is made, into a WAV that plays at any time. What was written before an error stays.
            A seed is reproducible with and without it, but the two results differ.
        sound_of: an audio file whose sound the new audio takes on; for models that know prompts from elsewhere.
        on_event: gets the progress.
        started: when the command began, by `time.perf_counter`.
        load: gives the model; who runs several commands gives one that keeps it.

    Raises:
        AudioInputError: the only recording cannot be used, or the sound's.
        ModelError: the model is missing or damaged, or cannot take on a sound.
        UsageError: the duration is out of range, the options contradict each other, or the outputs do not fit.
        OutputError: an output exists already or cannot be written.
    """
    config, sampling = config or GenerateConfig(), sampling or SamplingConfig()
    watch = Stopwatch.since(started)
    check_continuation(duration_s, before, stream, config)

    jobs = plan_jobs(inputs, "continued", config)
    for path in itertools.chain.from_iterable(job.paths for job in jobs if stream):
        check_growing(path)

    with watch.stage("encode"):
        reference = None if sound_of is None else read_recording(sound_of)
    session = open_session(config, sampling, on_event, watch, load)
    if reference is not None:
        session = with_sound(session, reference, str(sound_of))

    edit = Edit(
        command="continue",
        settings=describe_time("duration", duration_s)
        | {"before": before, "stream": stream}
        | ({} if sound_of is None else {"sound_of": Path(sound_of).name}),
        words=[
            *("-d", format_time(duration_s)),
            *(["--before"] * before),
            *(["--stream"] * stream),
            *([] if sound_of is None else ["--sound-of", sound_of]),
        ],
        find_gaps=lambda ruler: [continuation_gap(ruler, duration_s, before, config)],
        make=stream_takes if stream else make_takes,
        stream=stream,
    )
    return run_edit(session, jobs, edit)


def check_continuation(duration_s: Time, before: bool, stream: bool, config: GenerateConfig) -> None:
    """Refuse what no recording can be continued with.

    Raises:
        UsageError: the duration is out of range, or settings contradict each other.
    """
    check_duration(duration_s, before, config)
    if stream:
        check_stream(before, config)


def check_stream(before: bool, config: GenerateConfig) -> None:
    """Refuse what needs all of the new audio before any of it is written.

    Raises:
        UsageError: one of the settings does.
    """
    for wanted, flag, why in (
        (before, "--before", "what is put in front leads into the recording"),
        (config.takes > 1, "--takes", "only one take can be heard while it is made"),
        (config.best_of is not None, "--best-of", "takes are ranked when they are whole"),
        (config.until_end, "--until-end", "the file states its length from the start"),
    ):
        if wanted:
            raise UsageError(f"--stream does not go with {flag}: {why}")


def check_duration(duration_s: Time, before: bool, config: GenerateConfig) -> None:
    """Raise what `continuation_gap` would raise for any recording.

    Raises:
        UsageError: the duration is out of range, or what goes in front is to end by itself.
    """
    check_length("duration", duration_s)
    if before and config.until_end:
        raise UsageError("--until-end does not go with --before: what is put in front leads into the recording")


def continuation_gap(ruler: Ruler, duration_s: Time, before: bool, config: GenerateConfig) -> Gap:
    """Where new audio goes.

    Raises:
        UsageError: the duration is out of range or less than a sample, or goes in front until the end, or is in bars
            of an unknown tempo.
    """
    check_duration(duration_s, before, config)

    at = 0 if before else ruler.recording.num_samples
    length = ruler.count_samples("duration", duration_s, at)
    return Gap(start=at, stop=at, new_samples=length)
