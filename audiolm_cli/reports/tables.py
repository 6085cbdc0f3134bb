"""Evaluation results as tables: for the terminal, as Markdown for model cards, and for the page.

Knows nothing about how the numbers were measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audiolm_cli.evaluation.unpaired import FEWEST
from audiolm_cli.reports.verdict import whole_percent

LEVELS = {
    "round_trip_whole": "codec round trip, whole clip",
    "round_trip": "codec round trip",
    "first_codebook": "true codebook 1, others generated",
    "generated": "all generated",
}
CONTINUATIONS = {
    "original": "true continuations",
    "generated": "all generated",
    "another": "another recording's",
}
EXPLAINED = {
    "mel": "Mel distance: 0 is the same sound; of a round trip, 0.2 is clean and 0.35 dull.",
    "spectral": "Spectral distance: 0 is the same sound.",
    "chroma": "Chroma correlation: 1 is the same harmony at the same times.",
}
MEASURES = {"mel": "mel distance", "spectral": "spectral distance", "chroma": "chroma correlation"}

INTERVALS = "In brackets: where 95 % of the values lie when the recordings are drawn again."


@dataclass(frozen=True, kw_only=True)
class Table:
    """Numbers, and what they mean."""

    columns: Sequence[str]
    """The first one says what the table is of."""
    rows: Sequence[Sequence[object]]
    """A name and its numbers each."""
    note: str
    """What the numbers mean, and which are good."""


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; floats with three digits after the point."""
    lines = [[format_cell(cell) for cell in row] for row in [columns, ["---"] * len(columns), *rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown(result: Mapping[str, Any]) -> str:
    """The tables of an evaluation (`workflows.evaluate.Evaluation.to_dict`), without what they mean."""
    kind = "held-out recordings" if result["held_out"] else "recordings, which are in the training set"
    windows = f"; {result['windows']} windows of codes" if result["windows"] else ""
    parts = [f"{result['recordings']} {kind}{windows}; {result['clips']} excerpts of up to 10 s."]
    return "\n\n".join([*parts, *(table(own.columns, own.rows) for own in tables_of(result))])


def tables_of(result: Mapping[str, Any]) -> list[Table]:
    """The tables of an evaluation in the order in which they are read."""
    return [*_describe_codes(result), *_describe_sound(result)]


def screen_tables(result: Mapping[str, Any], *, detailed: bool = False) -> list[Table]:
    """The tables that a terminal of 80 columns has room for: each codebook is a line in them, not a column.

    Without `detailed` only those that say how good a model or codec is.
    """
    if not detailed:
        return [
            _list_codebooks(result),
            *_describe_levels(result, ("mel", "chroma")),
            *_describe_distribution(result.get("sound"), lacking=False),
            *_describe_harmony(result),
        ]
    return [
        _list_codebooks(result),
        *_list_predictors(result),
        *_describe_context(result["context"]),
        *_describe_levels(result, ("mel", "chroma")),
        *_describe_levels(result, ("spectral",)),
        *_list_changes(result),
        *_describe_seams(result),
        *_describe_distribution(result.get("sound")),
        *_describe_continuations(result),
    ]


def format_cell(cell: object) -> str:
    """A cell as text; floats with three digits after the point."""
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def format_figure(figure: Mapping[str, float | None] | float) -> str:
    """A figure with its interval, where it has one; results of earlier versions have none."""
    if not isinstance(figure, Mapping):
        return format_cell(figure)
    value, low, high = (figure[name] for name in ("value", "low", "high"))
    return f"{value:.3f}" if low is None else f"{value:.3f} [{low:.3f},{high:.3f}]"


def _describe_codes(result: Mapping[str, Any]) -> list[Table]:
    """What the model makes of the codes, and how the codec uses its codebooks."""
    K, V = len(result["codebook_perplexity"]), result["codebook_size"]
    names = [f"codebook {k + 1}" for k in range(K)]
    usage = Table(
        columns=["use of the codebooks", *names],
        rows=[["perplexity", *(f"{p:.0f}" for p in result["codebook_perplexity"])]],
        note=f"Perplexity: {_explain_perplexity(V)}",
    )
    scores = result["scores"]
    if not scores:
        return [usage]

    own = f"model, {scores['nar_passes']} NAR passes" if result["one_pass"] else "model"
    compared = {own: scores} | ({"model, one NAR pass": result["one_pass"]} if result["one_pass"] else {})
    bits: list[list[object]] = [[name, *each["bits"], each["total_bits"]] for name, each in compared.items()]
    for baseline in result["baselines"]:  # one that predicts the first codebook alone has no sum
        total = baseline["total_bits"] if len(baseline["bits"]) == K else ""
        bits.append([baseline["name"], *_pad_row(baseline["bits"], K), total])

    of_baselines = ""
    if result["baselines"]:
        of_baselines = (
            " The lines under the model need no network: tables of how often each code comes, alone (unigram) and "
            "after the one before (bigram)."
        )

    shares: list[list[object]] = []
    for name, each in compared.items():
        shares += [[f"{name}: top-1", *_percentages(each["top1"])], [f"{name}: top-10", *_percentages(each["top10"])]]
    return [
        Table(
            columns=["bits per frame", *names, "sum"],
            rows=bits,
            note=f"How much of each frame the model cannot foresee: {math.log2(V):.0f} bits are a blind guess, fewer "
            f"are better. Codebook 1 carries the notes, the others the detail.{of_baselines}",
        ),
        Table(
            columns=["the true code foreseen", *names],
            rows=shares,
            note="How often the true code is the likeliest one (top-1), and among the ten likeliest (top-10). Of "
            "codebook 1, top-10 over 50 % is usable and over 80 % good.",
        ),
        usage,
        *_describe_context(result["context"]),
    ]


def _explain_perplexity(codebook_size: int) -> str:
    return (
        f"as if so many of the {codebook_size} codes were used, all equally often. Few codes in use mean that the "
        "codec hardly hears differences."
    )


def _list_codebooks(result: Mapping[str, Any]) -> Table:
    """What a person looks at first, a line for each codebook."""
    K, V, scores = len(result["codebook_perplexity"]), result["codebook_size"], result["scores"]
    names = [str(k + 1) for k in range(K)]
    used = [f"{p:.0f}" for p in result["codebook_perplexity"]]
    if not scores:
        columns = ["codebook", "codes in use"]
        return Table(
            columns=columns, rows=list(zip(names, used, strict=True)), note=f"In use: {_explain_perplexity(V)}"
        )

    columns, cells = ["codebook", "bits"], [[*names, "all"], _with_sum(scores["bits"], scores["total_bits"])]
    explained = ""
    bigram = next((own for own in result["baselines"] if own["name"] == "bigram" and len(own["bits"]) == K), None)
    if bigram is not None:
        columns.append("bigram")
        cells.append(_with_sum(bigram["bits"], bigram["total_bits"]))
        explained = " The bigram needs no network: it is a table of which code follows which."

    columns += ["top-1 %", "top-10 %", "codes in use"]
    cells += [[str(whole_percent(share)) for share in scores[name]] + [""] for name in ("top1", "top10")]
    cells.append([*used, ""])
    return Table(
        columns=columns,
        rows=list(zip(*cells, strict=True)),
        note=f"Bits: how much of each frame the model cannot foresee. {math.log2(V):.0f} are a blind guess, fewer are "
        f"better. Codebook 1 carries the notes, the others the detail.{explained} Top-1, top-10: how often the true "
        "code is the likeliest, and among the ten likeliest; of codebook 1, top-10 over 50 % is usable and over 80 % "
        f"good. In use: {_explain_perplexity(V)}",
    )


def _list_predictors(result: Mapping[str, Any]) -> list[Table]:
    """The bits of the model and of all that it is compared with, a line for each codebook."""
    if not result["scores"]:
        return []
    K = len(result["codebook_perplexity"])
    compared = {"model": result["scores"]}
    if result["one_pass"]:
        compared["one pass"] = result["one_pass"]
    compared |= {own["name"]: own for own in result["baselines"]}

    # One that predicts the first codebook alone has no sum.
    cells = [
        _with_sum(own["bits"], own["total_bits"]) if len(own["bits"]) == K else [*map(_bits, own["bits"]), *[""] * K]
        for own in compared.values()
    ]
    names = [*(str(k + 1) for k in range(K)), "all"]
    return [
        Table(
            columns=["bits of", *compared],
            rows=list(zip(names, *cells, strict=True)),
            note="All but the model need no network. Unigram: how often each code comes; bigram and 5-gram: after the "
            "one before, or the four before; repeat-last: that the code stays.",
        )
    ]


def _list_changes(result: Mapping[str, Any]) -> list[Table]:
    """The codes that stay, in whole percent."""
    K = len(result["codebook_perplexity"])
    return [
        Table(
            columns=["% that stay, codebook", *(str(k + 1) for k in range(K))],
            rows=[
                [change, *(str(whole_percent(share)) for share in shares)]
                for change, shares in result["consistency"].items()
            ],
            note=own.note,
        )
        for own in _describe_consistency(result)
    ]


def _with_sum(bits: Sequence[float], total: float) -> list[str]:
    return [*map(_bits, bits), _bits(total)]


def _bits(value: float) -> str:
    return f"{value:.2f}"


def _describe_context(context: Mapping[str, float] | None) -> list[Table]:
    if context is None:
        return []
    rows = [
        [name, f"{100 * context[f'{key}_share']:.1f} %", f"{context[f'{key}_bits']:.2f}"]
        for key, name in (("ar", "codebook 1"), ("nar", "the others"))
    ]
    return [
        Table(
            columns=["own prompt or another recording's", "own likelier in", "bits per frame saved"],
            rows=rows,
            note="Whether the model listens to what came before: how often the true continuation is likelier after its "
            "own prompt than after another recording's. 50 % would be chance.",
        )
    ]


def _describe_sound(result: Mapping[str, Any]) -> list[Table]:
    """How near the codec and the model come to the recordings."""
    return [
        *_describe_levels(result, tuple(MEASURES)),
        *_describe_consistency(result),
        *_describe_seams(result),
        *_describe_distribution(result.get("sound")),
        *_describe_continuations(result),
    ]


def _describe_levels(result: Mapping[str, Any], measures: Sequence[str]) -> list[Table]:
    """How far round trips and continuations are from the original."""
    if not result["levels"]:
        return []
    rows = [
        [LEVELS[name], *(format_figure(own[measure]) for measure in measures)] for name, own in result["levels"].items()
    ]

    notes = [EXPLAINED[measure] for measure in measures]
    notes.append("The first lines are the best that a model can sound like.")
    notes.append("A good continuation may be far from the original.")
    if result["scores"]:
        notes.append("Except for the whole clip, of what follows the first 40 % of each excerpt.")
    if any("[" in cell for _, *cells in rows for cell in cells):  # one recording has no intervals
        notes.append(INTERVALS)
    columns = ["against the original", *(MEASURES[measure] for measure in measures)]
    return [Table(columns=columns, rows=rows, note=" ".join(notes))]


def _describe_consistency(result: Mapping[str, Any]) -> list[Table]:
    """Which codes stay when a clip changes in a way that is hardly heard."""
    if not result["consistency"]:
        return []
    return [
        Table(
            columns=["codes that stay", *(f"codebook {k + 1}" for k in range(len(result["codebook_perplexity"])))],
            rows=[[change, *_percentages(shares)] for change, shares in result["consistency"].items()],
            note="Share of codes that are the same when a clip has noise, is quieter, begins later or was an MP3. "
            "What changes there is not heard: a codebook of which few codes stay describes noise, and a model has "
            "to learn that.",
        )
    ]


def _describe_seams(result: Mapping[str, Any]) -> list[Table]:
    """How smooth the seams are."""
    seams = result["seams"]
    if not seams:
        return []
    labels = {"original": "in the original", "placed": "continued", "bare": "pasted without care"}
    return [
        Table(
            columns=["at the seam (medians)", "jump over local RMS", "spectral flux z-score"],
            rows=[
                [label, *(format_figure(seams[f"{name}_{measure}"]) for measure in ("jump", "flux_z"))]
                for name, label in labels.items()
            ],
            note="Jump: the step in the waveform where the new part begins, over the loudness there; a click is 2 "
            "and more. Flux: how sudden the sound changes there, in standard deviations of its changes around.",
        )
    ]


def _describe_distribution(sound: Mapping[str, Any] | None, *, lacking: bool = True) -> list[Table]:
    """How far the sound of each version is from the originals', as distributions.

    Where too few recordings are there for that, the table says so, unless `lacking` is False.
    """
    if sound is None or not (lacking or sound["figures"]):
        return []
    labels = LEVELS | {"original": "two halves of the originals"}
    reason = f"needs {FEWEST} recordings; these are {sound['recordings']}"
    rows = [
        [labels[name], count, format_figure(sound["figures"][name]) if sound["figures"] else reason]
        for name, count in sound["rows"].items()
    ]
    return [
        Table(
            columns=["distribution of the sound", "seconds", "MMD"],
            rows=rows,
            note="MMD: how far level, timbre and density of the seconds of each version are from those of what truly "
            "follows, as distributions. It has no bias: 0 is no difference, and what chance makes of it is above or "
            f"below. Two halves of the originals show how much that is. It rests on {sound['recordings']} recordings, "
            "and never compares two seconds of the same one.",
        )
    ]


def _describe_harmony(result: Mapping[str, Any]) -> list[Table]:
    """Whether continuations keep to the harmony of their prompts."""
    harmony = result.get("harmony")
    if not harmony:
        return []
    return [
        Table(
            columns=["harmony of the prompt", "chroma correlation"],
            rows=[[label, format_figure(harmony[name])] for name, label in CONTINUATIONS.items() if name in harmony],
            note="How alike the pitch classes of a continuation are to those of its own prompt: 1 is the same shares. "
            "The nearer to true continuations, and the farther from another recording's, the better a model keeps to "
            "the harmony.",
        )
    ]


def _describe_continuations(result: Mapping[str, Any]) -> list[Table]:
    """Whether continuations keep to their prompts, repeat themselves, or recite."""
    found = _describe_harmony(result)
    if repetition := result.get("repetition"):
        matches = result["longest_match_frames"]
        found.append(
            Table(
                columns=["codebook 1", "repetition", *(["longest match, frames"] if matches else [])],
                rows=[
                    [CONTINUATIONS[name], format_figure(own), *([matches[name]] if matches else [])]
                    for name, own in repetition.items()
                ],
                note="Repetition: share of the stretches of 8 frames that came before."
                + (" Longest match: frames in a row that are also in the training set." if matches else ""),
            )
        )
    return found


def _pad_row(values: list[float], length: int) -> list[object]:
    return [*values, *[""] * (length - len(values))]


def _percentages(values: list[float]) -> list[str]:
    return [f"{100 * value:.1f} %" for value in values]
