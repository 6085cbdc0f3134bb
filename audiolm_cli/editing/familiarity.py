"""Whether a recording sounds like what the bundled model knows, which is pianos. Knows nothing about files.

What a model has learned is likely to it. At the bound, hardly a piano is taken for something else, and most other
sounds are noticed; `audiolm guide usage` has the figures.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from audiolm_cli.audio import Recording, mid, resample
from audiolm_cli.audio.level import measure_offset, training_gain
from audiolm_cli.checkpoints.catalogue import BUNDLED, bundled_folders
from audiolm_cli.codec.base import Codec
from audiolm_cli.editing.session import Session
from audiolm_cli.editing.splicing import Gap
from audiolm_cli.events import Note
from audiolm_cli.library.loading import Loaded
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.model.scoring import continuation_score

HEARD_S = 10.0
"""How much of a recording is looked at."""
LEAST_S = 4.0
"""Less of it says too little."""
KNOWN_S = 1.0
"""So much of it is given to the model, which is to expect the rest."""
STRANGE_BITS = 48.0
"""From so many bits per frame on, a recording is said to be no piano."""


def tell_of_strange_sound(session: Session, recording: Recording, gaps: list[Gap], source: str) -> None:
    """Say so where the bundled model is to go on from a recording that is hardly one of a piano."""
    loaded, rate_hz = session.loaded, recording.sample_rate_hz
    if not knows_only_pianos(loaded):
        return

    # What the new audio goes on from, or where it goes on from nothing, the beginning.
    heard = round(HEARD_S * rate_hz)
    stop = gaps[0].start if gaps[0].start >= LEAST_S * rate_hz else heard
    around = recording.wav(max(0, stop - heard), stop)
    wav = mid(around - measure_offset(around)[:, None]).astype(np.float32)  # new audio is made without it, too
    if len(wav) < LEAST_S * rate_hz:
        return

    audio = resample(wav[None], rate_hz, loaded.codec.sample_rate_hz) * np.float32(training_gain(wav))  # [1, n]
    with session.stage("encode"):
        strange = is_strange(loaded.model, loaded.codec, torch.from_numpy(audio)[None].to(loaded.codec.device))
    if strange:
        message = (
            f"{source} does not sound like a piano, and the model {BUNDLED} knows only pianos; "
            "`audiolm guide training` says how to make a model of other sounds"
        )
        session.on_event(Note(message=message))


def knows_only_pianos(loaded: Loaded) -> bool:
    """Whether this is the bundled model."""
    return loaded.folder.path == bundled_folders().get(BUNDLED)


def is_strange(model: Decoders, codec: Codec, wav: Tensor) -> bool:
    """Whether audio [1, 1, n] at the training level is hardly that of a piano, as the bundled model tells."""
    return measure_strangeness(model, codec, wav) > STRANGE_BITS


def measure_strangeness(model: Decoders, codec: Codec, wav: Tensor) -> float:
    """Bits per frame that a model needs for audio [1, 1, n] after its beginning, in all codebooks of its AR decoder."""
    codes = codec.encode(wav)  # [1, T, K]
    known = round(KNOWN_S * codec.frame_rate_hz)
    return -continuation_score(model, codes[:, :known], codes[:, known:]).item()
