"""How a training ends early: a signal waits for the end of the step and its state, and a person hears of it at once.

Knows nothing about what is trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from audiolm_cli.events import Note, OnEvent
from audiolm_cli.stopping import StopSignals, finishing

WAITS = "stopping: this step is finished and saved first; Ctrl-C once more stops without saving"
WAITS_NO_LONGER = "stopping without saving"


@contextmanager
def finishing_step(on_event: OnEvent) -> Iterator[StopSignals]:
    """For the steps of a training: it looks at `came`, saves and returns, and then the signal is acted on.

    `on_event` hears of the signal when it comes, from another thread: a step may take half a minute.
    """
    with finishing(lambda second: on_event(Note(message=WAITS_NO_LONGER if second else WAITS))) as signals:
        yield signals


def note_saved(step: int, saved: int) -> Note:
    """What a training that stopped after `step` steps leaves; `saved` are those of its newest state, -1 for none."""
    if saved < 0:
        return Note(message="stopped before the first step, so there is nothing to save; the same command begins again")
    return Note(message=f"saved at step {step}; the same command goes on from there")
