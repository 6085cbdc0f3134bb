"""`curves.png` of a training run: what `metrics.jsonl` says, with the n-gram baselines as lines.

Knows nothing about models. The picture reads from the whole to the parts: bits over all codebooks and top-10 above,
each codebook's bits below.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiolm_cli.evaluation.baselines import BaselineResult
from audiolm_cli.files import write_whole
from audiolm_cli.reports.verdict import AR_TOP10, NAR_TOP10

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = "curves.png"
"""Name of the picture in a run folder."""
HELD_OUT, TRAINED, MUTED = "#1f5fa8", "#c3c9d1", "#5f6670"
LINES = {"unigram": "#8a6d3b", "bigram": "#d1661c"}
"""Colours of the baselines that are drawn."""
CODEBOOKS = ("#1f5fa8", "#2a9d5c", "#b0489c", "#c08a1e", "#5e4fa2", "#3aa6b9", "#9e4a3f", "#6b7280")
LABEL_POINTS, NAMES_IN = 8, 1.35
"""Size of the names of lines, and the inches beside a panel that are theirs."""
SMOOTHED_OVER = 40
"""The training curve is a running mean over this part of its points."""


@dataclass(frozen=True, kw_only=True)
class History:
    """What a run measured, as far as it came."""

    train: list[tuple[int, int, float]] = field(default_factory=list)
    """(step, codebook from 0, bits per frame) of training batches."""
    held_out: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """(step, scores) of validations: "bits", "top1", "top10" per codebook and "total_bits"."""

    @property
    def best(self) -> tuple[int, dict[str, Any]] | None:
        """The validation with the least bits; the first of equals."""
        return min(self.held_out, key=lambda entry: entry[1]["total_bits"]) if self.held_out else None


def read_history(journal: Path) -> History:
    """What `metrics.jsonl` holds; empty when there is none. A line cut short is left out."""
    history = History()
    if not journal.is_file():
        return history

    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            step = int(entry["step"])
        except (ValueError, KeyError, TypeError):
            continue

        if "validation" in entry:
            if (
                _finite_or_none(entry["validation"].get("total_bits")) is not None
            ):  # that of a training which diverged is null
                history.held_out.append((step, entry["validation"]))
            continue

        ar = enumerate([entry.get("ar_bits"), *entry.get("ar_further_bits", [])], start=1)
        for codebook, found in (*ar, (entry.get("nar_codebook"), entry.get("nar_bits"))):
            bits = _finite_or_none(found)
            if bits is not None and codebook is not None:
                history.train.append((step, codebook - 1, bits))
    return history


def draw_curves(path: Path, history: History, baselines: Sequence[BaselineResult], title: str, steps: int) -> None:
    """Draw a run of `steps` steps into a PNG file, over the one that is there. Nothing is drawn before a validation.

    Raises:
        OutputError: the file cannot be written.
    """
    if not history.held_out:
        return
    picture = io.BytesIO()
    figure_of(history, baselines, title, steps).savefig(picture, format="png", metadata={"Software": None})
    write_whole(path, picture.getvalue(), force=True)


def figure_of(history: History, baselines: Sequence[BaselineResult], title: str, steps: int) -> Figure:
    """The picture itself, of a history with at least one validation."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    # The margins are fixed: measuring every label takes longer than drawing it.
    K = len(history.held_out[-1][1]["bits"])
    columns = min(K, 4)
    rows = math.ceil(K / columns)
    width, height = 15.5, 4.9 + 3.2 * rows
    figure = Figure(figsize=(width, height), dpi=100)
    margins = {"left": 0.65 / width, "right": 1 - NAMES_IN / width, "top": 1 - 0.75 / height, "bottom": 0.8 / height}
    panel = (width - 0.65 - NAMES_IN * columns) / columns
    half = (panel - NAMES_IN) / 2  # a panel is two columns of the grid with the space between them
    grid = figure.add_gridspec(
        1 + rows, 2 * columns, height_ratios=[1.35] + [1] * rows, hspace=0.3, wspace=NAMES_IN / half, **margins
    )

    drawn = [baseline for baseline in baselines if baseline.name in LINES and len(baseline.bits) == K]
    _draw_total(figure.add_subplot(grid[0, :columns]), history, drawn)
    _draw_top10(figure.add_subplot(grid[0, columns:]), history)
    for k in range(K):
        row, column = divmod(k, columns)
        axes = figure.add_subplot(grid[1 + row, 2 * column : 2 * column + 2])
        _draw_codebook(axes, history, drawn, k)
        axes.set_ylabel("bits per frame" if column == 0 else "")

    for axes in figure.axes:
        _style_axes(axes, max(steps, history.held_out[-1][0]))
    figure.suptitle(title, fontsize=12, fontweight="bold", parse_math=False)

    # What curves mean is said below all panels, where no curve is.
    total, first = figure.axes[0], figure.axes[2]
    curves = {str(line.get_label()): line for line in (*total.lines, *first.lines)}
    named = {name: line for name, line in curves.items() if not name.startswith("_")}
    figure.legend(list(named.values()), list(named), loc="lower center", fontsize=9, frameon=False, ncols=len(named))
    return figure


