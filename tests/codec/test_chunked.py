"""Chunked encoding and decoding: equal to one shot for a finite receptive field, nearly so for EnCodec."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from audiolm_cli.codec.base import Codec, KnownSamples, OnShare, ignore_share
from audiolm_cli.codec.chunked import (
    DEFAULT_CONTEXT_FRAMES,
    decode_chunked,
    encode_chunked,
    iter_decode,
    iter_encode,
)
from audiolm_cli.codec.encodec import EncodecCodec, EncodecConfig
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.config.shapes import SpectralConfig
from audiolm_cli.errors import AudioInputError, MemoryLimitError, UsageError


class WindowCodec:
    """Codes that are a checksum of `receptive_field_frames` frames on each side; exact, as it computes in integers."""

    name = "window"
    sample_rate_hz = 80
    hop_samples = 8
    channels = 2
    num_codebooks = 3
    codebook_size = 1000
    receptive_field_frames: int | None = 5

    def __init__(self) -> None:
        self.longest = 0
        self.known: list[KnownSamples | None] = []

    @property
    def frame_rate_hz(self) -> float:
        return self.sample_rate_hz / self.hop_samples

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def encode(self, wav: Tensor) -> Tensor:
        B, _, N = wav.shape
        T = math.ceil(N / self.hop_samples)
        self.longest = max(self.longest, T)
        if T == 0:
            return torch.zeros(B, 0, self.num_codebooks, dtype=torch.int64)
        frames = F.pad(wav, (0, T * self.hop_samples - N)).reshape(B, self.channels, T, self.hop_samples)
        sums = (frames * 1000).round().sum(dim=(1, 3)).to(torch.int64)  # [B, T]
        reach = 5
        windows = F.pad(sums, (reach, reach), value=17).unfold(1, 2 * reach + 1, 1)  # [B, T, 2 * reach + 1]
        weights = torch.arange(1, 2 * reach + 2)
        return torch.stack([(windows * weights**k).sum(-1) % self.codebook_size for k in (1, 2, 3)], dim=-1)

    def decode(self, codes: Tensor, known: KnownSamples | None = None, on_share: OnShare = ignore_share) -> Tensor:
        self.longest = max(self.longest, codes.shape[1])
        self.known.append(known)
        if codes.shape[1] == 0:
            return torch.zeros(len(codes), self.channels, 0)
        reach = 5
        sums = F.pad(codes.sum(-1), (reach, reach)).unfold(1, 2 * reach + 1, 1).sum(-1)  # [B, T]
        ramp = torch.arange(self.hop_samples)
        wav = (sums[:, :, None] + ramp).flatten(1).to(torch.float32) / 2**14  # [B, N], exact
        return torch.stack((wav, -wav), dim=1)

    def matched(self, heard: Sequence[tuple[Tensor, Tensor]]) -> WindowCodec:
        return self


def noise(batch: int, channels: int, samples: int) -> Tensor:
    return torch.randn(batch, channels, samples, generator=torch.Generator().manual_seed(samples))


def test_the_fake_is_a_codec_whose_codes_vary() -> None:
    codec = WindowCodec()
    assert isinstance(codec, Codec)
    assert len(codec.encode(noise(1, 2, 800)).unique()) > 100


@pytest.mark.parametrize("chunk", [1, 3, 7, 50, 1000])
@pytest.mark.parametrize("samples", [0, 1, 8, 9, 56, 320, 1003])
def test_chunked_codes_equal_those_of_the_whole(chunk: int, samples: int) -> None:
    codec = WindowCodec()
    wav = noise(2, 2, samples)
    assert torch.equal(encode_chunked(codec, wav, chunk), codec.encode(wav))


@pytest.mark.parametrize("chunk", [1, 3, 7, 50, 1000])
@pytest.mark.parametrize("frames", [0, 1, 2, 40, 101])
def test_chunked_audio_equals_that_of_the_whole(chunk: int, frames: int) -> None:
    codec = WindowCodec()
    codes = torch.randint(1000, (2, frames, 3), generator=torch.Generator().manual_seed(frames))
    assert torch.equal(decode_chunked(codec, codes, chunk), codec.decode(codes))


def test_too_little_context_shows_at_the_chunk_borders_only() -> None:
    codec = WindowCodec()
    wav = noise(1, 2, 800)
    whole = codec.encode(wav)
    same = (encode_chunked(codec, wav, 20, context_frames=0) == whole).all(dim=-1)[0]  # [T]
    inside = torch.tensor([5 <= t % 20 < 15 for t in range(100)])
    inside[:15] = inside[85:] = True
    assert torch.equal(same, inside)


@pytest.mark.parametrize(
    "sizes", [[1003], [1] * 1003, [0, 500, 0, 0, 503], [7, 300, 1, 695], [160] * 6 + [43]], ids=len
)
def test_a_stream_of_any_blocks_gives_the_codes_of_the_whole(sizes: list[int]) -> None:
    codec = WindowCodec()
    wav = noise(1, 2, 1003)
    pieces = list(iter_encode(codec, wav[0].split(sizes, dim=-1), 20))
    assert torch.equal(torch.cat(pieces), codec.encode(wav)[0])
    assert all(len(piece) == 20 for piece in pieces[:-1])
    assert 1 <= len(pieces[-1]) < 20 + 5


def test_a_long_stream_is_encoded_as_it_comes_in_windows_of_fixed_size() -> None:
    codec = WindowCodec()
    given = 0

    def blocks() -> Iterator[Tensor]:
        nonlocal given
        for _ in range(2000):
            given += 100
            yield torch.zeros(2, 100)

    frames = 0
    for piece in iter_encode(codec, blocks(), 20):
        frames += len(piece)
        assert given - frames * 8 < (20 + 5) * 8 + 100  # it waits for the context on the right and no longer
    assert frames == 2000 * 100 // 8
    assert codec.longest <= 20 + 2 * 5


def test_an_empty_stream_gives_nothing() -> None:
    assert list(iter_encode(WindowCodec(), [])) == []
    assert list(iter_encode(WindowCodec(), [torch.zeros(2, 0)])) == []
    assert list(iter_decode(WindowCodec(), torch.zeros(1, 0, 3, dtype=torch.int64))) == []


def test_decoding_hands_over_the_samples_before_the_chunk() -> None:
    codec = WindowCodec()
    codes = torch.randint(1000, (2, 50, 3), generator=torch.Generator().manual_seed(0))
    audio = torch.cat(list(iter_decode(codec, codes, 3)), dim=-1)
    assert codec.longest == 3 + 2 * 5
    assert codec.known[0] is None
    for index, known in enumerate(codec.known[1:], start=1):
        assert known is not None
        start = 3 * index * 8
        lead = min(start, 5 * 8)
        assert int(known.mask.sum()) == lead and bool(known.mask[:lead].all())
        assert torch.equal(known.wav[:, :, :lead], audio[:, :, start - lead : start])


@pytest.mark.parametrize("chunk", [7, 100])
def test_decoding_says_how_much_is_done(chunk: int) -> None:
    """After every round of a codec, counted over all chunks."""
    codec = SpectralCodec(SpectralConfig(width=16, latent=8, codebook_size=32)).eval()
    codes = torch.zeros(1, 20, codec.num_codebooks, dtype=torch.int64)
    shares: list[float] = []
    decode_chunked(codec, codes, chunk, on_share=shares.append)
    rounds = codec.config.griffin_lim_iterations
    assert len(shares) == rounds * math.ceil(20 / chunk)
    assert shares == sorted(shares) and shares[-1] == 1
    assert shares[rounds - 1] == pytest.approx(min(chunk, 20) / 20)


@pytest.mark.parametrize(("chunk", "context"), [(0, None), (-1, 3), (5, -1)])
def test_sizes_out_of_range_are_refused(chunk: int, context: int | None) -> None:
    with pytest.raises(UsageError, match="_frames must be"):
        encode_chunked(WindowCodec(), torch.zeros(1, 2, 80), chunk, context)
    with pytest.raises(UsageError, match="_frames must be"):
        decode_chunked(WindowCodec(), torch.zeros(1, 8, 3, dtype=torch.int64), chunk, context)


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(AudioInputError, match=r"2 channel\(s\), got audio with 1"):
        list(iter_encode(WindowCodec(), [torch.zeros(1, 80)]))


class ScarceCodec(WindowCodec):
    """The same on a device whose memory holds `room` frames at a time."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def encode(self, wav: Tensor) -> Tensor:
        if wav.shape[-1] > self.room * self.hop_samples:
            raise torch.OutOfMemoryError("out of memory")
        return super().encode(wav)

    def decode(self, codes: Tensor, known: KnownSamples | None = None, on_share: OnShare = ignore_share) -> Tensor:
        if codes.shape[1] > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return super().decode(codes, known, on_share)


