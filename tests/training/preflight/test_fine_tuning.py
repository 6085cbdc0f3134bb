"""How long and how fast a training goes that starts from a trained model: by the amount of audio, unless chosen."""

from __future__ import annotations

import pytest

from audiolm_cli.config.training import TrainConfig
from audiolm_cli.training.preflight.fine_tuning import (
    PATIENCE,
    RATE,
    SUITED,
    VALIDATIONS,
    VALIDATIONS_PER_SAMPLE,
    WARMUP_STEPS,
    suit,
)

SHIFT_S = 0.02


def suited(minutes: float, *chosen: str, config: TrainConfig | None = None) -> TrainConfig:
    """The settings for so much audio, where all but the `chosen` ones are free."""
    free = frozenset(SUITED) - set(chosen)
    return suit(config or TrainConfig(), free, round(60 * minutes / SHIFT_S), SHIFT_S)


def test_more_audio_means_more_steps_over_it_and_fewer_passes() -> None:
    found = [suited(minutes) for minutes in (3, 20, 120)]
    steps = [config.steps for config in found]
    passes = [
        config.steps * config.batch_frames * SHIFT_S / 60 / minutes
        for config, minutes in zip(found, (3, 20, 120), strict=True)
    ]
    assert steps == sorted(steps) and steps[0] < steps[-1] and passes == sorted(passes, reverse=True)
    for config in found:
        assert VALIDATIONS - 1 <= config.steps / config.validate_every <= VALIDATIONS
        assert config.sample_every == VALIDATIONS_PER_SAMPLE * config.validate_every
        assert (config.patience, config.warmup_steps) == (PATIENCE, WARMUP_STEPS)
        assert config.adam_learning_rate == pytest.approx(config.learning_rate / 10)  # type: ignore[operator]
    assert [config.learning_rate for config in found[1:]] == pytest.approx([RATE * 0.02] * 2)


def test_little_audio_is_learned_slowly() -> None:
    """On 3 minutes, 0.116 of the usual rate ended with fewer held-out bits than 0.3, and kept more of the notes."""
    assert suited(3).learning_rate == pytest.approx(0.116 * 0.02, rel=0.01)
    assert suited(5).learning_rate == pytest.approx(RATE * 0.01)
    assert suited(0.01).learning_rate > 0  # type: ignore[operator]


def test_a_step_of_fewer_frames_takes_more_steps() -> None:
    whole, half = suited(20), suited(20, config=TrainConfig(batch_frames=1250))
    assert half.steps == pytest.approx(2 * whole.steps, abs=1)


def test_what_is_chosen_stays() -> None:
    """And what follows from it follows from it."""
    own = TrainConfig(steps=70, learning_rate=0.01, patience=0, validate_every=5, warmup_steps=1, sample_every=0)
    assert suited(3, *SUITED, config=own) == own
    found = suited(3, "steps", config=TrainConfig(steps=70))
    assert (found.steps, found.validate_every, found.sample_every) == (70, 7, 21)
    found = suited(3, "steps", "validate_every", config=TrainConfig(steps=70, validate_every=20))
    assert (found.validate_every, found.sample_every) == (20, 60)
    epochs = suited(3, config=TrainConfig(steps=40, num_epochs=2.0))
    assert (epochs.steps, epochs.validate_every) == (40, 5)


@pytest.mark.parametrize(("steps", "every", "samples"), [(1, 5, 1), (3, 5, 3), (12, 5, 12), (60, 6, 18)])
def test_few_steps_are_heard_and_not_scored_each(steps: int, every: int, samples: int) -> None:
    """A validation takes as long as a few steps; and samples are made before the first end that patience can make."""
    found = suited(3, "steps", config=TrainConfig(steps=steps))
    assert (found.validate_every, found.sample_every) == (every, samples)


def test_a_rate_that_is_given_leads_that_of_adam() -> None:
    assert TrainConfig().adam_learning_rate == 0.002
    assert TrainConfig(learning_rate=0.01).adam_learning_rate == pytest.approx(0.001)
    assert TrainConfig(learning_rate=0.01, adam_learning_rate=0.5).adam_learning_rate == 0.5
    assert TrainConfig(optimizer="scaled-adam", learning_rate=0.004).adam_learning_rate == 0.002
