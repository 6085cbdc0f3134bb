"""The EnCodec network in training: distances of waveforms, and a start in which no layer fades the signal.

Everything is float32: bf16 would leave a noise floor that losses on logarithms cannot get under. Knows nothing about
steps, files or the codec's optimizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from audiolm_cli.codec.encodec import EncodecCodec
from audiolm_cli.codec.quantizer import ResidualVectorQuantizer
from audiolm_cli.config.training import CodecTrainConfig
from audiolm_cli.training.codec.adversary import Adversary
from audiolm_cli.training.codec.trainee import CodecLosses
from audiolm_cli.training.codec.waveforms import mel_loss, stft_loss

ADVERSARIAL, MATCHING = 0.07, 0.14
"""Weights of the discriminator's verdict and of its features, beside 1 for each distance: about the proportions of
Kumar et al. (2023)."""


class EncodecNetwork(nn.Module):
    """The encoder and decoder of a codec, which go on being the codec's own, around a quantizer that can be trained.

    `encodec`'s quantizer does not detach its residuals, and undoes the revival of a code with its next average.
    """

    def __init__(self, codec: EncodecCodec) -> None:
        super().__init__()
        self.encoder, self.decoder = codec.network.encoder, codec.network.decoder
        self.books = [layer._codebook for layer in codec.network.quantizer.vq.layers]  # a list: no part of the state
        self.quantizer = ResidualVectorQuantizer(codec.num_codebooks, codec.codebook_size, codec.config.dimension)

    @torch.no_grad()
    def take_codebooks(self) -> None:
        """Start the quantizer from the codec's codebooks and their averages."""
        for k, book in enumerate(self.books):
            self.quantizer.codebooks[k] = book.embed

            # How often each code is used, in shares that average one.
            shares = book.cluster_size.clamp(min=0) / book.cluster_size.clamp(min=0).sum().clamp(min=1e-9)
            self.quantizer.counts[k] = shares * self.quantizer.codebook_size
            self.quantizer.sums[k] = book.embed * self.quantizer.counts[k, :, None]

    @torch.no_grad()
    def give_codebooks(self) -> None:
        """Let the codec have the quantizer's codebooks and averages."""
        for k, book in enumerate(self.books):
            book.embed.copy_(self.quantizer.codebooks[k])
            book.embed_avg.copy_(self.quantizer.sums[k])
            book.cluster_size.copy_(self.quantizer.counts[k])
            book.inited.fill_(1)


class EncodecTrainee:
    """A `Trainee`; "mel" and "stft" are mean absolute differences of log10 magnitudes, in decades."""

    family = "encodec"
    usual_rates = (1e-3, 1e-4)

    def __init__(self, codec: EncodecCodec, config: CodecTrainConfig) -> None:
        self.codec, self.config = codec, config
        self.network = EncodecNetwork(codec).to(codec.device).train().requires_grad_(True)
        self.quantizer = self.network.quantizer
        self.start_frames = 30 * codec.codebook_size

        self.adversary: Adversary | None = None
        if config.adversarial_from is not None:
            self.adversary = Adversary(codec.device, config.seed)

    @property
    def after_quantizer(self) -> Iterable[nn.Parameter]:
        """The decoder's weights."""
        return self.network.decoder.parameters()

    def settings(self) -> dict[str, Any]:
        """The shape of the codec."""
        return {name: value for name, value in self.codec.config.to_dict().items() if name != "name"}

    def inputs(self, wav: Tensor) -> Tensor:
        """The clips [B, N] themselves."""
        return wav

    def latents(self, inputs: Tensor) -> Tensor:
        """Latents [B, T, D] of waveforms [B, N]."""
        latents: Tensor = self.network.encoder(inputs[:, None])  # [B, D, T]
        return latents.transpose(1, 2)

    def steady(self, latents: Tensor) -> list[Tensor]:
        """None: all codebooks look at the latents themselves."""
        return []

    def outputs(self, latents: Tensor) -> Tensor:
        """Waveforms [B, N] of latents [B, T, D]."""
        wav: Tensor = self.network.decoder(latents.transpose(1, 2))  # [B, 1, N]
        return wav[:, 0]

    def distance(self, outputs: Tensor, inputs: Tensor, step: int | None) -> tuple[Tensor, CodecLosses]:
        """The loss of waveforms [B, N] and its parts, those of the adversary too once it has come in."""
        mel, stft = mel_loss(outputs, inputs, self.codec.sample_rate_hz), stft_loss(outputs, inputs)
        loss, parts = mel + stft, {"mel": mel.item(), "stft": stft.item()}

        first = self.config.adversarial_from
        if self.adversary is None or first is None or step is None or step < first:
            return loss, parts

        # The adversary learns first, and then judges.
        critic = self.adversary.learn(outputs, inputs)
        adversarial, features = self.adversary.losses(outputs, inputs)
        loss = loss + ADVERSARIAL * adversarial + MATCHING * features
        return loss, parts | {"adversarial": adversarial.item(), "matching": features.item(), "critic": critic}

    def initialise(self, clips: Iterator[Tensor], seed: int) -> None:
        """Even out the random weights over one batch of clips."""
        wav = next(clips)
        latents = even_out_layers(self.network.encoder, wav[:, None])  # [B, D, T]
        even_out_layers(self.network.decoder, latents, last_deviation=wav.std().item())

    def take_codebooks(self) -> None:
        """Take the codec's codebooks and the averages that it was left with."""
        self.network.take_codebooks()

    def give_codebooks(self) -> None:
        """Put the codebooks into the codec."""
        self.network.give_codebooks()

    def extra_state(self) -> dict[str, Tensor]:
        """The adversary."""
        return {} if self.adversary is None else self.adversary.state()

    def restore_extra(self, tensors: dict[str, Tensor]) -> None:
        """Put the adversary back."""
        if self.adversary is not None:
            self.adversary.restore(tensors)


@torch.no_grad()
def even_out_layers(stack: nn.Module, inputs: Tensor, last_deviation: float = 1.0) -> Tensor:
    """Scale each convolution, in the order of the signal, so that its outputs have no mean and a deviation of one.

    As torch initialises it, such an encoder hardly varies over time, and all its frames fall into a few codes. The
    scale goes into the weight norm, the mean of each channel into the bias (after Mishkin and Matas, "All you need is
    a good init", 2015).

    Args:
        stack: convolutions under weight norm, [B, C, N] to [B, C', N'].
        inputs: what it is evened out over.
        last_deviation: of the last convolution's outputs.

    Returns:
        The outputs of the stack as it now is.
    """

    def scale(layer: Any, _: Any, outputs: Tensor) -> Tensor:
        mean = outputs.mean(dim=(0, 2))  # [C]
        wanted = last_deviation if layer is layers[-1] else 1.0
        deviation = (outputs - mean[:, None]).std().clamp(min=1e-8) / wanted

        layer.weight_g.div_(deviation)
        layer.bias.sub_(mean).div_(deviation)
        return (outputs - mean[:, None]) / deviation

    layers = [layer for layer in stack.modules() if isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d))]
    hooks = [layer.register_forward_hook(scale) for layer in layers]  # what a hook returns goes on to the next layer
    try:
        outputs: Tensor = stack(inputs)
    finally:
        for hook in hooks:
            hook.remove()

    return outputs
