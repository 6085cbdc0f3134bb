"""`audiolm guide`: the manual, Markdown files inside the package, and its display. Needs no torch."""

from __future__ import annotations

from importlib import resources
from typing import Annotated

import typer

from audiolm_cli.cli.render import Renderer
from audiolm_cli.errors import UsageError

OVERVIEW = "overview"
"""The page that is shown without a topic."""
TOPICS = ("usage", "training", "data", "architecture", "troubleshooting")
"""The other pages, in the order a person reads them."""
Topic = Annotated[
    str | None,
    typer.Argument(metavar="[TOPIC]", help="usage, training, data, architecture or troubleshooting."),
]


def guide_command(topic: Topic = None) -> None:
    """Read the manual: usage, training, data, architecture, troubleshooting."""
    with Renderer() as out:
        out.markdown(guide(topic))


def guide(topic: str | None = None) -> str:
    """One page of the manual as Markdown; None is the overview.

    Raises:
        UsageError: there is no such page.

    >>> guide("data").splitlines()[0]
    '# Data'
    """
    name = OVERVIEW if topic is None else topic.strip().lower()
    if name not in (OVERVIEW, *TOPICS):
        raise UsageError(f"the guide has no topic {topic!r}; its topics: {', '.join(TOPICS)}")
    return (resources.files("audiolm_cli") / "assets" / "guide" / f"{name}.md").read_text(encoding="utf-8")
