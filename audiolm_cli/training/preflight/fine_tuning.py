"""How long and at which rate a training goes that starts from a trained model: what nobody chose follows from the data.

Knows nothing about models or files.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from typing import Any

from audiolm_cli.config.training import LEARNING_RATES, TrainConfig

FRAMES_PER_ROOT_MINUTE = 150_000
"""Training frames are this many times the square root of the minutes of audio: little audio soon has no more to say."""
RATE, RATE_MINUTES = 0.3, 20
"""Peak rates over those of a training from nothing, from so many minutes of audio on: what the model knows is to stay.
Of less audio, a model that learns fast soon only repeats it: the rate falls with the square root of the minutes."""
WARMUP_STEPS = 10
"""A model that is trained already needs no long warm-up."""
VALIDATIONS = 10
"""Validations, and chances to be the best, in the whole training."""
LEAST_EVERY = 5
"""Steps between validations at least: a validation takes about as long as so many steps."""
PATIENCE = 3
"""Validations in a row without a better one that end the training."""
VALIDATIONS_PER_SAMPLE = 3
"""Every so many validations, what was learned can be heard."""
USUAL_SEMITONES, COPIES_MINUTES = 4, 600
"""Transposed copies reach at most so far up and down, and have at most so many minutes: they take time to encode, and
where there is much audio, they have little to add."""
SUITED = ("steps", "learning_rate", "warmup_steps", "validate_every", "patience", "sample_every")
"""Settings that follow from the amount of data."""


def suited_semitones(minutes: float) -> int:
    """Up to how many semitones up and down recordings of so many minutes are transposed, for more to learn from."""
    return min(USUAL_SEMITONES, int(COPIES_MINUTES / (2 * max(minutes, 1e-9))))


def suit(config: TrainConfig, free: Collection[str], frames: int, frame_shift_s: float) -> TrainConfig:
    """The settings of a training that starts from a trained model, on this many training frames.

    Args:
        config: frames per step worked out, and `steps` where epochs decide them.
        free: names of settings that nobody chose; of these, those in `SUITED` change.
        frames: there are to train on.
        frame_shift_s: seconds per frame.
    """
    minutes = frames * frame_shift_s / 60
    steps = config.steps
    if "steps" in free and config.num_epochs is None:
        steps = max(VALIDATIONS, math.ceil(FRAMES_PER_ROOT_MINUTE * math.sqrt(minutes) / config.batch_frames))

    every = config.validate_every
    if "validate_every" in free:
        every = max(LEAST_EVERY, math.ceil(steps / VALIDATIONS))
    suited: dict[str, Any] = {
        "steps": steps,
        "learning_rate": RATE * min(1.0, math.sqrt(minutes / RATE_MINUTES)) * LEARNING_RATES[config.optimizer],
        "warmup_steps": WARMUP_STEPS,
        "validate_every": every,
        "patience": PATIENCE,
        "sample_every": min(VALIDATIONS_PER_SAMPLE * every, steps),  # so that the shortest training can be heard, too
    }
    # The rate of what Adam trains beside Muon follows that of Muon.
    chosen = {name: value for name, value in suited.items() if name in free}
    if "learning_rate" in chosen:
        chosen["adam_learning_rate"] = None
    return dataclasses.replace(config, **chosen)
