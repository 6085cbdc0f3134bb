"""`metrics.jsonl`: one JSON object per line, in the order of the steps. Knows nothing about what is measured."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from audiolm_cli.files import taking_place_of


class Journal:
    """A file of measurements that a run goes on writing where it stopped."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, entry: Mapping[str, object]) -> None:
        """Append one entry, which has a "step"; numbers that JSON lacks become null."""
        line = json.dumps(_finite(entry), allow_nan=False) + "\n"
        with self.path.open("a") as stream:
            stream.write(line)

    def cut(self, step: int) -> None:
        """Drop the entries of steps after `step`, which will be done again, and what is no whole entry."""
        if not self.path.exists():
            return
        lines = self.path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if _step(line) <= step]
        if kept != lines:
            with taking_place_of(self.path) as temporary:
                temporary.write_text("".join(kept))


def _step(line: str) -> float:
    """The step of a line; infinity of what is no whole entry."""
    try:
        return float(json.loads(line)["step"]) if line.endswith("\n") else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf


def _finite(value: object) -> object:
    """None for numbers that JSON lacks, at any depth: losses of a decoder that is not trained, or that diverged."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
