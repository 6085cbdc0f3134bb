"""Codes of recordings and what they mean. Knows nothing about files."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from audiolm_cli.audio.recording import RATES_HZ

MOST_CODEBOOKS = 256
"""No codec has more codebooks; mel features, which are no codes, do not have as many channels either."""
LARGEST_CODEBOOK = np.iinfo(np.int16).max + 1


@dataclass(frozen=True, kw_only=True)
class CodecFacts:
    """What the codes of a store mean."""

    name: str
    """The codec's name."""
    sha256: str
    """Hash that identifies the codec's codes, unchanged by training that touches the decoder alone; empty when
    unknown."""
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

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """The facts that a file states.

        Raises:
            ValueError: a field is missing, unknown, of another type or out of range; the message names it.
        """
        if not isinstance(values, dict):
            raise ValueError("expected one JSON object")

        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name in (*values, *fields):
            if name not in fields:
                raise ValueError(f"{name!r:.80} is unknown; known: {', '.join(fields)}")
            if name not in values and fields[name].default is dataclasses.MISSING:
                raise ValueError(f"{name} is missing")

        for name, value in values.items():
            _check_fact(name, value)
        return cls(**values)

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
    style: str = ""
    """Label of the recording; empty where it has none."""
    copy_of: str = ""
    """The id of the clip that this one is, played faster or slower; empty where the recording is as it was made."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The clips of a training."""

    train: list[TokenClip]
    """Clips to train on."""
    dev: list[TokenClip]
    """Clips to validate on."""
    copies: list[TokenClip] = field(default_factory=list)
    """Transposed copies of the clips to train on, which are trained on as well."""

    @property
    def lessons(self) -> list[TokenClip]:
        """All that windows are cut from."""
        return [*self.train, *self.copies]

    @property
    def frames(self) -> int:
        """Frames to train on, copies not counted: how much there is to learn from."""
        return sum(len(clip.codes) for clip in self.train)


_RANGES = {
    "sample_rate_hz": RATES_HZ,
    "hop_samples": (1, 1 << 20),
    "num_codebooks": (1, MOST_CODEBOOKS),
    "codebook_size": (1, LARGEST_CODEBOOK),
}


def _check_fact(name: str, value: Any) -> None:
    """Refuse a text that is none, and a number that is none or out of its range."""
    if name not in _RANGES:
        if not isinstance(value, str):
            raise ValueError(f"{name} is {value!r:.80}, expected a text")
        return

    least, most = _RANGES[name]
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is {value!r:.80}, expected a whole number from {least} to {most}")
