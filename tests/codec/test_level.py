"""Loudness in a code of its own: levels against arithmetic, and codes of pieces against those of the whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from audiolm_cli.codec.chunked import encode_chunked
from audiolm_cli.codec.level import HIGHEST_DB, LOWEST_DB, REFERENCE_RMS, decode_level, encode_level, measure_level
from audiolm_cli.codec.phase import absolute, stft
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.library.loading import load_codec

RATE_HZ, HOP = 32_000, 320
WINDOW = torch.hann_window(2048)
Piano = Callable[..., np.ndarray]


def levels(wav: torch.Tensor, reach: int = 50) -> torch.Tensor:
    """Level [J] of wav [N]."""
    return measure_level(absolute(stft(wav[None], WINDOW, HOP)), WINDOW, reach)[0, :, 0]


def test_the_level_is_the_root_mean_square_over_the_reference() -> None:
    sine = 0.2 * torch.sin(2 * torch.pi * 440 * torch.arange(RATE_HZ * 2) / RATE_HZ)
    found = levels(sine)[50:-50]
    assert found.tolist() == pytest.approx([0.2 / 2**0.5 / REFERENCE_RMS] * len(found), rel=0.01)
    assert levels(torch.zeros(RATE_HZ)).tolist() == pytest.approx([10 ** (LOWEST_DB / 20)] * 100)
    assert levels(torch.ones(RATE_HZ * 2) * 0.5)[80] < 0.1  # an offset is not loud


def test_a_level_follows_slowly_and_says_the_same_of_the_ends() -> None:
    """Of a signal that begins in the middle, half the energy half a window away from where it is whole."""
    wav = torch.cat([torch.zeros(RATE_HZ), 0.1 * torch.randn(RATE_HZ, generator=torch.Generator().manual_seed(0))])
    found = levels(wav)
    assert found[100].item() == pytest.approx(0.5**0.5, rel=0.05)
    assert found[-1].item() == pytest.approx(1.0, rel=0.1)
    assert (found.diff()[40:160] >= -0.02).all()


@pytest.mark.parametrize(("codes", "step_db"), [(2048, 0.25), (32, 72 / 31)])
def test_codes_of_levels_are_steps_of_decibels(codes: int, step_db: float) -> None:
    decibels = torch.linspace(LOWEST_DB, HIGHEST_DB, 500)
    found = 20 * decode_level(encode_level(10 ** (decibels / 20), codes), codes).log10()
    assert (found - decibels).abs().max() <= step_db / 2 + 1e-3
    quieter = encode_level(10 ** ((decibels - 4 * step_db) / 20), codes)[300:]
    assert torch.equal(encode_level(10 ** (decibels / 20), codes)[300:] - quieter, torch.full((200,), 4))


def test_pieces_have_the_codes_of_the_whole(tiny_codec: Path, piano: Piano) -> None:
    """With context as wide as the receptive field, level and steady codebooks included."""
    plain = load_codec(str(tiny_codec))
    assert isinstance(plain, SpectralCodec)
    codec = SpectralCodec(dataclasses.replace(plain.config, level_s=0.5, steady_frames=5))
    codec.load_state_dict(plain.state_dict())
    wav = torch.from_numpy(piano(6.0)[:, :1].T.copy())[None]  # [1, 1, N]
    whole = codec.encode(wav)
    assert whole.shape[-1] == codec.num_codebooks == plain.num_codebooks + 1
    assert torch.equal(encode_chunked(codec, wav, chunk_frames=60), whole)
    assert codec.decode(whole).shape[-1] == whole.shape[1] * codec.hop_samples
