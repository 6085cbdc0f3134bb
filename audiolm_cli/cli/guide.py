"""`audiolm guide`: the manual and its display. Needs no torch.

The pages are Markdown files inside the package, but for `settings`, which is made from where settings are declared.
"""

from __future__ import annotations

from importlib import resources
from typing import Annotated

import typer

from audiolm_cli.cli.render import Renderer
from audiolm_cli.errors import UsageError

OVERVIEW = "overview"
"""The page that is shown without a topic."""
SETTINGS = "settings"
"""The page that `reference.py` makes."""
PROGRAMS = "programs"
"""The page that ends with the schemas, word for word."""
TOPICS = (
    "usage",
    "training",
    "data",
    SETTINGS,
    PROGRAMS,
    "troubleshooting",
    "architecture",
    "origin",
    "promises",
    "performance",
)
"""The other pages, in the order a person reads them."""
SCHEMAS = {
    "Schema of a line of progress": "progress.json",
    "Schema of the result of a generating command": "result.json",
}
"""JSON Schemas and their headings."""
Topic = Annotated[
    str | None,
    typer.Argument(metavar="[TOPIC]", help=f"{', '.join(TOPICS[:-1])} or {TOPICS[-1]}."),
]


def guide_command(topic: Topic = None) -> None:
    """Read the manual: usage, training, data, settings, troubleshooting and more."""
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
    if name == SETTINGS:
        from audiolm_cli.cli.app import COMMANDS
        from audiolm_cli.cli.reference import settings_page

        return settings_page(COMMANDS)
    page = _read_asset("guide", f"{name}.md")
    if name == PROGRAMS:
        for heading, file in SCHEMAS.items():
            page += f"\n## {heading}\n\n```json\n{_read_asset('schemas', file)}```\n"
    return page


def _read_asset(folder: str, file: str) -> str:
    return (resources.files("audiolm_cli") / "assets" / folder / file).read_text(encoding="utf-8")
