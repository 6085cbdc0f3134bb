"""Encoding and decoding of any length in constant working memory: chunks with real context on both sides.

A codec that sees a finite stretch of audio gets exactly the codes of the whole recording. A recurrent one (EnCodec)
gets nearly all of them. A chunk that the device has no memory for is halved. Knows nothing about files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from audiolm_cli.codec.base import Codec, KnownSamples, OnShare, ignore_share
from audiolm_cli.errors import AudioInputError, MemoryLimitError, UsageError

DEFAULT_CHUNK_FRAMES = 1000
"""Frames per chunk: 20 s at 50 frames/s. With the default context, the 32 kHz EnCodec then needs 1.0 GB beside its
weights to encode, and 1.3 GB to decode."""
DEFAULT_CONTEXT_FRAMES = 200
"""Frames of context on each side for codecs without a finite receptive field: 4 s at 50 frames/s."""
SMALLEST_CHUNK_FRAMES = 25
"""Chunks that do not fit into the device's memory are halved down to this; their context stays."""


def iter_encode(
    codec: Codec,
    blocks: Iterable[Tensor],
    chunk_frames: int = DEFAULT_CHUNK_FRAMES,
    context_frames: int | None = None,
) -> Iterator[Tensor]:
    """Codes of a stream of audio, chunk by chunk.

    Args:
        codec: what encodes.
        blocks: float32 [C, n], consecutive, of any sizes n (0 included), at the codec's sample rate.
        chunk_frames: frames per piece, 1 or more.
        context_frames: real frames on each side of a chunk that are encoded with it and dropped; None is the codec's
            receptive field, or `DEFAULT_CONTEXT_FRAMES` where that is unbounded.

    Yields:
        int64 [t, K] on the device of the blocks, `ceil(N / hop_samples)` frames in all. Every piece has `chunk_frames`
        frames; the last one has from 1 to under `chunk_frames + context_frames`.

    Raises:
        AudioInputError: a block with another number of channels than the codec.
        UsageError: `chunk_frames` or `context_frames` is out of range.
        MemoryLimitError: not even small chunks fit into the device's memory.
    """
    batched = (block.unsqueeze(0) for block in blocks)  # [1, C, n]
    for codes in _encode_stream(codec, batched, chunk_frames, _resolve_context(codec, chunk_frames, context_frames)):
        yield codes[0]


def encode_chunked(
    codec: Codec,
    wav: Tensor,
    chunk_frames: int = DEFAULT_CHUNK_FRAMES,
    context_frames: int | None = None,
) -> Tensor:
    """Codes of a recording, encoded in chunks with real context on both sides.

    Args:
        codec: what encodes.
        wav: float32 [B, C, N] at the codec's sample rate.
        chunk_frames: frames per chunk, 1 or more.
        context_frames: as in `iter_encode`.

    Returns:
        int64 [B, T, K] on the device of `wav`, `T = ceil(N / hop_samples)`. Equal to `codec.encode(wav)` where the
        context covers the codec's receptive field, and where everything fits into one chunk.

    Raises:
        AudioInputError: another number of channels than the codec.
        UsageError: `chunk_frames` or `context_frames` is out of range.
        MemoryLimitError: not even small chunks fit into the device's memory.
    """
    context = _resolve_context(codec, chunk_frames, context_frames)
    pieces = list(_encode_stream(codec, [wav], chunk_frames, context))

    if not pieces:
        return torch.zeros(wav.shape[0], 0, codec.num_codebooks, dtype=torch.int64, device=wav.device)
    return torch.cat(pieces, dim=1)


def iter_decode(
    codec: Codec,
    codes: Tensor,
    chunk_frames: int = DEFAULT_CHUNK_FRAMES,
    context_frames: int | None = None,
    on_share: OnShare = ignore_share,
) -> Iterator[Tensor]:
    """Audio of `codes`, chunk by chunk.

    A codec that chooses a phase gets the samples already yielded as known ones, so that it runs on from them.

    Args:
        codec: what decodes.
        codes: int64 [B, T, K].
        chunk_frames: frames per chunk, 1 or more.
        context_frames: real frames on each side of a chunk that are decoded with it and dropped; None as in
            `iter_encode`.
        on_share: called with the share of the frames that is done, also within a chunk.

    Yields:
        float32 [B, C, n] on the device of `codes`, `T * hop_samples` samples in all.

    Raises:
        UsageError: `chunk_frames` or `context_frames` is out of range.
        MemoryLimitError: not even small chunks fit into the device's memory.
    """
    context = _resolve_context(codec, chunk_frames, context_frames)
    hop = codec.hop_samples
    T = codes.shape[1]

    past: Tensor | None = None  # [B, C, n], the samples right before `start`
    start = 0
    while start < T:
        stop = min(start + chunk_frames, T)
        first = max(0, start - context)
        window = codes[:, first : min(stop + context, T)]
        lead = (start - first) * hop  # samples of context in front of the chunk

        def report(share: float, start: int = start, stop: int = stop) -> None:
            on_share((start + share * (stop - start)) / T)

        try:
            wav = codec.decode(window, _known_samples(past, lead, window.shape[1] * hop), report).to(codes.device)
        except torch.OutOfMemoryError as error:
            chunk_frames = halve_chunk(stop - start, codec, error)
            continue

        chunk = wav[:, :, lead : lead + (stop - start) * hop]
        start = stop
        yield chunk

        # Only as much is kept as the next chunk has context.
        past = chunk if past is None else torch.cat((past, chunk), dim=-1)
        past = past[:, :, max(0, past.shape[-1] - context * hop) :].clone()


