"""What is said of what an option does not take, and of an option that stands in the wrong place: each in one line.

Knows nothing about what the options are for.
"""

from __future__ import annotations

from typing import Any

import typer

from audiolm_cli.cli.chosen import given_by
from audiolm_cli.config.base import describe_range
from audiolm_cli.wording import join_words

KINDS = {bool: "true or false", int: "a whole number", float: "a number"}
"""Types of options whose values Typer checks, in words."""


def explain_refusal(context: typer.Context, error: typer.BadParameter) -> str:
    """The line about a value that Typer or a parser of ours has refused."""
    option: Any = error.param
    flags = [flag for flag in option.opts if flag.startswith("--")]
    name = flags[0] if flags else option.metavar or option.name
    source = context.get_parameter_source(option.name)
    if source is not None and source.name == "ENVIRONMENT":
        name = option.envvar
    elif (given := given_by(context, option.name)) is not None:
        name = f"{given.place}: {given.keys[-1]}"

    # Pydantic knows the value, and says what is expected in words of its own. Our parsers say both themselves.
    cause: Any = error.__cause__
    expected = _describe_expected(option)
    if not expected or not hasattr(cause, "errors"):
        return f"{name}: {error.message}"
    return f"{name} must be {expected}, got {cause.errors()[0]['input']!r}"


def find_missing_dashes(context: typer.Context, words: list[str], error: typer.TyperException) -> str:
    """A command line as it was meant: with `--` in front of another command, to which an unknown option belongs.

    Empty where the error is another one, or the command takes no other behind `--`.
    """
    unknown = getattr(error, "option_name", None)
    command: Any = context.command
    takes_another = any((option.metavar or "").startswith("-- ") for option in command.params)
    if unknown is None or not takes_another or "--" in words:
        return ""

    program: Any = context.find_root().command
    before = [place for place, word in enumerate(words) if word.startswith(unknown)][:1]
    places = [place for place, word in enumerate(words[: before[0]] if before else []) if word in program.commands]
    if not places or places[-1] == 0:  # a folder may be called as a command is
        return ""
    return join_words(["audiolm", str(context.info_name), *words[: places[-1]], "--", *words[places[-1] :]])


def _describe_expected(option: Any) -> str:
    """What an option takes, in words; empty for what is none of `KINDS` and no choice."""
    if option.type_descriptor.choices:
        return f"one of {', '.join(map(str, option.type_descriptor.choices))}"

    kind = KINDS.get(option.type_descriptor.annotation, "")
    limited = kind and (option.min is not None or option.max is not None)
    return f"{kind}, {describe_range(option.min, option.max)}" if limited else kind
