"""How good a trained model is, in words: against the baselines, the usual thresholds, and its own training data.

Knows nothing about how the numbers were measured or where the words are shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from audiolm_cli.evaluation.baselines import BaselineResult
from audiolm_cli.wording import counted

NAMED = ("unigram", "bigram")
"""Baselines that a verdict names."""
BASELINE_FIELDS = ("name", "bits", "top1", "top10")
"""Of a `BaselineResult`, as an evaluation holds it."""
AR_TOP10, NAR_TOP10 = 50, 40
"""Top-10 percentages that VALL-E style recipes ask of a trained model: of codebook 1, and on average of the others."""
GOOD_TOP10 = 80
"""Top-10 percentage of codebook 1 from which on continuations keep to the music for seconds."""
CARRIED_CHROMA, LOST_CHROMA = 0.9, 0.75
"""Chroma correlations over which a codec carries a sound's pitches, and under which it loses them."""
CLEAN_MEL, DULL_MEL = 0.2, 0.35
"""Mel distances under which a codec's round trip sounds like the recording, and over which it sounds like another."""
CARRIES, LOSES = "it carries this sound", "it does not carry this sound"
"""What is said of such codecs."""
CLEAR_GAIN = 0.05
"""A model is clearly better than a baseline when it needs this share less bits."""
MILD_GAP, WIDE_GAP = 0.03, 0.10
"""Held-out bits over training bits by this share are a little and a lot of over-fitting."""
STILL_FALLING = 0.005
"""The last validation improved by this share: training on would help."""
HARDLY = 0.01
"""A training that gained less than this share has hardly begun."""
GOT_WORSE = 0.01
"""The last validation is worse than the best by this share: the last steps did harm."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a training ended with. Scores are mappings with "bits", "top1", "top10" per codebook, and "total_bits"."""

    best: Mapping[str, Any]
    """Held-out scores of the weights that were kept."""
    best_step: int
    """When they were reached."""
    held_out: Sequence[tuple[int, Mapping[str, Any]]]
    """(step, scores) of all validations in order."""
    started_from: str = ""
    """Name of the model whose weights the training began with; empty where there was none."""
    train: Mapping[str, Any] | None = None
    """Scores of the same weights on windows they were trained on; None when not measured."""
    baselines: Sequence[BaselineResult] = ()
    """N-gram predictors on the same held-out frames."""
    codebook_size: int = 2048
    """V."""
    stage: int = 0
    """0 trained both decoders, 1 the AR alone, 2 the NAR alone."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Sentences for a person."""

    findings: list[str] = field(default_factory=list)
    """What the numbers say, most important first."""
    advice: list[str] = field(default_factory=list)
    """What to do next."""
    overfits: bool = False
    """Held-out bits are far over training bits, or a little over them and rising."""

    def lines(self) -> list[str]:
        """The verdict for a person, one thought per line."""
        return [*self.findings, *(f"next: {line}" for line in self.advice)]


def judge(outcome: Outcome) -> Verdict:
    """The verdict on a training.

    >>> scores = {"bits": [2.4], "top1": [0.7], "top10": [0.9], "total_bits": 2.4}
    >>> judge(Outcome(best=scores, best_step=100, held_out=[(100, scores)])).findings[0]
    'held-out: 2.40 bits per frame, where a blind guess needs 11.00'
    """
    untouched = _scores_of_start(outcome)
    findings = [] if untouched is None else [_compare_with_start(outcome, untouched)]
    findings.append(_compare_with_baselines(outcome.best, outcome.baselines, outcome.codebook_size))
    learned = True
    if outcome.stage != 2:
        sentence, learned = _judge_first_codebook(outcome.best)
        findings.append(sentence)
    if outcome.stage != 1 and len(outcome.best["bits"]) > 1:
        findings.append(_judge_other_codebooks(outcome.best, outcome.baselines))

    sentences, overfits = _judge_overfitting(outcome)
    findings += sentences
    advice = _advise(outcome, learned, overfits)
    if untouched is not None and outcome.best_step == 0:
        advice = ["it has nothing new to give: use the model it began with, or train on more recordings"]
    return Verdict(findings=findings, advice=advice, overfits=overfits)


