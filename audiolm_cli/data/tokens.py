"""Codes of recordings and what they mean. Knows nothing about files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class CodecFacts:
    """What the codes of a store mean."""

    name: str
    """The codec's name."""
    sha256: str
    """Hash of the codec's weights; empty when unknown."""
    sample_rate_hz: int
    """Rate of the audio that was encoded."""
    hop_samples: int
    """Samples per frame."""
    num_codebooks: int
    """K."""
    codebook_size: int
    """V."""
    source: str = ""
    """What finds the codec again: its catalogue name, or the path of its folder; empty when unknown."""

    @property
    def frame_shift_s(self) -> float:
        """Seconds per frame."""
        return self.hop_samples / self.sample_rate_hz


@dataclass(frozen=True, kw_only=True)
class TokenClip:
    """Codes of one recording, or of a part of it."""

    id: str
    """Name of the clip within the store."""
    codes: np.ndarray
    """int16 [T, K]."""
    ends: bool = True
    """True where the last frame is the end of the recording."""
