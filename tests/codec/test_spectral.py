"""The spectral codec: lengths, chunks, determinism, receptive field, and the start from principal components."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from audiolm_cli.codec.base import Codec, KnownSamples
from audiolm_cli.codec.chunked import decode_chunked, encode_chunked
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.config.shapes import SpectralConfig

SHAPE = SpectralConfig(
    sample_rate_hz=8000,
    hop_samples=160,
    window_samples=512,
    width=32,
    latent=8,
    encoder_blocks=2,
    decoder_blocks=2,
    kernel=3,
    num_codebooks=3,
    codebook_size=16,
    griffin_lim_iterations=4,
)
HOP = SHAPE.hop_samples


def tune(samples: int, seed: int = 0) -> Tensor:
    """Notes that change every 0.1 s, with noise below them [1, 1, N]."""
    generator = torch.Generator().manual_seed(seed)
    time_s = torch.arange(samples) / SHAPE.sample_rate_hz
    pitches = 110 * 2 ** (torch.randint(0, 36, (samples // 800 + 1,), generator=generator) / 12)
    phase = torch.cumsum(pitches[(time_s * 10).long()], 0) * 2 * math.pi / SHAPE.sample_rate_hz
    wav = 0.4 * phase.sin() + 0.2 * (2 * phase).sin() + 0.01 * torch.randn(samples, generator=generator)
    return wav[None, None]


@pytest.fixture(scope="module")
def codec() -> SpectralCodec:
    """Random blocks between analysis and synthesis by principal components, and codebooks set from data."""
    torch.manual_seed(0)
    tiny = SpectralCodec(SHAPE).eval()
    with torch.no_grad():
        features = tiny.log_magnitudes(tune(400 * HOP)[:, 0])
        tiny.network.initialise(features.flatten(0, 1))
        latents = tiny.network.latents(features)
    tiny.network.quantizer.initialise(latents[0], 5, torch.Generator().manual_seed(0))
    return tiny


def test_it_is_a_codec_and_says_what_it_is(codec: SpectralCodec) -> None:
    assert isinstance(codec, Codec)
    assert (codec.frame_rate_hz, codec.num_codebooks, codec.codebook_size, codec.channels) == (50.0, 3, 16, 1)


@pytest.mark.parametrize("samples", [1, 2, HOP - 1, HOP, HOP + 1, 7 * HOP, 7 * HOP + 5])
def test_lengths(codec: SpectralCodec, samples: int) -> None:
    codes = codec.encode(tune(samples).expand(2, -1, -1))
    assert codes.shape == (2, math.ceil(samples / HOP), 3) and codes.dtype == torch.int64
    assert codes.min() >= 0 and codes.max() < SHAPE.codebook_size
    wav = codec.decode(codes)
    assert wav.shape == (2, 1, codes.shape[1] * HOP) and wav.dtype == torch.float32
    assert wav.isfinite().all()


def test_nothing_gives_nothing(codec: SpectralCodec) -> None:
    codes = codec.encode(torch.zeros(2, 1, 0))
    assert codes.shape == (2, 0, 3) and codes.dtype == torch.int64
    assert codec.decode(codes).shape == (2, 1, 0)


def test_silence_has_one_code_in_the_middle_and_sounds_like_nothing(codec: SpectralCodec) -> None:
    codes = codec.encode(torch.zeros(1, 1, 40 * HOP))
    reach = codec.receptive_field_frames
    assert reach is not None
    assert (codes[0, reach:-reach] == codes[0, 20]).all()
    assert codec.decode(codes).isfinite().all()


def test_codes_vary_with_the_audio(codec: SpectralCodec) -> None:
    codes = codec.encode(tune(300 * HOP))
    assert all(len(codes[..., k].unique()) > 8 for k in range(3))


@pytest.mark.parametrize("samples", [200 * HOP, 200 * HOP + 77, 31 * HOP, HOP // 2])
@pytest.mark.parametrize("chunk_frames", [1, 10, 64, 199])
def test_chunked_encoding_equals_that_of_the_whole(codec: SpectralCodec, samples: int, chunk_frames: int) -> None:
    wav = tune(samples, seed=3)
    assert torch.equal(encode_chunked(codec, wav, chunk_frames), codec.encode(wav))


def test_the_receptive_field_is_what_it_says(codec: SpectralCodec) -> None:
    """Audio further away changes no latent of a frame; the last frame within reach does."""
    reach = codec.receptive_field_frames
    assert reach == SHAPE.encoder_blocks * (SHAPE.kernel // 2) + 2
    frame = 30
    wav = tune(60 * HOP)

    def latents(other: Tensor) -> Tensor:
        with torch.no_grad():
            return codec.network.latents(codec.log_magnitudes(other[:, 0]))[:, frame]

    for first, last, matters in (
        (0, (frame - reach) * HOP, False),
        ((frame + reach + 1) * HOP, 60 * HOP, False),
        ((frame - reach) * HOP, (frame - reach + 1) * HOP, True),
        ((frame + reach) * HOP, (frame + reach + 1) * HOP, True),
    ):
        other = wav.clone()
        other[..., first:last] += torch.randn(last - first, generator=torch.Generator().manual_seed(1))
        assert ((latents(other) - latents(wav)).abs().max() > 1e-6) == matters, (first, last)
        if not matters:
            assert torch.equal(codec.encode(other)[:, frame], codec.encode(wav)[:, frame])


def test_the_same_codes_give_the_same_samples(codec: SpectralCodec) -> None:
    codes = codec.encode(tune(50 * HOP))
    torch.manual_seed(1)
    first = codec.decode(codes)
    torch.manual_seed(2)
    assert torch.equal(codec.decode(codes), first)


def test_decoding_in_chunks_runs_on_without_a_jump(codec: SpectralCodec) -> None:
    """Each chunk gets the samples before it as known ones, so no step is larger than those within one-shot decoding."""
    codes = codec.encode(tune(60 * HOP))
    whole, chunked = codec.decode(codes)[0, 0], decode_chunked(codec, codes, chunk_frames=20)[0, 0]
    assert chunked.shape == whole.shape
    seams = torch.tensor([20 * HOP, 40 * HOP])
    jumps = (chunked[seams] - chunked[seams - 1]).abs().max()
    assert jumps <= whole.diff().abs().max()


def test_known_samples_come_back(codec: SpectralCodec) -> None:
    wav = tune(40 * HOP)
    mask = torch.arange(40 * HOP) < 25 * HOP
    decoded = codec.decode(codec.encode(wav), KnownSamples(wav=wav, mask=mask))
    far = slice(0, 25 * HOP - SHAPE.window_samples)  # beside the unknown ones, decoded magnitudes have their say
    torch.testing.assert_close(decoded[..., far], wav[..., far], atol=1e-5, rtol=0)
    assert decoded[..., ~mask].abs().max() > 0.05


def test_features_hold_two_columns_a_frame_and_give_magnitudes_back(codec: SpectralCodec) -> None:
    features = codec.log_magnitudes(tune(20 * HOP)[:, 0])
    assert features.shape == (1, 20, 2 * (SHAPE.window_samples // 2 + 1))
    magnitudes = codec.magnitudes(features)
    assert magnitudes.shape == (1, 40, SHAPE.window_samples // 2 + 1)
    expected = (features.reshape(magnitudes.shape)).exp() - SHAPE.floor
    torch.testing.assert_close(magnitudes, expected.clamp(min=0))


def test_a_full_scale_sine_has_the_magnitude_the_floor_is_measured_in() -> None:
    """A quarter of the window: 512 for the usual one of 2048 samples."""
    codec = SpectralCodec(SpectralConfig(width=8, latent=4, codebook_size=4))
    wav = (2 * math.pi * 1000 * torch.arange(32_000) / 32_000).sin()[None]
    assert codec.magnitudes(codec.log_magnitudes(wav))[0, 50].max().item() == pytest.approx(512, rel=0.01)


def test_principal_components_are_a_better_start_than_chance() -> None:
    torch.manual_seed(0)
    codec = SpectralCodec(SHAPE)
    features = codec.log_magnitudes(tune(300 * HOP)[:, 0])

    def error(part: Tensor) -> float:
        with torch.no_grad():
            return (codec.network.features(codec.network.latents(part)) - part).abs().mean().item()

    unseen = codec.log_magnitudes(tune(100 * HOP, seed=9)[:, 0])
    random = error(unseen)
    codec.network.initialise(features.flatten(0, 1))
    started = error(unseen)
    constant = (unseen - features.mean(dim=(0, 1))).abs().mean().item()
    assert started < 0.8 * constant < 0.8 * random, (started, constant, random)