def judge_evaluation(result: Mapping[str, Any]) -> list[str]:
    """What an evaluation (`workflows.evaluate.Evaluation.to_dict`) says, in words, most important first."""
    lines = [f"measured on {result['measured']}"]
    if result["scores"]:
        known = [BaselineResult(**{name: own[name] for name in BASELINE_FIELDS}) for own in result["baselines"]]
        lines += [
            _compare_with_baselines(result["scores"], known, result["codebook_size"]),
            _judge_first_codebook(result["scores"])[0],
        ]
        if len(result["scores"]["bits"]) > 1:
            lines.append(_judge_other_codebooks(result["scores"], known))
    if "round_trip_whole" in result["levels"]:
        round_trips = result["levels"]["round_trip_whole"]
        lines.append(_judge_codec({name: _value(own) for name, own in round_trips.items()}))
    if result.get("no_piano"):
        lines.append(_judge_experience(result["no_piano"], result["clips"], result["model"]["name"]))
    figures = (result.get("sound") or {}).get("figures", {})
    if "generated" in figures:
        lines.append(_judge_sound(figures))
    if result.get("harmony"):
        lines.append(_judge_harmony(result["harmony"]))
    return lines


def judge_codec_training(after: Mapping[str, float], before: Mapping[str, float] | None, started_from: str) -> Verdict:
    """The verdict on the training of a codec.

    Args:
        after: "mel" and "chroma" of its round trips of held-out clips.
        before: the same of the codec that the training began with; None where there was none.
        started_from: name of that codec.
    """
    grade = _grade_codec(after)
    if before is None:
        finding = f"the codec: mel distance {after['mel']:.3f}, chroma correlation {after['chroma']:.2f}: {grade}"
    else:
        finding = (
            f"the codec: mel distance {after['mel']:.3f} instead of {before['mel']:.3f} of {started_from} as it was, "
            f"chroma correlation {after['chroma']:.2f} instead of {before['chroma']:.2f}: {grade}"
        )
        if after["mel"] > (1 + GOT_WORSE) * before["mel"]:
            worse = f"it sounds less like the recordings than {started_from} as it was"
            return Verdict(findings=[finding, worse], advice=[f"more --steps, or keep {started_from}"])
    return Verdict(findings=[finding], advice=[] if grade == CARRIES else ["more --steps, or more recordings"])


def _judge_codec(distances: Mapping[str, float]) -> str:
    grade = _grade_codec(distances)
    sentence = f"the codec: mel distance {distances['mel']:.2f}, chroma correlation {distances['chroma']:.2f}: {grade}"
    return f"{sentence}; train one on it (audiolm codec train) before anything else" if grade == LOSES else sentence


def _grade_codec(distances: Mapping[str, float]) -> str:
    mel, chroma = distances["mel"], distances["chroma"]
    if chroma < LOST_CHROMA or mel > DULL_MEL:
        return LOSES
    return (
        CARRIES
        if chroma >= CARRIED_CHROMA and mel <= CLEAN_MEL
        else "it carries the pitches, but not all of the detail"
    )


def _judge_experience(no_piano: int, clips: int, model: str) -> str:
    """What a model that knows only pianos can make of other sounds, which is not up to its codec."""
    do = "does" if no_piano == 1 else "do"
    return (
        f"the model: {model} knows only pianos, and {no_piano} of {counted(clips, 'excerpt')} {do} not sound like one; "
        "however well the codec carries them, what the model makes will not sound like them (audiolm guide training "
        "says how to make a model of other sounds)"
    )


