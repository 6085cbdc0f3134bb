"""What a person should know before a training begins: how much data for how large a model, how long, how much memory.

Knows nothing about terminals; `checks.py` does the trying.
"""

from __future__ import annotations

from audiolm_cli.config.shapes import PRESETS, ModelConfig
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.manifest import CodecFacts, TokenClip
from audiolm_cli.events import Note, OnEvent
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.training.preflight.checks import Check, Checklist, Expected
from audiolm_cli.wording import counted

FRAMES_PER_PARAMETER = 0.2
"""Fewer training frames than this per parameter bring a warning."""
FINE_TUNING_H = 1 / 3
"""Hours of audio below which fine-tuning brings a warning, too."""
VALIDATION_COST = 1 / 3
"""A frame scored by one decoder costs this share of a frame trained on: the forward pass alone."""


def announce(
    model: Decoders, config: TrainConfig, clips: list[TokenClip], facts: CodecFacts, fine_tuned: bool, on_event: OnEvent
) -> float:
    """Say how much there is to train on, and whether it is little for this model; the hours of audio come back."""
    frames = sum(len(clip.codes) for clip in clips)
    hours = frames * facts.frame_shift_s / 3600
    parameters = sum(p.numel() for p in model.parameters())
    passes = config.steps * config.batch_frames / frames
    on_event(
        Note(
            message=f"{hours:.2f} h in {counted(len(clips), 'clip')}, {parameters / 1e6:.1f} M parameters, "
            f"{counted(config.steps, 'step')} of {config.batch_frames} frames ({passes:.1f} times the data) "
            f"on {model.device}"
        )
    )
    warning = too_little(model.config, hours, frames, parameters, fine_tuned)
    if warning:
        on_event(Note(message=warning, warning=True))
    return hours


def too_little(shape: ModelConfig, hours: float, frames: int, parameters: int, fine_tuned: bool) -> str:
    """The warning that there is too little data for the model; empty when there is enough."""
    if fine_tuned:
        if hours >= FINE_TUNING_H:
            return ""
        return f"{60 * hours:.0f} min is little even to start from a trained model: expect it to repeat what it heard"
    if frames >= FRAMES_PER_PARAMETER * parameters:
        return ""
    wanted_h = FRAMES_PER_PARAMETER * parameters * hours / frames
    smaller = [name for name, preset in PRESETS.items() if preset.d_model < shape.d_model]
    advice = f"--preset {smaller[-1]} or --init" if smaller else "--init"
    return (
        f"{hours:.2f} h is little for {parameters / 1e6:.1f} M parameters, which want {wanted_h:.0f} h: expect the "
        f"model to repeat what it heard; {advice} from a trained model would suit it better"
    )


def go_through(checklist: Checklist, on_event: OnEvent) -> list[Check]:
    """Run the checks, and report each as it is done; at the end, how long the training will take.

    Raises:
        AudioLMError: one failed; the error is of the kind that fits, and says what to do.
    """

    def report(check: Check) -> None:
        if check.status != "failed":
            told = f"{check.found}; {check.remedy}" if check.remedy else f"ok, {check.found}"
            on_event(Note(message=f"check {check.name}: {told}", warning=check.status == "warning"))

    done = checklist.run(report)
    raise_failure(done)
    if checklist.expected is not None:
        on_event(Note(message=forecast(checklist.config, checklist.shape, checklist.expected)))
    return done


def raise_failure(checks: list[Check]) -> None:
    """Raise the failure that the checks ended with, if they did.

    Raises:
        AudioLMError: of the kind that fits; it says what to do.
    """
    failed = checks[-1]
    if failed.status == "failed":
        raise failed.error(f"check {failed.name}: {failed.found}; {failed.remedy}")


def expected_seconds(config: TrainConfig, shape: ModelConfig, expected: Expected) -> float:
    """How long the whole training will take, validations included."""
    validations = -(-config.steps // config.validate_every)
    scored = config.validation_windows * shape.max_frames * shape.num_quantizers / 2  # a step trains two decoders
    return config.steps * expected.step_s + (
        validations * scored / config.batch_frames * VALIDATION_COST * expected.step_s
    )


def forecast(config: TrainConfig, shape: ModelConfig, expected: Expected) -> str:
    """One line: how long, how much memory."""
    seconds = expected_seconds(config, shape, expected)
    memory = f", {expected.memory_bytes / 1e9:.1f} GB of memory" if expected.memory_bytes else ""
    return f"expected: {length_of(seconds)} for {counted(config.steps, 'step')}{memory}"


def length_of(seconds: float) -> str:
    """A length of time, roughly.

    >>> [length_of(s) for s in (20, 1500, 20000, 900000)]
    ['20 s', '25 min', '5.6 h', '10.4 days']
    """
    for unit, size_s in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size_s:
            amount = seconds / size_s
            return f"{amount:.0f} {unit}" if unit == "min" else f"{amount:.1f} {unit}"
    return f"{max(1, round(seconds))} s"
