"""Several inputs and several takes: which file goes where, and what happens when one input fails.

Shared by every generating workflow. Knows nothing about what is generated.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audiolm_cli import __version__
from audiolm_cli.audio import (
    DecoderProcess,
    Recording,
    check_target,
    named_format,
    output_format,
    read_audio,
    write_blocks,
    write_growing,
)
from audiolm_cli.config import GenerateConfig, SamplingConfig
from audiolm_cli.editing.naming import STREAM, make_folder, numbered, output_paths
from audiolm_cli.editing.picture import check_picture, plot_recording
from audiolm_cli.editing.result import Failure, Generation, Output, Stopwatch, comment
from audiolm_cli.editing.takes import Gap, Spliced, Take, generated_spans, splice
from audiolm_cli.errors import AudioInputError, AudioLMError, UsageError
from audiolm_cli.events import Note, OnEvent, ignore
from audiolm_cli.library.loading import Loaded, load_model, pick_device, prepare_cpu

SHORTEST_CONTEXT_S = 0.1
"""Less context than this is refused: it says nothing."""
LONGEST_INPUT_S = 3600.0
"""Longer inputs are refused: a recording is held in memory."""
LONGEST_COMMENT = 150
"""Characters of the input's own comment that go into the new one."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One input and where its takes go."""

    source: str
    """An audio file, or "-"."""
    paths: list[str]
    """One output per take."""
    plots: list[str]
    """One picture per take, or none."""


def plan_jobs(inputs: list[str], verb: str, output: str | None, plot: Path | None, config: GenerateConfig) -> list[Job]:
    """A job per input, with every output checked before any work is done.

    Two inputs with one stem are told apart by their place: `take.continued.wav`, `take-2.continued.wav`.

    Raises:
        UsageError: the outputs cannot hold that many files, or have extensions that are not written.
        OutputError: an output exists already or cannot be written.
    """
    if plot is not None:
        check_picture(plot)
    make_folder(output)
    jobs: list[Job] = []
    taken: set[str] = set()
    others = {os.path.realpath(source) for source in inputs if source != STREAM}
    for place, source in enumerate(inputs, start=1):
        stem = "stdin" if source == STREAM else Path(source).stem
        for name in itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(place))):
            paths = output_paths(output, name, verb, config.takes, len(inputs))
            own = plot if plot is None or len(inputs) == 1 else plot.with_name(f"{plot.stem}.{name}{plot.suffix}")
            plots = numbered(own, config.takes) if own is not None else []
            if not taken & {*paths, *plots}:
                break
        for path in [*paths, *plots]:
            check_target(path, config.force)
            if os.path.realpath(path) in others - {os.path.realpath(source)}:
                raise UsageError(f"{path} is an input as well as an output; write into another folder with -o")
        for path in paths:
            named_format(path)
        taken |= {*paths, *plots}
        jobs.append(Job(source=source, paths=paths, plots=plots))
    return jobs


def load_for(config: GenerateConfig, watch: Stopwatch, on_event: OnEvent) -> Loaded:
    """The model of a generating command; everything up to here counts as loading."""
    prepare_cpu(config.threads)
    cache = None if config.cache_dir is None else Path(config.cache_dir)
    loaded = load_model(config.model, pick_device(config.device), config.dtype, cache)
    if config.dtype not in ("auto", loaded.dtype):
        told = f"torch {torch.__version__} has no {config.dtype} products for this processor; {loaded.dtype} is used"
        on_event(Note(message=told, warning=True))
    watch.loaded()
    return loaded


def run_jobs(
    jobs: list[Job],
    run: Callable[[Job], list[Output]],
    loaded: Loaded,
    settings: dict[str, Any],
    on_event: OnEvent,
    watch: Stopwatch,
    *,
    together: bool = False,
) -> Generation:
    """The outputs of every job. One that fails is reported and the others go on; a single one raises its error.

    With `together` the jobs are parts of one piece of work, and the first error ends it.
    """
    outputs: list[Output] = []
    failed: list[Failure] = []
    for job in jobs:
        try:
            outputs += run(job)
        except AudioLMError as error:
            if together or len(jobs) == 1:
                raise
            on_event(Note(message=str(error), warning=True))
            failed.append(Failure(input=job.source, error=str(error)))
    return Generation(
        outputs=outputs,
        model={"name": loaded.folder.name, "sha256": loaded.folder.sha256},
        device=str(loaded.model.device),
        dtype=loaded.dtype,
        version=__version__,
        settings=settings,
        timing=watch.report(sum(end - begin for output in outputs for begin, end in output.generated)),
        failed=failed,
    )


