"""`audiolm info` and `audiolm again`: what an audio file holds, and how it was made, where this program made it.

Knows nothing about commands or terminals.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiolm_cli.audio import DecoderProcess, Recording
from audiolm_cli.audio.markers import Marker
from audiolm_cli.audio.peaks import Loudness, measure_loudness
from audiolm_cli.audio.tempo import Tempo
from audiolm_cli.config.musical import COMMON_METER, Grid, parse_length
from audiolm_cli.editing.remaking import FILES, read_facts, remake_words
from audiolm_cli.errors import UsageError
from audiolm_cli.wording import name_path

PROGRAM = ("audiolm", "--no-config")
"""What stands in front of a command that settings files must not change."""


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """What an audio file holds."""

    path: str
    """The file."""
    format: str
    """Container, in libsndfile's names."""
    subtype: str
    """Encoding of the samples, in libsndfile's names."""
    sample_rate_hz: int
    """Sample rate in Hz."""
    channels: int
    """Number of channels."""
    num_samples: int
    """Samples per channel."""
    duration_s: float
    """Length in seconds."""
    level: Loudness
    """How loud it is."""
    tempo: Tempo | None
    """The tempo that it states."""
    bars: float | None
    """Its length in bars of that tempo."""
    markers: tuple[Marker, ...]
    """The named places and stretches that it holds."""
    tags: dict[str, str]
    """Its text."""
    made: dict[str, Any] | None
    """The settings of the command that made it, if it was one of this program."""
    command: list[str] | None
    """The words of the command that makes it again."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return dataclasses.asdict(self)


def describe_file(path: str) -> FileInfo:
    """What an audio file holds.

    Raises:
        AudioInputError: it cannot be read.
    """
    recording = read_whole(path)
    facts, tempo = read_facts(recording.tags), recording.tempo
    bars = None
    if tempo is not None:
        grid = Grid(bpm=tempo.bpm, meter=tempo.meter or COMMON_METER)
        bars = round(recording.duration_s / float(grid.seconds(parse_length("1bar"))), 3)

    words = None if facts is None else remake_words(facts, str(facts.get("input") or "RECORDING"))
    return FileInfo(
        path=path,
        format=recording.format,
        subtype=recording.subtype,
        sample_rate_hz=recording.sample_rate_hz,
        channels=recording.channels,
        num_samples=recording.num_samples,
        duration_s=recording.duration_s,
        level=measure_loudness(recording),
        tempo=tempo,
        bars=bars,
        markers=recording.markers,
        tags=recording.tags,
        made=facts,
        command=None if words is None else [*PROGRAM, *words],
    )


def plan_again(path: str, source: str | None, output: str | None, model: str | None = None) -> list[str]:
    """The words of the command that makes a file again, behind the program's name.

    Args:
        path: the file.
        source: the recording that it was made from; None looks for it by its name, beside the file and here.
        output: what to write; None is `<stem>.again.<suffix>` in the current folder.
        model: its model; None takes it by the name that the file has.

    Raises:
        AudioInputError: it cannot be read.
        UsageError: this program did not make it, or a file that it was made from is not found.
    """
    facts = read_facts(read_whole(path).tags)
    if facts is None:
        raise UsageError(f"{path} does not say that audiolm made it; `audiolm info` shows what it says")

    if source is None:
        name = facts.get("input")
        if not isinstance(name, str):
            raise UsageError(f"{path} does not say which recording it was made from; name it with --input")
        source = find_beside(name, path, "--input names it")

    places = {name: find_beside(facts[name], path, "copy it there") for name in FILES if facts.get(name)}
    if model is not None:
        facts["model"] = model
    words = remake_words(facts, source, places)
    if words is None:
        raise UsageError(f"{path} was made by `audiolm {facts['command']}`, which is run again as it is")
    target = output or f"{Path(path).stem}.again{Path(path).suffix}"
    return [*PROGRAM[1:], *words, "-o", target]


def suggest_again(info: FileInfo) -> list[str] | None:
    """The words of the `audiolm again` that finds the recording from here; None where the file is not made again."""
    if info.command is None:
        return None
    words, source = ["audiolm", "again", name_path(info.path)], (info.made or {}).get("input")
    if not isinstance(source, str):
        return [*words, "--input", "RECORDING"]

    try:
        find_beside(source, info.path, "")
    except UsageError:
        return [*words, "--input", f"PATH/TO/{Path(source).name}"]
    return words


def find_beside(name: str, path: str, remedy: str) -> str:
    """A file by its name: beside another one, or in the current folder.

    Raises:
        UsageError: it is in neither.
    """
    for folder in (Path(path).parent, Path()):
        if (folder / Path(name).name).is_file():
            return str(folder / Path(name).name)
    raise UsageError(f"{path} was made from {name}, which is neither beside it nor here; {remedy}")


def compare_with(path: str, remade: str) -> str:
    """What is to be said of a file that was made again: whether it is the same, and what may have made it another.

    Raises:
        AudioInputError: one of the files cannot be read.
    """
    old, new = read_whole(path), read_whole(remade)
    if old.samples.dtype == new.samples.dtype and np.array_equal(old.samples, new.samples):
        return f"{remade} has the samples of {path}"

    facts, again = read_facts(old.tags) or {}, read_facts(new.tags) or {}
    names = [name for name in facts if name != "input_comment" and facts[name] != again.get(name)]
    why = f"in their {', '.join(names)}" if names else "though their settings are the same: another processor or torch"
    return f"{remade} differs from {path}, {why}"


def read_whole(path: str) -> Recording:
    """A recording of any length, read by a process of its own.

    Raises:
        AudioInputError: it cannot be read.
    """
    with DecoderProcess() as decoder:
        return decoder.read_audio(path)
