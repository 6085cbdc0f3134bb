"""Takes as files: the recording with them in place, how they were made in its comment, and its picture."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from audiolm_cli.audio import (
    AudioSpec,
    Loss,
    Recording,
    find_losses,
    grown_seconds,
    output_format,
    write_blocks,
    write_growing,
)
from audiolm_cli.audio.metadata import fit_metadata, move_metadata
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.config.musical import Musical
from audiolm_cli.editing.jobs import STREAM, Job, write_under_free_name
from audiolm_cli.editing.picture import plot_recording
from audiolm_cli.editing.result import Output
from audiolm_cli.editing.session import Session
from audiolm_cli.editing.splicing import Filled, Spliced, find_moves, generated_spans, kept_stretches, splice
from audiolm_cli.events import Note
from audiolm_cli.version import __version__
from audiolm_cli.wording import MOST_NAMES, counted

LONGEST_COMMENT = 150
"""Characters of the input's own comment that go into the new one."""
DECIDING = ("prompt_s", "until_end", "best_of", "style_token", "channels")
"""Fields of `GenerateConfig` that decide the codes, beside the model, the seed and the length."""


def write_take(
    session: Session,
    job: Job,
    number: int,
    filled: Filled,
    *,
    command: str,
    settings: dict[str, Any],
    stream: bool = False,
) -> Output:
    """Write a recording with take `number` (from 1) in its gaps, in its own format, and its picture if one is wanted.

    The comment tag says how it was made. With `stream`, each block is written as soon as it is made, and what was
    written before an error stays.

    Raises:
        OutputError: it cannot be written.
    """
    recording, take, only_new = filled.recording, filled.take, session.config.only_new
    sampling = describe_sampling(take.drawn)
    made = {**settings, "faults": take.faults or None}  # a stream is not drawn yet, and has none
    comment = write_comment(session, recording, command, take.seed, made, sampling)
    moved, gone = move_places(filled, only_new=only_new)
    tagged = dataclasses.replace(moved, tags=recording.tags | {"comment": comment})

    result = splice(filled, session.on_event, only_new=only_new)
    generated = generated_spans(filled, only_new=only_new)
    is_replaced = [(gap.start, gap.stop) for gap in filled.gaps] == [(0, recording.num_samples)]
    original = recording if is_replaced and not only_new else None
    write_samples(session, job, number, tagged, result, generated, original=original, stream=stream)
    losses = report_losses(session, job, number, filled, moved, gone)
    return Output(
        path=job.paths[number - 1],
        seed=take.seed,
        take=number,
        sample_rate_hz=recording.sample_rate_hz,
        channels=recording.channels,
        duration_s=result.shape[0] / recording.sample_rate_hz,
        generated=generated,
        sampling=sampling,
        score=take.score,
        faults=take.faults,
        losses=losses,
        plot=job.plots[number - 1] if job.plots else None,
    )


def move_places(filled: Filled, *, only_new: bool) -> tuple[Recording, list[str]]:
    """The recording with its markers, and all else that names a place, where they belong in what `splice` returns.

    Returns:
        It, with its old samples, and the names of the markers that lay in what was replaced.
    """
    recording = filled.recording
    if recording.metadata is None:
        return recording, []

    moves = find_moves(filled, only_new=only_new)
    metadata, gone = move_metadata(recording.metadata, moves)
    return dataclasses.replace(recording, metadata=metadata, markers=metadata.markers), gone


def report_losses(
    session: Session, job: Job, number: int, filled: Filled, moved: Recording, gone: list[str]
) -> list[Loss]:
    """What of the recording itself is not in a take's file as it was; said with the first take, since all are alike.

    Args:
        session: gets the messages.
        job: names the file.
        number: of the take.
        filled: the recording and the take.
        moved: the recording as `move_places` returns it.
        gone: the names of markers that lay in what was replaced.

    That a format is lossy is no warning: whoever names a file .mp3 knows, and may be told quietly.
    """
    path, recording = job.paths[number - 1], filled.recording
    kept = [] if session.config.only_new else kept_stretches(filled)
    losses = find_losses(path, moved, kept, describe_file(path, moved, recording.samples.shape))

    if gone:
        where = "outside of the new audio" if session.config.only_new else "inside what was made anew"
        verb = "is" if len(gone) == 1 else "are"
        names = ", ".join(gone[:MOST_NAMES])
        message = f"{path}: {counted(len(gone), 'marker')} {where} {verb} left out: {names}"
        losses.append(Loss(kind="markers", count=len(gone), message=message))

    missing = len(recording.tags.get("comment", "")) - LONGEST_COMMENT
    if missing > 0:
        message = f"{path}: the last {missing} characters of the recording's comment are not in the new one"
        losses.append(Loss(kind="comment", count=missing, message=message))

    if number == 1:
        for loss in losses:
            session.on_event(Note(message=loss.message, warning=loss.kind not in ("lossy", "comment")))
    return losses


