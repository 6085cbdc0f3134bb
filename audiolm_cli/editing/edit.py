"""The one way of every generating command: read a recording, find its gaps, fill them, write the result.

Knows nothing about options or terminals.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiolm_cli.config.base import declared, flag_of
from audiolm_cli.config.generation import GenerateConfig
from audiolm_cli.editing.channels import generate_takes
from audiolm_cli.editing.familiarity import tell_of_strange_sound
from audiolm_cli.editing.jobs import STREAM, Job, read_input, tell_of_silence, write_under_free_name
from audiolm_cli.editing.remaking import read_facts
from audiolm_cli.editing.result import Failure, Generation, Output
from audiolm_cli.editing.ruler import Ruler
from audiolm_cli.editing.session import Session
from audiolm_cli.editing.splicing import Gap, fill_recording
from audiolm_cli.editing.takes import MakeTakes, make_takes
from audiolm_cli.editing.takes_page import TakesPage
from audiolm_cli.editing.writing import describe_settings, write_take
from audiolm_cli.errors import AudioLMError, OwnOutputError
from audiolm_cli.events import Activity, Note
from audiolm_cli.version import __version__
from audiolm_cli.wording import join_words, name_path

NOT_REPEATED = ("output", "takes", "best_of", "plot", "page", "seed", "force")
"""Fields that say nothing about a single take, or are said in another way."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What a command does to each of its recordings."""

    command: str
    """Its name, for the comment tag."""
    settings: dict[str, Any]
    """Its own settings, for the comment tag and for `--json`."""
    words: list[str]
    """The same as words of a command line, for the page of takes."""
    find_gaps: Callable[[Ruler], list[Gap]]
    """Where new audio goes in a recording; raises what is wrong with that."""
    make: MakeTakes = make_takes
    """Fills the gaps."""
    repeat: int = 1
    """How often the result is written, one after the other."""
    stream: bool = False
    """Write audio while it is made."""


def run_edit(session: Session, jobs: list[Job], edit: Edit) -> Generation:
    """The outputs of every job. One that fails is reported and the others go on; a single one raises its error."""
    outputs: list[Output] = []
    failed: list[Failure] = []
    page = TakesPage(f"audiolm {edit.command}", f"Made by the model {session.loaded.folder.name}.")
    for job in jobs:
        try:
            outputs += edit_recording(session, job, edit, page if job.page else None)
        except AudioLMError as error:
            if len(jobs) == 1:
                raise
            session.on_event(Note(message=str(error), warning=True))
            failed.append(Failure(input=job.source, error=str(error)))

    result = summarise(session, outputs, edit.settings, failed)
    if not outputs or jobs[0].page is None:
        return result
    return dataclasses.replace(result, page=write_page(page, jobs[0].page, jobs[0].page_target, session.config))


def write_page(page: TakesPage, path: str, target: str, config: GenerateConfig) -> str:
    """Write a page where `plan_page` said, which was told to name it after `target`, and return where it is.

    Raises:
        OutputError: it cannot be written.
    """
    paths, alone = [path], dataclasses.replace(config, takes=1, best_of=None)
    write_under_free_name(paths, 1, target, alone, lambda own: page.write(Path(own), force=config.force))
    return paths[0]


def edit_recording(session: Session, job: Job, edit: Edit, page: TakesPage | None) -> list[Output]:
    """One recording: read it, find its gaps, fill them, and write every take; what a page shows of it is added."""
    session.on_event(Activity(stage="read and encode"))
    with session.stage("encode"):
        recording = read_input(job, session.on_event)
        if session.config.watched and read_facts(recording.tags) is not None:
            raise OwnOutputError(f"{job.source} was made by audiolm, and is left alone")
    ruler = Ruler(recording=recording, source=job.source, config=session.config, on_event=session.on_event)
    session = session.with_prompt(ruler)
    gaps = edit.find_gaps(ruler)
    tell_of_silence(recording, gaps, job.source, session.on_event)
    tell_of_strange_sound(session, recording, gaps, job.source)
    takes = generate_takes(session, recording, gaps, edit.make)

    versions = fill_recording(recording, gaps, takes, edit.repeat)
    settings = edit.settings | ruler.describe() | describe_input(session, job)
    outputs = [
        write_take(session, job, number, filled, command=edit.command, settings=settings, stream=edit.stream)
        for number, filled in enumerate(versions, start=1)
    ]
    if page is not None:
        words = edit.command, *edit.words
        commands = [repeat_command(session, job.source, words, output.seed) for output in outputs]
        page.add_recording(job.source, recording, gaps, list(zip(outputs, commands, strict=True)))
    return outputs


def describe_input(session: Session, job: Job) -> dict[str, Any]:
    """What a comment says of where a take was made from, so that it can be made again."""
    named = {} if job.source == STREAM else {"input": Path(job.source).name}
    return named | ({"only_new": True} if session.config.only_new else {})


def repeat_command(session: Session, source: str, words: Sequence[str], seed: int) -> str:
    """The command line that makes one take of a recording again, with every setting that is not the default one.

    Args:
        session: whose settings they are.
        source: the recording.
        words: the command, and its own settings.
        seed: of the take.
    """
    command, *own = words
    line = ["audiolm", command, name_path(source), *own]
    for settings in (session.config, session.sampling):
        for field, about, _ in declared(type(settings)):
            value = getattr(settings, field.name)
            if not about.help or field.name in NOT_REPEATED or value == field.default:
                continue
            line.append(flag_of(field, about))
            if value is not True:
                line.append(f"{value:.10g}" if isinstance(value, float) else str(value))
    return join_words([*line, "--seed", str(seed)])


def summarise(
    session: Session, outputs: list[Output], settings: dict[str, Any], failed: list[Failure] | None = None
) -> Generation:
    """What a command says in the end. Settings that it left open are those that were used, where all outputs agree."""
    used = [output.sampling for output in outputs if output.sampling]  # none of a prompt that is only copied
    sampling = used[0] if used and all(own == used[0] for own in used) else session.sampling.to_dict()

    return Generation(
        outputs=outputs,
        model={"name": session.loaded.folder.name, "sha256": session.loaded.folder.sha256},
        device=str(session.model.device),
        dtype=session.loaded.dtype,
        version=__version__,
        settings={**settings, **describe_settings(session.config), **sampling},
        timing=session.watch.summarise(sum(end - begin for output in outputs for begin, end in output.generated)),
        failed=failed or [],
    )
