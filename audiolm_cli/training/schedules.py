"""Learning-rate schedules: factors on a peak rate. Knows nothing about optimizers or models."""

from __future__ import annotations

import math

from audiolm_cli.config.training import TrainConfig

EDEN_START = 0.5
"""Factor that Eden's warm-up begins with."""


def warmup_stable_decay(step: int, steps: int, warmup: int, decay_share: float) -> float:
    """Factor on the learning rate: linear warm-up, constant, then linear to zero over the last share of the steps.

    Hu et al., "MiniCPM" (2024), section 4.
    """
    warm = (step + 1) / max(warmup, 1)
    decay_steps = max(1, round(decay_share * steps))
    return min(warm, 1.0, max(0.0, (steps - step) / decay_steps))


def cosine(step: int, steps: int, warmup: int, floor: float = 0.02) -> float:
    """Factor on the learning rate: linear warm-up, then half a cosine down to `floor`."""
    warm = min(1.0, (step + 1) / max(warmup, 1))
    fallen = 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))  # from 1 to 0
    return warm * (floor + (1 - floor) * fallen)


def eden(step: int, epoch: float, warmup: int, steps_scale: float, epochs_scale: float) -> float:
    """Factor on the learning rate: it falls with the square root of steps and of epochs, once they are many.

    Yao et al., "Zipformer" (2023), section 3.5 (Eden).

    Args:
        step: steps done.
        epoch: passes over the data done, with its fraction.
        warmup: steps of linear warm-up, from a half to one.
        steps_scale: steps after which the rate begins to fall.
        epochs_scale: epochs after which it begins to fall.
    """
    warm = EDEN_START + (1 - EDEN_START) * min(1.0, step / warmup) if warmup > 0 else 1.0

    # Each is 1 at the beginning and falls with the square root of its count in the end.
    by_steps = ((step / steps_scale) ** 2 + 1) ** -0.25
    by_epochs = ((epoch / epochs_scale) ** 2 + 1) ** -0.25
    return warm * by_steps * by_epochs


def rate_factor(config: TrainConfig, step: int, epoch: float) -> float:
    """Factor on the peak learning rates of `step`, by the schedule that the configuration names."""
    if config.schedule == "eden":
        return eden(step, epoch, config.warmup_steps, config.eden_steps, config.eden_epochs)
    if config.schedule == "cosine":
        return cosine(step, config.steps, config.warmup_steps)
    return warmup_stable_decay(step, config.steps, config.warmup_steps, config.decay_share)
