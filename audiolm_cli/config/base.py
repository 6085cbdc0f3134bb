"""Every setting of the project as frozen dataclasses: one string under each field says meaning, unit and range.

Knows nothing about command lines, files or torch.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Self

from audiolm_cli.errors import ModelError, UsageError


class Settings:
    """Dictionaries to configurations and back; unknown keys are an error that lists the known ones."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The configuration that `values` describes.

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


def require(ok: bool, message: str) -> None:
    if not ok:
        raise UsageError(message)


def require_ranges(config: Settings, *ranges: tuple[str, float, float]) -> None:
    """Refuse fields outside their (names, lowest, highest), and what is no number; None says nothing."""
    for names, low, high in ranges:
        told = f"{low:g} or more" if high >= LARGEST else f"{low:g}..{high:g}"
        for name in names.split():
            value = getattr(config, name)
            require(value is None or low <= value <= high, f"{name} must be {told}, got {value}")


LARGEST = 1 << 62
"""Of numbers without a limit of their own: what arithmetic on integers of 64 bits allows."""
LEAST = 1e-30
"""Of numbers that have to be over 0."""
