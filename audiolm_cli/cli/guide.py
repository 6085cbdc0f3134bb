"""`audiolm guide`: the topic and its display. The pages are found by `workflows/guide.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from audiolm_cli.cli.render import Renderer

Topic = Annotated[
    str | None,
    typer.Argument(metavar="[TOPIC]", help="usage, training, data, architecture or troubleshooting."),
]


def guide_command(topic: Topic = None) -> None:
    """Read the manual: usage, training, data, architecture, troubleshooting."""
    from audiolm_cli.workflows.guide import guide

    with Renderer() as out:
        out.markdown(guide(topic))
