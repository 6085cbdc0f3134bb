"""What is shown of a training while it runs: the time left follows the speed of late."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from audiolm_cli.training import running
from audiolm_cli.training.running import Running
from audiolm_cli.training.steps import StepReport

REPORT = StepReport(loss=1.0, decoders=[], frames=100, learning_rate=0.1, gradient_norm=1.0, used=True)


def test_the_time_left_follows_a_computer_that_becomes_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 1 s for an hour, then of 3 s: after half an hour of those, 3 s are expected of each that is left."""
    now_s = 0.0
    monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: now_s))
    run = Running(1, torch.device("cpu"))

    step, left = 0, 1000
    for seconds, count in ((1.0, 3600), (3.0, 600)):
        for _ in range(count):
            now_s += seconds
            step += 1
            event = run.add(REPORT, step, step + left, skipped=0)
        assert event.eta_s == pytest.approx(left * seconds, rel=0.1)
    assert event.frames_per_s == pytest.approx(100 * 4200 / 5400)
