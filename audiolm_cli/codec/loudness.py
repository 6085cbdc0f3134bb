"""How loud codes will sound, without decoding them where that can be avoided. Knows nothing about models."""

from __future__ import annotations

import torch
from torch import Tensor

from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.spectral import SpectralCodec


@torch.inference_mode()
def frame_rms(codec: Codec, codes: Tensor) -> Tensor:
    """Root mean square [B, T] of the audio of each frame of codes [B, T, K]; from the magnitudes of a spectral codec.

    By Parseval's theorem, a column's squared magnitudes sum to the energy under its window.
    """
    if codes.shape[1] == 0:
        return torch.zeros(codes.shape[:2], device=codes.device)

    if not isinstance(codec, SpectralCodec):
        wav = codec.decode(codes)  # [B, C, T * hop]
        return wav.square().mean(1).view(*codes.shape[:2], codec.hop_samples).mean(-1).sqrt()

    energy = codec.decode_magnitudes(codes).square()  # [B, T * columns, bins]
    both = 2 * energy.sum(-1) - energy[..., 0] - energy[..., -1]  # the bins of negative frequencies as well
    mean_square = both / (len(codec.window) * codec.window.square().sum())  # [B, T * columns]
    return mean_square.view(*codes.shape[:2], -1).mean(-1).sqrt()
