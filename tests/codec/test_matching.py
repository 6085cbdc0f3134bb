"""A codec learns what it gets wrong of a recording, by bin and level, and decodes without that."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import soxr
import torch
from torch import Tensor

import audiolm_cli
from audiolm_cli.codec.matching import MOST_DB, correct, learn_corrections
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.evaluation.metrics import mel_distance, spectral_distance
from audiolm_cli.library.loading import load_codec

PRELUDE = Path(audiolm_cli.__file__).parent / "assets" / "demo" / "prelude.flac"
COLUMNS, BINS = 60, 9


def decoded_and_true(error_db: float = 4.0, level_db: float = 0.0) -> tuple[Tensor, Tensor]:
    """Magnitudes [COLUMNS, BINS] within 6 dB, as decoded and as they truly are: each bin is wrong by up to so much."""
    generator = torch.Generator().manual_seed(0)
    decoded_db = level_db + 6 * torch.rand(COLUMNS, BINS, generator=generator)
    true_db = decoded_db + torch.linspace(-error_db, error_db, BINS)
    return 10 ** (decoded_db / 20), 10 ** (true_db / 20)


def difference_db(a: Tensor, b: Tensor) -> float:
    return (20 * (a / b).log10()).abs().max().item()


def test_what_is_wrong_with_a_bin_is_put_right() -> None:
    decoded, true = decoded_and_true()
    assert difference_db(correct(decoded[None], learn_corrections(decoded, true))[0], true) < 0.5


def test_each_level_has_its_own_error() -> None:
    """Of one bin, what is soft is too loud by 4 dB, and what is loud is too soft by 4 dB."""
    pairs = [decoded_and_true(level_db=-30.0), decoded_and_true(level_db=10.0)]
    decoded = torch.cat([pairs[0][0], pairs[1][0]])
    true = torch.cat([pairs[0][1], pairs[1][1].flip(1) * pairs[1][0] / pairs[1][0].flip(1)])
    assert difference_db(correct(decoded[None], learn_corrections(decoded, true))[0], true) < 0.5


@pytest.mark.parametrize("step_db", [-20.0, 20.0])
def test_levels_that_were_not_heard_are_left_alone(step_db: float) -> None:
    decoded, true = decoded_and_true()
    other = decoded[None] * 10 ** (step_db / 20)
    assert difference_db(correct(other, learn_corrections(decoded, true)), other) < 0.1


def test_little_evidence_changes_little() -> None:
    """One column says less than sixty."""
    decoded, true = decoded_and_true()
    few, many = (
        difference_db(correct(decoded[None, :1], learn_corrections(decoded[:columns], true[:columns]))[0], decoded[:1])
        for columns in (1, COLUMNS)
    )
    assert few < 0.6 * many


def test_no_more_than_most_is_put_right() -> None:
    decoded, true = decoded_and_true(30.0)
    assert MOST_DB - 1 < difference_db(correct(decoded[None], learn_corrections(decoded, true)), decoded) < MOST_DB


def test_silence_stays_silent_and_finite() -> None:
    decoded, true = decoded_and_true()
    silence = torch.zeros(1, COLUMNS, BINS)
    for corrections in (
        learn_corrections(decoded, true),
        learn_corrections(silence[0], silence[0]),
        learn_corrections(silence[0], true),
    ):
        assert torch.isfinite(corrections).all()
        assert torch.equal(correct(silence, corrections), silence)


def test_items_of_a_batch_do_not_touch_each_other() -> None:
    decoded, true = decoded_and_true()
    corrections, both = learn_corrections(decoded, true), torch.stack([decoded, true])
    assert torch.equal(correct(both, corrections), torch.cat([correct(one[None], corrections) for one in both]))


@pytest.fixture(scope="module")
def bundled() -> SpectralCodec:
    codec = load_codec("sound")
    assert isinstance(codec, SpectralCodec)
    return codec


@pytest.fixture(scope="module")
def prelude(bundled: SpectralCodec) -> Tensor:
    """Eight seconds of the demo's prelude, [1, 1, N]."""
    recorded, rate_hz = soundfile.read(PRELUDE, dtype="float32")
    wav = torch.from_numpy(soxr.resample(recorded.mean(1), rate_hz, bundled.sample_rate_hz))
    return wav[None, None, : 8 * bundled.sample_rate_hz]


def test_a_matched_codec_is_nearer_to_the_rest_of_the_recording(bundled: SpectralCodec, prelude: Tensor) -> None:
    """Learned from the first half of the demo's prelude, and measured on the second."""
    half = 4 * bundled.sample_rate_hz
    matched = bundled.matched([(bundled.encode(prelude[..., :half]), prelude[..., :half])])
    codes, true = bundled.encode(prelude[..., half:]), prelude[0, 0, half:]
    before, after = (codec.decode(codes)[0, 0] for codec in (bundled, matched))
    assert mel_distance(true, after) < 0.95 * mel_distance(true, before)
    assert spectral_distance(true, after) < 0.98 * spectral_distance(true, before)


def test_matching_makes_another_codec(bundled: SpectralCodec, prelude: Tensor) -> None:
    """The codec itself stays; a matched one that is matched again forgets the first recording."""
    wav = prelude[..., : bundled.hop_samples * 50]
    codes = bundled.encode(wav)
    before = bundled.decode(codes)
    matched = bundled.matched([(codes, wav)])
    assert torch.equal(bundled.decode(codes), before) and not torch.equal(matched.decode(codes), before)
    assert torch.equal(matched.matched([]).decode(codes), before)
    assert torch.equal(matched.matched([(codes, wav)]).decode(codes), matched.decode(codes))


@pytest.mark.parametrize("frames", [1, 2])
def test_stretches_that_are_hardly_there(bundled: SpectralCodec, prelude: Tensor, frames: int) -> None:
    wav = prelude[..., : bundled.hop_samples * frames]
    assert torch.isfinite(bundled.matched([(bundled.encode(wav), wav)]).decode(bundled.encode(prelude))).all()
