"""The verdict on a training says what the numbers mean, each case with the words that fit it and no others."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from audiolm_cli.evaluation.baselines import BaselineResult
from audiolm_cli.reports.verdict import Outcome, judge, judge_codec_training, judge_evaluation


def scores(bits: list[float], top10: list[float] | None = None) -> dict[str, Any]:
    """Scores of a validation."""
    top10 = top10 or [0.88, 0.3, 0.15, 0.09]
    return {"bits": bits, "top1": [share / 2 for share in top10], "top10": top10, "total_bits": sum(bits)}


def figure(value: float, error: float = 0.0) -> dict[str, float]:
    """A figure with an interval of `error` on each side."""
    return {"value": value, "low": value - error, "high": value + error}


def codec_of(mel: float, chroma: float) -> dict[str, Any]:
    """Distances of a round trip."""
    return {"mel": figure(mel, 0.3), "chroma": figure(chroma, 0.3)}


def sound_of(generated: float, codec: float | None = 0.05) -> dict[str, Any]:
    """Distances of distributions: of halves -0.001, of continuations and of the codec's round trips."""
    figures = {"original": figure(-0.001, 0.03), "generated": figure(generated, 0.04)}
    return {"figures": figures if codec is None else {**figures, "round_trip": figure(codec, 0.02)}}


def harmony_of(generated: float) -> dict[str, Any]:
    """Chroma correlations with the prompt, of true continuations 0.69 and of another recording's 0.05."""
    return {"original": figure(0.69, 0.08), "generated": figure(generated, 0.06), "another": figure(0.05, 0.03)}


BIGRAM = BaselineResult(name="bigram", bits=[2.9, 9.5, 10.6, 10.8], top1=[0.0] * 4, top10=[0.0] * 4)
UNIGRAM = BaselineResult(name="unigram", bits=[10.9] * 4, top1=[0.0] * 4, top10=[0.0] * 4)
GOOD = scores([2.4, 7.5, 8.7, 9.8])


def outcome(best: dict[str, Any] = GOOD, **changed: Any) -> Outcome:
    """A finished training."""
    held_out = [(100, scores([3.0, 8.0, 9.0, 10.0])), (200, best)]
    return Outcome(**{"best": best, "best_step": 200, "held_out": held_out, "baselines": [UNIGRAM, BIGRAM], **changed})


def test_a_good_model() -> None:
    """Better than the tables, over the threshold in codebook 1, below it in the others and why, still improving."""
    said = judge(outcome(train=scores([2.35, 7.5, 8.7, 9.8])))
    assert said.findings == [
        "held-out: 28.40 bits per frame, where a blind guess needs 44.00, the unigram 43.60 and the bigram 33.80: "
        "16 % better than a table of which code follows which",
        "codebook 1 (the notes): top-10 88 %, top-1 44 %: well over the 50 % of a usable model",
        "codebooks 2 to 4 (the detail): top-10 18 % on average (30 15 9): below the usual 40 %, but clearly better "
        "than the bigram (26.0 against 30.9 bits): the finest codes of some codecs are close to noise",
        "no over-fitting: 28.35 bits on training windows, 28.40 on held-out ones",
    ]
    assert said.advice == ["it is still improving: a longer run (--steps) will be better"] and not said.overfits


@pytest.mark.parametrize(
    ("best", "words"),
    [
        (scores([3.5, 9.6, 10.5, 10.8]), "not yet as good as a table"),
        (scores([2.8, 9.0, 10.3, 10.6]), "hardly better than a table"),
        (scores([2.4, 7.5, 8.7, 9.8], [0.4, 0.5, 0.5, 0.5]), "below the 50 % that a usable model has"),
        (scores([2.4, 7.5, 8.7, 9.8], [0.6, 0.5, 0.5, 0.5]), "keeps to the music for moments"),
        (scores([2.4, 7.5, 8.7, 9.8], [0.9, 0.5, 0.4, 0.3]), "over the 40 % of a usable model"),
        (scores([2.0, 9.4, 10.5, 10.7]), "no better than the bigram (30.6 against 30.9 bits)"),
    ],
)
def test_each_case_has_its_words(best: dict[str, Any], words: str) -> None:
    """Said of the scores they fit, and not of a good model's."""
    assert words in " ".join(judge(outcome(best)).findings)
    assert words not in " ".join(judge(outcome()).findings)


