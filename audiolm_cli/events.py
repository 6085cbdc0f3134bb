"""What workflows report while they run. Knows nothing about terminals: `cli/render.py` draws these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`done` of `total` units of a stage are finished."""

    stage: str
    """What is being done, as a short phrase: "encode", "AR decoding", "train"."""
    done: float
    """Units finished so far."""
    total: float | None
    """Units in all; None when unknown."""
    unit: str = ""
    """"frames", "files", "steps", ..."""
    detail: str = ""
    """A short text beside the bar, such as a loss."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """One line for the user: something worth knowing that is no failure."""

    message: str
    """The line, without a trailing full stop or newline."""
    warning: bool = False
    """True for what the user should act on."""


Event = Progress | Note
OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener of callers that want no reports."""
