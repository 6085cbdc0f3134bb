"""What `audiolm train` ends with, on the screen or as JSON. Knows nothing about how models are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiolm_cli.cli.live import duration, size
from audiolm_cli.cli.render import Renderer

if TYPE_CHECKING:
    from audiolm_cli.workflows.train import Trained, Trial


def show_training(out: Renderer, result: Trained) -> None:
    """How good the model is, in words, and where it is; once, where several processes trained it.

    Raises:
        SomeInputsFailedError: some recordings could not be read.
    """
    from audiolm_cli.tokenizing.recordings import check_failures
    from audiolm_cli.training.state import STATE_FOLDER

    if not result.main:
        return
    if out.json:
        model = {"name": result.folder.name, "sha256": result.folder.sha256}
        out.print_json({"run": result.run, "model": model, "verdict": result.verdict, "failed": result.failed})
    else:
        for line in result.verdict.lines() if result.verdict is not None else []:
            out.paragraph(line)
        out.print(f"{result.run}  (use it: audiolm continue IN -m {result.run})")
        out.note(
            f"{size(result.run_bytes)} of disk; {result.run / STATE_FOLDER} ({size(result.state_bytes)}) is only for "
            "going on with more --steps, and may be deleted"
        )
    check_failures(result.failed)


def show_trial(out: Renderer, trial: Trial) -> None:
    """Every check that was done, what to do where one failed, and how long the training would take.

    Raises:
        AudioLMError: a check failed, or some recordings could not be read.
    """
    from audiolm_cli.tokenizing.recordings import check_failures

    if out.json:
        checks = [
            {"name": check.name, "status": check.status, "found": check.found, "remedy": check.remedy}
            for check in trial.findings
        ]
        outlook = trial.outlook
        facts = {
            "expected_s": outlook and outlook.seconds,
            "expected_free_s": outlook and outlook.free_s,
            "memory_bytes": trial.memory_bytes,
            "failed": trial.failed,
        }
        out.print_json({"checks": checks, **facts})
    else:
        out.table(("check", "status", "found"), [(check.name, check.status, check.found) for check in trial.findings])
        for check in trial.findings:
            if check.remedy:
                out.paragraph(f"{check.name}: {check.remedy}")
    trial.check()
    if not out.json and trial.outlook is not None:
        memory = f" and {size(trial.memory_bytes)} of memory" if trial.memory_bytes else ""
        busy = f",{trial.outlook.condition}" if trial.outlook.condition else ""
        how = "at most" if trial.outlook.at_most else "about"
        out.paragraph(f"ready to train: {how} {duration(trial.outlook.seconds)}{memory}{busy}")
    check_failures(trial.failed)
