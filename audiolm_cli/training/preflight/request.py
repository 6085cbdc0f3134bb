"""What a training is asked to do, as one thing: folders, codec, model, settings. Knows nothing about terminals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from audiolm_cli.checkpoints.catalogue import resolve_model
from audiolm_cli.checkpoints.folder import Folder
from audiolm_cli.codec.base import Codec
from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.devices import pick_device
from audiolm_cli.distributed import ALONE, Ranks
from audiolm_cli.events import OnEvent, ignore
from audiolm_cli.library.loading import load_codec


@dataclass(frozen=True)
class TrainRequest:
    """The arguments of `train` and `try_training`."""

    source: Path
    """A folder of recordings, or what `audiolm tokenize` wrote."""
    run: Path
    """The run folder: model, states, tokens, metrics."""
    _: KW_ONLY
    codec: str | None = None
    """Name or path of the codec for recordings; None is that of `init`, or the bundled one where there is none."""
    shape: ModelConfig | None = None
    """The model's, but for number and size of the codebooks, which are the codec's; with `init`, that model's."""
    num_quantizers: int | None = None
    """How many codebooks the codes must have; None accepts any."""
    ar_codebooks: int | None = None
    """How many codebooks the AR decoder makes; None leaves that of `shape` or `init`."""
    dropout: float | None = None
    """Of the model while it is trained; None leaves that of `shape` or `init`."""
    prompt_from: str | None = None
    """Where prompts come from, as `PromptShares` reads it; None leaves that of `shape` or `init`."""
    styles: str | None = None
    """Where the labels of recordings come from, as `data.styles.read_styles` takes it; None: they have none."""
    config: TrainConfig = field(default_factory=TrainConfig)
    """How to train."""
    init: str | None = None
    """Name or path of a model to start from."""
    transpose: int | None = None
    """Up to how many semitones up and down recordings are transposed, for copies to train on as well; None is none,
    and with `init` as many as the amount of audio asks for. Of recordings only."""
    free: frozenset[str] = frozenset()
    """Settings that nobody chose. With `init`, the amount of data decides those of `config`. Those of the shape that
    differ between presets are those of the run, where it has begun."""
    cache: Path | None = None
    """The checkpoint cache; None is the user's."""
    ranks: Ranks = ALONE
    """This process among those that train together; `cli/torchrun.py` finds it out."""
    on_event: OnEvent = ignore
    """Gets the progress."""

    @cached_property
    def device(self) -> torch.device:
        """Where to train.

        Raises:
            UsageError: there is no such device.
        """
        return pick_device(self.ranks.device(self.config.device))

    @cached_property
    def origin(self) -> Folder | None:
        """The folder of the model to start from.

        Raises:
            ModelError: it is missing or damaged, or it is a codec.
        """
        return resolve_model(self.init, self.cache) if self.init else None

    @cached_property
    def load_codec(self) -> Callable[[str], Codec]:
        """A function that gives the codec of a name or path, on the training's device; each is loaded once.

        Raises:
            ModelError: there is no such codec, or it is damaged.
        """
        loaded: dict[str, Codec] = {}

        def load(name: str) -> Codec:
            if name not in loaded:
                loaded[name] = load_codec(name, self.device, self.cache)
            return loaded[name]

        return load
