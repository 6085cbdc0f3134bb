"""What recording and storing add to a sound: noise, and what MP3 takes away. Knows nothing about codecs or torch."""

from __future__ import annotations

import errno

import numpy as np
import soundfile

from audiolm_cli.audio.signals import resample
from audiolm_cli.audio.sndfile import cause_of
from audiolm_cli.files import as_scratch_error, scratch_folder

LOWEST_HZ = 20.0
"""Below this frequency, the power of noise no longer rises."""
MP3_LEVELS = {96: 0.77, 128: 0.66, 192: 0.44}
"""libsndfile's compression levels of constant bit rates in kbit/s; 0 is 320 kbit/s and 1 is 32 kbit/s."""

MP3_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
"""The sample rates that MP3 has."""


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
    """`wav` float32 [N] as it comes back from an MP3 of a constant bit rate of MP3_LEVELS; no sample is displaced.

    At sample rates below 32 kHz, MP3 has half these bit rates.
    """
    if sample_rate_hz not in MP3_RATES_HZ:
        there = resample(wav[None], sample_rate_hz, MP3_RATES_HZ[-1])[0]
        decoded = resample(
            pass_through_mp3(there, MP3_RATES_HZ[-1], bitrate_kbps)[None], MP3_RATES_HZ[-1], sample_rate_hz
        )
        return _fit_length(decoded[0], len(wav))

    # In a file with a name: of one without, libsndfile looks for `.AppleDouble/` in the working directory.
    with scratch_folder("audiolm-") as folder, as_scratch_error():
        path = folder / "worn.mp3"
        level = MP3_LEVELS[bitrate_kbps]
        try:
            soundfile.write(path, wav, sample_rate_hz, format="MP3", bitrate_mode="CONSTANT", compression_level=level)
            decoded, _ = soundfile.read(path, dtype="float32")
        except (soundfile.SoundFileError, AssertionError) as error:  # soundfile asserts that all samples were taken
            raise OSError(errno.EIO, cause_of(error)) from error
    return _fit_length(decoded, len(wav))


def _fit_length(wav: np.ndarray, length: int) -> np.ndarray:
    """`wav` [N] cut, or filled up with silence."""
    out = np.zeros(length, np.float32)
    out[: len(wav)] = wav[:length]
    return out