def describe_file(path: str, like: Recording, shape: tuple[int, int]) -> AudioSpec:
    """How a file of this name stores samples of this shape that belong to a recording.

    Raises:
        UsageError: its format cannot hold them.
    """
    kind, subtype = output_format(path, like)
    metadata = like.metadata
    if metadata is not None:
        metadata = fit_metadata(metadata, kind, like.markers, like.tempo, like.sample_rate_hz)
    return AudioSpec(
        shape=shape,
        sample_rate_hz=like.sample_rate_hz,
        format=kind,
        subtype=subtype,
        tags=like.tags,
        layout=like.layout,
        metadata=metadata,
    )


def write_samples(
    session: Session,
    job: Job,
    number: int,
    like: Recording,
    samples: Spliced,
    generated: list[tuple[float, float]],
    *,
    original: Recording | None = None,
    stream: bool = False,
) -> None:
    """Write samples in the format and with the tags of a recording, and draw them if a picture is wanted.

    The picture shows the `original` as well, where nothing of it is left.

    Raises:
        OutputError: one of the files cannot be written.
    """
    config = session.config
    kept: list[np.ndarray] = []  # for the picture
    begun = False

    def blocks() -> Iterator[np.ndarray]:
        nonlocal begun
        kept.clear()  # a name may be taken when the first try is written
        for block in samples.blocks:
            if job.plots:
                kept.append(block)
            yield block
            begun = True

    def write(path: str) -> None:
        spec = describe_file(path, like, samples.shape)
        try:
            (write_growing if stream else write_blocks)(path, blocks(), spec, force=config.force)
        except BaseException:  # an interruption as well
            if stream and begun and path != STREAM:
                session.on_event(Note(message=f"{path} holds the {grown_seconds(path):.1f} s made so far"))
            raise

    write_under_free_name(job.paths, number, job.target, config, write)
    if not job.plots:
        return
    whole, title = dataclasses.replace(like, samples=np.concatenate(kept)), Path(job.paths[number - 1]).name

    def draw(path: str) -> None:
        plot_recording(Path(path), whole, generated, title=title, original=original, force=config.force)

    write_under_free_name(job.plots, number, job.picture, config, draw)


def write_comment(
    session: Session, recording: Recording, command: str, seed: int, settings: dict[str, Any], sampling: dict[str, Any]
) -> str:
    """What a file's comment tag says about how it was made, as JSON; the input's own comment is in it, cut short."""
    facts = {
        "audiolm": __version__,
        "command": command,
        "seed": seed,
        "model": session.loaded.folder.name,
        "model_sha256": session.loaded.folder.sha256,
        "device": session.model.device.type,
        "dtype": session.loaded.dtype,
        **settings,
        "input_comment": recording.tags.get("comment", "")[:LONGEST_COMMENT] or None,
        **describe_settings(session.config),
        **sampling,
    }
    return json.dumps({name: value for name, value in facts.items() if value is not None})


def describe_settings(config: GenerateConfig) -> dict[str, Any]:
    """The settings of a command that decide the codes and that every generating command has."""
    found = {name: getattr(config, name) for name in DECIDING}
    return {name: str(value) if isinstance(value, Musical) else value for name, value in found.items()}


def describe_sampling(drawn: list[SamplingConfig]) -> dict[str, Any]:
    """How the gaps of a take were drawn, as JSON-ready values: one where all gaps have the same, else a list of each.

    >>> drawn = [SamplingConfig(temperature=0.5), SamplingConfig(temperature=1.05)]
    >>> describe_sampling(drawn)["temperature"], describe_sampling(drawn)["top_k"]
    ([0.5, 1.05], 0)
    """
    each = [sampling.to_dict() for sampling in drawn]
    together = {}
    for name in each[0]:
        values = [own[name] for own in each]
        together[name] = values[0] if all(value == values[0] for value in values) else values
    return together
