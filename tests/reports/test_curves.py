"""The curves of a run: what is read from the journal, and what the picture shows of it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audiolm_cli.evaluation.baselines import BaselineResult
from audiolm_cli.reports.curves import draw_curves, figure_of, headline, read_history


def validation(step: int, bits: list[float]) -> dict[str, Any]:
    """A journal entry of a validation."""
    share = [0.5] * len(bits)
    return {"step": step, "validation": {"bits": bits, "top1": share, "top10": share, "total_bits": sum(bits)}}


def journal(path: Path, entries: list[dict[str, Any]], tail: str = "") -> Path:
    """A `metrics.jsonl`."""
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + tail)
    return path


ENTRIES = [
    {"step": 1, "loss": 3.0, "ar_bits": 10.0, "nar_bits": 10.5, "nar_codebook": 3},
    {"step": 2, "loss": 3.0, "ar_bits": 9.0, "nar_bits": None, "nar_codebook": None},
    validation(2, [8.0, 10.0, 11.0]),
    {"step": 4, "loss": 3.0, "ar_bits": 7.0, "nar_bits": 9.5, "nar_codebook": 2},
    validation(4, [6.0, 9.0, 10.0]),
    validation(6, [7.0, 9.0, 10.0]),
]
BASELINES = [
    BaselineResult(name="unigram", bits=[10.9, 10.8, 10.7], top1=[0.0] * 3, top10=[0.0] * 3),
    BaselineResult(name="bigram", bits=[3.5, 9.5, 10.5], top1=[0.0] * 3, top10=[0.0] * 3),
    BaselineResult(name="5-gram", bits=[3.0], top1=[0.0], top10=[0.0]),
]


def test_the_journal_is_read(tmp_path: Path) -> None:
    """Each decoder's bits go to the codebook it predicted; an unfinished line and a missing file are no trouble."""
    history = read_history(journal(tmp_path / "m.jsonl", ENTRIES, tail='{"step": 8, "ar'))
    assert history.train == [(1, 0, 10.0), (1, 2, 10.5), (2, 0, 9.0), (4, 0, 7.0), (4, 1, 9.5)]
    assert [step for step, _ in history.held_out] == [2, 4, 6]
    assert history.best is not None and history.best[0] == 4
    assert headline("mine", history, 9) == "mine: step 6 of 9, best 25.00 bits per frame (step 4)"
    assert read_history(tmp_path / "none.jsonl").best is None


def test_the_picture_shows_it(tmp_path: Path) -> None:
    """A panel for the sum, one for top-10, one per codebook; curves and baselines where there are bits."""
    history = read_history(journal(tmp_path / "m.jsonl", ENTRIES))
    figure = figure_of(history, BASELINES, "mine $1$", 9)
    total, top10, *codebooks = figure.axes
    assert len(codebooks) == 3
    assert {text.get_text() for text in total.texts} == {"unigram 32.40", "bigram 23.50"}
    assert {text.get_text() for text in codebooks[2].texts} == {"unigram 10.70", "bigram 10.50"}
    curves = {line.get_label(): np.asarray(line.get_ydata()) for line in codebooks[1].lines}
    np.testing.assert_array_equal(curves["held-out"], [10.0, 9.0, 9.0])
    np.testing.assert_array_equal(curves["training batches"], [9.5])
    assert [line.get_label() for line in top10.lines][:3] == ["codebook 1", "codebook 2", "codebook 3"]
    for axes in figure.axes:
        assert axes.get_xlim() == (0, 9) and axes.get_title(loc="left") and axes.get_xlabel() == "steps"
    assert total.get_ylabel() == codebooks[0].get_ylabel() == "bits per frame"


@pytest.mark.parametrize("codebooks", [1, 3, 9])
def test_names_of_lines_are_over_nothing(tmp_path: Path, codebooks: int) -> None:
    """No line, curve, panel, other name or edge of the picture, where two baselines are as good as each other."""
    bits = [9.0, 10.0, *[11.0] * 7][:codebooks]
    history = read_history(
        journal(
            tmp_path / "m.jsonl", [ENTRIES[0], *(validation(step, [2 + own / step for own in bits]) for step in (1, 9))]
        )
    )
    near = [
        BaselineResult(
            name=name, bits=[own + 0.001 * i for own in bits], top1=[0.0] * codebooks, top10=[0.0] * codebooks
        )
        for i, name in enumerate(("unigram", "bigram"))
    ]
    figure = figure_of(history, near, "mine", 9)
    figure.canvas.draw()

    panels = [axes.get_window_extent() for axes in figure.axes]
    names = [text.get_window_extent() for axes in figure.axes for text in axes.texts]
    others = [text.get_window_extent() for axes in figure.axes for text in (axes.yaxis.label, *axes.get_yticklabels())]
    assert len(names) == 2 * (1 + codebooks) + codebooks + min(2, codebooks)
    for number, name in enumerate(names):
        assert not any(name.overlaps(other) for other in (*panels, *names[:number], *others))
        assert figure.bbox.x0 <= name.x0 and name.x1 <= figure.bbox.x1

    (legend,) = figure.legends
    assert not any(legend.get_window_extent().overlaps(panel) for panel in panels)
    assert {"held-out", "training batches", "best: step 9"} == {text.get_text() for text in legend.get_texts()}


def test_the_file(tmp_path: Path) -> None:
    """A PNG of a readable size that replaces the one before; none without a validation."""
    path = tmp_path / "curves.png"
    draw_curves(path, read_history(journal(tmp_path / "a.jsonl", ENTRIES[:2])), [], "a", 9)
    assert not path.exists()
    draw_curves(path, read_history(journal(tmp_path / "b.jsonl", ENTRIES)), BASELINES, "b", 9)
    data = path.read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert data.startswith(b"\x89PNG") and width >= 1200 and height >= 700
    one = [validation(1, [8.0])]
    draw_curves(path, read_history(journal(tmp_path / "c.jsonl", one)), [], "c", 1)
    assert path.read_bytes() != data
