"""What a generating command reports: what was written, from what, and how long it took.

Knows nothing about how anything is generated.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from audiolm_cli.audio import Loss
from audiolm_cli.model.decode import Timing


@dataclass(frozen=True, kw_only=True)
class Output:
    """One written file."""

    path: str
    """Where it is; "-" is standard output."""
    seed: int
    """The seed of this take."""
    take: int
    """From 1."""
    sample_rate_hz: int
    """The input's."""
    channels: int
    """The input's."""
    duration_s: float
    """Of the whole file."""
    generated: list[tuple[float, float]]
    """Generated stretches of the file, in seconds."""
    sampling: dict[str, Any]
    """How its codes were drawn: `SamplingConfig` as it was used; where gaps differ, a list with a value for each."""
    score: float | None = None
    """With `best_of`, the mean log2 likelihood per frame that the take was ranked by."""
    faults: list[str] = field(default_factory=list)
    """What stretches of it are that making them again did not mend: "too loud"."""
    losses: list[Loss] = field(default_factory=list)
    """What of the input's own samples, loudspeakers and tags is not in the file as it was."""
    plot: str | None = None
    """Where its picture is, if one was wanted."""

    def near_generated(self, margin_s: float) -> list[tuple[float, float]]:
        """Stretches of the file, in seconds, that hold what was generated and `margin_s` on each side, in order."""
        near: list[tuple[float, float]] = []
        for start, end in self.generated:
            wider = max(0.0, start - margin_s), min(self.duration_s, end + margin_s)
            if near and wider[0] <= near[-1][1]:
                wider = near.pop()[0], wider[1]
            near.append(wider)
        return near


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One of several inputs that could not be used."""

    input: str
    """What was given."""
    error: str
    """Why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The result of a generating command."""

    outputs: list[Output]
    """One per take."""
    model: dict[str, str]
    """Its "name" and "sha256"."""
    device: str
    """Where it ran."""
    dtype: str
    """Number format of the model."""
    version: str
    """Of audiolm."""
    settings: dict[str, Any]
    """What the command was told, or took as default."""
    timing: dict[str, float]
    """Seconds by stage, frames and real-time factor."""
    failed: list[Failure] = field(default_factory=list)
    """Inputs that could not be used, when there were several."""
    page: str | None = None
    """Where the page of takes is, if one was wanted."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return dataclasses.asdict(self)


@dataclass
class Stopwatch:
    """Seconds by stage of one run."""

    started: float = field(default_factory=time.perf_counter)
    """When the run began, by `time.perf_counter`."""
    load_s: float = 0.0
    """Start-up, imports and weights."""
    encode_s: float = 0.0
    """Reading and encoding the context."""
    decode_s: float = 0.0
    """Codes to audio, and placing it."""
    model: Timing = field(default_factory=Timing)
    """AR and NAR."""
    first_sound_s: float | None = None
    """From the start to the first generated sound that was written while others were being made."""

    @classmethod
    def since(cls, started: float | None) -> Stopwatch:
        """One that began then, by `time.perf_counter`; None is now."""
        return cls() if started is None else cls(started=started)

    def end_loading(self) -> None:
        """Count everything since the start as loading."""
        self.load_s = time.perf_counter() - self.started

    def note_sound(self) -> None:
        """Take note of the first generated sound that was written before all of it was made."""
        if self.first_sound_s is None:
            self.first_sound_s = time.perf_counter() - self.started

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `<name>_s`."""
        began = time.perf_counter()
        yield
        setattr(self, f"{name}_s", getattr(self, f"{name}_s") + time.perf_counter() - began)

    def summarise(self, generated_s: float) -> dict[str, float]:
        """The timing part of a result: seconds by stage, and `rtf` = seconds without loading per generated second."""
        total = time.perf_counter() - self.started
        seconds = {
            "load_s": self.load_s,
            "encode_s": self.encode_s,
            "ar_s": self.model.ar_s,
            "nar_s": self.model.nar_s,
            "decode_s": self.decode_s,
            "total_s": total,
        }
        if self.first_sound_s is not None:
            seconds["first_sound_s"] = self.first_sound_s

        rtf = (total - self.load_s) / generated_s if generated_s else 0.0
        return {name: round(value, 4) for name, value in seconds.items()} | {
            "frames": self.model.frames,
            "rtf": round(rtf, 4),
        }
