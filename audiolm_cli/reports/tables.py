"""Evaluation results as Markdown, for the terminal and for model cards. Knows nothing about how they were measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

LEVELS = {
    "round_trip_whole": "codec round trip, whole clip",
    "round_trip": "codec round trip",
    "first_codebook": "true codebook 1 + NAR",
    "generated": "all generated",
}


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; floats with three digits after the point."""
    lines = [[_format_cell(cell) for cell in row] for row in [columns, ["---"] * len(columns), *rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown(result: dict[str, Any]) -> str:
    """The tables of an evaluation (`workflows.evaluate.Evaluation.to_dict`)."""
    kind = "held-out recordings" if result["held_out"] else "recordings, which may be in the training set"
    windows = f"; {result['windows']} windows of codes" if result["windows"] else ""
    parts = [f"{result['recordings']} {kind}{windows}.", *_describe_codes(result)]

    columns = ["against the original", "mel distance", "spectral distance", "chroma correlation"]
    rows = [[LEVELS[name], v["mel"], v["spectral"], v["chroma"]] for name, v in result["levels"].items()]
    after = "; but for the first line, what follows the first 4 s of each" if result["scores"] else ""
    parts += [f"{result['clips']} excerpts of 10 s{after}.", table(columns, rows)]

    if seams := result["seams"]:
        columns = ["at the seam (medians)", "jump over local RMS", "spectral flux z-score"]
        labels = {"original": "in the original", "placed": "continued", "bare": "pasted without care"}
        parts.append(table(columns, [[label, seams[f"{n}_jump"], seams[f"{n}_flux_z"]] for n, label in labels.items()]))
    parts.append(table(["unpaired", "value"], [[n.replace("_", " "), v] for n, v in result["unpaired"].items()]))
    return "\n\n".join(parts)


def _describe_codes(result: dict[str, Any]) -> list[str]:
    """What the model makes of the codes, and how the codec uses its codebooks."""
    K = len(result["codebook_perplexity"])
    names = [f"codebook {k + 1}" for k in range(K)]
    usage = ["codebook perplexity", *(f"{p:.0f}" for p in result["codebook_perplexity"])]
    scores = result["scores"]
    if not scores:
        return [table(["codec", *names], [usage])]

    own = f"model, {scores['nar_passes']} NAR passes" if result["one_pass"] else "model"
    compared = {own: scores} | ({"model, one NAR pass": result["one_pass"]} if result["one_pass"] else {})
    bits: list[list[object]] = [[name, *each["bits"], each["total_bits"]] for name, each in compared.items()]
    for baseline in result["baselines"]:  # one that predicts the first codebook alone has no sum
        total = baseline["total_bits"] if len(baseline["bits"]) == K else ""
        bits.append([baseline["name"], *_pad_row(baseline["bits"], K), total])

    shares: list[list[object]] = []
    for name, each in compared.items():
        shares += [[f"{name}: top-1", *_percentages(each["top1"])], [f"{name}: top-10", *_percentages(each["top10"])]]
    context = result["context"]
    return [
        table(["bits per frame", *names, "sum"], bits),
        table(["", *names], [*shares, usage]),
        f"Own prompt likelier than another recording's: AR {100 * context['ar_share']:.1f} % of windows "
        f"({context['ar_bits']:.2f} bits per frame saved), NAR {100 * context['nar_share']:.1f} % "
        f"({context['nar_bits']:.2f} bits).",
    ]


def _pad_row(values: list[float], length: int) -> list[object]:
    return [*values, *[""] * (length - len(values))]


def _percentages(values: list[float]) -> list[str]:
    return [f"{100 * value:.1f} %" for value in values]


def _format_cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
