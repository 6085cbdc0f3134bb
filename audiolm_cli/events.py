"""What workflows report while they run. Knows nothing about terminals: `cli/render.py` draws these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

AUDIO_S = "s of audio"
"""The unit of whatever is made of audio, or makes it."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`done` of `total` units of a stage are finished."""

    stage: str
    """What is being done, as a short phrase: "encode", "AR decoding", "train"."""
    done: float
    """Units finished so far."""
    total: float | None
    """Units in all; None when unknown."""
    unit: str = ""
    """`AUDIO_S`, "files", "steps", ..."""
    detail: str = ""
    """A short text beside the bar, such as a loss."""


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What is going on until the next report, where that is no step towards the end of a stage."""

    stage: str
    """The same kind of phrase as that of a `Progress`."""
    detail: str = ""
    """A short text beside what moves."""
    share: float | None = None
    """How much of it is done, 0..1; None where that cannot be counted."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """One line for the user: something worth knowing that is no failure."""

    message: str
    """The line, without a trailing full stop or newline."""
    warning: bool = False
    """True for what the user should act on."""


@dataclass(frozen=True, kw_only=True)
class TrainStep:
    """One optimizer step of a training is done."""

    step: int
    """Steps done, this one included."""
    steps: int
    """Steps in all."""
    loss: float
    """Mean of the trained decoders' losses on this step's batch, in nats."""
    learning_rate: float
    """Of the first parameter group."""
    gradient_norm: float
    """Before clipping."""
    skipped: int
    """Steps so far that changed nothing, because their loss or gradient was not usable."""
    bits: list[float]
    """Cross-entropy per frame and codebook, running mean over the latest steps; NaN where nothing is known yet."""
    top1: list[float]
    """Share of frames, per codebook, whose code was the likeliest one; running mean."""
    top10: list[float]
    """Share of frames, per codebook, whose code was among the ten likeliest; running mean."""
    frames_per_s: float
    """Frames trained per second since this process began."""
    eta_s: float
    """Seconds to the last step at the speed of about the last ten minutes."""
    memory_bytes: int
    """Largest amount of memory in use so far: that of a GPU, the process's on a CPU; 0 where unknown."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The averaged weights were scored on held-out windows."""

    step: int
    """Steps done."""
    scores: Mapping[str, Any]
    """What `metrics.jsonl` says under "validation"."""
    summary: str
    """The same as one line for a person."""
    best: bool
    """No earlier validation of this training was better."""


Event = Progress | Activity | Note | TrainStep | Validation
OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener of callers that want no reports."""
