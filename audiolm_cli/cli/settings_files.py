"""Settings files: `audiolm.toml` in the working folder, and `config.toml` in the user's folder of settings.

Reads and checks them, and says which value stands where. Knows nothing about what a setting does, nor how a command
line is read.
"""

from __future__ import annotations

import datetime
import functools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from audiolm_cli.errors import UsageError
from audiolm_cli.guessing import guess_name

OF_FOLDER, OF_USER = "audiolm.toml", "config.toml"
PRESET = "preset"
"""The table of presets, and the setting that names one."""
LARGEST_BYTES = 1 << 16
"""A settings file that is larger is none."""
SCALARS = (str, int, float, datetime.time)
"""What a setting is written as; a `bool` is an `int`, and 1:02:05 without quotes is a time of day in TOML."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """The settings that files may give, by their names: those of options without the dashes."""

    commands: Mapping[str, frozenset[str]]
    """Settings of each command, by its words."""
    generating: frozenset[str]
    """Commands that take a preset."""

    @property
    def everywhere(self) -> frozenset[str]:
        """What may stand above all sections."""
        return frozenset().union(*self.commands.values()) - {PRESET}

    @property
    def of_presets(self) -> frozenset[str]:
        """What may stand in a preset."""
        return frozenset().union(*(self.commands[words] for words in self.generating)) - {PRESET}


@dataclass(frozen=True, kw_only=True)
class SettingsFile:
    """A settings file that is there."""

    path: Path
    """Where it is: in the working folder its name alone."""
    text: str
    """What it says."""
    values: dict[str, Any]
    """The same, as TOML."""

    def line_of(self, *keys: str) -> int:
        """The line on which a key or a section begins, from 1; that of what it stands in where TOML leaves it open."""
        while keys and keys not in self._lines:
            keys = keys[:-1]
        return self._lines.get(keys, 1)

    def place_of(self, *keys: str) -> str:
        """The file and the line, in words."""
        return f"{self.path}, line {self.line_of(*keys)}"

    @functools.cached_property
    def _lines(self) -> dict[tuple[str, ...], int]:
        """Lines of all keys and sections: each statement of TOML that stands alone is read alone."""
        found: dict[tuple[str, ...], int] = {}
        section: tuple[str, ...] = ()
        pending: list[str] = []
        for number, line in enumerate(self.text.split("\n"), 1):
            pending.append(line)
            try:
                values = tomllib.loads("\n".join(pending))
            except tomllib.TOMLDecodeError:  # it goes on in the next line
                continue

            first = number - len(pending) + 1
            inside = list(_paths_in(values))
            if pending[0].lstrip().startswith("["):
                section = inside[-1]
                found.setdefault(section, first)
            else:
                for path in inside:
                    found.setdefault((*section, *path), first)
            pending = []
        return found


@dataclass(frozen=True, kw_only=True)
class Given:
    """A value that a settings file gives to an option."""

    value: str | list[str]
    """As on the command line."""
    file: SettingsFile
    """Where it stands."""
    keys: tuple[str, ...]
    """Its sections and its name."""

    @property
    def place(self) -> str:
        """The file and the line, in words."""
        return self.file.place_of(*self.keys)


def settings_paths() -> tuple[Path, Path]:
    """Where settings files may be, the one that wins first."""
    return Path(OF_FOLDER), platformdirs.user_config_path("audiolm", appauthor=False) / OF_USER


def read_settings(names: Names) -> list[SettingsFile]:
    """The settings files that are there, the one that wins first.

    Raises:
        UsageError: one cannot be read, is no TOML, or has a setting that nothing has.
    """
    files = [file for path in settings_paths() if (file := _read(path)) is not None]
    for file in files:
        _check(file, names)
    return files


def check_preset(files: list[SettingsFile], preset: str, place: str) -> None:
    """Refuse a preset that no file has.

    Args:
        files: what `read_settings` returned.
        preset: its name.
        place: where it is named.

    Raises:
        UsageError: none has it.
    """
    known = preset_names(files)
    if preset not in known:
        there = f"presets: {', '.join(known)}" if known else f"write a section [preset.{preset}] into {OF_FOLDER}"
        raise UsageError(f"{place}: there is no preset {preset!r}; {there}{guess_name(preset, known)}")


def choose_settings(files: list[SettingsFile], words: str, names: Names, preset: str | None = None) -> dict[str, Given]:
    """What files give to the settings of a command, by name: a preset first, then file by file.

    In each file, the command's own section goes before what stands above all sections.

    Args:
        files: what `read_settings` returned.
        words: the command.
        names: what the command has; settings of other commands are left out.
        preset: the name of a preset that a file has.
    """
    sections: list[tuple[SettingsFile, tuple[str, ...]]] = []
    if preset is not None:
        sections += [(file, (PRESET, preset)) for file in files]
    for file in files:
        sections += [(file, (words,)), (file, ())]

    given: dict[str, Given] = {}
    for file, section in sections:
        for name, value in _section_of(file, section).items():
            if name in names.commands[words] and not isinstance(value, dict):
                text = [_write(item) for item in value] if isinstance(value, list) else _write(value)
                given.setdefault(name, Given(value=text, file=file, keys=(*section, name)))
    return given


def preset_names(files: list[SettingsFile]) -> list[str]:
    """The presets of all files."""
    return list(dict.fromkeys(name for file in files for name in file.values.get(PRESET, {})))


def _read(path: Path) -> SettingsFile | None:
    """A settings file; None where there is none.

    Raises:
        UsageError: it cannot be read, or is no TOML.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe may never say anything
            raise UsageError(f"{path} is no file, as settings have to be")
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; `audiolm --no-config` goes without it") from error

    if len(data) > LARGEST_BYTES:
        raise UsageError(f"{path} is over 64 kB, which no settings are; `audiolm --no-config` goes without it")
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        return SettingsFile(path=path, text=text, values=tomllib.loads(text))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8, as TOML has to be") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        reason = "too deep" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f'{path} is not TOML: {reason}; a setting is a line such as model = "piano"') from error


