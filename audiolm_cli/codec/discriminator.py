"""The multi-scale STFT discriminator that EnCodec was trained with. Knows nothing about how it is trained."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from audiolm_cli.packages import explained_imports


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
