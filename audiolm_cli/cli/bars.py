"""Bars in a terminal: what is being done, how much of it, and how long that takes.

Knows nothing about events; `cli/render.py` decides what is drawn, and imports this when the first bar is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

BAR_WIDTH = 40
"""Columns of a bar, where there is room beside what is said of it."""
SPEED_S = 600.0
"""The time left follows from the speed of so many seconds: some work is counted every minute alone."""
DETAIL_WIDTH = 20
"""A longer detail stands below the bars, where it may take several lines."""


class Bars(Progress):
    """Bars that get shorter before a word is cut; a task has an `amount` and the fields of `place_detail`."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None, table_column=Column(max_width=BAR_WIDTH)),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[beside]}", markup=False),
            console=console,
            transient=True,
            speed_estimate_period=SPEED_S,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bars, and below them what is too long to stand beside."""
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if task.fields["below"]:
                yield Text(task.fields["below"], style="dim")


def place_detail(detail: str) -> dict[str, Any]:
    """The fields of a task that hold a detail: beside its bar where it is short, else below."""
    is_short = len(detail) <= DETAIL_WIDTH
    return {"beside": detail if is_short else "", "below": "" if is_short else detail}