def _check(file: SettingsFile, names: Names) -> None:
    """Refuse what no command has.

    Raises:
        UsageError: a section or a setting is unknown, or has no value that could stand on a command line.
    """
    for name, value in file.values.items():
        if name == PRESET:
            if not isinstance(value, dict) or not all(isinstance(inner, dict) for inner in value.values()):
                raise UsageError(
                    f"{file.place_of(name)}: presets are sections such as [preset.calm]; a command has one without "
                    'being told where its own section says it, as in preset = "calm" under [continue]'
                )
            for preset in value:
                _check_section(file, (PRESET, preset), names.of_presets, "generating commands have")
        elif not isinstance(value, dict):
            _check_setting(file, (name,), value, names.everywhere, "no command has")
        elif name in names.commands:
            _check_section(file, (name,), names.commands[name], f"`audiolm {name}` has")
        else:
            meant = [words for words in names.commands if words.split()[0] == name]
            hint = f'. Sections of its commands are ["{meant[0]}"] and so on' if meant else ""
            known = [*names.commands, PRESET]
            raise UsageError(
                f"{file.place_of(name)}: there is no section [{name}]{hint or guess_name(name, known)}; "
                "sections bear the names of commands and presets"
            )


def _check_section(file: SettingsFile, section: tuple[str, ...], known: frozenset[str], whose: str) -> None:
    for name, value in _section_of(file, section).items():
        _check_setting(file, (*section, name), value, known, f"{whose} no")


def _check_setting(file: SettingsFile, keys: tuple[str, ...], value: Any, known: frozenset[str], none: str) -> None:
    name, place = keys[-1], file.place_of(*keys)
    if name not in known:
        raise UsageError(f"{place}: {none} setting {name!r}{guess_name(name, sorted(known))}")
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, SCALARS) for item in items):
        raise UsageError(f"{place}: {name} must be a text in quotes, a number, or true or false, got {value!r:.60}")


def _section_of(file: SettingsFile, section: tuple[str, ...]) -> dict[str, Any]:
    """What stands in a section; empty where there is none."""
    values: dict[str, Any] = file.values
    for name in section:
        values = values.get(name, {})
    return values


def _write(value: Any) -> str:
    """A value as it is written on a command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _paths_in(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys of tables and of what is in them, outer ones first."""
    if isinstance(values, list):  # of an array of tables, which no setting is
        values = values[0] if values else None
    if not isinstance(values, dict):
        return
    for name, value in values.items():
        yield (*path, name)
        yield from _paths_in(value, (*path, name))
