"""How many codes stay the same when nothing that matters to a listener changes: noise, level, delay, MP3.

Codes that change carry what nobody hears. The measure follows "Analyzing and Mitigating Inconsistency in Discrete
Audio Tokens for Neural Codec Language Models" (2024), arXiv 2409.19283. Knows nothing about models or files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.audio.wear import add_noise, pass_through_mp3
from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.chunked import encode_chunked
from audiolm_cli.events import OnEvent, Progress, ignore

SHORTEST_S = 1.0
"""Shorter recordings are left out."""

Change = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
"""float32 [N] at a sample rate in Hz to float32 [N]."""


def _noise(snr_db: float, slope: float) -> Change:
    return lambda wav, rate, rng: add_noise(wav, rate, rng, snr_db, slope)


def _gain(gain_db: float) -> Change:
    return lambda wav, rate, rng: wav * np.float32(10 ** (gain_db / 20))


CHANGES: dict[str, Change] = {
    "white noise, SNR 40 dB": _noise(40, 0),
    "white noise, SNR 50 dB": _noise(50, 0),
    "pink noise, SNR 40 dB": _noise(40, 1),
    "pink noise, SNR 50 dB": _noise(50, 1),
    "1 dB quieter": _gain(-1),
    "3 dB quieter": _gain(-3),
    "MP3, 128 kbit/s": lambda wav, rate, rng: pass_through_mp3(wav, rate, 128),
}
"""Changes of the samples, by the names that reports show."""
DELAYS = {"a quarter of a frame later": 0.25, "half a frame later": 0.5, "a whole frame later": 1.0}
"""Delays in frames. After a delay of a whole frame, each frame should have the codes of the frame before it."""


def measure_consistency(
    codec: Codec, wavs: Sequence[Tensor], seed: int = 0, on_event: OnEvent = ignore
) -> dict[str, list[float]]:
    """Share of the frames of recordings whose code stays the same, per codebook and change.

    Args:
        codec: what encodes.
        wavs: float32 [N] or [1, N] each, at the codec's rate.
        seed: of the noise.
        on_event: gets the progress.

    Returns:
        By change, in the order of CHANGES and DELAYS: K shares in [0, 1] of all frames together. Empty where no
        recording is long enough.
    """
    rate, hop, rng = codec.sample_rate_hz, codec.hop_samples, np.random.default_rng(seed)
    kept = {name: torch.zeros(codec.num_codebooks, dtype=torch.float64) for name in (*CHANGES, *DELAYS)}
    frames = 0

    long = [wav for wav in wavs if wav.numel() >= SHORTEST_S * rate]
    for done, recording in enumerate(long, start=1):
        wav = recording.reshape(-1).cpu().numpy()
        now = wav[hop:]  # the delayed forms begin in the frame before
        codes = _encode(codec, now)  # [T, K]
        frames += len(codes)

        for name, change in CHANGES.items():
            kept[name] += _count_same(codes, _encode(codec, change(now, rate, rng)))
        for name, delay in DELAYS.items():
            start = hop - round(delay * hop)
            later = _encode(codec, wav[start : start + len(now)])
            kept[name] += _count_same(codes[:-1], later[1:]) if delay == 1.0 else _count_same(codes, later)
        on_event(Progress(stage="compare codes", done=done, total=len(long), unit="clips"))

    if not frames:
        return {}
    return {name: (counts / frames).tolist() for name, counts in kept.items()}


def _encode(codec: Codec, wav: np.ndarray) -> Tensor:
    """Codes [T, K] of wav [N]."""
    return encode_chunked(codec, torch.from_numpy(wav)[None, None].to(codec.device))[0].cpu()


def _count_same(before: Tensor, after: Tensor) -> Tensor:
    """How many of the frames [T, K] agree, per codebook [K]."""
    return (before == after).sum(0).double()
