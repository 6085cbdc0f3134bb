"""The view of a training in progress: a table that is drawn in place in a terminal, and one line elsewhere.

Knows nothing about models or files; it draws the events of a training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from audiolm_cli.events import TrainStep, Validation
from audiolm_cli.wording import counted

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

DRAWS_PER_S = 4


class TrainingView:
    """What is known of a training: its last step and its last and best validations."""

    def __init__(self) -> None:
        self.step: TrainStep | None = None
        self.last: Validation | None = None
        self.best: Validation | None = None
        self.doing: str | None = None
        """What goes on between two steps."""
        self._live: Live | None = None

    @property
    def is_drawn(self) -> bool:
        """Whether the table is on the screen."""
        return self._live is not None

    def add(self, event: TrainStep | Validation) -> None:
        """Take note of an event."""
        if isinstance(event, TrainStep):
            self.step, self.doing = event, None
            return
        self.last = event
        if event.best:
            self.best = event

    def draw(self, console: Console, elapsed_s: Callable[[], float]) -> None:
        """Show the table in place, opened with the first step.

        It is drawn again by itself, so that the time goes on while a validation or a sample takes its time.
        """
        if self.step is None:
            return
        from rich.live import Live

        if self._live is None:
            self._live = Live(
                console=console,
                transient=True,
                refresh_per_second=DRAWS_PER_S,
                get_renderable=lambda: self.table(elapsed_s()),
            )
            self._live.start()
        self._live.refresh()

    def close(self) -> None:
        """Take the table off the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def line(self) -> str:
        """The state of the training in one line, for logs."""
        step = self.step
        if step is None:
            return ""
        parts = [f"step {step.step}/{step.steps}", f"loss {step.loss:.3f}"]
        parts.append(f"bits {_list(step.bits, 2)}")
        parts.append(f"top-10 {_list([100 * share for share in step.top10], 0)} %")
        parts.append(f"{step.frames_per_s:.0f} frames/s")
        if step.memory_bytes:
            parts.append(size(step.memory_bytes))
        parts.append(f"{duration(step.eta_s)} left")
        return ", ".join(parts)

    def table(self, elapsed_s: float) -> RenderableType:
        """The state of the training as a table; at most 80 columns for up to 8 codebooks."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        step = self.step
        assert step is not None, "there is no table before the first step"
        K = len(step.bits)
        head = Table.grid(padding=(0, 1))
        head.add_row(
            Text(f"step {step.step}/{step.steps}", style="bold"),
            ProgressBar(total=max(step.steps, 1), completed=step.step, width=24),
            Text(f"{duration(elapsed_s)} gone, {self.doing or f'{duration(step.eta_s)} left'}"),
        )
        body = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1) if K <= 4 else (0, 0, 0, 1))
        body.add_column("", no_wrap=True)
        for k in range(K):
            body.add_column(f"{'codebook ' if k == 0 and K <= 4 else ''}{k + 1}", justify="right")
        body.add_column("all", justify="right")
        body.add_column("", no_wrap=True)
        body.add_row("training bits", *_cells(step.bits, 2), _cell(math.fsum(step.bits), 2), "per frame")
        body.add_row("top-1 %", *_cells([100 * share for share in step.top1], 1), "", "")
        body.add_row("top-10 %", *_cells([100 * share for share in step.top10], 1), "", "")
        for seen, name, style in ((self.last, "held-out bits", ""), (self.best, "best so far", "bold")):
            if seen is None or (seen is self.best and name == "held-out bits"):
                continue
            bits, total = list(seen.scores["bits"]), float(seen.scores["total_bits"])
            body.add_row(name, *_cells(bits, 2), _cell(total, 2), f"step {seen.step}", style=style)
            top10 = [100 * share for share in seen.scores["top10"]]
            body.add_row("  top-10 %", *_cells(top10, 1), "", "", style=style)
        facts = [f"loss {step.loss:.3f} nats", f"rate {step.learning_rate:.2g}", f"gradient {step.gradient_norm:.2g}"]
        facts.append(f"{step.frames_per_s:.0f} frames/s")
        if step.memory_bytes:
            facts.append(size(step.memory_bytes))
        if step.skipped:
            facts.append(f"{counted(step.skipped, 'step')} skipped")
        return Group(head, body, Text("  ".join(facts), style="dim"))


def duration(seconds: float) -> str:
    """A length of time as a person says it: "1 h 05 min", "3 min 20 s", "12 s".

    >>> duration(3900), duration(200), duration(12.4)
    ('1 h 05 min', '3 min 20 s', '12 s')
    """
    if not math.isfinite(seconds):
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{seconds / 86400:.1f} days"


def size(count: float) -> str:
    """A number of bytes in MB or GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _cell(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _cells(values: Sequence[float], digits: int) -> list[str]:
    return [_cell(value, digits) for value in values]


def _list(values: Sequence[float], digits: int) -> str:
    return " ".join(_cells(values, digits))
