"""A discriminator that learns to tell decoded audio from recordings, and the losses a codec gets from it.

Knows nothing about codecs.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiolm_cli.packages import explained_imports
from audiolm_cli.training.state import optimizer_tensors, restore_optimizer, with_prefix, without_prefix

LEARNING_RATE = 3e-4
FILTERS = 32
"""Channels of the discriminator: as published."""


class Adversary:
    """Hinge losses (Lim and Ye 2017) and relative feature matching, as EnCodec has them."""

    def __init__(self, device: torch.device, seed: int, filters: int = FILTERS) -> None:
        self.network = stft_discriminator(filters, seed).to(device)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=LEARNING_RATE, betas=(0.8, 0.99), weight_decay=0.0
        )

    def learn(self, outputs: Tensor, inputs: Tensor) -> float:
        """One step at telling decoded waveforms [B, N] from true ones; returns its loss: 2 knows nothing, 0 all."""
        self.network.requires_grad_(True)

        fake, _ = self.network(outputs.detach()[:, None])
        true, _ = self.network(inputs[:, None])
        pairs = list(zip(fake, true, strict=True))
        loss = torch.stack([F.relu(1 + f).mean() + F.relu(1 - t).mean() for f, t in pairs]).mean()

        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        if torch.isfinite(norm):
            self.optimizer.step()

        return loss.item()

    def losses(self, outputs: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """What the codec wants small: the hinge loss of its waveforms [B, N], and the distance of their features."""
        self.network.requires_grad_(False)  # the gradient passes through the network; its weights take none

        with torch.no_grad():
            _, true_maps = self.network(inputs[:, None])
        logits, maps = self.network(outputs[:, None])

        adversarial = torch.stack([F.relu(1 - logit).mean() for logit in logits]).mean()

        # Each feature map's distance in proportion to the true map's size.
        pairs = [pair for own, true in zip(maps, true_maps, strict=True) for pair in zip(own, true, strict=True)]
        features = torch.stack([(own - true).abs().mean() / true.abs().mean().clamp(min=1e-6) for own, true in pairs])

        return adversarial, features.mean()

    def state(self) -> dict[str, Tensor]:
        """Weights and optimizer."""
        tensors = with_prefix("network", self.network.state_dict())
        return tensors | with_prefix("optimizer", optimizer_tensors(self.optimizer))

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `state` returned."""
        self.network.load_state_dict(without_prefix("network", tensors))
        restore_optimizer(self.optimizer, without_prefix("optimizer", tensors))


def stft_discriminator(filters: int, seed: int) -> nn.Module:
    """`encodec`'s own discriminator of mono waveforms [B, 1, N], with random weights.

    Returns logits and feature maps, one list per window length: Defossez et al., "High fidelity neural audio
    compression" (2022), section 3.4. The global random state is left alone.

    Raises:
        InstallationError: encodec, or the torchaudio that it loads, cannot be imported.
    """
    with explained_imports():
        from encodec.msstftd import MultiScaleSTFTDiscriminator

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # encodec uses the older of torch's two weight norms
        torch.manual_seed(seed)
        network: nn.Module = MultiScaleSTFTDiscriminator(filters=filters)
    return network
