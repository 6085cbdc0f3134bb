"""A bar in a terminal for those who call the model itself. Knows nothing about commands: they draw what they report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

MANY_FRAMES = 1000
"""From this many frames on, a person would wonder whether anything happens."""


@contextmanager
def show_frames(total: int) -> Iterator[Callable[[int, int], None]]:
    """What is to be called with two numbers of frames that are done: those of items before, and those of this one.

    It shows nothing where there are few frames, or standard error is no terminal that can draw.
    """
    if total < MANY_FRAMES:
        yield _show_nothing
        return

    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.file.isatty() or console.is_dumb_terminal:
        yield _show_nothing
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("frames", total=total)
        yield lambda before, done: bar.update(task, completed=before + done)


def _show_nothing(before: int, done: int) -> None:
    """What is called where there is nothing to draw on."""
