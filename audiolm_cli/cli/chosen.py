"""What options are where the command line leaves them open: what settings files and presets say.

A variable of the environment goes before a file, as Typer has it. Knows nothing about what options mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from audiolm_cli.cli.options import OWN_PRESET
from audiolm_cli.cli.settings_files import (
    PRESET,
    Given,
    Names,
    SettingsFile,
    check_preset,
    choose_settings,
    read_settings,
)
from audiolm_cli.errors import UsageError

GIVEN = "audiolm.given"
"""Where contexts keep what files gave, by the words of the command and the names of parameters."""
NO_CONFIG = "no_config"
"""The program's option that leaves settings files unread."""
HELP = ("help", "help_all")


def take_settings(context: Any, args: list[str]) -> None:
    """Let settings files decide what a command line leaves open, unless that asks for help.

    Raises:
        UsageError: a settings file does not fit, or a preset is unknown.
    """
    command = context.command
    if context.resilient_parsing or not any(map(is_setting, command.params)):
        return
    asked, _, _ = command.make_parser(context).parse_args(args=list(args))
    if not any(asked.get(name) for name in HELP):
        give_settings(context, read_files(context), asked)


def read_files(context: Any) -> list[SettingsFile]:
    """The settings files, unless the program was told to leave them.

    Raises:
        UsageError: one does not fit.
    """
    root = context.find_root()
    return [] if root.params.get(NO_CONFIG) else read_settings(name_settings(root.command))


def give_settings(context: Any, files: list[SettingsFile], asked: dict[str, Any]) -> None:
    """Let files decide what options of a command are by default.

    Args:
        context: of the command.
        files: what `read_files` returned.
        asked: values on the command line, by names of parameters.

    Raises:
        UsageError: a preset is unknown, or an option that takes one value was given several.
    """
    command = context.command
    names, words = name_settings(context.find_root().command), words_of(context)
    given = choose_settings(files, words, names)
    preset, place = _find_preset(context, given, asked)
    if preset is not None:
        check_preset(files, preset, place)
        given = choose_settings(files, words, names, preset)

    found: dict[str, Given] = {}
    for option in filter(is_setting, command.params):
        one = next((given[name] for name in names_of(option) if name in given), None)
        if one is None:
            continue
        if isinstance(one.value, list) and not option.multiple:
            raise UsageError(f"{one.place}: {one.keys[-1]} takes one value, got a list")
        found[option.name] = one
    context.meta.setdefault(GIVEN, {})[words] = found
    context.default_map = {
        option.name: [one.value] if option.multiple and isinstance(one.value, str) else one.value
        for option in command.params
        if (one := found.get(option.name)) is not None
    }


def given_by(context: Any, name: str) -> Given | None:
    """What a file says of a parameter, where that is what counts; None where something else does."""
    source = context.get_parameter_source(name)
    if source is None or source.name != "DEFAULT_MAP":
        return None
    return context.meta[GIVEN][words_of(context)].get(name)


def name_places(context: Any, error: UsageError) -> None:
    """Add to an error where files say what it is about: it may name options that are not on the command line."""
    message = str(error)
    dashes = "" if re.match(r"[\w-]+ must be ", message) else "--"  # `Settings` names its fields without
    places = []
    for option in filter(is_setting, context.command.params):
        one = given_by(context, option.name)
        names = "|".join(map(re.escape, names_of(option)))
        if one is not None and re.search(rf"(?<![\w-]){dashes}(?:{names})(?![\w-])", message):
            places.append(f"{one.keys[-1]} is from {one.place}")
    if places:
        error.args = (f"{message} ({'; '.join(places)})",)


def is_setting(option: Any) -> bool:
    """Whether files may give an option: those that read a variable of the environment."""
    return bool(getattr(option, "envvar", None)) and option.param_type_name == "option" and option.expose_value


def is_generating(command: Any) -> bool:
    """Whether a command takes presets."""
    return any(option.name == OWN_PRESET for option in command.params)


def names_of(option: Any) -> list[str]:
    """What files call an option: its long names, the one first that its variable is named after."""
    return [flag.removeprefix("--") for flag in option.opts if flag.startswith("--")]


def name_settings(program: Any) -> Names:
    """The settings of every command of the program."""
    commands = dict(walk_commands(program))
    return Names(
        commands={
            words: frozenset(name for option in filter(is_setting, command.params) for name in names_of(option))
            for words, command in commands.items()
        },
        generating=frozenset(words for words, command in commands.items() if is_generating(command)),
    )


def walk_commands(command: Any, words: str = "") -> Iterator[tuple[str, Any]]:
    """The words of every command below this one, and the command."""
    below = getattr(command, "commands", None)
    if below is None:
        yield words, command
        return
    for name, inner in below.items():
        yield from walk_commands(inner, f"{words} {name}".strip())


def words_of(context: Any) -> str:
    """The words of the command that a context is of."""
    words = []
    while context.parent is not None:
        words.append(context.info_name)
        context = context.parent
    return " ".join(reversed(words))


def _find_preset(context: Any, given: dict[str, Given], asked: dict[str, Any]) -> tuple[str | None, str]:
    """The preset that a command line, a variable or the command's own section names, and which of them does.

    Raises:
        UsageError: the section names several.
    """
    option = next((option for option in context.command.params if option.name == OWN_PRESET), None)
    if option is None:
        return None, ""
    if asked.get(option.name) is not None:
        return asked[option.name], f"--{PRESET}"
    if (value := option.value_from_envvar(context)) is not None:
        return value, option.envvar
    if (own := given.get(PRESET)) is None:
        return None, ""
    if isinstance(own.value, list):
        raise UsageError(f"{own.place}: {PRESET} takes one value, got a list")
    return own.value, own.place
