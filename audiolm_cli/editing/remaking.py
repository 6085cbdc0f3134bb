"""What a file's comment says of how it was made, and the command line that makes it again.

Knows nothing about audio.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from audiolm_cli.config.base import Settings, declared, flag_of
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.wording import name_path

COMMANDS: dict[str, dict[str, str]] = {
    "continue": {
        "duration": "--duration",
        "duration_s": "--duration",
        "before": "--before",
        "stream": "--stream",
        "sound_of": "--sound-of",
    },
    "infill": {
        "gaps": "--gap",
        "gaps_s": "--gap",
        "length": "--length",
        "length_s": "--length",
        "labels": "--labels",
    },
    "loop": {"bridge": "--bridge", "bridge_s": "--bridge", "bars": "--bars", "repeat": "--repeat"},
    "restyle": {"style": "--style", "strength": "--strength"},
}
"""What each command's own settings are called in a comment, and their options."""
FILES = ("sound_of", "style", "labels")
"""Settings that name another file, of which a comment has the name alone."""
LEFT_OUT = ("seed", "best_of", "takes", "output", "force", "plot", "page", "cache_dir", "threads")
"""Settings that say nothing about a single take, or are said in another way."""
NOT_OF_RESTYLE = ("temperature", "top_k", "top_p", "min_p", "only_new", "until_end")
"""Settings that a restyling has no options for."""


def read_facts(tags: Mapping[str, str]) -> dict[str, Any] | None:
    """What `write_comment` wrote; None where the comment is another one."""
    try:
        facts = json.loads(tags.get("comment", ""))
    except ValueError:
        return None
    is_own = isinstance(facts, dict) and {"audiolm", "command", "seed"} <= facts.keys()
    return facts if is_own else None


def remake_words(facts: Mapping[str, Any], source: str, places: Mapping[str, str] | None = None) -> list[str] | None:
    """The command line that makes a take again, from the command on; None where no command does.

    Args:
        facts: of the take, as `read_facts` returns them.
        source: the recording that it was made from.
        places: where the files are that its settings name.
    """
    command = facts["command"]
    own = COMMANDS.get(command)
    if own is None:
        return None

    words = [command, name_path(source)]
    for name, flag in own.items():
        value = facts.get(name)
        if name in FILES and isinstance(value, str):
            value = (places or {}).get(name, value)
        if name.startswith("gaps") and isinstance(value, list):
            words += [word for gap in value for word in (flag, _write_gap(gap))]
        elif value is not None and value is not False:
            words += [flag] if value is True else [flag, _write(value)]

    without = LEFT_OUT + (NOT_OF_RESTYLE if command == "restyle" else ())
    for settings in (GenerateConfig, SamplingConfig):
        words += _list_settings(settings, facts, without)
    return [*words, "--seed", str(facts["seed"])]


def _list_settings(cls: type[Settings], facts: Mapping[str, Any], without: tuple[str, ...]) -> Iterator[str]:
    """The options of settings that are not the usual ones."""
    for field, about, _ in declared(cls):
        value = facts.get(field.name)
        if not about.help or field.name in without or value is None or value == field.default:
            continue
        if isinstance(value, list):  # each gap had its own, as is usual
            continue
        yield flag_of(field, about)
        if value is not True:
            yield _write(value)


def _write_gap(gap: Any) -> str:
    """A gap as it stands on a command line."""
    if isinstance(gap, str):
        return gap
    start, end = gap
    return f"{_write(start)}:{'' if end is None else _write(end)}"


def _write(value: Any) -> str:
    """A value as it stands on a command line, with every digit that it has."""
    if not isinstance(value, float):
        return str(value)
    text = repr(value)
    return f"{value:.20f}".rstrip("0") if "e" in text else text.removesuffix(".0")
