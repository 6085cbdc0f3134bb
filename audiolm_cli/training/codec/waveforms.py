"""Distances of waveforms for training: mel spectra at several windows, magnitudes at full resolution.

All logarithms have a floor in proportion to the window; without it silence dominates the gradient. Knows nothing about
networks.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from audiolm_cli.audio import mel_filters

MEL_WINDOWS = (64, 128, 256, 512, 1024, 2048)
"""Window lengths in samples; the hop is a quarter of each."""
MEL_BANDS = (10, 20, 40, 80, 120, 160)
"""Mel bands at each: as many as the window resolves, 160 at most."""
STFT_WINDOWS = (512, 2048, 4096)
"""Window lengths at full resolution; the longer ones see the partials of a note apart."""
FLOOR_PER_SAMPLE = 0.5e-4
"""Added to magnitudes, times the window length: 74 dB below the peak bin of a full-scale sine."""


def mel_loss(outputs: Tensor, inputs: Tensor, sample_rate_hz: int) -> Tensor:
    """Mean absolute difference of log10 mel magnitudes of waveforms [B, N] over MEL_WINDOWS, in decades.

    After Kumar et al., "High-fidelity audio compression with improved RVQGAN" (2023), section 3.4.
    """
    total = outputs.new_zeros(())
    for window, bands in zip(MEL_WINDOWS, MEL_BANDS, strict=True):
        triangles = torch.from_numpy(mel_filters(window, bands, sample_rate_hz)).to(outputs.device)
        made, true = (_magnitudes(wav, window) @ triangles for wav in (outputs, inputs))  # [B, frames, bands]
        total = total + log_difference(made, true, FLOOR_PER_SAMPLE * window)

    return total / len(MEL_WINDOWS)


def stft_loss(outputs: Tensor, inputs: Tensor) -> Tensor:
    """Mean absolute difference of log10 magnitudes of waveforms [B, N] over STFT_WINDOWS, in decades.

    After Yamamoto et al., "Parallel WaveGAN" (2020), section 3.2, without its spectral convergence.
    """
    total = outputs.new_zeros(())
    for window in STFT_WINDOWS:
        made, true = _magnitudes(outputs, window), _magnitudes(inputs, window)
        total = total + log_difference(made, true, FLOOR_PER_SAMPLE * window)

    return total / len(STFT_WINDOWS)


def log_difference(a: Tensor, b: Tensor, floor: float) -> Tensor:
    """Mean absolute difference of log10 magnitudes of one shape, in decades; `floor` is added to each."""
    return ((a + floor).log10() - (b + floor).log10()).abs().mean()


def _magnitudes(wav: Tensor, window: int) -> Tensor:
    """STFT magnitudes [B, frames, window // 2 + 1] of waveforms [B, N]; their gradient is finite in silence."""
    padded = F.pad(wav, (window // 2, window // 2))
    frames = padded.unfold(-1, window, window // 4) * torch.hann_window(window, device=wav.device)
    columns = torch.view_as_real(torch.fft.rfft(frames))  # [B, frames, bins, 2]

    tiny = (1e-3 * FLOOR_PER_SAMPLE * window) ** 2
    return (columns.square().sum(-1) + tiny).sqrt()
