"""What `audiolm evaluate` ends with on the screen. Knows nothing about how the numbers were measured."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from audiolm_cli.cli.render import Renderer

if TYPE_CHECKING:
    from audiolm_cli.workflows.evaluate import Evaluation


def show_evaluation(out: Renderer, result: Evaluation) -> None:
    """A verdict in words, then the tables: drawn in a terminal, with what they mean, and as Markdown elsewhere."""
    from audiolm_cli.reports.tables import format_cell, markdown, tables_of
    from audiolm_cli.reports.verdict import judge_evaluation

    values = result.to_dict()
    for line in judge_evaluation(values):
        out.paragraph(line)
    if not sys.stdout.isatty():
        out.print("")
        out.print(markdown(values))
        return
    for table in tables_of(values):
        out.print("")
        out.table(table.columns, [[format_cell(cell) for cell in row] for row in table.rows])
        out.paragraph(table.note)