def test_a_table_that_is_worse_than_a_blind_guess_is_no_measure() -> None:
    """With minutes of recordings, hardly any code is met twice."""
    tables = [dataclasses.replace(table, bits=[11.5] * 4) for table in (UNIGRAM, BIGRAM)]
    said = judge(outcome(baselines=tables))
    assert said.findings[0].endswith("the unigram 46.00 and the bigram 46.00: 35 % better than a blind guess")


def test_overfitting() -> None:
    """Seen in the gap to the training windows, and in a validation that got worse; the advice is not more steps."""
    gap = judge(outcome(train=scores([1.0, 6.0, 7.0, 8.0])))
    assert gap.overfits and any(line.startswith("over-fitting: 22.00 bits") for line in gap.findings)
    assert "more recordings" in gap.advice[0] and "--steps" in gap.advice[0]
    little = judge(outcome(train=scores([2.2, 7.2, 8.4, 9.5])))
    assert not little.overfits and "a little over-fitting" in little.findings[-1]
    rising = [(100, GOOD), (200, scores([2.6, 7.6, 9.0, 10.2]))]
    risen = judge(outcome(best_step=100, held_out=rising, train=scores([2.2, 7.2, 8.4, 9.5])))
    assert risen.overfits and "rose from 28.40 at step 100 to 29.40 at step 200" in risen.findings[-1]
    unsteady = judge(outcome(best_step=100, held_out=rising, train=GOOD))
    assert not unsteady.overfits and "rose from" in unsteady.findings[-1] and unsteady.advice == []


def test_nothing_more_to_gain() -> None:
    """A model that learned and stopped improving gets no advice; ones that did not learn get theirs."""
    flat = [(100, GOOD), (200, GOOD)]
    assert judge(outcome(held_out=flat)).advice == []
    poor = scores([2.8, 8.0, 9.5, 10.5], [0.2, 0.1, 0.1, 0.1])
    assert "more steps do little" in judge(outcome(poor, held_out=[(100, poor), (200, poor)])).advice[0]
    begun = scores([8.2, 11.0, 11.1, 11.1], [0.4, 0.0, 0.0, 0.0])
    assert "only begun" in judge(outcome(begun, held_out=[(100, begun), (200, poor)])).advice[0]


def test_one_decoder_alone() -> None:
    """Nothing is said of the decoder that was not trained."""
    assert not any("codebook 1 (" in line for line in judge(outcome(stage=2)).findings)
    assert not any("codebooks 2" in line for line in judge(outcome(stage=1)).findings)
    single = scores([2.4], [0.9])
    found = judge(Outcome(best=single, best_step=1, held_out=[(1, single)], codebook_size=1024)).findings
    assert found[0].endswith("a blind guess needs 10.00") and len(found) == 2


