"""What is said of a value that an option does not take: one line with the option, what it takes, and what was given.

Knows nothing about what the options are for.
"""

from __future__ import annotations

from typing import Any

import typer

from audiolm_cli.cli.chosen import given_by
from audiolm_cli.config.base import describe_range

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


def _describe_expected(option: Any) -> str:
    """What an option takes, in words; empty for what is none of `KINDS` and no choice."""
    if option.type_descriptor.choices:
        return f"one of {', '.join(map(str, option.type_descriptor.choices))}"

    kind = KINDS.get(option.type_descriptor.annotation, "")
    limited = kind and (option.min is not None or option.max is not None)
    return f"{kind}, {describe_range(option.min, option.max)}" if limited else kind
