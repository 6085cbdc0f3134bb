"""The only place that draws: results on stdout, everything else on stderr.

Knows nothing about what the commands do. A bar appears only where stderr is a terminal; elsewhere a plain line does,
now and then.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.text import Text

from audiolm_cli.cli.json_lines import JSON, JsonLines, to_plain
from audiolm_cli.cli.live import DRAWS_PER_S, TrainingView
from audiolm_cli.cli.pager import show_in_pager
from audiolm_cli.events import AUDIO_S, Activity, Event, Note, Progress, TrainStep, Validation
from audiolm_cli.stopping import check_stopped

if TYPE_CHECKING:
    from rich.progress import TaskID

    from audiolm_cli.cli.bars import Bars

LINE_EVERY_S = 10.0
STARTING, LOADING, WORKING = "starting", "load torch", "working"
"""What a terminal says until the first report, and after a stage until the next report."""
PAGE_WIDTH = 100
"""Columns of a page of text; longer lines are tiring to read."""


class Renderer:
    """Draws the events and the result of one command; a context manager, so that the bar never outlives it."""

    def __init__(
        self,
        *,
        quiet: bool = False,
        verbose: int = 0,
        no_progress: bool = False,
        json: bool = False,
        progress: str = "text",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.json = json
        self._quiet = quiet
        self._verbose = verbose
        self._lines = JsonLines(clock) if progress == JSON else None
        self._reports = not (quiet or no_progress)
        self._progress = self._reports and self._lines is None
        self._clock = clock
        self._err = Console(stderr=True, markup=False, highlight=False, emoji=False)
        self._err.soft_wrap = not _is_terminal()  # a terminal gets lines broken between words
        self._bar: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}
        self._last_line = clock()
        self._lined: set[str] = set()
        self._training: TrainingView | None = None
        self._entered = False
        self._activity: TaskID | None = None

    def __enter__(self) -> Self:
        self._entered = True
        self._draw_start(STARTING)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered = False
        self.close()

    def load_torch(self) -> None:
        """Say in a terminal what is being waited for: on a busy computer, importing torch takes many seconds."""
        self._draw_start(LOADING)

    def _draw_start(self, stage: str) -> None:
        if self._progress and _is_terminal():
            self._draw_activity(Activity(stage=stage))

    def close(self) -> None:
        """Take the bar or the table off the screen."""
        if self._training is not None:
            self._training.close()
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._activity = None
            self._tasks.clear()

    def on_event(self, event: Event) -> None:
        """Draw what a workflow reports; a signal whose exception was lost ends the work here."""
        check_stopped()
        if isinstance(event, Note):
            self.note(event.message, warning=event.warning)
        elif self._lines is not None:
            if self._reports:
                self._lines.report(event)
        elif isinstance(event, (TrainStep, Validation)):
            self._show_training(event)
        elif isinstance(event, Activity):
            if self._training is not None and self._training.is_drawn:
                self._training.doing = event.stage  # the table draws itself
            elif self._progress and _is_terminal():
                self._draw_activity(event)
            elif self._progress and event.share is not None:
                self._draw_line(event.stage, event.detail)
        else:
            self._show_progress(event)

    def _show_training(self, event: TrainStep | Validation) -> None:
        if self._training is None:
            self.close()
            self._training = TrainingView()
            self._started["training"] = self._clock()
        self._training.add(event)
        if not self._progress or isinstance(event, Validation):
            return
        now, finished = self._clock(), event.step >= event.steps
        if _is_terminal():
            if finished or now - self._last_line >= 1 / DRAWS_PER_S:
                self._last_line = now
                started = self._started["training"]
                self._training.draw(self._err, lambda: self._clock() - started)
        elif finished or now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            self._err.print(Text(self._training.line()))

    def _show_progress(self, event: Progress) -> None:
        started = self._started.setdefault(event.stage, self._clock())
        if self._progress and _is_terminal():
            self._draw_bar(event)
        elif self._progress:
            self._draw_stage_line(event)
        if event.total is not None and event.done >= event.total and self._started.pop(event.stage, None) is not None:
            self._lined.discard(event.stage)
            if self._verbose:
                self.note(f"{event.stage}: {self._clock() - started:.2f} s")

    def note(self, message: str, *, warning: bool = False) -> None:
        """One line on stderr; `quiet` hides it unless it is a warning."""
        if self._lines is not None:
            if warning or not self._quiet:
                self._lines.report(Note(message=message, warning=warning))
        elif warning:
            self._err.print(Text.assemble(("warning: ", "yellow"), message))
        elif not self._quiet:
            self._err.print(Text(message))

    def detail(self, message: str) -> None:
        """One line on stderr that `verbose` asks for."""
        if self._verbose:
            self.note(message)

    def hint(self, message: str) -> None:
        """One line on stderr that helps a person on; in a terminal alone."""
        if _is_terminal() and not self.json and not self.is_read_by_programs:
            self.note(message)

    def error(self, message: str, *, exit_code: int, trace: str = "") -> None:
        """The line that says why the command failed, below the traceback if there is to be one."""
        if self._lines is not None:
            self._lines.say("error", message=message, exit_code=exit_code, traceback=trace or None)
            return
        if trace:
            sys.stderr.write(trace)
        self._err.print(Text.assemble(("audiolm: error: ", "bold red"), (message, "red")))

    @property
    def is_read_by_programs(self) -> bool:
        """Whether stderr holds objects, with no room for a question to a person."""
        return self._lines is not None

    @property
    def is_verbose(self) -> bool:
        """Whether a person asks for more than is usual."""
        return self._verbose > 0

    @property
    def is_narrow(self) -> bool:
        """Whether stdout is a terminal in which a wide table would be cut to pieces."""
        return sys.stdout.isatty() and Console().width < PAGE_WIDTH

    def print_json(self, result: object, *, in_one_line: bool = False) -> None:
        """One JSON object on stdout; paths become text, numbers that JSON cannot hold become null."""
        indent = None if in_one_line else 2
        self.print(json.dumps(to_plain(result), indent=indent, ensure_ascii=False, allow_nan=False))

    def print(self, line: str) -> None:
        """One line of the result on stdout; what it cannot show, as of a name that is not UTF-8, is escaped."""
        self.close()  # what is drawn would run into it, and on going away take it along
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table on stdout: drawn in a terminal, plain columns with nothing cut off elsewhere."""
        self.close()
        texts = [[str(cell) for cell in row] for row in rows]
        if sys.stdout.isatty():
            self._draw_table(columns, texts)
            return
        widths = [max(len(row[index]) for row in [list(columns), *texts]) for index in range(len(columns))]
        for row in [[column.upper() for column in columns], *texts]:
            self.print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def paragraph(self, text: str) -> None:
        """One line of the result on stdout, which a terminal breaks between words."""
        self.close()
        if sys.stdout.isatty():
            Console(highlight=False).print(Text(text))
        else:
            self.print(text)

    def markdown(self, text: str) -> None:
        """A page of Markdown on stdout: drawn in a terminal, page by page where it is long, and as it is elsewhere."""
        self.close()
        if not sys.stdout.isatty():
            self.print(text.rstrip("\n"))
            return
        from rich.markdown import Markdown

        console = Console(highlight=False)
        with console.capture() as drawn:
            console.print(Markdown(text), width=min(PAGE_WIDTH, console.width))
        if not show_in_pager(drawn.get()):
            sys.stdout.write(drawn.get())

    def _draw_table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console(highlight=False).print(table)

    def _draw_bar(self, event: Progress) -> None:
        from audiolm_cli.cli.bars import place_detail

        bar = self._bar or self._open_bar()
        shown: dict[str, Any] = {"total": event.total, "amount": _amount(event), **place_detail(event.detail)}
        self._end_activity()
        if event.stage not in self._tasks:
            self._tasks[event.stage] = bar.add_task(event.stage, **shown)
        bar.update(self._tasks[event.stage], completed=event.done, **shown)
        if event.total is not None and event.done >= event.total:
            bar.remove_task(self._tasks.pop(event.stage))
            if not self._tasks and self._entered:  # something moves until the command ends
                self._draw_activity(Activity(stage=WORKING))
            elif not self._tasks:
                self.close()

    def _draw_activity(self, event: Activity) -> None:
        """A bar that moves, until something else is drawn."""
        from audiolm_cli.cli.bars import place_detail

        bar = self._bar or self._open_bar()
        if self._activity is None or bar.tasks[-1].description != event.stage:  # the activity is the lowest bar
            self._end_activity()
            self._activity = bar.add_task(event.stage, total=None, amount="", **place_detail(""))
        total = None if event.share is None else 1.0
        bar.update(self._activity, total=total, completed=event.share or 0, **place_detail(event.detail))

    def _end_activity(self) -> None:
        if self._bar is not None and self._activity is not None:
            self._bar.remove_task(self._activity)
        self._activity = None

    def _open_bar(self) -> Bars:
        from audiolm_cli.cli.bars import Bars

        if self._training is not None:  # a terminal has room for one that is drawn in place
            self._training.close()
        self._bar = Bars(self._err)
        self._bar.start()
        return self._bar

    def _draw_stage_line(self, event: Progress) -> None:
        """A line now and then, and the last one of a stage that had one before."""
        finished = event.total is not None and event.done >= event.total and event.stage in self._lined
        if self._draw_line(f"{event.stage}:", _amount(event), event.detail, at_once=finished):
            self._lined.add(event.stage)

    def _draw_line(self, *parts: str, at_once: bool = False) -> bool:
        """A line every `LINE_EVERY_S` seconds, or at once; whether one was drawn."""
        if not at_once and self._clock() - self._last_line < LINE_EVERY_S:
            return False
        self._last_line = self._clock()
        self._err.print(Text(" ".join(part for part in parts if part)))
        return True


def _is_terminal() -> bool:
    """Whether a bar can be drawn; asked of the stream itself, because FORCE_COLOR makes rich see a terminal in CI."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _amount(event: Progress) -> str:
    if event.unit == "B":
        total = "" if event.total is None else f"/{event.total / 1e6:.1f}"
        return f"{event.done / 1e6:.1f}{total} MB"
    if event.unit == AUDIO_S and event.total is not None:
        return f"{event.done:.1f}/{event.total:.1f} {event.unit}"
    total = "" if event.total is None else f"/{event.total:.10g}"
    return f"{event.done:.10g}{total} {event.unit}".strip()
