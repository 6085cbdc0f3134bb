"""Losses that do not belong to the ones before them. Knows nothing about training."""

from __future__ import annotations

import math

LOSS_DECAY = 0.98
"""Decay of the running mean and variance of the loss, against which spikes are measured."""
COUNTED_FROM = 100
"""Losses that must be in that mean before a step is called a spike."""


class SpikeGuard:
    """Recognises losses that no longer belong to the ones before them."""

    def __init__(self, deviations: float) -> None:
        """`deviations` is how many standard deviations over the mean a loss may be."""
        self.deviations = deviations
        self.mean, self.variance, self.count = 0.0, 0.0, 0

    def accept(self, loss: float) -> bool:
        """False for a loss that is not finite, or far over the running mean. Such a loss leaves the mean as it is."""
        if not math.isfinite(loss):
            return False
        if self.count >= COUNTED_FROM and loss > self.mean + self.deviations * math.sqrt(self.variance):
            return False

        # The first losses weigh alike; later ones by the decay.
        self.count += 1
        weight = max(1 - LOSS_DECAY, 1 / self.count)

        difference = loss - self.mean
        self.mean += weight * difference
        self.variance = (1 - weight) * (self.variance + weight * difference * difference)
        return True

    def to_dict(self) -> dict[str, float]:
        """What `restore` takes."""
        return {"mean": self.mean, "variance": self.variance, "count": self.count}

    def restore(self, values: dict[str, float]) -> None:
        """Go on from what `to_dict` returned."""
        self.mean, self.variance, self.count = values["mean"], values["variance"], int(values["count"])
