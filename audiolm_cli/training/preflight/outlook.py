"""What a person should know before a training begins: how much data for how large a model, how long, how much memory.

Knows nothing about terminals; `checks.py` does the trying.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from audiolm_cli.config.shapes import PRESETS, ModelConfig
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.events import Note
from audiolm_cli.model.decoders import Decoders
from audiolm_cli.training.preflight.checks import Checked, Expected, Finding, run_checks
from audiolm_cli.training.preflight.preparing import Prepared
from audiolm_cli.wording import counted, length_of

FRAMES_PER_PARAMETER = 0.2
"""Fewer training frames than this per parameter bring a warning."""
FINE_TUNING_H = 1 / 3
"""Hours of audio below which fine-tuning brings a warning, too."""


def announce(prepared: Prepared, model: Decoders) -> None:
    """Say how much there is to train on, and whether it is little for this model."""
    config, on_event = prepared.config, prepared.request.on_event
    parameters = sum(p.numel() for p in model.parameters())
    passes = config.steps * config.batch_frames / prepared.corpus.frames
    clips, copies = counted(len(prepared.corpus.train), "clip"), len(prepared.corpus.copies)
    if copies:
        clips += f" and {copies} transposed ones"
    message = (
        f"{prepared.hours:.2f} h in {clips}, {parameters / 1e6:.1f} M parameters, "
        f"{counted(config.steps, 'step')} of {config.batch_frames} frames ({passes:.1f} times the data) "
        f"on {model.device}"
    )
    on_event(Note(message=message))

    warning = too_little(model.config, prepared.hours, prepared.corpus.frames, parameters, prepared.fine_tunes)
    if warning:
        on_event(Note(message=warning, warning=True))


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
    here, wanted = length_of(3600 * hours), length_of(3600 * wanted_h)
    return (
        f"{here} is little for {parameters / 1e6:.1f} M parameters, which want {wanted}: expect the model to repeat "
        f"what it heard; {advice} from a trained model would suit it better"
    )


def go_through(prepared: Prepared, model: Decoders) -> Checked:
    """Run the checks, and report each as it is done; at the end, how long the training will take.

    Raises:
        AudioLMError: one failed; the error is of the kind that fits, and says what to do.
    """
    on_event = prepared.request.on_event

    def report(finding: Finding) -> None:
        if finding.status != "failed":
            said = f"{finding.found}; {finding.remedy}" if finding.remedy else f"ok, {finding.found}"
            on_event(Note(message=f"check {finding.name}: {said}", warning=finding.status == "warning"))

    checked = run_checks(prepared, model, report)
    raise_failure(checked.findings)
    if checked.expected is not None:
        on_event(Note(message=forecast(prepared, checked.expected)))
    return checked


def raise_failure(findings: list[Finding]) -> None:
    """Raise the failure that the checks ended with, if they did.

    Raises:
        AudioLMError: of the kind that fits; it says what to do.
    """
    failed = findings[-1]
    if failed.status == "failed":
        raise failed.error(f"check {failed.name}: {failed.found}; {failed.remedy}")


def expected_seconds(config: TrainConfig, step_s: float, score_s: float, fine_tunes: bool) -> float:
    """How long the whole training will take: its steps, its validations, and the verdict at its end.

    Args:
        config: how it is trained.
        step_s: seconds of a step.
        score_s: seconds of a validation.
        fine_tunes: whether the model to start from is scored, too.
    """
    scorings = math.ceil(config.steps / config.validate_every) + fine_tunes + 1
    return config.steps * step_s + scorings * score_s


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """How long a training will take."""

    seconds: float
    """While the computer is as busy as it was when a step was timed."""
    free_s: float | None
    """On a free computer, at most; None where it was free."""
    at_most: bool
    """Whether it may end sooner, where its patience runs out."""

    @property
    def condition(self) -> str:
        """What `seconds` depends on, to be put behind them; empty on a free computer."""
        if self.free_s is None:
            return ""
        return f" if this computer stays as busy as it is now, {length_of(self.free_s)} or less if it becomes free"


def look_ahead(prepared: Prepared, expected: Expected) -> Outlook:
    """How long the training will take, by what its checks have found."""
    config, free = prepared.config, expected.free_share
    seconds = expected_seconds(config, expected.step_s, expected.score_s, prepared.fine_tunes)
    return Outlook(seconds=seconds, free_s=None if free is None else free * seconds, at_most=config.patience > 0)


def forecast(prepared: Prepared, expected: Expected) -> str:
    """One line: how long, how much memory."""
    outlook = look_ahead(prepared, expected)
    memory = f", {expected.memory_bytes / 1e9:.1f} GB of memory" if expected.memory_bytes else ""
    most, up_to = ("at most ", "up to ") if outlook.at_most else ("", "")
    steps = counted(prepared.config.steps, "step")
    return f"expected: {most}{length_of(outlook.seconds)} for {up_to}{steps}{outlook.condition}{memory}"