@pytest.mark.parametrize("room", [35, 60, 111, 1000])
def test_what_does_not_fit_into_memory_is_done_in_smaller_chunks(room: int) -> None:
    """The same codes and the same audio, as far as there is memory for chunks of 25 frames and their context."""
    codec, whole, wav = ScarceCodec(room), WindowCodec(), noise(2, 2, 1003)
    codes = whole.encode(wav)
    assert torch.equal(encode_chunked(codec, wav, 100), codes)
    assert torch.equal(torch.cat(list(iter_encode(codec, wav[0].split(70, dim=-1), 100))), codes[0])
    assert torch.equal(decode_chunked(codec, codes, 100), whole.decode(codes))
    assert codec.longest <= room


def test_where_even_small_chunks_do_not_fit_this_is_said() -> None:
    codec = ScarceCodec(20)
    with pytest.raises(MemoryLimitError, match="not even 25 frames at once fit into the memory of cpu") as caught:
        encode_chunked(codec, noise(1, 2, 1003), 100)
    assert caught.value.exit_code == 6
    with pytest.raises(MemoryLimitError, match="choose --device cpu"):
        decode_chunked(codec, torch.zeros(1, 100, 3, dtype=torch.int64), 100)


@pytest.fixture(scope="module")
def encodec() -> EncodecCodec:
    return EncodecCodec.untrained(EncodecConfig(num_filters=4, dimension=16, codebook_size=64), seed=1)


