"""Checkpoints from any address or path into the cache, where each becomes a folder that says where it came from.

They arrive in a folder of their own and are renamed when whole. Knows nothing about the catalogue's codecs or about
terminals. Imports torch only to take in a file of weights.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from audiolm_cli.checkpoints.archive import unpack
from audiolm_cli.checkpoints.catalogue import (
    BUNDLED_CODEC,
    KNOWN_CODECS,
    SOURCE,
    bundled_folders,
    find_pulled_folder,
    resolve,
)
from audiolm_cli.checkpoints.download import fetch, probe_size
from audiolm_cli.checkpoints.folder import (
    CARD,
    CODEC_TENSORS,
    CONFIG,
    MAX_CONFIG_BYTES,
    Folder,
    FolderFacts,
    read_description,
    read_folder,
    verify_folder,
    write_folder,
)
from audiolm_cli.checkpoints.locks import LOCKS, hold
from audiolm_cli.checkpoints.source import Source, Wanted
from audiolm_cli.checkpoints.transfer import SourceRefusedError
from audiolm_cli.config.fetching import FetchConfig
from audiolm_cli.errors import ModelError, NetworkError, OutputError, UsageError
from audiolm_cli.events import Note, OnEvent, ignore
from audiolm_cli.files import hash_file, put_in_place, sync_folder

STAGING = ".staging"
"""Where in the cache folders are while they arrive."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What would be downloaded."""

    name: str
    """What it is called."""
    host: str
    """Who would send it."""
    bytes: int | None
    """Its size; None when the server does not say."""
    licence: str
    """Its terms; empty when they are not known."""

    def __str__(self) -> str:
        size = "of unknown size" if self.bytes is None else f"{self.bytes / 1e6:.1f} MB"
        return f"{self.name}, {size} from {self.host}, licence: {self.licence or 'not stated'}"


Confirm = Callable[[Offer], bool]
"""Whether what is offered may be downloaded."""


def accept(offer: Offer) -> bool:
    """The answer of those who asked for it by name."""
    return True


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """How checkpoints come into the cache."""

    cache: Path
    """The cache folder."""
    config: FetchConfig
    """How to fetch."""
    confirm: Confirm = accept
    """Asked before each download."""
    on_event: OnEvent = ignore
    """Gets the progress."""


def pull_source(
    source: Source, fetcher: Fetcher, *, save_as: str | None = None, sha256: str = "", force: bool = False
) -> Path:
    """The folder in the cache that holds what `source` addresses, brought there unless it is.

    The arguments are those of `fetching.pull`, and so are the errors.
    """
    name, cache = save_as or source.short_name, fetcher.cache
    if Path(name).name != name or name.startswith("."):
        raise UsageError(f"{name!r} is no name for the cache; give one with --name, without a slash")
    if name in {*KNOWN_CODECS, *bundled_folders()}:
        raise UsageError(f"{name} is the name of another checkpoint; give one of your own with --name")

    target = cache / name
    with hold(cache, name, on_event=fetcher.on_event):
        pulled = find_pulled_folder(source, cache)
        if pulled is not None and not force and (save_as is None or pulled == target):
            if sha256 and not _source_hash(pulled).startswith(sha256):
                raise ModelError(f"{pulled} came from there with sha256 {_source_hash(pulled)}; fetch it again with -f")
            return pulled
        if os.path.lexists(target) and not force:
            raise OutputError(f"{target} exists already; choose another name with --name, or replace it with -f")
        _fetch_into_place(source, fetcher, target, sha256, force)
    return target


def _fetch_into_place(source: Source, fetcher: Fetcher, target: Path, sha256: str, force: bool) -> None:
    """Bring what a source addresses to its place in the cache, by a folder that is renamed when it is whole.

    Raises:
        OutputError: the cache cannot be written.
    """
    staging = fetcher.cache / STAGING / source.key
    try:
        staging.mkdir(parents=True, exist_ok=True)
        bring = _bring_weights if source.is_weights else _bring_folder
        digest = bring(source, fetcher, staging, target.name, sha256)

        facts = {"source": source.text, "sha256": digest}
        (staging / SOURCE).write_text(json.dumps(facts, indent=1) + "\n")
        shutil.rmtree(staging / LOCKS, ignore_errors=True)
        sync_folder(staging)
        put_in_place(staging, target, force=force)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        if source.kind == "file":  # quickly copied again; what came over a network is kept
            shutil.rmtree(staging, ignore_errors=True)


def _bring_folder(source: Source, fetcher: Fetcher, staging: Path, name: str, sha256: str) -> str:
    """Bring a model or codec folder into `staging`; returns its hash."""
    if source.is_archive and not os.path.isdir(source.address):
        unpack(Path(source.address), staging)
    elif source.kind == "file":
        origin = resolve(os.path.join(source.address, ""))
        verify_folder(origin)
        for filename in (CONFIG, CARD, *origin.files):
            if filename in origin.files or (origin.path / filename).is_file():
                shutil.copyfile(origin.path / filename, staging / filename)
    else:
        _download_folder(source, fetcher, staging, name)

    folder = read_folder(staging)
    verify_folder(folder)
    if not folder.sha256.startswith(sha256):
        raise ModelError(f"{source.text}: its sha256 is {folder.sha256}, expected {sha256}")
    return folder.sha256


