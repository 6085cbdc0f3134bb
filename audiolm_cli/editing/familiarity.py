"""Whether a recording sounds like what the bundled model knows, which is pianos. Knows nothing about files.

The codec of that model keeps the spectrum of pianos better than that of anything else. At the bound, hardly a piano is
taken for something else, and most other sounds are noticed; `audiolm guide usage` has the figures.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.audio import Recording, mid, resample
from audiolm_cli.audio.level import training_gain
from audiolm_cli.checkpoints.catalogue import BUNDLED, bundled_folders
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.editing.session import Session
from audiolm_cli.editing.splicing import Gap
from audiolm_cli.events import Note
from audiolm_cli.library.loading import Loaded

HEARD_S = 10.0
"""How much of a recording is looked at."""
LEAST_S = 2.0
"""Less of it says too little."""
STRANGE = 0.6
"""From this error of the codec on, a recording is said to be no piano."""


def tell_of_strange_sound(session: Session, recording: Recording, gaps: list[Gap], source: str) -> None:
    """Say so where the bundled model is to go on from a recording that is hardly one of a piano."""
    codec, rate_hz = pianos_codec(session.loaded), recording.sample_rate_hz
    if codec is None:
        return

    # What the new audio goes on from, or where it goes on from nothing, the beginning.
    heard = round(HEARD_S * rate_hz)
    stop = gaps[0].start if gaps[0].start >= LEAST_S * rate_hz else heard
    wav = mid(recording.wav(max(0, stop - heard), stop))
    if len(wav) < LEAST_S * rate_hz:
        return

    audio = resample(wav[None], rate_hz, codec.sample_rate_hz) * np.float32(training_gain(wav))  # [1, n]
    with session.stage("encode"):
        strange = is_strange(codec, torch.from_numpy(audio)[None].to(codec.device))
    if strange:
        message = (
            f"{source} does not sound like a piano, and the model {BUNDLED} knows only pianos; "
            "`audiolm guide training` says how to make a model of other sounds"
        )
        session.on_event(Note(message=message))


def pianos_codec(loaded: Loaded) -> SpectralCodec | None:
    """The codec of the bundled model, which knows only pianos; None of any other model."""
    is_bundled = loaded.folder.path == bundled_folders().get(BUNDLED)
    return loaded.codec if is_bundled and isinstance(loaded.codec, SpectralCodec) else None


def is_strange(codec: SpectralCodec, wav: Tensor) -> bool:
    """Whether audio [1, 1, n] at the training level is hardly that of a piano, as the bundled model's codec tells."""
    return measure_strangeness(codec, wav) > STRANGE


@torch.inference_mode()
def measure_strangeness(codec: SpectralCodec, wav: Tensor) -> float:
    """How badly a codec keeps audio [1, 1, n]: mean error of the log magnitudes of all that is heard, in nepers."""
    magnitudes = codec.log_magnitudes(wav[:, 0]).exp() - codec.config.floor  # [1, T, columns * bins]
    kept = codec.decode_magnitudes(codec.encode(wav)).reshape(magnitudes.shape)

    is_heard = magnitudes > codec.config.floor
    errors = ((kept + codec.config.floor) / (magnitudes + codec.config.floor)).log().abs()
    return errors[is_heard].mean().item() if is_heard.any() else 0.0