def test_encodec_agrees_with_one_shot_at_the_default_context(encodec: EncodecCodec) -> None:
    """16 frames are enough for a random LSTM; the default leaves room for a trained one."""
    wav = 0.3 * noise(1, 1, 640 * 1000 + 11)
    whole = encodec.encode(wav)
    assert (encode_chunked(encodec, wav, 200) == whole).float().mean() >= 0.999
    assert (encode_chunked(encodec, wav, 200, 0) == whole).float().mean() < 0.999
    assert DEFAULT_CONTEXT_FRAMES >= 10 * 16


def test_encodec_audio_agrees_with_one_shot_at_the_default_context(encodec: EncodecCodec) -> None:
    codes = torch.randint(64, (1, 700, 4), generator=torch.Generator().manual_seed(0))
    whole = encodec.decode(codes)
    error = (decode_chunked(encodec, codes, 200) - whole).abs().max()
    assert error < 1e-4 * whole.abs().max()


def test_encodec_in_one_chunk_is_one_shot(encodec: EncodecCodec) -> None:
    wav = noise(1, 1, 640 * 40 + 3)
    assert torch.equal(encode_chunked(encodec, wav, 100), encodec.encode(wav))
    assert torch.equal(decode_chunked(encodec, encodec.encode(wav), 100), encodec.decode(encodec.encode(wav)))
