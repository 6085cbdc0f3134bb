"""The bundled model's promises on held-out recordings: those of the folder that PIANO_RECORDINGS names (the card's
AUDIO).

PIANO_TOKENS, when set as well, is the token store it was trained on, for the n-gram baselines.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from audiolm_cli.reports.tables import markdown
from audiolm_cli.workflows.evaluate import Evaluation, evaluate

RECORDINGS = os.environ.get("PIANO_RECORDINGS")
TOKENS = os.environ.get("PIANO_TOKENS")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(RECORDINGS is None, reason="needs PIANO_RECORDINGS, a folder")]


@pytest.fixture(scope="module")
def measured() -> Evaluation:
    """One evaluation for all tests; `-s` shows it."""
    result = evaluate(Path(RECORDINGS or ""), "piano", tokens=Path(TOKENS) if TOKENS else None)
    print(markdown(result.to_dict()))
    return result


def test_the_context_matters_to_the_first_codebook(measured: Evaluation) -> None:
    assert measured.context["ar_share"] >= 0.95


def test_the_context_matters_to_the_fine_codebooks(measured: Evaluation) -> None:
    assert measured.context["nar_share"] >= 0.95


def test_top_10(measured: Evaluation) -> None:
    assert measured.scores["top10"][0] >= 0.5


def test_top_10_of_the_fine_codebooks(measured: Evaluation) -> None:
    assert min(measured.scores["top10"][1:]) >= 0.4


def test_better_than_bigrams(measured: Evaluation) -> None:
    if not measured.baselines:
        pytest.skip("needs PIANO_TOKENS")
    bigram = next(b for b in measured.baselines if b["name"] == "bigram")
    assert measured.scores["bits"][0] <= 0.85 * bigram["bits"][0]
    assert all(own < other for own, other in zip(measured.scores["bits"], bigram["bits"], strict=True))


def test_the_codec_keeps_the_notes(measured: Evaluation) -> None:
    assert measured.levels["round_trip_whole"]["chroma"]["value"] >= 0.93


def test_the_codec_keeps_the_sound(measured: Evaluation) -> None:
    """Of `sound`, with 25 frames per second; the codec of 50 that was bundled before it stayed under 0.16."""
    assert measured.levels["round_trip_whole"]["mel"]["value"] <= 0.21


def test_levels_are_ordered(measured: Evaluation) -> None:
    """By chroma, which tells notes. By mel distance, the round trip is the nearest."""
    chroma = {name: own["chroma"]["value"] for name, own in measured.levels.items()}
    assert chroma["round_trip"] > chroma["first_codebook"] > chroma["generated"]
    mel = {name: own["mel"]["value"] for name, own in measured.levels.items()}
    assert mel["round_trip"] < min(mel["first_codebook"], mel["generated"])


def test_seams(measured: Evaluation) -> None:
    assert measured.seams["placed_jump"]["value"] < 0.5 * measured.seams["bare_jump"]["value"]
    assert measured.seams["placed_flux_z"]["value"] <= 3
