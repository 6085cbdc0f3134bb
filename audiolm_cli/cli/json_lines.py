"""Progress, messages and errors for other programs: one JSON object a line on standard error.

The forms of the objects are in `assets/schemas/progress.json`. Knows nothing about what the commands do.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from audiolm_cli.events import Activity, Event, Note, Progress, TrainStep

EVERY_S = 0.1
"""Time between two reports of the same stage; the last one of a stage always comes."""
OPTION, VARIABLE, JSON = "--progress", "AUDIOLM_PROGRESS", "json"


class JsonLines:
    """Writes what is reported, each report as one line."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: dict[str, tuple[float, float]] = {}
        self._last: tuple[str, float] = "", -math.inf

    def report(self, event: Event) -> None:
        """Write a report of a workflow, unless one of the same stage was written just now."""
        if isinstance(event, Note):
            self.say("warning" if event.warning else "message", message=event.message)
        elif isinstance(event, Progress):
            finished = event.total is not None and event.done >= event.total
            eta_s = self._find_eta(event, finished)
            if self._is_due(event.stage, finished):
                self.say("progress", **dataclasses.asdict(event), eta_s=eta_s)
        elif isinstance(event, Activity):
            if self._is_due(event.stage, event.share is not None and event.share >= 1):
                self.say("activity", **dataclasses.asdict(event))
        elif isinstance(event, TrainStep):
            if self._is_due("train", event.step >= event.steps):
                self.say("train_step", **dataclasses.asdict(event))
        else:
            self.say("validation", **dataclasses.asdict(event))

    def say(self, kind: str, **values: Any) -> None:
        """Write one object."""
        line = json.dumps({"event": kind, **to_plain(values)}, allow_nan=False)
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def _find_eta(self, event: Progress, finished: bool) -> float | None:
        """Seconds to the end of a stage at its speed so far; None where that is not known yet."""
        now = self._clock()
        began_s, began_done = self._began.setdefault(event.stage, (now, event.done))
        if finished:
            self._began.pop(event.stage)
            return 0.0
        made = event.done - began_done
        if event.total is None or made <= 0:
            return None
        return round((now - began_s) * (event.total - event.done) / made, 3)

    def _is_due(self, stage: str, finished: bool) -> bool:
        now, (last_stage, last_s) = self._clock(), self._last
        if not finished and stage == last_stage and now - last_s < EVERY_S:
            return False
        self._last = ("", -math.inf) if finished else (stage, now)  # the stage may begin once more at once
        return True


def is_wanted(words: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether a command line or a variable asks for lines of JSON, as far as can be seen before it is read."""
    given = [word.removeprefix(OPTION + "=") for word in words if word.startswith(OPTION + "=")]
    given += [after for word, after in itertools.pairwise(words) if word == OPTION]
    return (given[-1] if given else environment.get(VARIABLE)) == JSON


def to_plain(value: object) -> Any:
    """A value as JSON has it: dataclasses as objects, paths as text, and null for numbers that JSON cannot hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
