"""Takes as files: the recording with them in place, how they were made in its comment, and its picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from audiolm_cli.audio import (
    Recording,
    output_format,
    write_blocks,
    write_growing,
)
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.editing.jobs import (
    Job,
)
from audiolm_cli.editing.naming import STREAM
from audiolm_cli.editing.picture import plot_recording
from audiolm_cli.editing.result import Output, comment
from audiolm_cli.editing.splicing import Gap, Spliced, Take, generated_spans, splice
from audiolm_cli.events import Note, OnEvent, ignore
from audiolm_cli.library.loading import Loaded

LONGEST_COMMENT = 150
"""Characters of the input's own comment that go into the new one."""


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
