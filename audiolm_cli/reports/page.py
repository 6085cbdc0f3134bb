"""The page of `audiolm evaluate --report`: one HTML file with tables, curves, spectrograms and players, all inside.

Knows nothing about how the numbers were measured.
"""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiolm_cli.editing.embedding import PALETTE, data_url, encode_flac, encode_spectrogram, take_spectrogram
from audiolm_cli.evaluation.compared import Versions
from audiolm_cli.files import write_whole
from audiolm_cli.reports.curves import figure_of, headline
from audiolm_cli.reports.past import PastTraining
from audiolm_cli.reports.tables import LEVELS, Table, format_cell, tables_of
from audiolm_cli.reports.verdict import judge_evaluation
from audiolm_cli.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEARD = 6
"""Excerpts that the page plays."""
OF_A_CODEC = "Each excerpt as it was, and through the codec. Distances are to the original."
OF_A_MODEL = (
    "What follows the dashed line is the codec's round trip, the true first codebook with the NAR decoder's others, "
    "and a continuation that the model made alone. Distances are to the original, after the line; a continuation may "
    "be good and far from it."
)
DISTANCES = (
    "Under each version: mel and spectral distance (0 is the same) and chroma correlation (1 is the same harmony)."
)
OF_A_TRAINING = (
    "What each validation found on held-out windows: bits per frame, of which fewer are better, and how often the true "
    "code was among the ten likeliest. Dashed lines are what tables reach without a network."
)
MODEL = "#1f5fa8"
"""Colour of the model's bars."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); max-width: 1180px;
  margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.4rem; }
.muted, figcaption { color: var(--muted); font-size: .86rem; } code { font-size: .86em; overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; } th { font-weight: 600; }
img { max-width: 100%; display: block; } .scroll { overflow-x: auto; }
.drawn { min-width: 760px; }
@media (prefers-color-scheme: dark) { .drawn { filter: invert(.91) hue-rotate(180deg); } }
.versions { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 1rem; }
@media (max-width: 940px) { .versions { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
@media (max-width: 520px) { .versions { grid-template-columns: 1fr; } }
figure { margin: 0; } figure b { display: block; } audio { width: 100%; height: 34px; margin-top: .3rem; }
.picture { position: relative; height: 128px; } .picture img { width: 100%; height: 100%; }
.seam { position: absolute; top: 0; bottom: 0; width: 0; border-left: 2px dashed #fff; }
"""
"""Figures are drawn on white: in the dark they are inverted, with their hues turned back. In a narrow window they
scroll, as tables do."""


def write_page(
    path: Path, result: dict[str, Any], excerpts: Sequence[Versions], past: PastTraining | None, *, force: bool
) -> None:
    """Write the page of an evaluation (`workflows.evaluate.Evaluation.to_dict`).

    Args:
        path: the page.
        result: the evaluation.
        excerpts: what can be listened to.
        past: the training of the model; None where its run folder is not there.
        force: overwrite an existing page.

    Raises:
        OutputError: the file exists and `force` is false, or it cannot be written.
    """
    write_whole(path, render_page(result, excerpts, past).encode("utf-8"), force=force)


def render_page(result: dict[str, Any], excerpts: Sequence[Versions], past: PastTraining | None) -> str:
    """The page's text."""
    name, sha256 = html.escape(result["model"]["name"]), html.escape(result["model"]["sha256"])
    parts = [
        f"<h1>{name}, evaluated</h1>",
        f'<p class="muted">audiolm {__version__}, {result["model"]["kind"]} <code>{sha256}</code></p>',
    ]
    parts.append("".join(f"<p>{html.escape(_as_sentence(line))}</p>" for line in judge_evaluation(result)))
    if excerpts:
        parts.append(f"<h2>Listen</h2><p>{OF_A_MODEL if result['scores'] else OF_A_CODEC} {DISTANCES}</p>")
        parts += [_render_excerpt(excerpt) for excerpt in excerpts[:HEARD]]

    parts.append("<h2>Numbers</h2>")
    if result["scores"]:
        parts.append(_embed_figure(_draw_bars(result), "Bits of each codebook, the model beside its baselines"))
    parts += [_render_table(own) for own in tables_of(result)]

    if past is not None:
        title = headline(result["model"]["name"], past.history, past.steps)
        figure = figure_of(past.history, past.baselines, title, past.steps)
        parts.append(f"<h2>Training</h2><p>{OF_A_TRAINING}</p>")
        parts.append(_embed_figure(figure, "Held-out bits and accuracies over the training"))

    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}, evaluated</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{PALETTE}{STYLE}</style></head>\n'
        f"<body>\n{''.join(part + chr(10) for part in parts)}</body></html>\n"
    )


