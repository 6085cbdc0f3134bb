"""What every generating step needs, made once for a command or a call; and what is decided when a gap is known.

Knows nothing about files or commands.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from audiolm_cli.codec.base import Codec
from audiolm_cli.config.generation import AR_TEMPERATURE, NAR_TEMPERATURE, GenerateConfig, SamplingConfig
from audiolm_cli.config.musical import Musical
from audiolm_cli.cores import Cores
from audiolm_cli.devices import pick_device, prepare_cpu
from audiolm_cli.editing.guards import FaultLog
from audiolm_cli.editing.result import Stopwatch
from audiolm_cli.editing.ruler import Ruler
from audiolm_cli.errors import UsageError
from audiolm_cli.events import AUDIO_S, Activity, Note, OnEvent, Progress, ignore
from audiolm_cli.library.loading import Loaded, load_model
from audiolm_cli.model.decode import guidance_of
from audiolm_cli.model.decoders import Decoders

LoadModel = Callable[[str, torch.device, str, Path | None], Loaded]
"""How a model comes into memory: by name or path, device, number format and cache, as `load_model` takes them."""
SHORT_GAP_S, SHORT_GAP_TEMPERATURE = 1.0, 0.5
"""Gaps of up to this length between two contexts are drawn at this temperature, unless another is asked for: there is
less to choose, and a lower temperature comes nearer to what was there (`audiolm guide training` has the figures)."""
SHORT_GAP_FINE_TEMPERATURE = 0.6
"""The same for the further codebooks, where the AR decoder makes them all: it gains a little. With a NAR decoder,
nothing was gained."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """A model with its codec in memory, the settings of a command, and where its progress and its seconds go."""

    loaded: Loaded
    """The model, its codec, and the folder that both came from."""
    config: GenerateConfig = field(default_factory=GenerateConfig)
    """Takes, seed, context, channels, ..."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How codes are drawn, as it was asked for; `sampling_for` says how a gap's codes are drawn."""
    elsewhere: Tensor | None = None
    """Codes [1, E, K] of a prompt from elsewhere: the sound of a reference. None is none."""
    on_event: OnEvent = ignore
    """Gets the progress."""
    watch: Stopwatch = field(default_factory=Stopwatch)
    """Where the seconds are added."""
    cores: Cores = field(default_factory=Cores)
    """What knows which cores are free."""
    faults: FaultLog = field(default_factory=FaultLog)
    """Where stretches are noted that went wrong."""

    def __post_init__(self) -> None:
        """Refuse a style that the model does not have.

        Raises:
            UsageError: it is one.
        """
        style, folder = self.config.style_token, self.loaded.folder
        styles = self.loaded.model.config.styles
        if style is not None and style not in styles:
            known = f"it has {', '.join(styles)}" if styles else "it has none; train one with --styles"
            raise UsageError(f"the model {folder.name} has no style {style!r}; {known}")

    @cached_property
    def model(self) -> Decoders:
        """The two decoders, in eval mode; of the style that was asked for."""
        style, model = self.config.style_token, self.loaded.model
        return model if style is None else model.with_style(style)

    @property
    def codec(self) -> Codec:
        """The codec of the model, on the same device."""
        return self.loaded.codec

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Compute inside on all free cores, and add the time to that stage."""
        with self.watch.stage(name), self.cores.share():
            yield

    def report_audio(self, stage: str, share: float, duration_s: float) -> None:
        """Report how much of a piece of audio went through a stage.

        Args:
            stage: what is being done.
            share: of the piece, 0..1.
            duration_s: length of the piece.
        """
        self.on_event(Progress(stage=stage, done=share * duration_s, total=duration_s, unit=AUDIO_S))

    @property
    def prompt_frames(self) -> int:
        """Context frames wanted on each side of a gap.

        Raises:
            UsageError: the prompt is shorter than one frame.
        """
        window, rate_hz, prompt_s = self.model.config.max_frames, self.codec.frame_rate_hz, self.config.prompt_s
        if prompt_s is None:
            return window
        assert not isinstance(prompt_s, Musical), "`with_prompt` has not been asked"

        if prompt_s * rate_hz < 1:
            raise UsageError(
                f"--prompt {prompt_s:g} is shorter than one frame of the codec, {1000 / rate_hz:.0f} ms; "
                "give more context"
            )
        return round(min(prompt_s * rate_hz, window))

    def with_prompt(self, ruler: Ruler) -> Session:
        """The session with the length of its context in seconds, where it was asked for in bars or beats.

        Raises:
            UsageError: nobody says how fast the recording is.
        """
        prompt = self.config.prompt_s
        if not isinstance(prompt, Musical):
            return self
        return dataclasses.replace(self, config=dataclasses.replace(self.config, prompt_s=float(ruler.seconds(prompt))))

    def draw_seeds(self, count: int) -> list[int]:
        """The seeds of `count` takes, one after the other from the configured one; without one, from a drawn one."""
        first = secrets.randbits(32) if self.config.seed is None else self.config.seed
        return [(first + number) % 2**63 for number in range(count)]

    def sampling_for(self, duration_s: float, *, between: bool) -> SamplingConfig:
        """How the codes of a gap are drawn: for every command, this decides each setting that was left open.

        Args:
            duration_s: length of the new audio.
            between: whether there is context on both sides of it.
        """
        short = between and round(duration_s, 3) <= SHORT_GAP_S  # its edges were rounded to samples
        first = SHORT_GAP_TEMPERATURE if short else AR_TEMPERATURE
        fine = SHORT_GAP_FINE_TEMPERATURE if short and not self.model.config.has_nar else NAR_TEMPERATURE

        return dataclasses.replace(
            self.sampling,
            temperature=first if self.sampling.temperature is None else self.sampling.temperature,
            nar_temperature=fine if self.sampling.nar_temperature is None else self.sampling.nar_temperature,
            guidance=guidance_of(self.sampling, self.model.config),
            nar_passes=self.sampling.nar_passes or self.model.config.nar_passes,
        )


def open_session(
    config: GenerateConfig,
    sampling: SamplingConfig,
    on_event: OnEvent = ignore,
    watch: Stopwatch | None = None,
    load: LoadModel = load_model,
) -> Session:
    """A session with the model that the settings name; everything up to here counts as loading.

    Args:
        config: which model, where, and what else its user wants.
        sampling: how codes are drawn.
        on_event: gets the progress.
        watch: where the seconds are added.
        load: gives the model; who has several commands to run gives one that keeps it.

    Raises:
        ModelError: there is no such model, or it is damaged.
        UsageError: the device or the number format is not to be had here.
    """
    watch = watch or Stopwatch()
    prepare_cpu(config.threads)
    cores = Cores()  # looked at from here on, so that what loading shows is known when the work begins
    cache = None if config.cache_dir is None else Path(config.cache_dir)
    if load is load_model:  # another one may have it in memory
        on_event(Activity(stage="load the model"))
    loaded = load(config.model, pick_device(config.device), config.dtype, cache)

    if config.dtype not in ("auto", loaded.dtype):
        message = f"torch {torch.__version__} has no {config.dtype} products for this processor; {loaded.dtype} is used"
        on_event(Note(message=message, warning=True))
    watch.end_loading()
    return Session(loaded=loaded, config=config, sampling=sampling, on_event=on_event, watch=watch, cores=cores)
