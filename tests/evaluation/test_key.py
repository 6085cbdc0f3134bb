"""The key of a scale and its chord is found, whatever the octave."""

from __future__ import annotations

import pytest
import torch

from audiolm_cli.evaluation.key import key_of

MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)


def notes(semitones: list[float]) -> torch.Tensor:
    """Half a second of each note, semitones above A3, with some partials."""
    time = torch.arange(16_000) / 32_000
    hz = [220 * 2 ** (semitone / 12) for semitone in semitones]
    return torch.cat([sum(torch.sin(2 * torch.pi * f * n * time) / n for n in (1, 2, 3)) for f in hz])


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize(("scale", "offset"), [(MAJOR, 0), (MINOR, 12)])
def test_the_key_of_a_scale_and_its_chord(tonic: int, scale: tuple[int, ...], offset: int) -> None:
    chord = [scale[0], scale[2], scale[4], scale[0] + 12]
    wav = notes([tonic + step for step in [*scale, *chord, *chord]]) / 4
    assert key_of(wav).item() == offset + tonic
    assert torch.equal(key_of(torch.stack([wav, wav / 10])), torch.tensor([offset + tonic] * 2))
