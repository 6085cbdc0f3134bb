"""Several inputs and several takes: which file goes where, and what is read. Knows nothing about what is generated."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from audiolm_cli.audio import (
    DecoderProcess,
    Recording,
    named_format,
    output_format,
    read_audio,
)
from audiolm_cli.config.generation import GenerateConfig
from audiolm_cli.editing.embedding import check_page
from audiolm_cli.editing.picture import check_picture
from audiolm_cli.editing.splicing import Gap
from audiolm_cli.errors import AudioInputError, NameTakenError, OutputError, UsageError
from audiolm_cli.events import Note, OnEvent
from audiolm_cli.files import check_target

STREAM = "-"
"""Standard input or output, in place of a path."""
SHORTEST_CONTEXT_S = 0.1
"""Less context than this is refused: it says nothing."""
SILENT_DB, LEAST_SILENCE_S, SILENCE_LOOKED_FOR_S = -60.0, 3.0, 30.0
"""What stays so far below a recording's peak is silence. At an end where new audio goes, so much of it is told, of so
many seconds that are looked at."""
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
    page: str | None = None
    """The page that all jobs of a command share, or none."""
    page_target: str = ""
    """What the page is named after."""
    target: str = STREAM
    """What the takes are named after."""
    picture: str = ""
    """What the pictures are named after."""


def plan_jobs(inputs: list[str], verb: str, config: GenerateConfig) -> list[Job]:
    """A job per input, with every output checked before any work is done.

    Two inputs with one stem are told apart by their place: `take.continued.wav`, `take-2.continued.wav`. Where no
    output was named, what is there already is kept: the next result is `take.continued-2.wav`, then `-3`.

    Raises:
        UsageError: the outputs cannot hold that many files, or have extensions that are not written.
        OutputError: an output exists already or cannot be written.
    """
    plot = None if config.plot is None else Path(config.plot)
    if plot is not None:
        check_picture(plot)
    make_folder(config.output)
    check_output(config, len(inputs))
    page_target = config.page
    if page_target is not None and config.watched and inputs:  # each recording comes alone, and has a page of its own
        page_target = name_after(page_target, Path(inputs[0]).stem)
    # Before the first one has come, no more than the kind of name is to be checked.
    page = plan_page(config if inputs else dataclasses.replace(config, force=True), page_target)

    jobs: list[Job] = []
    taken: set[str] = set()
    sources = {os.path.realpath(source) for source in inputs if source != STREAM}
    is_alone = len(inputs) == 1 and not config.watched
    for number, source in enumerate(inputs, start=1):
        # Names that are taken already get the input's place behind their stem.
        stem = "stdin" if source == STREAM else Path(source).stem
        for name in itertools.chain([stem], (f"{stem}-{extra}" for extra in itertools.count(number))):
            own = None if plot is None else str(plot) if is_alone else name_after(plot, name)
            target = output_path(config.output, name, verb)
            if config.watched and config.output is None:
                target = str(Path(source).with_name(target))
            paths = name_takes(target, config)
            plots = [] if own is None else name_takes(own, config)
            if not taken & {*paths, *plots}:
                break

        for path in [*paths, *plots]:
            if not config.force and os.path.lexists(path) and os.path.realpath(path) in sources:
                raise NameTakenError(f"{path}: is the recording itself; choose another name with -o")
            check_target(path, config.force)
            if os.path.realpath(path) in sources - {os.path.realpath(source)}:
                raise UsageError(f"{path} is an input as well as an output; write into another folder with -o")
        for path in paths:
            named_format(path)

        taken |= {*paths, *plots}
        jobs.append(
            Job(
                source=source,
                paths=paths,
                plots=plots,
                page=page,
                page_target=page_target or "",
                target=target,
                picture=own or "",
            )
        )
    return jobs


def name_after(path: str | Path, stem: str) -> str:
    """The name that a picture or a page has where each recording has one of its own.

    >>> name_after("takes.html", "kick")
    'takes.kick.html'
    """
    path = Path(path)
    return str(path.with_name(f"{path.stem}.{stem}{path.suffix}"))


def plan_page(config: GenerateConfig, target: str | None) -> str | None:
    """Where the page of takes goes, if one is wanted.

    Args:
        config: the settings.
        target: what it is named after; None is no page.

    Raises:
        UsageError: its name does not end in `.html`, or there will be no files for it to show.
        OutputError: it exists already or cannot be written.
    """
    if target is None:
        return None
    if config.output == STREAM:
        raise UsageError("--page shows files, and -o - leaves none; write the audio to a file")

    (page,) = name_takes(target, dataclasses.replace(config, takes=1, best_of=None))
    check_page(Path(page), config.force, "--page")
    return page


def check_output(config: GenerateConfig, inputs: int) -> None:
    """Refuse an output that cannot hold all files.

    Raises:
        UsageError: it cannot.
    """
    output = config.output
    if output is None or is_folder(output):
        return
    if output == STREAM and (config.takes > 1 or inputs > 1):
        raise UsageError(
            f"-o -: standard output holds one file, but {config.takes * inputs} were asked for; give a folder"
        )
    if output != STREAM and inputs > 1:
        raise UsageError(f"-o {output}: {inputs} inputs need a folder; create it, or end its name with /")
    if config.watched:
        raise UsageError(f"-o {output}: the files of a watched folder need a folder; create it, or end its name with /")


def is_folder(output: str) -> bool:
    """Whether an output is a folder: one that exists, or that ends in a separator."""
    return output != STREAM and (os.path.isdir(output) or names_folder(output))


def output_path(output: str | None, stem: str, verb: str) -> str:
    """Where the takes of one input go, before they are numbered.

    Args:
        output: what the user asked for: a file, a folder, "-" or nothing.
        stem: the input's name without suffix.
        verb: what was done, for the default name `<stem>.<verb>.wav` in the current folder.
    """
    if output == STREAM:
        return STREAM
    name = f"{stem}.{verb}.wav"
    if output is None:
        return name
    return str(Path(output) / name if is_folder(output) else Path(output))


def name_takes(target: str | Path, config: GenerateConfig) -> list[str]:
    """A path for each take: the target itself, or `name.1.suffix`, `name.2.suffix`, ... when there are several.

    Without `-o` or `-f`, older results are kept: where one of the paths exists, all of them get the next number that
    is free: `take.continued-2.wav`, or `take.continued-2.1.wav` and so on.
    """
    if str(target) == STREAM:
        return [STREAM]

    path = Path(target)
    for version in itertools.count(1):
        own = path if version == 1 else path.with_name(f"{path.stem}-{version}{path.suffix}")
        paths = [str(own)]
        if config.takes > 1:
            paths = [str(own.with_name(f"{own.stem}.{take}{own.suffix}")) for take in range(1, config.takes + 1)]
        if config.output is not None or config.force or not any(map(os.path.lexists, paths)):
            break
    return paths


def write_under_free_name(
    paths: list[str], number: int, target: str, config: GenerateConfig, write: Callable[[str], None]
) -> None:
    """Write file `number` (from 1) of `paths` by calling `write` with its name.

    Another command may have made a file of that name since the names were chosen. Where `name_takes` chose them, they
    are chosen again, in place.

    Raises:
        OutputError: it cannot be written.
    """
    while True:
        try:
            write(paths[number - 1])
            return
        except NameTakenError:
            if config.output is not None or config.force:
                raise
            paths[:] = name_takes(target, config)


def names_folder(output: str) -> bool:
    """Whether a path ends in a separator: a slash everywhere, on Windows a backslash as well."""
    return output.endswith(("/", os.sep))


def make_folder(output: str | None) -> None:
    """Make the folder that `output` names by ending in a separator, where there is none.

    Raises:
        OutputError: it cannot be made.
    """
    if output is None or not names_folder(output):
        return

    try:
        Path(output).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output}: the folder cannot be made ({error.strerror}); choose another with -o") from error


def tell_of_silence(recording: Recording, gaps: list[Gap], source: str, on_event: OnEvent) -> None:
    """Say so where new audio goes before or after a recording that begins or ends in silence, which then goes on."""
    samples, reach = recording.samples, round(SILENCE_LOOKED_FOR_S * recording.sample_rate_hz)
    bound = max(float(samples.max(initial=0)), -float(samples.min(initial=0))) * 10 ** (SILENT_DB / 20)
    if bound == 0:
        return  # which `read_input` has said

    for gap in gaps:
        sides = [(samples[:reach], "begins with", gap.stop == 0)]
        sides += [(samples[-reach:][::-1], "ends in", gap.start == len(samples))]
        for side, does, is_near in sides:
            sounds = (side > bound).any(axis=1) | (side < -bound).any(axis=1)
            silent_s = (int(sounds.argmax()) if sounds.any() else len(side)) / recording.sample_rate_hz
            if is_near and silent_s >= LEAST_SILENCE_S:
                text = f"{source} {does} {silent_s:.1f} s of silence, which goes on; cut it off for more of the music"
                on_event(Note(message=text, warning=True))


def read_input(job: Job, on_event: OnEvent) -> Recording:
    """The recording of a job, after everything about it that would only fail when it is written.

    Raises:
        AudioInputError: it cannot be used, or is too short or too long.
        UsageError: an output's format cannot hold it.
    """
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
    """Refuse to generate from less audio than says anything.

    Raises:
        AudioInputError: there is less.
    """
    if seconds < SHORTEST_CONTEXT_S:
        raise AudioInputError(
            f"{source}: {math.floor(1000 * seconds)} ms of audio is too little to go by; "
            f"expected at least {1000 * SHORTEST_CONTEXT_S:.0f} ms"
        )
