"""Signals that end a program, held back until its work is safe. Knows nothing about the work."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class HeldSignals:
    """A context that holds the first SIGINT or SIGTERM back until it ends. A second signal ends the program at once.

    When the context ends, the handlers from before get the signal that was held. Ignored signals stay ignored. Outside
    the main thread, where Python allows no handlers, nothing is held.
    """

    def __init__(self) -> None:
        self.held: int | None = None
        """The signal that came and waits."""
        self._handlers: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}
        """The handlers from before, by signal."""

    def hold(self, number: int) -> None:
        """Act as if the signal had come, unless one has."""
        self.held = self.held or number

    def __enter__(self) -> Self:
        for number in SIGNALS:
            if signal.getsignal(number) is signal.SIG_IGN:
                continue
            try:
                self._handlers[number] = signal.signal(number, self._handle)
            except ValueError:  # not the main thread
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore_handlers()
        if self.held is not None and kind is None:
            signal.raise_signal(self.held)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.held is None:
            self.held = number
            return

        # The second signal: whoever sends it does not want to wait.
        self._restore_handlers()
        signal.raise_signal(number)

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