def _render_table(own: Table) -> str:
    """A table, in a box that scrolls where the window is narrow, and what its numbers mean."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in own.columns)
    rows = "".join(
        f"<tr>{''.join(f'<td>{html.escape(format_cell(cell))}</td>' for cell in row)}</tr>" for row in own.rows
    )
    note = html.escape(own.note)
    return f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div><p class="muted">{note}</p>'


def _as_sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}."


def _draw_bars(result: dict[str, Any]) -> Figure:
    """Bits per codebook of the model and of every baseline that has all codebooks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    bits = result["scores"]["bits"]
    rows = [("model", bits), *((b["name"], b["bits"]) for b in result["baselines"] if len(b["bits"]) == len(bits))]

    figure = Figure(figsize=(11, 3.2), dpi=100, layout="constrained")
    axes, width = figure.subplots(), 0.8 / len(rows)
    for row, (name, values) in enumerate(rows):
        shade = MODEL if row == 0 else str(0.45 + 0.45 * row / len(rows))
        where = np.arange(len(bits)) + (row - (len(rows) - 1) / 2) * width  # the bars of a codebook side by side
        bars = axes.bar(where, values, width * 0.92, label=name, color=shade)
        axes.bar_label(bars, fmt="%.2f", fontsize=7, padding=1)

    axes.set_xticks(range(len(bits)), [f"codebook {k + 1}" for k in range(len(bits))])
    axes.set_ylabel("bits per frame; fewer is better")
    axes.set_ylim(0, 1.1 * max(max(values) for _, values in rows))
    axes.legend(fontsize=8, frameon=False, ncols=len(rows), loc="upper left", bbox_to_anchor=(0, 1.14))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def _embed_figure(figure: Figure, text: str) -> str:
    """An `img` element that holds the picture, in a box that scrolls where the window is narrow."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    source = data_url("image/png", picture.getvalue())
    return f'<div class="scroll"><img class="drawn" alt="{html.escape(text)}" src="{source}"></div>'


def _render_excerpt(excerpt: Versions) -> str:
    """A heading, and the versions side by side."""
    decibels = {name: take_spectrogram(wav, excerpt.sample_rate_hz) for name, wav in excerpt.audio.items()}
    loudest_db = decibels["original"].max()
    figures = [_render_version(excerpt, name, encode_spectrogram(own, loudest_db)) for name, own in decibels.items()]
    return f'<h3>{html.escape(excerpt.name)}</h3><div class="versions">{"".join(figures)}</div>'


def _render_version(excerpt: Versions, name: str, png: bytes) -> str:
    """One version of an excerpt: its spectrogram with the seam, a player, and its distances."""
    wav = excerpt.audio[name]
    seam = ""
    if excerpt.seam_s is not None:
        seconds = len(wav) / excerpt.sample_rate_hz
        seam = f'<div class="seam" style="left:{100 * excerpt.seam_s / seconds:.2f}%"></div>'

    label, distances = LEVELS.get(name, name), excerpt.distances.get(name)
    numbers = "as recorded"
    if distances:
        numbers = ", ".join(f"{measure} {value:.3f}" for measure, value in distances.items())
    sound = data_url("audio/flac", encode_flac(wav, excerpt.sample_rate_hz))
    picture = data_url("image/png", png)
    return (
        f'<figure><b>{html.escape(label)}</b><div class="picture">'
        f'<img alt="Mel spectrogram: {html.escape(label)}" src="{picture}">'
        f"{seam}</div>"
        f'<audio controls preload="metadata" src="{sound}"></audio>'
        f"<figcaption>{numbers}</figcaption></figure>"
    )