def decode_chunked(
    codec: Codec,
    codes: Tensor,
    chunk_frames: int = DEFAULT_CHUNK_FRAMES,
    context_frames: int | None = None,
    on_share: OnShare = ignore_share,
) -> Tensor:
    """Audio of `codes`, decoded in chunks with real context on both sides.

    Args:
        codec: what decodes.
        codes: int64 [B, T, K].
        chunk_frames: frames per chunk, 1 or more.
        context_frames: as in `iter_decode`.
        on_share: as in `iter_decode`.

    Returns:
        float32 [B, C, T * hop_samples] on the device of `codes`.

    Raises:
        UsageError: `chunk_frames` or `context_frames` is out of range.
        MemoryLimitError: not even small chunks fit into the device's memory.
    """
    pieces = list(iter_decode(codec, codes, chunk_frames, context_frames, on_share))

    if not pieces:
        return torch.zeros(codes.shape[0], codec.channels, 0, device=codes.device)
    return torch.cat(pieces, dim=-1)


def _encode_stream(codec: Codec, blocks: Iterable[Tensor], chunk: int, context: int) -> Iterator[Tensor]:
    """Codes [B, t, K] of consecutive blocks [B, C, n]; holds about `2 * (chunk + context)` frames beside one block."""
    hop = codec.hop_samples
    pending: list[Tensor] = []  # audio from frame `start - lead` on
    samples = 0  # in `pending`
    lead = 0  # frames of left context in front of the next chunk

    for block in blocks:
        if block.shape[-2] != codec.channels:
            raise AudioInputError(
                f"{codec.name} encodes {codec.channels} channel(s), got audio with {block.shape[-2]}."
            )

        for piece in torch.split(block, chunk * hop, dim=-1):
            pending.append(piece)
            samples += piece.shape[-1]
            whole = (lead + chunk + context) * hop
            if samples < whole:
                continue

            wav = torch.cat(pending, dim=-1)  # [B, C, samples]
            yield _encode_part(codec, wav[:, :, :whole], lead, chunk, context).to(block.device)

            done = max(0, lead + chunk - context)  # frames that no later chunk needs
            lead = lead + chunk - done
            pending = [wav[:, :, done * hop :].clone()]  # a copy, so that the rest can be freed
            samples -= done * hop

    if samples > lead * hop:
        wav = torch.cat(pending, dim=-1)
        yield _encode_part(codec, wav, lead, -(-samples // hop) - lead, context).to(wav.device)


def _encode_part(codec: Codec, wav: Tensor, lead: int, count: int, context: int) -> Tensor:
    """Codes [B, count, K] of wav [B, C, N] from frame `lead` on; in smaller pieces where memory is short."""
    hop, end = codec.hop_samples, lead + count
    size = count
    while True:
        try:
            pieces = []
            for start in range(lead, end, size):
                first, stop = max(0, start - context), min(start + size, end)
                last = None if size == count else (stop + context) * hop

                codes = codec.encode(wav[:, :, first * hop : last])
                pieces.append(codes[:, start - first : stop - first])

            return torch.cat(pieces, dim=1)
        except torch.OutOfMemoryError as error:
            size = halve_chunk(size, codec, error)


def halve_chunk(frames: int, codec: Codec, error: BaseException) -> int:
    """Half as many frames, after `frames` at once did not fit into memory.

    Raises:
        MemoryLimitError: `frames` is as few as chunks may have.
    """
    if frames <= SMALLEST_CHUNK_FRAMES:
        raise MemoryLimitError(
            f"not even {frames} frames at once fit into the memory of {codec.device} beside the codec {codec.name}; "
            "end other programs that use it, or choose --device cpu"
        ) from error
    return max(SMALLEST_CHUNK_FRAMES, frames // 2)


def _known_samples(past: Tensor | None, lead: int, length: int) -> KnownSamples | None:
    """The last `lead` samples of `past` as the first samples of a stretch of `length`."""
    if past is None or lead == 0:
        return None

    wav = past.new_zeros(*past.shape[:2], length)  # [B, C, N]
    wav[:, :, :lead] = past[:, :, past.shape[-1] - lead :]
    mask = torch.arange(length, device=past.device) < lead  # [N]
    return KnownSamples(wav=wav, mask=mask)


def _resolve_context(codec: Codec, chunk_frames: int, context_frames: int | None) -> int:
    """Frames of context on each side of a chunk, after a check of both numbers."""
    if chunk_frames < 1:
        raise UsageError(f"chunk_frames must be 1 or more, got {chunk_frames}")

    if context_frames is None:
        finite = codec.receptive_field_frames
        return DEFAULT_CONTEXT_FRAMES if finite is None else finite

    if context_frames < 0:
        raise UsageError(f"context_frames must be 0 or more, got {context_frames}")
    return context_frames