def test_a_fine_tuned_model_is_compared_with_the_untouched_one_first() -> None:
    """In all and in codebook 1; where no step made it better, nothing else is advised than to leave it."""
    start = scores([2.9, 7.9, 9.0, 10.2])
    history = [(0, start), (100, scores([2.6, 7.7, 8.8, 9.9])), (200, GOOD)]
    said = judge(outcome(held_out=history, started_from="piano"))
    assert said.findings[0] == (
        "5 % better here than piano as it was: 28.40 bits per frame instead of 30.00, codebook 1 (the notes) 2.40 "
        "instead of 2.90"
    )
    assert said.findings[1].startswith("held-out: 28.40 bits per frame, where a blind guess needs 44.00")

    worse = scores([3.2, 7.0, 8.5, 9.7])
    said = judge(outcome(worse, held_out=[(0, start), (200, worse)], started_from="piano"))
    assert "; but codebook 1 (the notes) got worse, 3.20 bits instead of 2.90" in said.findings[0]

    same = scores([2.9, 7.9, 9.0, 10.1])
    said = judge(outcome(same, held_out=[(0, start), (200, same)], started_from="piano"))
    assert said.findings[0] == "hardly another model than piano as it was: 29.90 bits per frame instead of 30.00"

    history = [(0, GOOD), (100, start)]
    said = judge(outcome(best_step=0, held_out=history, started_from="piano"))
    assert said.findings[0] == (
        "no step made it better than piano as it was (28.40 bits per frame), so its weights are kept"
    )
    assert said.advice == ["it has nothing new to give: use the model it began with, or train on more recordings"]
    assert "as it was" not in " ".join(judge(outcome(held_out=history)).findings), "random weights are no model"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "the codec: mel distance 0.15, chroma correlation 0.95: it carries this sound"),
        ({"levels": {"round_trip_whole": codec_of(0.26, 0.91)}}, "the pitches, but not all of the detail"),
        ({"levels": {"round_trip_whole": codec_of(0.4, 0.95)}}, "it does not carry this sound; train one"),
        ({"levels": {"round_trip_whole": codec_of(0.1, 0.5)}}, "it does not carry this sound; train one"),
        ({"no_piano": 2}, "the model: piano knows only pianos, and 2 of 3 excerpts do not sound like one;"),
        ({}, "they do not sound quite like the recordings"),
        (
            {},
            "(MMD), where two halves of the recordings are -0.031 to 0.029 from each other, and",
        ),
        ({"sound": sound_of(0.06)}, "as like the recordings as this codec lets them be"),
        ({"sound": sound_of(0.03)}, "no difference shows"),
        ({"sound": sound_of(0.06, codec=None)}, "they do not sound quite like the recordings"),
        ({}, "0.54, where true ones have 0.69 and another recording's 0.05: they keep to some of the harmony"),
        ({"harmony": harmony_of(0.66)}, "they keep to the harmony as true ones do"),
        ({"harmony": harmony_of(0.12)}, "they forget the harmony"),
    ],
)
def test_an_evaluation_in_words(changed: dict[str, Any], words: str) -> None:
    """What was measured first; each case has its words."""
    result = {
        "measured": "all 3 recordings of in",
        "scores": GOOD,
        "baselines": [
            BIGRAM.to_dict(),
            {"name": "4-gram", "bits": [1.0], "top1": [0.5], "top10": [0.9], "total_bits": 1.0},
        ],
        "codebook_size": 2048,
        "levels": {"round_trip_whole": codec_of(0.15, 0.95)},
        "sound": sound_of(0.1),
        "harmony": harmony_of(0.54),
        "model": {"kind": "model", "name": "piano"},
        "clips": 3,
        "no_piano": 0,
    }
    lines = judge_evaluation(result | changed)
    assert lines[0] == "measured on all 3 recordings of in"
    assert lines[1] == (
        "held-out: 28.40 bits per frame, where a blind guess needs 44.00, the bigram 33.80: 16 % better than a table "
        "of which code follows which"
    )
    assert sum(words in line for line in lines[-4:]) == 1
    assert any(line.startswith("the model:") for line in lines) == ("no_piano" in changed)
    assert len(judge_evaluation(result | {"scores": None, "sound": None, "harmony": {}})) == 2


def test_few_recordings_in_words() -> None:
    """Too few for distributions, nothing is said of them; of one recording alone, no word without another beside it."""
    alone = {name: {"value": 0.5, "low": None, "high": None} for name in ("original", "generated")}
    result = {
        "measured": "a",
        "scores": None,
        "levels": {},
        "sound": {"recordings": 1, "rows": {"original": 6, "generated": 24}, "figures": {}},
        "harmony": alone,
    }
    assert judge_evaluation(result)[1:] == [
        "continuations: the chroma correlation with their prompts is 0.50, where true ones have 0.50"
    ]


@pytest.mark.parametrize(
    ("after", "before", "finding", "advice"),
    [
        ((0.15, 0.95), None, "the codec: mel distance 0.150, chroma correlation 0.95: it carries this sound", []),
        ((0.25, 0.95), None, "not all of the detail", ["more --steps, or more recordings"]),
        ((0.25, 0.5), None, "it does not carry this sound", ["more --steps, or more recordings"]),
        (
            (0.15, 0.95),
            (0.3, 0.8),
            "mel distance 0.150 instead of 0.300 of piano as it was, chroma correlation 0.95 instead of 0.80: it "
            "carries this sound",
            [],
        ),
        ((0.3, 0.8), (0.25, 0.9), "it sounds less like the recordings than piano", ["more --steps, or keep piano"]),
    ],
)
def test_the_verdict_on_a_codec(
    after: tuple[float, float], before: tuple[float, float] | None, finding: str, advice: list[str]
) -> None:
    """In words, and beside the codec that it began with."""
    distances = [own and dict(zip(("mel", "chroma"), own, strict=True)) for own in (after, before)]
    verdict = judge_codec_training(distances[0] or {}, distances[1], "piano")
    assert finding in " ".join(verdict.findings) and verdict.advice == advice
