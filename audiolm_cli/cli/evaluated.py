"""What `audiolm evaluate` ends with on the screen. Knows nothing about how the numbers were measured."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from audiolm_cli.cli.render import Renderer

if TYPE_CHECKING:
    from audiolm_cli.workflows.evaluate import Evaluation


def show_evaluation(out: Renderer, result: Evaluation) -> None:
    """A verdict in words, then the tables: drawn in a terminal, with what they mean, and as Markdown elsewhere.

    A terminal has the short ones, and with -v all.
    """
    from audiolm_cli.reports.tables import format_cell, markdown, screen_tables
    from audiolm_cli.reports.verdict import judge_evaluation

    values = result.to_dict()
    for line in judge_evaluation(values):
        out.paragraph(line)
    if not sys.stdout.isatty():
        out.print("")
        out.print(markdown(values))
        return
    for table in screen_tables(values, detailed=out.is_verbose):
        out.print("")
        out.table(table.columns, [[format_cell(cell) for cell in row] for row in table.rows])
        out.paragraph(table.note)
    more = "" if out.is_verbose else "more tables: -v; "
    out.hint(f"{more}all figures: --json; with pictures and audio: --report PAGE.html")
