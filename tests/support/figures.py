"""The interval of a figure that has one."""

from __future__ import annotations

from audiolm_cli.evaluation.intervals import Figure


def ends(figure: Figure) -> tuple[float, float]:
    """Its lower and its upper end."""
    assert figure.low is not None and figure.high is not None, figure
    return figure.low, figure.high


def width(figure: Figure) -> float:
    """From one end to the other."""
    low, high = ends(figure)
    return high - low
