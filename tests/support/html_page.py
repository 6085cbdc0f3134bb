"""A parser for the HTML pages that the program writes."""

from __future__ import annotations

import base64
from html.parser import HTMLParser


class Page(HTMLParser):
    """The elements of a page, and whether every one that must be closed is."""

    sources: list[str]
    """What it loads or links to, in order."""
    styles: list[tuple[str, str]]
    """Class and style of the elements that have a style of their own."""
    text: str
    """All that it says."""
    lines: list[str]
    """The same, element by element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.styles: list[tuple[str, str]] = []
        self.text = ""
        self.lines: list[str] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "style" in given:
            self.styles.append((given.get("class", ""), given["style"]))
        self.sources += [value for name, value in attrs if name in ("src", "href") and value]
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        self.lines.append(data)

    def decode(self, kind: str) -> list[bytes]:
        """The contents of what the page holds of this MIME type, in order."""
        head = f"data:{kind};base64,"
        return [base64.b64decode(source.removeprefix(head)) for source in self.sources if source.startswith(head)]
