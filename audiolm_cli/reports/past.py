"""What a run folder says about the training in it: how it was started, how it went, what it was compared with.

Knows nothing about how models are trained.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiolm_cli.data.manifest import is_store
from audiolm_cli.evaluation.baselines import BaselineResult
from audiolm_cli.reports.curves import History, read_history

SETTINGS = "train.json"
"""What a run was started with."""
JOURNAL = "metrics.jsonl"
"""What was measured on the way."""
BASELINES = "baselines.json"
"""What predictors without a network reach on its validation windows."""
TOKENS = "tokens"
"""The codes of its recordings, where it was started on recordings."""


@dataclass(frozen=True, kw_only=True)
class PastTraining:
    """How a training went."""

    history: History
    """What it measured."""
    baselines: list[BaselineResult]
    """On the windows that its validations scored."""
    steps: int
    """Steps that it was to have."""


def read_past_training(run: Path) -> PastTraining | None:
    """How the training in a run folder went; None where nothing there says it."""
    history = read_history(run / JOURNAL)
    if not history.held_out:
        return None
    found = read_baselines(run)
    steps = read_settings(run).get("config", {}).get("steps", 0)
    return PastTraining(
        history=history,
        baselines=found[1] if found else [],
        steps=max(int(steps), history.held_out[-1][0]),
    )


def find_tokens(run: Path) -> Path | None:
    """The token store that the model in a run folder was trained on, where it is still there."""
    source = read_settings(run).get("source")
    places = [Path(source)] if isinstance(source, str) else []
    return next((place for place in (*places, run / TOKENS) if is_store(place)), None)


def read_settings(run: Path) -> dict[str, Any]:
    """What the run was started with; empty where that is not there or cannot be read."""
    try:
        values = json.loads((run / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def read_baselines(run: Path) -> tuple[str, list[BaselineResult]] | None:
    """The baselines of a run, with the hash of the codes they were measured on; None where there are none."""
    try:
        known = json.loads((run / BASELINES).read_text(encoding="utf-8"))
        return str(known["codes_sha256"]), [BaselineResult(**values) for values in known["baselines"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
