"""The key of a piece of audio, from how much each pitch class sounds. Knows nothing about files, codecs or models."""

from __future__ import annotations

import torch
from torch import Tensor

from audiolm_cli.evaluation.metrics import SAMPLE_RATE_HZ, chromagram

MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
"""How well each pitch class fits a key, from its tonic upwards (Krumhansl and Kessler 1982)."""


def key_of(wav: Tensor, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Tensor:
    """The key whose profile correlates best with the pitch classes (Krumhansl 1990, chapter 4).

    Args:
        wav: float32 [N] or [B, N].
        sample_rate_hz: its rate.

    Returns:
        int64 [] or [B]: 0..11 are the major keys from A upwards by semitones, 12..23 the minor ones.
    """
    sounding = chromagram(wav, sample_rate_hz).mean(-1)  # [..., 12]
    profiles = torch.tensor([MAJOR, MINOR], device=wav.device)
    keys = torch.stack([profile.roll(tonic) for profile in profiles for tonic in range(12)])  # [24, 12]
    a, b = (x - x.mean(-1, keepdim=True) for x in (sounding, keys))
    return (a @ (b / b.norm(dim=-1, keepdim=True)).T).argmax(-1)