def _download_folder(source: Source, fetcher: Fetcher, staging: Path, name: str) -> None:
    """Download a folder: first its `config.json`, which says what else there is, then that."""
    config = fetcher.config

    def address(filename: str) -> tuple[str, ...]:
        return (source.url(config.endpoint, filename),)

    (staging / CONFIG).unlink(missing_ok=True)
    _refuse_offline(source, config)
    size = probe_size(address(CONFIG)[0], config) or 0
    if size > MAX_CONFIG_BYTES:
        raise ModelError(f"{source.text}: its {CONFIG} has {size} bytes, which no model needs")
    fetch(Wanted(label=f"{name}/{CONFIG}", urls=address(CONFIG)), staging / CONFIG, config)

    described = _read_offered(source, staging)
    total = sum(entry.bytes for entry in described.files.values())
    ask(Wanted(label=name, urls=(source.url(config.endpoint),), bytes=total), described.licence, fetcher)
    for filename, entry in described.files.items():
        wanted = Wanted(label=f"{name}/{filename}", urls=address(filename), bytes=entry.bytes, sha256=entry.sha256)
        fetch(wanted, staging / filename, config, on_event=fetcher.on_event)
    with suppress(NetworkError):  # a folder may have none
        fetch(Wanted(label=f"{name}/{CARD}", urls=address(CARD)), staging / CARD, config)


def _read_offered(source: Source, staging: Path) -> Folder:
    """What a folder's `config.json` says is in it, before the files are here."""
    try:
        return read_description(staging)
    except ModelError as error:
        (staging / CONFIG).unlink(missing_ok=True)
        raise ModelError(
            f"{source.text} is no model of audiolm: {error}; weights of EnCodec are addressed with their file, as in "
            "hf:owner/repository/model.safetensors"
        ) from error


def _bring_weights(source: Source, fetcher: Fetcher, staging: Path, name: str, sha256: str) -> str:
    """Bring a file of EnCodec weights into `staging` as a codec folder; returns the hash of the file."""
    suffix = Path(source.filename).suffix.lower()
    if suffix != ".safetensors" and not sha256:
        raise UsageError(f"{source.filename} is a pickle; it is read only when --sha256 says which one is meant")

    file = Path(source.address)
    if source.kind == "web":
        _refuse_offline(source, fetcher.config)
        file = staging / source.filename
        wanted = Wanted(label=name, urls=(source.url(fetcher.config.endpoint),), sha256=sha256)
        ask(wanted, "", fetcher)
        fetch(wanted, file, fetcher.config, on_event=fetcher.on_event)
    digest = hash_file(file)
    if not digest.startswith(sha256):
        raise ModelError(f"{file}: its sha256 is {digest}, expected {sha256}")

    # The folder is written whole before its files stand beside the download.
    write_encodec_folder(file, staging / "codec", name, {"source": source.text, "source_sha256": digest})
    if source.kind == "web":
        file.unlink()
    for made in (staging / "codec").iterdir():
        os.replace(made, staging / made.name)
    (staging / "codec").rmdir()
    return digest


def _refuse_offline(source: Source, config: FetchConfig) -> None:
    """Say how to bring a source in where no connection may be opened.

    Raises:
        NetworkError: none may.
    """
    if config.offline:
        raise NetworkError(
            f"{source.text} is not in the cache, and no connection may be opened (offline); fetch "
            f"{source.url(config.endpoint)} elsewhere, and bring it in with: audiolm models pull PATH --name NAME"
        )


def ask(wanted: Wanted, licence: str, fetcher: Fetcher) -> None:
    """Show what will be downloaded, and go on only when that is wanted.

    Raises:
        ModelError: it is not.
    """
    if fetcher.config.offline:
        return  # `fetch` says what to do

    size = wanted.bytes
    if size is None:
        with suppress(SourceRefusedError):  # said again, with all reasons, by the download
            size = probe_size(wanted.urls[0], fetcher.config, pinned=bool(wanted.sha256))
    host = urlsplit(wanted.urls[0]).hostname or ""
    offer = Offer(name=wanted.label, host=host, bytes=size, licence=licence)
    fetcher.on_event(Note(message=f"download: {offer}"))
    if not fetcher.confirm(offer):
        raise ModelError(
            f"{wanted.label} is needed, and its download was declined; name another, or {BUNDLED_CODEC}, which is here"
        )


def _source_hash(folder: Path) -> str:
    try:
        return str(json.loads((folder / SOURCE).read_text())["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def write_encodec_folder(file: Path, folder: Path, name: str, training: dict[str, object]) -> Folder:
    """A codec folder made of a file of EnCodec weights in any dialect, of any shape that is published.

    Raises:
        ModelError: it is not such a file.
        OutputError: the folder cannot be written.
    """
    from audiolm_cli.codec.encodec import EncodecCodec
    from audiolm_cli.codec.encodec_shape import PUBLISHED

    problems: list[ModelError] = []
    for shape in PUBLISHED.values():
        try:
            codec = EncodecCodec.load(file, dataclasses.replace(shape, name=name))
        except ModelError as error:
            problems.append(error)
            continue

        described = {"family": "encodec", "name": name, "config": codec.config.to_dict()}
        return write_folder(
            folder,
            FolderFacts(kind="codec", name=name, model=None, codec=described, training=training),
            tensors={CODEC_TENSORS: codec.state()},
            texts={},
            force=True,
        )
    raise problems[0]
