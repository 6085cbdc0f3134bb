"""Several inputs and several takes: which file goes where, and what happens when one input fails.

Shared by every generating workflow. Knows nothing about what is generated.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from audiolm_cli.audio import (
    DecoderProcess,
    Recording,
    check_target,
    named_format,
    output_format,
    read_audio,
)
from audiolm_cli.config.generation import GenerateConfig
from audiolm_cli.devices import pick_device, prepare_cpu
from audiolm_cli.editing.naming import STREAM, make_folder, numbered, output_paths
from audiolm_cli.editing.picture import check_picture
from audiolm_cli.editing.result import Failure, Generation, Output, Stopwatch
from audiolm_cli.errors import AudioInputError, AudioLMError, UsageError
from audiolm_cli.events import Note, OnEvent
from audiolm_cli.library.loading import Loaded, load_model
from audiolm_cli.version import __version__

SHORTEST_CONTEXT_S = 0.1
"""Less context than this is refused: it says nothing."""
LONGEST_INPUT_S = 3600.0
"""Longer inputs are refused: a recording is held in memory."""


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
