"""What the codec trainer needs to know of a family of codecs. Knows nothing about the families themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from torch import Tensor, nn

from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.quantizer import ResidualVectorQuantizer

CodecLosses = dict[str, float]
"""What a batch or a held-out set gave, by name; every family has "commitment", 0 before its quantizer comes in."""


class Trainee(Protocol):
    """A codec in training: inputs [B, ...] to latents [B, T, D] to outputs, which are to be near the inputs."""

    family: str
    """Its name in `config.json`."""
    quantizer: ResidualVectorQuantizer
    """Between latents and outputs."""
    usual_rates: tuple[float, float]
    """Peak learning rates from nothing, and from another codec's weights."""
    start_frames: int
    """Frames that k-means for the codebooks needs."""

    @property
    def codec(self) -> Codec:
        """The codec whose weights are trained."""
        ...

    @property
    def network(self) -> nn.Module:
        """Holds all that is trained, and `quantizer`."""
        ...

    @property
    def after_quantizer(self) -> Iterable[nn.Parameter]:
        """The weights that make sound of codes, and have no say in which codes there are."""
        ...

    def settings(self) -> dict[str, Any]:
        """The shape of the codec, and whatever else a training that goes on must have been started with."""
        ...

    def inputs(self, wav: Tensor) -> Tensor:
        """What the network takes, of clips [B, N]."""
        ...

    def latents(self, inputs: Tensor) -> Tensor:
        """Latents [B, T, D] before the quantizer."""
        ...

    def steady(self, latents: Tensor) -> list[Tensor]:
        """What the first codebooks look at in place of latents [B, T, D], one for each of them."""
        ...

    def outputs(self, latents: Tensor) -> Tensor:
        """What the network makes of latents [B, T, D]; shaped as its inputs."""
        ...

    def distance(self, outputs: Tensor, inputs: Tensor, step: int | None) -> tuple[Tensor, CodecLosses]:
        """The loss of outputs, and its parts by name; `step` is None when nothing is to be learned from them."""
        ...

    def initialise(self, clips: Iterator[Tensor], seed: int) -> None:
        """Set the first weights of a codec from nothing, to fit random training clips [B, N] of an endless supply."""
        ...

    def take_codebooks(self) -> None:
        """Start the quantizer from the codec's own codebooks, and from how often it uses each, where it knows that."""
        ...

    def give_codebooks(self) -> None:
        """Put the codebooks where the codec reads them."""
        ...

    def extra_state(self) -> dict[str, Tensor]:
        """What has to be saved beside the network."""
        ...

    def restore_extra(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `extra_state` returned."""
        ...