def read_input(job: Job, watch: Stopwatch, on_event: OnEvent) -> Recording:
    """The recording of a job, after everything about it that would only fail when it is written.

    Raises:
        AudioInputError: it cannot be used, or is too short or too long.
        UsageError: an output's format cannot hold it.
    """
    with watch.stage("encode"):
        recording = read_recording(job.source)
    check_context(recording.duration_s, job.source)
    if not recording.samples.any():
        on_event(Note(message=f"{job.source} is silent; it goes on as the model thinks fit", warning=True))
    for path in job.paths:
        output_format(path, recording)
    return recording


def read_recording(source: str) -> Recording:
    """A file as it is, read by a process of its own, so that a decoder that crashes ends no other piece of work.

    Raises:
        AudioInputError: it cannot be used, or is too long.
    """
    if not os.path.isfile(source) or source.startswith(("/dev/", "/proc/")):  # those are others in another process
        return read_audio(source, max_duration_s=LONGEST_INPUT_S)
    with DecoderProcess() as decoder:
        return decoder.read_audio(source, max_duration_s=LONGEST_INPUT_S)


def check_context(seconds: float, source: str) -> None:
    """Refuse to generate from less audio than says anything."""
    if seconds < SHORTEST_CONTEXT_S:
        raise AudioInputError(
            f"{source}: {1000 * seconds:.0f} ms of audio is too little to go by; "
            f"expected at least {1000 * SHORTEST_CONTEXT_S:.0f} ms"
        )


def write_takes(
    job: Job,
    recording: Recording,
    gaps: list[Gap],
    takes: list[Take],
    command: str,
    settings: dict[str, Any],
    loaded: Loaded,
    config: GenerateConfig,
    sampling: SamplingConfig,
    on_event: OnEvent,
    *,
    stream: bool = False,
) -> list[Output]:
    """Write a recording once for each take in its gaps, with the settings in the comment tag; see `write_take`."""
    outputs = []
    said = recording.tags.get("comment", "")[:LONGEST_COMMENT] or None
    for number, take in enumerate(takes, start=1):
        note = comment(command, loaded, config, sampling, take.seed, **settings, input_comment=said)
        result = splice(recording, gaps, take, on_event, only_new=config.only_new)
        tagged = dataclasses.replace(recording, tags=recording.tags | {"comment": note})
        spans = generated_spans(gaps, take, recording.sample_rate_hz, only_new=config.only_new)
        outputs.append(
            write_take(job, number, take, tagged, result, spans, force=config.force, stream=stream, on_event=on_event)
        )
    return outputs


def write_take(
    job: Job,
    number: int,
    take: Take,
    like: Recording,
    samples: Spliced,
    generated: list[tuple[float, float]],
    *,
    force: bool,
    stream: bool = False,
    on_event: OnEvent = ignore,
) -> Output:
    """Write one take in the format and with the tags of a recording, and its picture if one is wanted.

    With `stream`, each block is written as soon as it is made, and what was written before an error stays.
    """
    path = job.paths[number - 1]
    kind, subtype = output_format(path, like)
    whole: list[np.ndarray] = []
    written = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal written
        for block in samples.blocks:
            if job.plots:  # which needs all of it
                whole.append(block)
            yield block
            written += len(block)

    try:
        (write_growing if stream else write_blocks)(
            path,
            blocks(),
            shape=samples.shape,
            sample_rate_hz=like.sample_rate_hz,
            format=kind,
            subtype=subtype,
            tags=like.tags,
            force=force,
        )
    except BaseException:
        if stream and written and path != STREAM:
            on_event(Note(message=f"{path} holds the {written / like.sample_rate_hz:.1f} s made so far"))
        raise
    if job.plots:
        drawn = dataclasses.replace(like, samples=np.concatenate(whole))
        plot_recording(Path(job.plots[number - 1]), drawn, generated, title=Path(path).name, force=force)
    return Output(
        path=path,
        seed=take.seed,
        take=number,
        sample_rate_hz=like.sample_rate_hz,
        channels=like.channels,
        duration_s=samples.shape[0] / like.sample_rate_hz,
        generated=generated,
        score=take.score,
    )
