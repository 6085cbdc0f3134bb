"""`audiolm train --dry-run`: everything that a training does before its first step, and nothing that stays.

Knows nothing about commands or terminals.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from audiolm_cli.data.files import READABLE_SUFFIXES, find_audio
from audiolm_cli.data.manifest import is_store
from audiolm_cli.devices import prepare_cpu
from audiolm_cli.events import Note
from audiolm_cli.training.preflight.checks import Check, Checklist
from audiolm_cli.training.preflight.outlook import announce, expected_seconds, raise_failure
from audiolm_cli.training.preflight.preparing import (
    Given,
    TrainOptions,
    codec_for,
    codec_if_here,
    prepare,
    starting_model,
)
from audiolm_cli.workflows.tokenize import tokenize

TRIED_FILES = 6
"""Recordings, the smallest ones, that are encoded to try a folder of audio."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came out."""

    checks: list[Check]
    """Those that were done; the last one may have failed."""
    expected_s: float | None
    """How long the training would take; None when a check failed."""
    memory_bytes: int | None
    """Most memory it would use; None when a check failed, 0 where unknown."""

    def check(self) -> None:
        """Raise what a training would end with.

        Raises:
            AudioLMError: a check failed; the error is of the kind that fits.
        """
        raise_failure(self.checks)


def try_training(source: Path, run: Path, **options: Unpack[TrainOptions]) -> Trial:
    """Go through the checks of a training without training; the arguments are those of `train`.

    Of a folder of audio, its smallest recordings are encoded into a folder that is removed again.

    Raises:
        AudioLMError: as `train`, before its checks.
    """
    given = Given(source, run, **options)
    prepare_cpu(given.config.threads)
    with _store(given) as store:
        ready = prepare(given, store)
    model = starting_model(given, ready)
    announce(model, ready.config, ready.train, ready.facts, ready.origin is not None, given.on_event)
    decoder = codec_if_here(ready.owner, given)
    fine_tuned = ready.origin is not None
    parts = (model, ready.config, ready.facts, ready.train, ready.dev, decoder, run, fine_tuned, given.ranks.size)
    checklist = Checklist(*parts)
    checks = checklist.run(lambda check: None)
    expected = checklist.expected
    if expected is None or checks[-1].status == "failed":
        return Trial(checks=checks, expected_s=None, memory_bytes=None)
    seconds = expected_seconds(ready.config, ready.shape, expected)
    return Trial(checks=checks, expected_s=seconds, memory_bytes=expected.memory_bytes)


@contextmanager
def _store(given: Given) -> Iterator[Path]:
    """The token store to try, or one of a few recordings that is gone afterwards."""
    for place in (given.source, given.run / "tokens"):
        if is_store(place):
            yield place
            return
    codec, found = codec_for(given), find_audio(given.source, READABLE_SUFFIXES)
    tried = sorted(found, key=lambda path: (path.stat().st_size, path))[:TRIED_FILES]
    if len(tried) < len(found):
        given.on_event(Note(message=f"trying the {len(tried)} smallest of {len(found)} recordings"))
    with tempfile.TemporaryDirectory(prefix="audiolm-trial-") as folder:
        store = Path(folder) / "tokens"
        device = str(given.device)
        tokenize(tried, store, codec, device=device, workers=1, cache=given.cache, on_event=given.on_event)
        yield store
