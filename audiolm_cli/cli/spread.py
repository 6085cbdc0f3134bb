"""Settings as options: a command's parameter that is a settings class becomes one option for each of its fields.

So a setting is declared once, in `config/`. In whatever names a place, `~` becomes the user's home folder. Knows
nothing about what a setting does.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.helping import FEW, show_all
from audiolm_cli.config.base import About, Settings, declared, flag_of
from audiolm_cli.config.generation import SamplingConfig

PARSERS: dict[str, Callable[[Any], Any]] = {
    "time": options.time_option,
    "seconds": options.place_option,
    "bpm": options.bpm_option,
    "meter": options.meter_option,
    "positive": options.positive,
    "zero_or_more": options.zero_or_more,
    "device": options.device_option,
}
"""How the text of a setting of this kind is read."""
PLACES = frozenset(
    (
        "DIR",
        "HTML",
        "JSON",
        "IN...",
        "NAME|PATH",
        "NAME|SOURCE",
        "PATH",
        "PNG",
        "REF",
        "RUN",
        "TOKENS",
        "LABELS",
        "ZIP",
    )
)
"""What stands for a file or a folder in `--help`."""
GREATEST_SHOWN = 1000000
"""Limits over this keep mistakes out and are of no interest to a reader."""
HELP_ALL = inspect.Parameter(
    "help_all",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool, typer.Option("--help-all", is_eager=True, callback=show_all, help="Show every option and exit.")
    ],
)
"""The option of commands that have more options than fit on a page."""
PRESET = inspect.Parameter(options.OWN_PRESET, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=options.Preset)
"""The option of generating commands that names a preset."""


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer takes it: with options in place of its settings, which it gets put together again.

    A parameter annotated with a `Settings` class stands for all its declared fields; with an `options.Only` beside the
    class, it stands for some of them. Shells leave `~` as it is in `--output=~/x`, in variables and, on Windows,
    everywhere, so it is expanded here.
    """
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[type[Settings], dict[str, Any]]] = {}
    for parameter in signature.parameters.values():
        found = _settings_of(parameter.annotation)
        if found is None:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        cls, only = found
        own = list(_options_of(cls, only))
        groups[parameter.name] = cls, {option.name: option.default for option in own}
        parameters += own

    if any(cls is SamplingConfig for cls, _ in groups.values()):
        parameters.append(PRESET)
    places = [parameter.name for parameter in parameters if _is_place(parameter.annotation)]
    lists = [parameter.name for parameter in parameters if _is_list(parameter.annotation)]
    if len(parameters) > FEW:
        parameters.append(HELP_ALL)

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for parameter in (HELP_ALL, PRESET):
            values.pop(parameter.name, None)
        values |= {name: [] for name in lists if values[name] is None}  # which Typer makes of an empty one
        values |= {name: _expand_home(values[name]) for name in places if name in values}
        for name, (cls, fields) in groups.items():
            values[name] = cls(**{field: values.pop(field) for field in fields})
        command(**values)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": None}
    return run


def _is_place(annotation: Any) -> bool:
    """Whether an option or an argument names a file or a folder."""
    notes = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return any(getattr(note, "metavar", None) in PLACES for note in notes)


def _is_list(annotation: Any) -> bool:
    """Whether an option or an argument is a list, be it empty."""
    return get_origin(annotation) is Annotated and get_origin(get_args(annotation)[0]) is list


def _expand_home(value: Any) -> Any:
    """A path, a text, or a list of them, with the user's home folder in place of `~` at the beginning."""
    if isinstance(value, list):
        return [_expand_home(item) for item in value]
    if isinstance(value, (str, Path)):
        return type(value)(os.path.expanduser(value))
    return value


def _settings_of(annotation: Any) -> tuple[type[Settings], options.Only] | None:
    """The settings class of a parameter, and which of its fields are meant; None for other parameters."""
    only = options.Only()
    if get_origin(annotation) is Annotated:
        annotation, *notes = get_args(annotation)
        only = next((note for note in notes if isinstance(note, options.Only)), only)
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation, only
    return None


def _options_of(cls: type[Settings], only: options.Only) -> Iterator[inspect.Parameter]:
    """A keyword parameter for each field that is an option, annotated as Typer takes it."""
    for field, about, type_ in declared(cls):
        wanted = field.name in only.names if only.names else field.name not in only.without
        if not about.help or not wanted:
            continue
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=only.defaults.get(field.name, field.default),
            annotation=Annotated[_single(type_), _option(field, about, type_, only.taken)],
        )


def _single(type_: Any) -> Any:
    """A type as Typer takes it, which knows no unions: what is of several kinds is read by a parser."""
    kinds = [kind for kind in get_args(type_) if kind is not type(None)]
    return Any if len(kinds) > 1 and get_origin(type_) is not Literal else type_


def _option(field: dataclasses.Field[Any], about: About, type_: Any, taken: tuple[str, ...]) -> Any:
    """The option of a field, without those of its names that are taken."""
    settings: dict[str, Any] = {"help": about.help}
    if about.metavar:
        settings["metavar"] = about.metavar
    if about.kind == "count":
        settings |= {"count": True, "metavar": "", "show_default": False, "callback": options.verbose_option}
    elif about.kind:
        settings["parser"] = PARSERS[about.kind]
    elif int in (type_, *get_args(type_)) or float in (type_, *get_args(type_)):
        # A limit that no person reaches is left to the settings' own check: it only makes the page wide.
        shown = about.high is None or about.high <= GREATEST_SHOWN
        settings |= {"min": about.low, "max": about.high if shown else None}
    flags = [flag for flag in (about.short, flag_of(field, about), about.also) if flag and flag not in taken]
    return options.shared(*flags, panel=about.panel, **settings)
