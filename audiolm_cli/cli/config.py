"""`audiolm config`: which settings hold, and where each comes from. Needs no torch, and changes nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.chosen import give_settings, given_by, is_setting, names_of, read_files, walk_commands
from audiolm_cli.cli.refusing import explain_refusal
from audiolm_cli.cli.render import Renderer
from audiolm_cli.cli.settings_files import PRESET, SettingsFile, preset_names, settings_paths
from audiolm_cli.cli.spread import spread
from audiolm_cli.errors import UsageError
from audiolm_cli.guessing import guess_name

DEFAULT, VARIABLE, FILE = "default", "variable", "file"
"""What a setting may come from, beside a preset."""
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="COMMAND", help="A command whose settings to show, defaults too."),
]


@dataclass(kw_only=True)
class Setting:
    """A setting as it holds for some commands."""

    name: str
    """That of its option, without the dashes."""
    value: str | list[str] | None
    """As on a command line; None where nothing is chosen."""
    origin: str
    """One of the kinds above, or `PRESET`."""
    place: str
    """The file and the line, the variable, or "default"."""
    commands: list[str] = field(default_factory=list)
    """Which commands it holds for."""


@spread
def config_command(
    context: typer.Context,
    command: Words = None,
    *,
    preset: options.Preset = None,
    display: options.QuickDisplay,
) -> None:
    """Show which settings hold, and where each comes from."""
    wanted = " ".join(command or ())
    with Renderer(**display.to_dict()) as out:
        files = read_files(context)
        known = dict(walk_commands(context.find_root().command))
        if wanted and wanted not in known:
            raise UsageError(f"there is no command {wanted!r}{guess_name(wanted, known)}")

        settings = find_settings(context, files, [wanted] if wanted else list(known), preset)
        if not wanted:
            settings = [setting for setting in settings if setting.origin != DEFAULT]
        if out.json:
            out.print_json({"settings": settings, "presets": _presets(files), "files": _files(files)})
        else:
            # `watch` has hardly any: those of the command that it runs hold.
            counts = Counter(option.name for one in known.values() for option in filter(is_setting, one.params))
            _show(out, settings, files, everywhere=max(counts.values()))


def find_settings(
    context: typer.Context, files: list[SettingsFile], commands: list[str], preset: str | None
) -> list[Setting]:
    """What the settings of commands are when their command lines say nothing; equal ones of several are one.

    Raises:
        UsageError: a value does not fit its option, or there is no such preset.
    """
    found: dict[tuple[str, str, str], Setting] = {}
    for words in commands:
        own = _context_of(context, words)
        takes_preset = any(option.name == options.OWN_PRESET for option in own.command.params)
        asked = {options.OWN_PRESET: preset} if takes_preset and preset is not None else {}
        give_settings(own, files, asked)
        for option in filter(is_setting, own.command.params):
            setting = _find_setting(own, option, asked)
            key = setting.name, str(setting.value), setting.place
            found.setdefault(key, setting).commands.append(words)
    return list(found.values())


def _context_of(context: typer.Context, words: str) -> Any:
    """The context of a command, as if it had been called."""
    inner: Any = context.find_root()
    for name in words.split():
        inner = typer.Context(inner.command.commands[name], parent=inner, info_name=name)
    return inner


def _find_setting(context: Any, option: Any, asked: dict[str, Any]) -> Setting:
    """An option's value where the command line says nothing, once it is known to fit.

    Raises:
        UsageError: it does not.
    """
    value, source = option.consume_value(context, asked)
    name = names_of(option)[0]
    if source.name == "DEFAULT":
        return Setting(name=name, value=_as_text(value), origin=DEFAULT, place=DEFAULT)
    try:
        option.handle_parse_result(context, asked, [])
    except typer.BadParameter as error:
        raise UsageError(explain_refusal(context, error)) from error
    if source.name == "ENVIRONMENT":
        return Setting(name=name, value=_as_text(value), origin=VARIABLE, place=option.envvar)
    given = given_by(context, option.name)
    if given is None:
        return Setting(name=name, value=_as_text(value), origin="option", place="--" + name)
    origin = PRESET if given.keys[0] == PRESET and len(given.keys) > 1 else FILE
    return Setting(name=name, value=given.value, origin=origin, place=given.place)


def _as_text(value: Any) -> str | list[str] | None:
    if isinstance(value, (list, tuple)):
        return [str(item) for item in value]
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _on_one_line(value: str | list[str] | None) -> str:
    return "-" if value is None else ", ".join(value) if isinstance(value, list) else value


def _presets(files: list[SettingsFile]) -> dict[str, dict[str, dict[str, Any]]]:
    """Every preset with its settings, and where each stands."""
    presets: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in preset_names(files)}
    for file in files:
        for preset, values in file.values.get(PRESET, {}).items():
            for name, value in values.items():
                place = file.place_of(PRESET, preset, name)
                presets[preset].setdefault(name, {"value": _as_text(value), "place": place})
    return presets


def _files(files: list[SettingsFile]) -> list[dict[str, Any]]:
    """Where settings files may be, which are there, and which were read."""
    read = {file.path for file in files}
    return [
        {"path": path.absolute(), "there": path in read or path.is_file(), "read": path in read}
        for path in settings_paths()
    ]


def _show(out: Renderer, settings: list[Setting], files: list[SettingsFile], *, everywhere: int) -> None:
    """The settings as a table, then presets and files, a line each; a setting of every command has so many."""
    several = len({tuple(setting.commands) for setting in settings}) > 1
    rows = []
    for setting in settings:
        holds_for = "every command" if len(setting.commands) == everywhere else ", ".join(setting.commands)
        rows.append([setting.name, _on_one_line(setting.value), setting.place, holds_for])
    columns = ["setting", "value", "from", "for"]
    if rows:
        out.table(columns[: 3 + several], [row[: 3 + several] for row in rows])
    else:
        out.print("no settings file and no variable sets anything")
    for name, values in _presets(files).items():
        texts = [f"{key} {_on_one_line(one['value'])}" for key, one in values.items()]
        out.print(f"--preset {name}: {', '.join(texts)}")
    for file in _files(files):
        state = "read" if file["read"] else "not read" if file["there"] else "not there"
        out.print(f"{file['path']}  ({state})")
