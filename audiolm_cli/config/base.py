"""How settings are declared: a dataclass field that carries its default, its help text and its range.

`cli/spread.py` makes an option of such a field, `Settings` checks its range, and `describe_settings` lists it for the
guide. Knows nothing about command lines, files or torch.
"""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from audiolm_cli.errors import ModelError, UsageError

LARGEST = 1 << 62
"""Of numbers without a limit of their own: what arithmetic on integers of 64 bits allows."""
RARE = "Rarely needed"
"""How panels of options begin that most people never use; long help pages leave these panels out."""
LEAST = 1e-30
"""Of numbers that have to be over 0."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of a setting beside its name, type and default."""

    help: str
    """What it does, for `--help` and the guide; empty where it is no option."""
    low: float | None = None
    """Least value; None where there is no limit."""
    high: float | None = None
    """Greatest value; None where there is no limit."""
    panel: str = "Common options"
    """Heading that its option stands under."""
    flag: str = ""
    """Its option; empty derives it from the name: `top_k` is `--top-k`."""
    short: str = ""
    """A second option of one letter."""
    also: str = ""
    """A second long option, of commands that have no other of this name."""
    metavar: str = ""
    """What stands for its value in `--help`."""
    kind: str = ""
    """How its text is read: a key of `PARSERS` in `cli/spread.py`; empty leaves it to the type."""


def setting(default: Any, help: str, **about: Any) -> Any:
    """A dataclass field with this default; `about` has the other fields of `About`.

    >>> @dataclass(frozen=True, kw_only=True)
    ... class Example(Settings):
    ...     top_k: int = setting(0, "Keep the N likeliest codes; 0 keeps all.", low=0)
    >>> Example().top_k
    0
    """
    return dataclasses.field(default=default, metadata={"about": About(help=help, **about)})


class Settings:
    """Dictionaries to settings and back; unknown keys and values out of range are errors that say what is expected."""

    def __post_init__(self) -> None:
        """Check every range and every choice that is declared.

        Raises:
            UsageError: a value does not fit.
        """
        for field, about, type_ in declared(type(self)):
            value = getattr(self, field.name)
            if value is None:
                continue
            name = flag_of(field, about).removeprefix("--") if about.help else field.name
            choices = choices_of(type_)
            if choices:
                require(value in choices, f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
            kinds = (type_, *get_args(type_))
            whole = int in kinds and float not in kinds
            is_number = (int in kinds or float in kinds) and str not in kinds
            require(not (is_number and isinstance(value, str)), f"{name} must be a number, got {value!r}")
            if isinstance(value, numbers.Real):
                value = _plain_number(value, whole, name)
                object.__setattr__(self, field.name, value)
            low, high = about.low, about.high
            if high is None and whole:
                high = LARGEST
            fits = (low is None or value >= low) and (high is None or value <= high)  # not so of what is no number
            require(fits and value == value, f"{name} must be {_state_range(low, high, value)}, got {value}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The settings that `values` describes.

        Raises:
            ModelError: a key is unknown or a value does not fit.
        """
        known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ModelError(
                f"{cls.__name__} has no field {', '.join(unknown):.200}; known fields: {', '.join(known)}. "
                "The file may come from a newer version of audiolm."
            )
        try:
            return cls(**values)
        except (TypeError, UsageError) as error:
            raise ModelError(f"{cls.__name__} does not fit: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]


def _plain_number(value: numbers.Real, whole: bool, name: str) -> int | float:
    """A number in Python's own form, where it comes from numpy, and an integer where it has to be whole.

    Raises:
        UsageError: it has to be whole, and is not.
    """
    if isinstance(value, numbers.Integral):
        return value if isinstance(value, int) else int(value)
    require(not whole or float(value).is_integer(), f"{name} must be a whole number, got {value}")
    return int(float(value)) if whole else float(value)


def _state_range(low: float | None, high: float | None, value: Any) -> str:
    """A range in words, to somebody whose value is out of it: one too great for any number is told the limit."""
    return f"at most {high}" if high is not None and value > high >= LARGEST else describe_range(low, high)


def declared(cls: type) -> Iterator[tuple[dataclasses.Field[Any], About, Any]]:
    """The fields of settings that were made by `setting`, what is known of each, and its type."""
    types = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if "about" in field.metadata:
            yield field, field.metadata["about"], types[field.name]


def flag_of(field: dataclasses.Field[Any], about: About) -> str:
    """The option of a setting."""
    return about.flag or "--" + field.name.replace("_", "-")


def choices_of(type_: Any) -> tuple[Any, ...]:
    """The values of a `Literal`, also of one that may be None; empty for other types."""
    for part in (type_, *get_args(type_)):
        if get_origin(part) is Literal:
            return get_args(part)
    return ()


def describe_range(low: float | None, high: float | None) -> str:
    """A range in words.

    >>> describe_range(1, None), describe_range(0, 1), describe_range(LEAST, None)
    ('1 or more', '0..1', 'over 0')
    """
    if low == LEAST:
        return "over 0" if high is None or high >= LARGEST else f"over 0 and at most {high:g}"
    if high is None or high >= LARGEST:
        return f"{0 if low is None else low:g} or more"
    return f"{0 if low is None else low:g}..{high:g}"


def require(ok: bool, message: str) -> None:
    """Refuse what does not hold.

    Raises:
        UsageError: it does not.
    """
    if not ok:
        raise UsageError(message)
