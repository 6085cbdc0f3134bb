"""Sources of checkpoints, written `https://`, `hf:` or `file:` on a command line, and what is known of their files.

Opens nothing: no file, no connection.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import url2pathname

from audiolm_cli.errors import UsageError

WEIGHTS = (".safetensors", ".bin", ".th", ".pt")
"""What the name of a file of weights ends in; anything else addresses a folder."""
ARCHIVE = ".zip"
"""What the name of a file ends in that holds a folder."""
HUGGINGFACE = "https://huggingface.co"

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_HF = re.compile(rf"hf:({_PART})/({_PART})((?:/[^/@]+)*)/?(?:@([A-Za-z0-9][A-Za-z0-9._/-]*))?")
_REPOSITORY = re.compile(rf"{re.escape(HUGGINGFACE)}/{_PART}/({_PART})/resolve/[^/]+")
_RESOLVED = re.compile(rf"{re.escape(HUGGINGFACE)}/({_PART})/({_PART})/resolve/([^/]+)/(.+)")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a checkpoint comes from."""

    text: str
    """As it was written."""
    kind: Literal["web", "file"]
    """"web" needs a connection."""
    address: str
    """URL without a slash at the end, of `HUGGINGFACE` for `hf:`; the path of "file"."""

    @property
    def is_weights(self) -> bool:
        """Whether it is a file of weights alone, rather than a folder with a `config.json`."""
        return PurePosixPath(self._path).suffix.lower() in WEIGHTS

    @property
    def is_archive(self) -> bool:
        """Whether it is a file that holds a folder."""
        return self.kind == "file" and PurePosixPath(self._path).suffix.lower() == ARCHIVE

    @property
    def filename(self) -> str:
        """The last part of the address."""
        return PurePosixPath(self._path).name

    @property
    def short_name(self) -> str:
        """A name for the cache: the repository's or folder's, or the file's without its ending."""
        repository = _REPOSITORY.fullmatch(self.address)
        name = repository[1] if repository else self.filename
        name = PurePosixPath(name).stem if self.is_weights or self.is_archive else name
        return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"

    @property
    def key(self) -> str:
        """A name for the folder that downloads from here go to; no other source has the same."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def url(self, endpoint: str, filename: str = "") -> str:
        """The address of the file, or of one file in the folder, through this Hugging Face server."""
        base = at_endpoint(self.address, endpoint)
        if not filename:
            return base

        parts = urlsplit(base)
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(filename)}"))

    @property
    def _path(self) -> str:
        return self.address if self.kind == "file" else unquote(urlsplit(self.address).path)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file that somebody serves."""

    label: str
    """What it is called in messages."""
    urls: tuple[str, ...]
    """Its address, then those of mirrors."""
    bytes: int | None = None
    """Size; None when unknown."""
    sha256: str = ""
    """Leading hex digits of the hash: 64 when it is known, fewer when no more is published, none when nothing is."""

    @property
    def place_by_hand(self) -> str:
        """Addresses, size and hash, for a person who fetches the file by other means."""
        size = "" if self.bytes is None else f", {self.bytes} bytes"
        digits = "" if len(self.sha256) == 64 else " starts with"
        known = f", sha256{digits} {self.sha256}" if self.sha256 else ""
        facts = f"{size}{known}".removeprefix(", ")
        return " or ".join(self.urls) + (f" ({facts})" if facts else "")


def parse_source(text: str) -> Source | None:
    """The source that `text` writes out; None when it is a name or a path.

    Raises:
        UsageError: it begins like a source and is none.

    >>> parse_source("hf:me/piano@v2").url("https://huggingface.co", "config.json")
    'https://huggingface.co/me/piano/resolve/v2/config.json'
    """
    scheme, colon, _ = text.partition(":")
    if not colon or scheme.lower() not in ("hf", "http", "https", "file"):
        return None

    if scheme.lower() == "file":
        return Source(text=text, kind="file", address=_file_path(text))
    if scheme.lower() == "hf":
        return Source(text=text, kind="web", address=_huggingface_url(text))

    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError as error:
        raise UsageError(f"{text!r} is no address ({error})") from error

    if not parts.hostname:
        raise UsageError(f"{text!r} is no address; expected https://host/path")
    if parts.username or parts.password:
        raise UsageError("an address with a user or password in it is not used; it would end up in records")
    return Source(text=text, kind="web", address=urlunsplit(parts._replace(path=parts.path.rstrip("/"), fragment="")))


def parse_repository(text: str) -> str:
    """The repository `owner/name` that `hf:owner/name` stands for, as a place to write to.

    Raises:
        UsageError: it is none, or more than that.

    >>> parse_repository("hf:me/piano")
    'me/piano'
    """
    found = _HF.fullmatch(text)
    if found is None or found[3] or found[4]:
        raise UsageError(f"{text!r} is no repository to write to; expected hf:owner/name")
    return f"{found[1]}/{found[2]}"


def at_endpoint(url: str, endpoint: str) -> str:
    """`url` at another Hugging Face server; an address of any other host stays as it is.

    >>> at_endpoint("https://huggingface.co/a/b/resolve/main/c", "https://mirror.example")
    'https://mirror.example/a/b/resolve/main/c'
    """
    return endpoint.rstrip("/") + url.removeprefix(HUGGINGFACE) if url.startswith(f"{HUGGINGFACE}/") else url


def hub_copies(url: str, sha256: str, hub: Path) -> list[Path]:
    """Where a Hugging Face cache would hold the file at `url`; empty for files of other hosts."""
    hosted = _RESOLVED.fullmatch(url)
    if hosted is None:
        return []

    folder = hub / f"models--{hosted[1]}--{hosted[2]}"
    blobs = [folder / "blobs" / sha256] if len(sha256) == 64 else []  # large files lie there under their hash
    return [*blobs, folder / "snapshots" / hosted[3] / unquote(hosted[4])]


def _huggingface_url(text: str) -> str:
    """The address that `hf:owner/repository[/path][@revision]` stands for."""
    found = _HF.fullmatch(text)
    parts = [part for part in found[3].split("/") if part] if found else []
    if found is None or any(part in (".", "..") for part in parts):
        raise UsageError(f"{text!r} is no Hugging Face source; expected hf:owner/repository[/path][@revision]")

    revision = quote(found[4] or "main", safe="")
    return "/".join((HUGGINGFACE, found[1], found[2], "resolve", revision, *map(quote, parts)))


def _file_path(text: str) -> str:
    """The path that `file:///path` stands for."""
    parts = urlsplit(text)
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise UsageError(f"{text!r} is no file of this machine; expected file:///path")
    return url2pathname(parts.path)
