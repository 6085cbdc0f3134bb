"""The options that commands share, as annotated types; each also reads AUDIOLM_<FLAG> from the environment.

Knows nothing about what a command does with them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from audiolm_cli.config.base import RARE, Settings, setting
from audiolm_cli.config.musical import FASTEST_BPM, SLOWEST_BPM, Time, parse_length, parse_time, read_meter
from audiolm_cli.errors import UsageError

PREFIX = "AUDIOLM_"
"""How the variables of the environment begin that options read."""
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?|mps", re.ASCII)


def time_option(value: str | Time) -> Time:
    """`parse_length` for an option: what does not fit is reported with the option's name; defaults are numbers."""
    try:
        return parse_length(value) if isinstance(value, str) else value
    except UsageError as error:
        raise typer.BadParameter(str(error)) from error


def place_option(value: str | float) -> float:
    """`parse_time` for an option, likewise."""
    try:
        return parse_time(value) if isinstance(value, str) else float(value)
    except UsageError as error:
        raise typer.BadParameter(str(error)) from error


def bpm_option(value: str | float) -> float:
    """A tempo for an option, likewise."""
    number = _number(value)
    if not SLOWEST_BPM <= number <= FASTEST_BPM:
        limits = f"{SLOWEST_BPM:g} to {FASTEST_BPM:g} quarter notes per minute"
        raise typer.BadParameter(f"{value!r} is not a tempo of {limits}")
    return number


def meter_option(value: str) -> str:
    """A meter for an option, likewise."""
    try:
        read_meter(value)
    except UsageError as error:
        raise typer.BadParameter(str(error)) from error
    return value.strip()


def positive(value: str | float) -> float:
    """A number over 0 for an option, as a parser: neither infinity nor what is no number passes."""
    number = _number(value)
    if not 0 < number < math.inf:
        raise typer.BadParameter(f"{value!r} is not a number over 0")
    return number


def zero_or_more(value: str | float) -> float:
    """A number of 0 or more for an option, likewise."""
    number = _number(value)
    if not 0 <= number < math.inf:
        raise typer.BadParameter(f"{value!r} is not a number of 0 or more")
    return number


def _number(value: str | float) -> float:
    """The number that a text writes; not a number where it writes none."""
    try:
        return float(value)
    except ValueError:
        return math.nan


def shared(*flags: str, panel: str = "Common options", **settings: Any) -> Any:
    """A `typer.Option` whose environment variable is named after its long flag."""
    long_flag = next(flag for flag in flags if flag.startswith("--"))
    variable = PREFIX + long_flag.removeprefix("--").replace("-", "_").upper()
    return typer.Option(*flags, envvar=variable, show_envvar=False, rich_help_panel=panel, **settings)


def device_option(value: str) -> str:
    if _DEVICE.fullmatch(value) is None:
        raise typer.BadParameter(f"{value!r} is not auto, cpu, cuda, cuda:N or mps")
    return value


def verbose_option(context: typer.Context, value: int) -> int:
    """Leave the level where `app.main` finds it, whatever becomes of the command."""
    settings = context.find_root().obj
    if isinstance(settings, dict):
        settings["verbose"] = value
    return value


@dataclass(frozen=True)
class Only:
    """Beside a settings class: the fields that a command has options for, and defaults of its own."""

    names: tuple[str, ...] = ()
    """Empty means all."""
    without: tuple[str, ...] = ()
    """Fields that it has no option for."""
    taken: tuple[str, ...] = ()
    """Second names of options that mean something else in this command."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """What is used in place of a field's own default."""


@dataclass(frozen=True, kw_only=True)
class Display(Settings):
    """How a command shows what it does."""

    json: bool = setting(False, "Print one JSON object on standard output.", panel=RARE)
    quiet: bool = setting(False, "Only warnings and errors on standard error.", short="-q")
    verbose: int = setting(0, "Times of stages; a traceback on a bug.", short="-v", kind="count")
    no_progress: bool = setting(False, "No progress bar and no progress lines.", panel=RARE)
    progress: Literal["text", "json"] = setting("text", "Progress and errors for you, or for a program.", panel=RARE)

    def check_stdout(self, output: str | None, play: bool = False) -> None:
        """Refuse to write both the result and the audio to standard output, and to play what is in no file.

        Raises:
            UsageError: both were asked for.
        """
        if self.json and output == "-":
            raise UsageError("--json and -o - both write to standard output; write the audio to a file")
        if play and output == "-":
            raise UsageError("--play plays a file, and -o - leaves none; write the audio to a file")


QuickDisplay = Annotated[Display, Only(without=("no_progress",))]
"""Of commands that are too short for progress."""
Model = Annotated[str, shared("-m", "--model", metavar="NAME|PATH", help="A model's name, or the path of its folder.")]
Device = Annotated[
    str, shared("--device", metavar="auto|cpu|cuda[:N]|mps", parser=device_option, panel=RARE, help="Where to compute.")
]
Threads = Annotated[int | None, shared("--threads", min=1, max=1024, metavar="N", panel=RARE, help="CPU threads.")]
Seed = Annotated[int | None, shared("--seed", min=0, max=2**63 - 1, metavar="N", help="Same seed, same result.")]
Force = Annotated[bool, shared("-f", "--force", help="Overwrite what exists.")]
Offline = Annotated[bool, shared("--offline", panel=RARE, help="Never open a connection.")]
CacheDir = Annotated[
    Path | None,
    shared("--cache-dir", metavar="DIR", panel=RARE, help="Checkpoint cache, instead of the user's cache folder."),
]

_GENERATION = "Generation"

OWN_PRESET = "settings_preset"
"""The parameter of `Preset`, which `chosen.py` reads before all others; `train` means something else by `--preset`."""
Preset = Annotated[
    str | None,
    shared("--preset", metavar="NAME", help="Your own settings of this name, from audiolm.toml."),
]

Play = Annotated[bool, shared("--play", panel=_GENERATION, help="Play the end of the prompt and the new part.")]

Duration = Annotated[
    Any,
    shared("-d", "--duration", metavar="TIME", parser=time_option, panel=_GENERATION, help="How much to generate."),
]
CodecName = Annotated[
    str, shared("--codec", metavar="NAME|PATH", help="The codec: its name, or the path of its folder or model.")
]
OptionalCodecName = Annotated[
    str | None,
    shared("--codec", metavar="NAME|PATH", help="The codec: its name, or the path of its folder or model."),
]
