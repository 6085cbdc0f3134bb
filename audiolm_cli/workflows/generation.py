"""What every generating workflow shares: takes for one span of a recording, what was written, and how long it took.

Knows nothing about commands or terminals.
"""

from __future__ import annotations

import dataclasses
import json
import math
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from audiolm_cli import __version__
from audiolm_cli.audio import Recording, mid, to_native
from audiolm_cli.config import GenerateConfig, SamplingConfig
from audiolm_cli.events import Note, OnEvent, Progress
from audiolm_cli.model.decode import Timing
from audiolm_cli.workflows.level import training_gain
from audiolm_cli.workflows.loading import Loaded
from audiolm_cli.workflows.spans import open_span, render_span
from audiolm_cli.workflows.windows import fill_gap


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


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One of several inputs that could not be used."""

    input: str
    """What was given."""
    error: str
    """Why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The result of a generating workflow on one input."""

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

    def loaded(self) -> None:
        """Count everything since the start as loading."""
        self.load_s = time.perf_counter() - self.started

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `<name>_s`."""
        began = time.perf_counter()
        yield
        setattr(self, f"{name}_s", getattr(self, f"{name}_s") + time.perf_counter() - began)

    def report(self, generated_s: float) -> dict[str, float]:
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
        rtf = (total - self.load_s) / generated_s if generated_s else 0.0
        return {name: round(value, 4) for name, value in seconds.items()} | {
            "frames": self.model.frames,
            "rtf": round(rtf, 4),
        }


@dataclass(frozen=True, kw_only=True)
class Take:
    """One alternative for a span."""

    seed: int
    """What its random numbers came from."""
    audio: np.ndarray
    """float32 [C, n], the span at the recording's rate."""


def make_takes(
    loaded: Loaded,
    recording: Recording,
    start: int,
    stop: int,
    new_samples: int,
    config: GenerateConfig,
    sampling: SamplingConfig,
    on_event: OnEvent,
    watch: Stopwatch,
) -> list[Take]:
    """Alternatives for the samples `start:stop` of a recording, each `new_samples` long (shorter with `until_end`).

    `start == stop` inserts: at the end that is a continuation, at the beginning a prelude.
    """
    codec, window = loaded.codec, loaded.model.config.max_frames
    with watch.stage("encode"):
        wanted_s = math.inf if config.prompt_s is None else config.prompt_s
        frames = max(1, round(min(wanted_s * codec.frame_rate_hz, window)))
        span = open_span(
            recording.wav(0, start),
            recording.wav(stop),
            recording.sample_rate_hz,
            new_samples,
            gain=training_gain(mid(recording.wav())),
            frames=frames,
            codec=codec,
        )
    first_seed = secrets.randbits(32) if config.seed is None else config.seed
    seeds = [(first_seed + take) % 2**63 for take in range(config.takes)]
    groups = [[seed] for seed in seeds] if config.until_end else [seeds]
    takes: list[Take] = []
    for group in groups:
        codes = fill_gap(
            loaded.model,
            span.left.codes,
            span.right.codes,
            span.gap_frames,
            sampling,
            [torch.Generator().manual_seed(seed) for seed in group],
            until_end=config.until_end,
            on_frame=lambda done: on_event(Progress(stage="generate", done=done, total=span.gap_frames, unit="frames")),
            timing=watch.model,
        )
        with watch.stage("decode"):
            for seed, own in zip(group, codes, strict=True):
                own = own[own[:, 0] >= 0]
                wanted = span
                if len(own) < span.gap_frames:
                    frames = max(0, len(own) - span.left.hidden)
                    samples = min(new_samples, round(frames / codec.frame_rate_hz * recording.sample_rate_hz))
                    wanted = dataclasses.replace(span, gap_frames=len(own), new_samples=samples)
                audio = render_span(wanted, own[None], codec)
                takes.append(Take(seed=seed, audio=audio))
                on_event(Progress(stage="decode", done=len(takes), total=config.takes, unit="takes"))
    return takes


def splice(recording: Recording, start: int, stop: int, take: Take, on_event: OnEvent) -> Recording:
    """The recording with its samples `start:stop` replaced by a take; every other sample is what it was."""
    new, clipped = to_native(take.audio, recording)
    if clipped:
        on_event(Note(message=f"{clipped} generated samples were over full scale and are clipped", warning=True))
    samples = np.concatenate([recording.samples[:start], new, recording.samples[stop:]])
    return dataclasses.replace(recording, samples=samples)


def used_settings(config: GenerateConfig, sampling: SamplingConfig) -> dict[str, Any]:
    """What decides the codes, beside model, seed and length."""
    return {"prompt_s": config.prompt_s, "until_end": config.until_end, **sampling.to_dict()}


def comment(
    command: str, loaded: Loaded, config: GenerateConfig, sampling: SamplingConfig, seed: int, **settings: Any
) -> str:
    """What a file's comment tag says about how it was made, as JSON."""
    facts = {
        "audiolm": __version__,
        "command": command,
        "seed": seed,
        "model": loaded.folder.name,
        "model_sha256": loaded.folder.sha256,
        "device": loaded.model.device.type,
        "dtype": loaded.dtype,
        **settings,
        **used_settings(config, sampling),
    }
    return json.dumps({name: value for name, value in facts.items() if value is not None})
