"""The view of a training: a table that fits a terminal, and a line now and then elsewhere."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
from rich.console import Console
from terminal import Terminal

from audiolm_cli.cli.bars import Bars, place_detail
from audiolm_cli.cli.live import TrainingView, duration, size
from audiolm_cli.cli.render import LINE_EVERY_S, Renderer
from audiolm_cli.events import Activity, TrainStep, Validation


def step(number: int = 120, codebooks: int = 4, **changed: Any) -> TrainStep:
    """A step of a training; nothing is known yet of the last codebook."""
    values: dict[str, Any] = {
        "step": number,
        "steps": 3000,
        "loss": 4.567,
        "learning_rate": 0.02,
        "gradient_norm": 1.25,
        "skipped": 0,
        "bits": [2.41] + [8.5] * (codebooks - 2) + [math.nan],
        "top1": [0.681] + [0.05] * (codebooks - 2) + [math.nan],
        "top10": [0.884] + [0.3] * (codebooks - 2) + [math.nan],
        "frames_per_s": 1650.0,
        "eta_s": 4000.0,
        "memory_bytes": 1_900_000_000,
    }
    return TrainStep(**{**values, **changed})


def validation(number: int, bits: float, best: bool, codebooks: int = 4) -> Validation:
    """A validation with the same bits in every codebook."""
    scores = {"bits": [bits] * codebooks, "top10": [0.5] * codebooks, "total_bits": bits * codebooks}
    return Validation(step=number, scores=scores, summary="", best=best)


def drawn(view: TrainingView, width: int) -> list[str]:
    """The lines of the table in a terminal of this width."""
    screen = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    screen.print(view.table(62.0))
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue().splitlines()


@pytest.mark.parametrize(("width", "codebooks"), [(80, 4), (120, 4), (80, 8), (80, 1)])
def test_the_table_fits(width: int, codebooks: int) -> None:
    """Every number is there, whole, within the width; what is not known yet is a dash."""
    view = TrainingView()
    view.add(
        step(codebooks=codebooks, **({"bits": [2.41], "top1": [0.681], "top10": [0.884]} if codebooks == 1 else {}))
    )
    view.add(validation(100, 8.25, best=True, codebooks=codebooks))
    lines = drawn(view, width)
    text = "\n".join(lines)
    assert max(len(line) for line in lines) <= width and "…" not in text
    for word in (
        "step 120/3000",
        "1 min 02 s gone",
        "1 h 07 min left",
        "2.41",
        "68.1",
        "88.4",
        "1650 frames/s",
        "1.9 GB",
    ):
        assert word in text, word
    assert "best so far" in text and "step 100" in text and f"{8.25 * codebooks:.2f}" in text
    assert ("-" in text.split("training bits")[1].splitlines()[0]) == (codebooks > 1)


def test_the_last_and_the_best_validation() -> None:
    """Both are shown while they differ, once when they are one."""
    view = TrainingView()
    view.add(step())
    view.add(validation(50, 8.0, best=True))
    assert "held-out bits" not in "\n".join(drawn(view, 80))
    view.add(validation(100, 9.0, best=False))
    text = "\n".join(drawn(view, 80))
    assert "held-out bits" in text and "36.00" in text and "best so far" in text and "32.00" in text
    view.add(step(skipped=3))
    assert "3 steps skipped" in "\n".join(drawn(view, 80))


def test_lines_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    """One every ten seconds and one at the end."""
    now = 0.0
    with Renderer(clock=lambda: now) as out:
        for number in (1, 2, 3, 3000):
            now += 0.6 * LINE_EVERY_S
            out.on_event(step(number))
            out.on_event(validation(number, 8.0, best=True))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["step 2/3000", "step 3000/3000"]
    assert lines[0].endswith("top-10 88 30 30 - %, 1650 frames/s, 1.9 GB, 1 h 07 min left")


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is shown when nothing was asked for."""
    for options in ({"quiet": True}, {"no_progress": True}):
        with Renderer(**options, clock=iter(range(0, 10_000, 100)).__next__) as out:
            out.on_event(step())
    assert capsys.readouterr().err == ""


def test_in_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is drawn in place, and gone when the command ends."""
    monkeypatch.setattr("audiolm_cli.cli.render._is_terminal", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    now = 0.0
    with Renderer(clock=lambda: now) as out:
        for number in (1, 2):
            now += 1.0
            out.on_event(step(number))
        shown = capsys.readouterr().err
        assert "step 1/3000" in shown and "step 2/3000" in shown and "\x1b[" in shown
    assert out._training is not None and out._training._live is None


@pytest.mark.parametrize("show", ["print", "paragraph", "markdown", "print_json"])
def test_a_result_is_not_drawn_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, show: str
) -> None:
    """The table goes before a line of the result comes: where it goes later, it takes that line along."""
    monkeypatch.setattr("audiolm_cli.cli.render._is_terminal", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Renderer(clock=iter(range(100)).__next__) as out:
        out.on_event(step(1))
        assert out._training is not None and out._training._live is not None
        getattr(out, show)("the verdict")
        assert out._training._live is None
        assert "the verdict" in capsys.readouterr().out


def test_lengths_and_sizes() -> None:
    """As a person says them."""
    said = [duration(seconds) for seconds in (0.4, 59, 61, 3599, 3700, 200_000, math.inf)]
    assert said == ["0 s", "59 s", "1 min 01 s", "59 min 59 s", "1 h 02 min", "2.3 days", "?"]
    assert [size(count) for count in (12_000_000, 2_340_000_000)] == ["12 MB", "2.3 GB"]


def test_what_goes_on_between_two_steps_stands_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the time that is left, which does not pass meanwhile; the next step takes it away."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", Terminal())
    now = 0.0
    with Renderer(clock=lambda: now) as out:
        now = 60.0
        out.on_event(step())
        view = out._training
        assert view is not None and view.is_drawn
        out.on_event(Activity(stage="make samples"))
        lines = drawn(view, 80)
        assert "1 min 02 s gone, make samples" in lines[0] and max(map(len, lines)) <= 80
        now = 120.0
        out.on_event(step(121))
        assert "make samples" not in drawn(view, 80)[0] and "left" in drawn(view, 80)[0]


def test_the_time_left_of_slow_work_is_said() -> None:
    """As of an evaluation on a busy computer, which counts a clip every minute."""
    now = [0.0]
    bars = Bars(Console(file=io.StringIO(), get_time=lambda: now[0]))
    task = bars.add_task("compare", total=15, amount="", **place_detail(""))
    for done in range(4):
        bars.update(task, completed=done)
        now[0] += 60
    assert bars.tasks[task].time_remaining == pytest.approx(12 * 60, rel=0.1)
