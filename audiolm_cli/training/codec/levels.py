"""The level that a spectral codec loses in each band, and the gains that give half of it back.

The best guess of a log magnitude is a median, and medians add up to too little: what the codec is unsure of comes back
too softly, treble above all.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.data.files import AudioFile
from audiolm_cli.events import Activity, OnEvent
from audiolm_cli.training.codec.round_trips import read_middles

BANDS = 12
CLIPS, CLIP_S = 48, 5.0
RETURNED = 0.5
"""Share of the lost level that is given back. More of it would be nearer in level and further in detail."""
MOST_DB = 6.0
"""Most that a band is raised or lowered: a codec that loses more than twice as much does not know the band."""
HEARD_DB = -60.0
"""A band of a clip counts where it lies at most so far below the loudest one."""


def return_lost_level(codec: Codec, files: list[AudioFile], on_event: OnEvent) -> None:
    """Give a spectral codec the gains that these recordings ask for; other codecs stay as they are."""
    if not isinstance(codec, SpectralCodec):
        return

    on_event(Activity(stage="measure the level of each band"))
    every = -(-len(files) // CLIPS)
    codec.use_gains([])
    codec.use_gains(find_gains(codec, read_middles(files[::every], CLIP_S, codec.sample_rate_hz)))


def find_gains(codec: SpectralCodec, clips: list[np.ndarray]) -> list[float]:
    """Decibels by which each of `BANDS` bands is to be raised, by clips [N]; 0 for a band that no clip has."""
    lost = []
    for clip in clips:
        wav = torch.from_numpy(clip)[None, None].to(codec.device)
        true, made = (_band_levels(codec, audio[:, 0]) for audio in (wav, codec.decode(codec.encode(wav))))
        lost.append(torch.where(true > true.max() + HEARD_DB, true - made, torch.nan))

    if not lost:
        return [0.0] * BANDS
    median = torch.stack(lost).nanmedian(0).values.nan_to_num(0.0)  # [BANDS]
    return [round(gain, 2) for gain in (RETURNED * median).clamp(-MOST_DB, MOST_DB).tolist()]


def _band_levels(codec: SpectralCodec, wav: Tensor) -> Tensor:
    """Level [BANDS] in dB of each band of wav [1, N]."""
    energy = codec.stft_magnitudes(wav).square().mean((0, 1)) @ codec.bands(BANDS)
    return 10 * energy.clamp(min=1e-12).log10()
