"""The tables of an evaluation fit into a terminal of 80 columns, and say what the page's say."""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import pytest

from audiolm_cli.cli.render import Renderer
from audiolm_cli.reports.tables import LEVELS, Table, format_cell, screen_tables

K = 9
BITS = [11.0 - k for k in range(K)]
FIGURE = {"value": 0.5, "low": 0.125, "high": 0.875}
SCORES = {"bits": BITS, "total_bits": sum(BITS), "top1": [0.999] * K, "top10": [1.0] * K, "nar_passes": 4}


def baseline(name: str, bits: list[float]) -> dict[str, Any]:
    """What an evaluation has of a predictor."""
    return {"name": name, "bits": bits, "total_bits": sum(bits)}


RESULT: dict[str, Any] = {
    "codebook_perplexity": [2048.0] * K,
    "codebook_size": 2048,
    "scores": SCORES,
    "one_pass": SCORES,
    "baselines": [
        *(baseline(name, BITS) for name in ("uniform", "unigram", "repeat-last", "bigram")),
        baseline("5-gram", BITS[:1]),
    ],
    "context": {"ar_share": 1.0, "ar_bits": 10.0, "nar_share": 1.0, "nar_bits": 10.0},
    "levels": {name: dict.fromkeys(("mel", "spectral", "chroma"), FIGURE) for name in LEVELS},
    "consistency": {"white noise, SNR 40 dB": [1.0] * K, "a quarter of a frame later": [0.999] * K},
    "seams": {f"{a}_{b}": FIGURE for a in ("original", "placed", "bare") for b in ("jump", "flux_z")},
    "sound": {
        "recordings": 9,
        "rows": {"original": 99, "generated": 999},
        "figures": dict.fromkeys(("original", "generated"), FIGURE),
    },
    "harmony": dict.fromkeys(("original", "generated", "another"), FIGURE),
    "repetition": dict.fromkeys(("original", "generated"), FIGURE),
    "longest_match_frames": {"original": 100, "generated": 100},
}


def drawn_lines(table: Table, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of a table in a terminal of 80 columns."""
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", "80")
    Renderer().table(table.columns, [[format_cell(cell) for cell in row] for row in table.rows])
    plain = re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue())
    return [line for line in plain.splitlines() if line.strip()]


@pytest.mark.parametrize("detailed", [False, True])
def test_no_number_is_broken_in_80_columns(detailed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor the name of a column, of nine codebooks; the longest name of a line may be."""
    tables = screen_tables(RESULT, detailed=detailed)
    assert len(tables) == (10 if detailed else 4)
    for table in tables:
        lines = drawn_lines(table, monkeypatch)
        assert max(map(len, lines)) <= 80
        for cells in (table.columns, *table.rows):
            whole = r"\s+".join(re.escape(format_cell(cell)) for cell in cells[1:])
            assert any(re.search(rf"\s{whole}\s*$", line) for line in lines), "\n".join(lines)


def test_a_codebook_is_a_line() -> None:
    """With what it costs, what is foreseen of it, rounded down as in the words, and how many codes it uses."""
    first, *_, total = screen_tables(RESULT)[0].rows
    assert list(first) == ["1", "11.00", "11.00", "99", "100", "2048"]
    assert list(total) == ["all", "63.00", "63.00", "", "", ""]
    alone = screen_tables(RESULT | {"scores": None, "levels": {}, "sound": None, "harmony": {}})
    assert [list(table.columns) for table in alone] == [["codebook", "codes in use"]]


def test_what_is_not_there_is_not_explained() -> None:
    """One recording has no intervals, so there are no brackets to explain."""

    def notes(low: float | None) -> str:
        figure = {"value": 0.5, "low": low, "high": low}
        levels = {name: dict.fromkeys(("mel", "spectral", "chroma"), figure) for name in LEVELS}
        return " ".join(table.note for table in screen_tables(RESULT | {"levels": levels}))

    assert "In brackets" in notes(0.4) and "In brackets" not in notes(None)
