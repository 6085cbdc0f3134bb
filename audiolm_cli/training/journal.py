"""`metrics.jsonl`: one JSON object per line, in the order of the steps. Knows nothing about what is measured."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from audiolm_cli.files import taking_place_of


class Journal:
    """A file of measurements; a run that is started again goes on writing into it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, entry: Mapping[str, object]) -> None:
        """Append one entry, which has a "step". Numbers that JSON lacks become null."""
        line = json.dumps(_nullify(entry), allow_nan=False) + "\n"
        with self.path.open("a") as stream:
            stream.write(line)

    def last_step(self) -> int:
        """The step of the last whole entry; 0 where there is none."""
        return max((int(step) for line in self._lines() if math.isfinite(step := _read_step(line))), default=0)

    def validations(self) -> list[int]:
        """The steps whose entries have a "validation"."""
        steps = ((_read_step(line), line) for line in self._lines())
        return [int(step) for step, line in steps if math.isfinite(step) and "validation" in json.loads(line)]

    def cut(self, step: int) -> None:
        """Drop the entries of the steps after `step`, which will be done again, and lines that are no whole entry."""
        lines = self._lines()
        kept = [line for line in lines if _read_step(line) <= step]
        if kept != lines:
            with taking_place_of(self.path) as temporary:
                temporary.write_text("".join(kept))

    def _lines(self) -> list[str]:
        """What is in the file; none where there is none."""
        return self.path.read_text().splitlines(keepends=True) if self.path.exists() else []


def _read_step(line: str) -> float:
    """The step of a line; infinity where the line is no whole entry."""
    try:
        return float(json.loads(line)["step"]) if line.endswith("\n") else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf


def _nullify(value: object) -> object:
    """The same with None for every NaN and infinity, at any depth.

    Such are the losses of a decoder that is not trained, or of a model that diverged.
    """
    if isinstance(value, Mapping):
        return {key: _nullify(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nullify(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
