"""Checkpoints into the cache, and out of it: what the catalogue knows, and what `sources.py` brings from elsewhere.

Asks through a callback before anything is downloaded that was not asked for by name; knows nothing about terminals.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from audiolm_cli.checkpoints.catalogue import (
    BUNDLED_CODEC,
    KNOWN_CODECS,
    KnownCodec,
    bundled_folders,
    cached_folders,
    find_checkpoint,
    find_pulled_folder,
    resolve,
    wanted_file,
)
from audiolm_cli.checkpoints.download import fetch
from audiolm_cli.checkpoints.fields import UNKNOWN
from audiolm_cli.checkpoints.locks import hold
from audiolm_cli.checkpoints.source import Source, hub_copies, parse_source
from audiolm_cli.config.fetching import FetchConfig
from audiolm_cli.errors import ModelError, NetworkError, OutputError, UsageError
from audiolm_cli.events import Note, OnEvent, ignore
from audiolm_cli.files import count_bytes, hash_file
from audiolm_cli.library.sources import STAGING, Confirm, Fetcher, accept, ask, pull_source

POLL_S = 0.5
"""How often a process looks for what another one fetches."""


def fetch_missing(
    names: Sequence[str | None],
    cache: Path,
    config: FetchConfig,
    *,
    confirm: Confirm = accept,
    on_event: OnEvent = ignore,
) -> None:
    """Bring what `names` mean into the cache, where it can be fetched and is not there; all else is left to others.

    Args:
        names: models and codecs as they stand on a command line; None stands for nothing.
        cache: the cache folder.
        config: how to fetch.
        confirm: asked before each download; False declines it.
        on_event: gets the progress.

    Raises:
        NetworkError: offline, or the download failed.
        ModelError: a codec that cannot be used here, or a download that was declined.
        OutputError: the cache cannot be written.
    """
    fetcher = Fetcher(cache=cache, config=config, confirm=confirm, on_event=on_event)
    for name in names:
        if name is None:
            continue
        if name not in KNOWN_CODECS:
            source = parse_source(name)
            if source is not None and source.kind == "web" and find_pulled_folder(source, cache) is None:
                pull_source(source, fetcher)
            name = _codec_named_by(name, cache)
        if name is not None:
            known = KNOWN_CODECS[name]
            if known.unfit:
                raise ModelError(f"codec {known.name} cannot be used here: {known.unfit}")
            try:
                _pull_known(known, fetcher)
            except NetworkError as error:
                raise NetworkError(f"{error}; or do without it: --codec {BUNDLED_CODEC} is the bundled one") from error


def await_missing(names: Sequence[str | None], cache: Path) -> None:
    """Return when another process has brought what `names` mean into the cache; that it fails ends this one, too."""
    while not _are_here(names, cache):
        time.sleep(POLL_S)


def pull(
    name: str,
    fetcher: Fetcher,
    *,
    save_as: str | None = None,
    sha256: str = "",
    mirrors: Sequence[str] = (),
    force: bool = False,
) -> Path:
    """Where the checkpoint `name` is, after it was brought into the cache.

    Args:
        name: a name of the catalogue, a source (`https://`, `hf:`, `file:`), or the path of a folder or file.
        fetcher: the cache, and how to fetch; what was asked for by name is not asked about.
        save_as: its name in the cache; None takes the last part of the source.
        sha256: leading hex digits its hash must have: of the file, or of the model as `models info` shows it.
        mirrors: further addresses of the same file.
        force: fetch it again, and replace another checkpoint of that name.

    Raises:
        UsageError: the arguments do not fit each other.
        NetworkError: offline, or the download failed.
        ModelError: it is no checkpoint that can be used, or another than the hash says.
        OutputError: the cache cannot be written.
    """
    sha256, cache = _check_digits(sha256), fetcher.cache
    if name in KNOWN_CODECS:
        if save_as or (sha256 and not _agree(KNOWN_CODECS[name].sha256, sha256)):
            raise UsageError(
                f"{name} is pinned by the catalogue to sha256 {KNOWN_CODECS[name].sha256}, and keeps its name"
            )
        return _pull_known(KNOWN_CODECS[name], fetcher, mirrors)
    if name in bundled_folders():
        return bundled_folders()[name]

    if save_as is not None and save_as in {*KNOWN_CODECS, *bundled_folders()}:
        raise UsageError(f"--name {save_as}: is the name of another checkpoint; choose one of your own")
    source = parse_source(name) or (Source(text=name, kind="file", address=name) if Path(name).exists() else None)
    if source is None:
        if name in cached_folders(cache):
            return cached_folders(cache)[name]
        return resolve(name, cache).path  # which says what the name could be
    if mirrors:
        raise UsageError("--mirror goes with the codecs of the catalogue, whose hashes are known")
    return pull_source(source, fetcher, save_as=save_as, sha256=sha256, force=force)


def remove(name: str, cache: Path) -> tuple[Path, int]:
    """Remove a checkpoint from the cache, with what broken-off downloads left of it.

    Args:
        name: a name in the cache, or the source it was pulled from.
        cache: the cache folder.

    Returns:
        Where it was, and how many bytes were freed.

    Raises:
        UsageError: it ships inside the package.
        ModelError: it is not in the cache, or a process is working on it.
        OutputError: it cannot be removed.
    """
    source = parse_source(name)
    pulled = find_pulled_folder(source, cache) if source else None
    path = pulled or cache / name
    if not pulled and (source or path.parent != cache or name.startswith(".") or not os.path.lexists(path)):
        if name in bundled_folders():
            raise UsageError(f"{name} ships inside the package, so it is not removed")
        raise ModelError(f"{name} is not in the cache ({cache}); audiolm models list shows what is")

    with hold(cache, path.name, wait=False):
        try:
            if path.is_symlink() or not path.is_dir():
                size = path.lstat().st_size
                path.unlink()
                return path, size

            size = count_bytes(path)
            aside = cache / STAGING / f"removed-{path.name}"
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(exist_ok=True)
            path.rename(aside)  # gone at once: a model of which half is left would be worse than none
            shutil.rmtree(aside)
        except OSError as error:
            raise OutputError(f"{path} cannot be removed: {error.strerror or error}") from error
    return path, size


def _pull_known(known: KnownCodec, fetcher: Fetcher, mirrors: Sequence[str] = ()) -> Path:
    """Where the file of a codec of the catalogue is, after it was brought into the cache."""
    cache, config = fetcher.cache, fetcher.config
    with suppress(ModelError):
        return find_checkpoint(known.name, cache)

    target = cache / known.name / known.filename
    with hold(cache, known.name, on_event=fetcher.on_event):
        with suppress(ModelError):  # another process may have brought it meanwhile
            return find_checkpoint(known.name, cache)
        if _link_copy(known, target, config, fetcher.on_event):
            return find_checkpoint(known.name, cache)

        wanted = wanted_file(known, config.endpoint)
        wanted = replace(wanted, urls=(*wanted.urls, *mirrors))
        ask(wanted, known.licence, fetcher)
        fetch(wanted, target, config, on_event=fetcher.on_event)
    return find_checkpoint(known.name, cache)


def _link_copy(known: KnownCodec, target: Path, config: FetchConfig, on_event: OnEvent) -> bool:
    """Use the copy that another program has downloaded, where it is the same file; it is linked, never written."""
    copies = []
    if config.huggingface_cache is not None:
        copies += hub_copies(known.url, known.sha256, Path(config.huggingface_cache))
    if config.torch_hub_cache is not None:
        copies.append(Path(config.torch_hub_cache) / known.filename)

    for copy in copies:
        try:
            if known.bytes not in (None, copy.stat().st_size) or not hash_file(copy).startswith(known.sha256):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.symlink_to(copy.absolute())
        except OSError:  # not there, not readable, or a system without links
            continue
        on_event(Note(message=f"{known.name}: using {copy}, whose hash is right"))
        return True
    return False


def _are_here(names: Sequence[str | None], cache: Path) -> bool:
    """Whether `fetch_missing` has nothing left to do."""
    for name in filter(None, names):
        codec: str | None = name
        if name not in KNOWN_CODECS:
            source = parse_source(name)
            if source is not None and source.kind == "web" and find_pulled_folder(source, cache) is None:
                return False
            codec = _codec_named_by(name, cache)

        if codec is not None and not KNOWN_CODECS[codec].unfit:
            try:
                find_checkpoint(codec, cache)
            except ModelError:
                return False
    return True


def _codec_named_by(name: str, cache: Path) -> str | None:
    """The known codec that a model needs and does not carry."""
    try:
        folder = resolve(name, cache)
    except ModelError:
        return None

    if folder.carries_codec or folder.codec["family"] == UNKNOWN or folder.codec["name"] not in KNOWN_CODECS:
        return None
    return str(folder.codec["name"])


def _check_digits(sha256: str) -> str:
    digits = sha256.strip().lower()
    if digits and (not 8 <= len(digits) <= 64 or set(digits) - set("0123456789abcdef")):
        raise UsageError(f"--sha256 {sha256}: expected 8 to 64 hex digits")
    return digits


def _agree(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
