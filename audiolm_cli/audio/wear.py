"""What recording and storing add to a sound: noise, and what MP3 takes away. Knows nothing about codecs or torch."""

from __future__ import annotations

import io

import numpy as np
import soundfile

LOWEST_HZ = 20.0
"""Below this frequency, the power of noise no longer rises."""
MP3_LEVELS = {96: 0.77, 128: 0.66, 192: 0.44}
"""libsndfile's compression levels of constant bit rates in kbit/s; 0 is 320 kbit/s and 1 is 32 kbit/s."""


def add_noise(
    wav: np.ndarray, sample_rate_hz: int, rng: np.random.Generator, snr_db: float, slope: float
) -> np.ndarray:
    """`wav` float32 [N] with noise whose power falls with frequency to the power of `slope`: 0 is white, 1 is pink.

    Args:
        wav: the signal.
        sample_rate_hz: its rate in Hz.
        rng: draws the noise.
        snr_db: root mean square of the signal over that of the noise, in dB.
        slope: of the noise's spectrum.
    """
    spectrum = np.fft.rfft(rng.standard_normal(len(wav), dtype=np.float32))
    spectrum /= np.maximum(np.fft.rfftfreq(len(wav), 1 / sample_rate_hz), LOWEST_HZ) ** (slope / 2)
    noise = np.fft.irfft(spectrum, len(wav))

    wanted = np.sqrt(np.mean(np.square(wav, dtype=np.float64))) * 10 ** (-snr_db / 20)
    return (wav + noise * (wanted / max(float(noise.std()), 1e-12))).astype(np.float32)


def pass_through_mp3(wav: np.ndarray, sample_rate_hz: int, bitrate_kbps: int) -> np.ndarray:
    """`wav` float32 [N] as it comes back from an MP3 of a constant bit rate of MP3_LEVELS; no sample is displaced."""
    file = io.BytesIO()
    level = MP3_LEVELS[bitrate_kbps]
    soundfile.write(file, wav, sample_rate_hz, format="MP3", bitrate_mode="CONSTANT", compression_level=level)

    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    out = np.zeros_like(wav)
    out[: len(decoded)] = decoded[: len(wav)]
    return out
