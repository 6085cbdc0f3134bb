"""What `audiolm models ...` does: list, describe, locate and verify checkpoints, without loading any."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiolm_cli.checkpoints import catalogue
from audiolm_cli.checkpoints.folder import verify_folder
from audiolm_cli.errors import ModelError


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Everything that can be named."""

    cache: Path
    """The cache folder."""
    entries: list[catalogue.Entry]
    """Bundled first, then cached, then what is not here."""


def list_models(cache_dir: Path | None = None) -> Listing:
    """The bundled, cached and known checkpoints; `cache_dir` None is the user's cache."""
    cache = catalogue.cache_dir(cache_dir)
    return Listing(cache=cache, entries=catalogue.list_models(cache))


def describe(name: str, cache_dir: Path | None = None) -> dict[str, Any]:
    """What is known of a checkpoint, as JSON-ready facts.

    Raises:
        ModelError: nothing has this name, or it is damaged.
    """
    cache = catalogue.cache_dir(cache_dir)
    if name in catalogue.KNOWN_CODECS:
        entry = next(
            entry for entry in catalogue.list_models(cache) if entry.name == name and entry.source != "bundled"
        )
        known = catalogue.KNOWN_CODECS[name]
        return {"kind": "codec", "source": entry.source, "path": entry.path, **dataclasses.asdict(known)}

    folder = catalogue.resolve(name, cache)
    facts = dataclasses.asdict(folder)
    return {**facts, "licence": folder.licence, "carries_codec": folder.carries_codec}


def locate(name: str, cache_dir: Path | None = None) -> Path:
    """The folder of a model, or the file of a known codec with its hash checked.

    Raises:
        ModelError: it is not here, or it is damaged.
    """
    cache = catalogue.cache_dir(cache_dir)
    if name in catalogue.KNOWN_CODECS:
        return catalogue.find_checkpoint(name, cache)
    return catalogue.resolve(name, cache).path


def verify(name: str, cache_dir: Path | None = None) -> Path:
    """Where the checkpoint is, after every file of it was hashed again.

    Raises:
        ModelError: it is not here, or it is damaged.
    """
    cache = catalogue.cache_dir(cache_dir)
    if name in catalogue.KNOWN_CODECS:
        return catalogue.find_checkpoint(name, cache, rehash=True)

    folder = catalogue.resolve(name, cache)
    verify_folder(folder)
    if not folder.carries_codec:
        known, sha256 = catalogue.KNOWN_CODECS.get(folder.codec["name"]), str(folder.codec.get("sha256", ""))
        is_known = known is not None and sha256.startswith(known.sha256)
        if not is_known and catalogue.codec_by_hash(sha256, cache) is None:
            raise ModelError(f"{folder.path} needs codec {folder.codec['name']}, which this audiolm does not know")
    return folder.path
