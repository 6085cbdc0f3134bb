"""The guide's page of settings, made from where they are declared. Knows nothing about what a setting does."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from typing import Annotated, Any, get_args, get_origin

from typer.models import OptionInfo

from audiolm_cli.cli import options
from audiolm_cli.cli.spread import GREATEST_SHOWN, PARSERS
from audiolm_cli.config.base import LARGEST, Settings, choices_of, declared, describe_range, flag_of
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.config.training import CodecTrainConfig, TrainConfig

CLASSES: tuple[tuple[type[Settings], str], ...] = (
    (GenerateConfig, "Generating: `continue`, `infill`, `loop`, `restyle`, `demo`"),
    (SamplingConfig, "How codes are drawn: the same commands but `demo`"),
    (TrainConfig, "`train`"),
    (CodecTrainConfig, "`codec train`"),
    (options.Display, "What every command shows"),
)
"""Where settings are declared, and the heading of each table."""
HEAD = "| option | default | range | what it does |"
FURTHER_HEAD = "| option | commands | default | range | what it does |"
RULE = "|---|---|---|---|"
KINDS: dict[Any, str] = {parser: kind for kind, parser in PARSERS.items()}
WORDS = {
    "time": "seconds, `mm:ss`, bars or beats",
    "seconds": "seconds or `mm:ss`",
    "bpm": "1..1000",
    "meter": "`4/4`, `3/4`, `6/8`, ...",
    "device": "`auto`, `cpu`, `cuda`, `cuda:N` or `mps`",
    "positive": "over 0",
    "zero_or_more": "0 or more",
    "count": "",
}
"""Ranges of settings whose text is read in a way of their own."""
INTRODUCTION = """# Settings

Every option with its default, its range and what it does. A short option stands for the long one beside it.
`audiolm COMMAND --help` lists the options of one command, with its own defaults where they differ.

## Where settings come from

The first of these that says something wins:

1. the command line: `--top-k 200`
2. a variable of the environment: `AUDIOLM_TOP_K` for `--top-k`
3. the preset that `--preset` names
4. `audiolm.toml` in the folder where the command runs
5. `config.toml` in your own folder of settings, which `audiolm config` shows
6. the defaults below

Both files are TOML. A setting is called as its option, without the dashes:

```toml
model = "runs/mine"
threads = 2

[continue]
duration = "1:02.5"

["codec train"]
steps = 500

[preset.calm]
temperature = 0.9
top-k = 200
```

What stands above all sections holds for every command that has such an option. The section of a command holds for that
command, and goes before the lines above the sections of the same file. Values are checked as on the command line.
Options that take several values, as `--gap` does, take a list: `gap = ["3:4", "12:14"]`. A setting or a section that
nothing has is an error. It names the file and the line, and what was probably meant. Paths are those of the folder
where the command runs, and `~` in front is your home folder.

```bash
audiolm config
audiolm config continue
```

`audiolm config` shows what the files and variables set, where each value comes from, and the presets. With a command,
it shows every setting of that command, defaults too, and `--preset` shows them with a preset. `--json` prints the same
for programs.

**Presets** belong to `continue`, `infill`, `loop` and `restyle`. `--preset calm` takes the settings of the section
`[preset.calm]` of both files. An option on the command line wins over the preset, without a word. One preset can serve
several commands: settings that a command has no option for are left out, so `duration` in a preset means nothing to
`infill`. To have a preset without asking for it, write `preset = "calm"` into the section of the command. The
`--preset` of `audiolm train` is something else: the size of a new model. Both read `AUDIOLM_PRESET`.

A switch that a file turns on, such as `before = true`, is off for one command with `AUDIOLM_BEFORE=0`. `audiolm
--no-config COMMAND`, or `AUDIOLM_NO_CONFIG=1`, reads neither file: use it in scripts. An `audiolm.toml` decides for
every command that you run in its folder, so look into one that came with somebody else's files.
"""


def settings_page(commands: tuple[tuple[str, str], ...]) -> str:
    """The page as Markdown.

    Args:
        commands: the words of each command and where its function is, as `app.COMMANDS`.
    """
    parts, shown = [INTRODUCTION], set()
    for cls, heading in CLASSES:
        rows = []
        for field, about, type_ in declared(cls):
            if not about.help:
                continue
            flags = tuple(flag for flag in (about.short, flag_of(field, about)) if flag)
            shown.add((flags, about.help))
            reach = _range(type_, about.low, about.high, about.kind)
            rows.append(_row(_code(flags), _default(field.default), reach, about.help))
        parts.append("\n".join([f"## {heading}", "", HEAD, RULE, *rows, ""]))
    parts.append("\n".join(["## Further options of single commands", "", FURTHER_HEAD, "|---" + RULE]))
    return "\n".join([*parts, *_further(commands, shown), ""])


def _further(commands: tuple[tuple[str, str], ...], shown: set[tuple[tuple[str, ...], str]]) -> list[str]:
    """Lines for the options that commands declare themselves, but for those that are `shown`."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for words, target in commands:
        module, _, function = target.partition(":")
        command = getattr(importlib.import_module(module), function)
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            option = _option_of(parameter)
            if option is None:
                continue
            flags = tuple(flag for flag in (option.default, *(option.param_decls or ())) if flag)
            if (flags, option.help) in shown:
                continue
            kind = KINDS.get(option.parser, "")
            reach = _range(get_args(parameter.annotation)[0], option.min, option.max, kind)
            line = _code(flags), _default(parameter.default), reach, option.help or ""
            rows.setdefault(line, []).append(words)
    return [_row(line[0], _code(words), *line[1:]) for line, words in rows.items()]


def _option_of(parameter: inspect.Parameter) -> OptionInfo | None:
    """What Typer is told of a command's parameter; None where it is no option."""
    if get_origin(parameter.annotation) is not Annotated:
        return None
    return next((note for note in get_args(parameter.annotation) if isinstance(note, OptionInfo)), None)


def _code(words: Iterable[str]) -> str:
    """Words as code, with commas between them."""
    return ", ".join(f"`{word}`" for word in words)


def _row(*cells: str) -> str:
    """A line of a table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(value: Any) -> str:
    """A default as it stands in a table: nothing for switches, and for what is decided later."""
    if value is inspect.Parameter.empty:
        return "required"
    return "" if value is None or value == "" or value is False else f"`{value}`"


def _range(type_: Any, low: float | None, high: float | None, kind: str) -> str:
    """What a setting can be, in words: its choices, or its limits."""
    parts = (type_, *get_args(type_))
    if choices_of(type_):
        return _code(choices_of(type_))
    if bool in parts:
        return "on or off"
    if kind in WORDS:
        return WORDS[kind]
    is_number = int in parts or float in parts
    if not is_number or (low is None and high is None):
        return ""
    return describe_range(low, LARGEST if high is None or high > GREATEST_SHOWN else high)