def _style_axes(axes: Axes, steps: int) -> None:
    axes.set_xlim(0, steps)
    axes.set_xlabel("steps", fontsize=9)
    axes.grid(color="#e4e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def headline(name: str, history: History, steps: int) -> str:
    """The title of the picture: where the run stands and how good it is."""
    if history.best is None:
        return name
    step, scores = history.best
    return (
        f"{name}: step {history.held_out[-1][0]} of {steps}, best {scores['total_bits']:.2f} bits per frame "
        f"(step {step})"
    )


def _draw_total(axes: Axes, history: History, baselines: Sequence[BaselineResult]) -> None:
    steps = [step for step, _ in history.held_out]
    totals = [scores["total_bits"] for _, scores in history.held_out]
    axes.plot(steps, totals, color=HELD_OUT, marker="o", markersize=3.5, linewidth=1.8, label="held-out")

    if history.best is not None:
        step, scores = history.best
        axes.plot(
            [step],
            [scores["total_bits"]],
            "*",
            color=HELD_OUT,
            markersize=13,
            label=f"best: step {step}",
            clip_on=False,
        )
    _draw_baselines(axes, [(baseline.name, baseline.total_bits) for baseline in baselines])

    axes.set_title("all codebooks together: lower is better", fontsize=10, loc="left")
    axes.set_ylabel("bits per frame")


def _draw_top10(axes: Axes, history: History) -> None:
    steps = [step for step, _ in history.held_out]
    K, labels = len(history.held_out[-1][1]["top10"]), []
    for k in range(K):
        shares = [100 * scores["top10"][k] for _, scores in history.held_out]
        name, colour = f"codebook {k + 1}", CODEBOOKS[k % len(CODEBOOKS)]
        axes.plot(steps, shares, color=colour, marker="o", markersize=3, linewidth=1.6, label=name)
        labels.append((shares[-1], name, colour))

    wanted = [(AR_TOP10, "1")] + ([(NAR_TOP10, "2" if K == 2 else f"2-{K}")] if K > 1 else [])
    for percent, of in wanted:
        axes.axhline(percent, color=MUTED, linewidth=0.9, linestyle=":")
        labels.append((percent, f"wanted of {of}: {percent} %", MUTED))

    axes.set_ylim(0, 100)
    _write_labels(axes, labels)
    axes.set_title("held-out: % of frames whose code is among the ten likeliest (top-10)", fontsize=10, loc="left")


def _draw_codebook(axes: Axes, history: History, baselines: Sequence[BaselineResult], k: int) -> None:
    points = [(step, bits) for step, codebook, bits in history.train if codebook == k]
    if points:
        steps, bits = (np.array(column, dtype=np.float64) for column in zip(*points, strict=True))
        window = max(5, len(points) // SMOOTHED_OVER)
        axes.plot(steps, bits, ".", color=TRAINED, markersize=2.5)
        axes.plot(steps, _smooth(bits, window), color=MUTED, linewidth=1.1, label="training batches")

    held_out = [(step, scores["bits"][k]) for step, scores in history.held_out]
    axes.plot(*zip(*held_out, strict=True), color=HELD_OUT, marker="o", markersize=3, linewidth=1.6, label="held-out")
    _draw_baselines(axes, [(baseline.name, baseline.bits[k]) for baseline in baselines])

    axes.set_title(f"codebook {k + 1}", fontsize=10, loc="left")


def _draw_baselines(axes: Axes, bits: Sequence[tuple[str, float]]) -> None:
    """Baselines across the panel, their names and values to its right."""
    for name, value in bits:
        axes.axhline(value, color=LINES[name], linewidth=1.2, linestyle="--")
    _write_labels(axes, [(value, f"{name} {value:.2f}", LINES[name]) for name, value in bits])


def _write_labels(axes: Axes, labels: Sequence[tuple[float, str, str]]) -> None:
    """Names of lines (height, text, colour) to the right of the panel, each as near to its line as it can be."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    labels = sorted(labels)
    pixels = 1.4 * LABEL_POINTS / 72 * axes.figure.dpi
    gap = pixels / axes.get_window_extent().height * (high - low)

    places = spread([height for height, _, _ in labels], gap, low, high)
    for place, (_, text, colour) in zip(places, labels, strict=True):
        axes.annotate(
            text,
            (1, place),
            xytext=(6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="left",
            va="center",
            fontsize=LABEL_POINTS,
            color=colour,
        )


def spread(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending heights moved so that they are at least `gap` apart, and below `high` where there is room for all.

    >>> spread([1.0, 1.5, 9.9], 1.0, 0.0, 10.0)
    [1.0, 2.0, 9.9]
    >>> spread([9.5, 9.9], 1.0, 0.0, 10.0)
    [9.0, 10.0]
    """
    places: list[float] = []
    for height in heights:
        places.append(max(height, places[-1] + gap if places else low))

    top = high
    for index in reversed(range(len(places))):
        places[index] = min(places[index], top)
        top = places[index] - gap
    return places


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Running mean [n] over the last `window` values, fewer at the start."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _finite_or_none(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