def _judge_sound(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """How like the recordings continuations sound, beside two halves of these, and what the codec makes of them."""
    own, codec = figures["generated"], figures.get("round_trip")  # the latter is not known of codes
    chance = figures["original"]
    sentence = (
        f"continuations: their sound is {own['value']:.3f} from what truly follows (MMD), where two halves of the "
        f"recordings are {chance['low']:.3f} to {chance['high']:.3f} from each other"
    )
    if codec is not None:
        sentence += f", and the codec alone is at {codec['value']:.3f}"

    if own["low"] <= 0:
        return f"{sentence}: no difference shows"
    if codec is not None and own["value"] <= codec["high"]:
        return f"{sentence}: as like the recordings as this codec lets them be"
    return f"{sentence}: they do not sound quite like the recordings"


def _judge_harmony(harmony: Mapping[str, Mapping[str, Any]]) -> str:
    """Whether continuations keep to the harmony of their prompts."""
    own, true, another = (harmony.get(name) for name in ("generated", "original", "another"))
    assert own is not None and true is not None, harmony
    sentence = (
        f"continuations: the chroma correlation with their prompts is {own['value']:.2f}, where true ones have "
        f"{true['value']:.2f}"
    )
    if another is None:
        return sentence

    sentence += f" and another recording's {another['value']:.2f}"
    if own["value"] >= true["low"]:
        return f"{sentence}: they keep to the harmony as true ones do"
    if own["low"] <= another["high"]:
        return f"{sentence}: they forget the harmony"
    return f"{sentence}: they keep to some of the harmony"


def _value(figure: Mapping[str, Any] | float) -> float:
    """A figure without its interval; results of earlier versions have none."""
    return float(figure["value"]) if isinstance(figure, Mapping) else figure


def _compare_with_baselines(best: Mapping[str, Any], baselines: Sequence[BaselineResult], codebook_size: int) -> str:
    K, total = len(best["bits"]), best["total_bits"]
    blind = K * math.log2(codebook_size)
    sentence = f"held-out: {total:.2f} bits per frame, where a blind guess needs {blind:.2f}"

    known = [baseline for baseline in baselines if len(baseline.bits) == K and baseline.name in NAMED]
    named = [f"the {baseline.name} {baseline.total_bits:.2f}" for baseline in known]
    if not named:
        return sentence
    sentence += f", {' and '.join(named)}"

    least = min(baseline.total_bits for baseline in known)
    if blind < least:  # too few recordings to count anything in
        return f"{sentence}: {100 * (1 - total / blind):.0f} % better than a blind guess"
    if total > least:
        return f"{sentence}: it is not yet as good as a table of which code follows which"
    if total > (1 - CLEAR_GAIN) * least:
        return f"{sentence}: it is hardly better than a table of which code follows which"
    return f"{sentence}: {100 * (1 - total / least):.0f} % better than a table of which code follows which"


def _scores_of_start(outcome: Outcome) -> Mapping[str, Any] | None:
    """Those of the weights that the training began with; None where these were drawn at random."""
    starts = [scores for step, scores in outcome.held_out if step == 0]
    return starts[0] if outcome.started_from and starts else None


def _compare_with_start(outcome: Outcome, untouched: Mapping[str, Any]) -> str:
    """Whether the training made the model better, and each part of it."""
    name, before, after = outcome.started_from, untouched["total_bits"], outcome.best["total_bits"]
    if outcome.best_step == 0:
        return f"no step made it better than {name} as it was ({before:.2f} bits per frame), so its weights are kept"

    sentence = (
        f"{100 * (1 - after / before):.0f} % better here than {name} as it was: {after:.2f} bits per frame instead of "
        f"{before:.2f}"
    )
    if after > (1 - HARDLY) * before:
        return f"hardly another model than {name} as it was: {after:.2f} bits per frame instead of {before:.2f}"

    first, now = untouched["bits"][0], outcome.best["bits"][0]
    if now > (1 + GOT_WORSE) * first:
        return f"{sentence}; but codebook 1 (the notes) got worse, {now:.2f} bits instead of {first:.2f}"
    return f"{sentence}, codebook 1 (the notes) {now:.2f} instead of {first:.2f}"


def _judge_first_codebook(best: Mapping[str, Any]) -> tuple[str, bool]:
    """The sentence, and whether enough was learned to listen to."""
    top10 = whole_percent(best["top10"][0])
    sentence = f"codebook 1 (the notes): top-10 {top10} %, top-1 {whole_percent(best['top1'][0])} %"

    if top10 < AR_TOP10:
        return f"{sentence}: below the {AR_TOP10} % that a usable model has; expect noise or wandering", False
    if top10 < GOOD_TOP10:
        return f"{sentence}: over the {AR_TOP10} % of a usable model; keeps to the music for moments", True
    return f"{sentence}: well over the {AR_TOP10} % of a usable model", True


def _judge_other_codebooks(best: Mapping[str, Any], baselines: Sequence[BaselineResult]) -> str:
    shares, bits = best["top10"][1:], best["bits"][1:]
    top10 = whole_percent(sum(shares) / len(shares))
    each = " ".join(str(whole_percent(share)) for share in shares)
    sentence = f"codebooks 2 to {len(bits) + 1} (the detail): top-10 {top10} % on average ({each})"

    if top10 >= NAR_TOP10:
        return f"{sentence}: over the {NAR_TOP10} % of a usable model"
    sentence += f": below the usual {NAR_TOP10} %"

    # The finest codes of some codecs are close to noise: there, what counts is being better than the bigram.
    bigram = next((b for b in baselines if b.name == "bigram" and len(b.bits) == len(bits) + 1), None)
    if bigram is None:
        return sentence

    own, theirs = sum(bits), sum(bigram.bits[1:])
    if own < (1 - CLEAR_GAIN) * theirs:
        return (
            f"{sentence}, but clearly better than the bigram ({own:.1f} against {theirs:.1f} bits): "
            "the finest codes of some codecs are close to noise"
        )
    return f"{sentence}, and no better than the bigram ({own:.1f} against {theirs:.1f} bits)"


def _judge_overfitting(outcome: Outcome) -> tuple[list[str], bool]:
    """Sentences on training against held-out, and whether there is too much of it."""
    sentences, overfits, gap, total = [], False, 0.0, outcome.best["total_bits"]
    if outcome.train is not None:
        gap = total / outcome.train["total_bits"] - 1 if outcome.train["total_bits"] > 0 else math.inf
        overfits = gap > WIDE_GAP
        word = "over-fitting" if overfits else "a little over-fitting" if gap > MILD_GAP else "no over-fitting"
        sentences.append(
            f"{word}: {outcome.train['total_bits']:.2f} bits on training windows, {total:.2f} on held-out ones"
        )

    last_step, last = outcome.held_out[-1] if outcome.held_out else (outcome.best_step, outcome.best)
    if last["total_bits"] > (1 + GOT_WORSE) * total:
        overfits = overfits or (gap > MILD_GAP)
        sentences.append(
            f"held-out bits rose from {total:.2f} at step {outcome.best_step} to {last['total_bits']:.2f} at step "
            f"{last_step}; the weights of step {outcome.best_step} are kept"
        )
    return sentences, overfits


def _advise(outcome: Outcome, learned: bool, overfits: bool) -> list[str]:
    advice = []
    if overfits:
        advice.append("more recordings help most; else a smaller --preset, fewer --steps, or --init from a model")
    elif _is_behind(outcome):
        advice.append("it has only begun to learn: many more --steps, or --init from a trained model")
    elif _is_improving(outcome):
        advice.append("it is still improving: a longer run (--steps) will be better")
    elif not learned:
        advice.append("more steps do little here: more recordings, or --init from a trained model")
    return advice


def _is_behind(outcome: Outcome) -> bool:
    """Whether a baseline is better."""
    totals = [b.total_bits for b in outcome.baselines if len(b.bits) == len(outcome.best["bits"])]
    return bool(totals) and outcome.best["total_bits"] > min(totals)


def _is_improving(outcome: Outcome) -> bool:
    if len(outcome.held_out) < 2:
        return True
    before, last = outcome.held_out[-2][1]["total_bits"], outcome.held_out[-1][1]["total_bits"]
    return last < (1 - STILL_FALLING) * before


def whole_percent(share: float) -> int:
    """Whole percent, rounded down, so that what is shown as reached is reached."""
    return math.floor(100 * share + 1e-6)
