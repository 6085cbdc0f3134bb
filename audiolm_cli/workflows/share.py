"""`audiolm models export` and `push`: a model or codec as one file, or on Hugging Face, with a card.

Knows nothing about commands or terminals. The only importer of huggingface_hub.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from audiolm_cli.checkpoints.archive import pack
from audiolm_cli.checkpoints.catalogue import KNOWN_CODECS, bundled_folders, cache_dir, codec_by_hash, resolve
from audiolm_cli.checkpoints.folder import CARD, CONFIG, Folder, verify_folder
from audiolm_cli.checkpoints.source import ARCHIVE, parse_repository
from audiolm_cli.config.fetching import FetchConfig
from audiolm_cli.errors import NetworkError, OutputError, UsageError
from audiolm_cli.events import Activity, Note, OnEvent, ignore
from audiolm_cli.files import as_output_error, check_target, replacing
from audiolm_cli.packages import explained_imports
from audiolm_cli.reports.card import short_name, write_card, write_front_matter
from audiolm_cli.reports.tables import markdown
from audiolm_cli.version import __version__

README = "README.md"
"""The card as Hugging Face shows it."""
TRANSPORTS = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")
"""Packages whose errors say that no answer came; which of them is used depends on the version of huggingface_hub."""
MOST_EVALUATION_BYTES = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A model or codec as it is given away."""

    folder: Folder
    """Where it is."""
    licence: str
    """Its terms; empty where nobody has stated them."""
    files: dict[str, bytes | Path]
    """What it consists of, by name: what files hold, or where they are."""


def export_model(
    name: str,
    target: str,
    *,
    licence: str = "",
    evaluation: Path | None = None,
    force: bool = False,
    cache: Path | None = None,
    on_event: OnEvent = ignore,
) -> Path:
    """Where a zip file of a model or codec is, after it was written; `models pull` reads it.

    Args:
        name: of the model or codec, or the path of its folder.
        target: the file.
        licence: its terms; empty takes what its training says.
        evaluation: what `audiolm evaluate --json` printed, for the card.
        force: overwrite.
        cache: the checkpoint cache; None is the user's.
        on_event: gets the notes.

    Raises:
        UsageError: the target is no zip file, or the evaluation none of this model.
        ModelError: there is no such model, or it is damaged.
        OutputError: the file exists or cannot be written.
    """
    path = Path(target)
    if path.suffix.lower() != ARCHIVE:
        raise UsageError(f"{target}: expected a file that ends in {ARCHIVE}")
    check_target(path, force)

    parcel = wrap(name, None, licence, evaluation, cache, on_event)
    with as_output_error(path), replacing(path, force) as file:
        pack(file, short_name(parcel.folder), parcel.files)
    return path


def push_model(
    name: str,
    target: str,
    config: FetchConfig,
    *,
    licence: str = "",
    evaluation: Path | None = None,
    private: bool = False,
    force: bool = False,
    cache: Path | None = None,
    on_event: OnEvent = ignore,
) -> str:
    """The address of a repository on Hugging Face, after a model or codec was written into it.

    Args:
        name: of the model or codec, or the path of its folder.
        target: the repository, as `hf:owner/name`; it is made.
        config: the server and the token; without one, that of huggingface_hub.
        licence: its terms; empty takes what its training says.
        evaluation: what `audiolm evaluate --json` printed, for the card.
        private: show a new repository to its owner alone.
        force: write into a repository that exists; what was there stays in its history.
        cache: the checkpoint cache; None is the user's.
        on_event: gets the notes.

    Raises:
        UsageError: the target is no repository, there is no token, or the evaluation is none of this model.
        ModelError: there is no such model, or it is damaged.
        NetworkError: offline, no answer, or the server does not allow it.
        OutputError: the repository exists.
        InstallationError: huggingface_hub is not here.
    """
    repository = parse_repository(target)
    if config.offline:
        raise NetworkError(f"{target} cannot be written: no connection may be opened (offline)")
    with explained_imports():
        from huggingface_hub import CommitOperationAdd, HfApi, get_token
        from huggingface_hub.utils import disable_progress_bars, logging
    token = config.token or get_token()
    if not token:
        raise UsageError("no token of Hugging Face: make one that may write, and run `hf auth login`, or set HF_TOKEN")

    parcel = wrap(name, target, licence, evaluation, cache, on_event)
    card = parcel.files[CARD]
    assert isinstance(card, bytes), "`wrap` writes the card"
    readme = f"{write_front_matter(parcel.licence)}\n".encode() + card
    disable_progress_bars()
    logging.set_verbosity_error()
    hub = HfApi(endpoint=config.endpoint, token=token, library_name="audiolm", library_version=__version__)
    with hub_errors_as_ours(target, config.endpoint):
        on_event(Activity(stage="upload"))
        hub.create_repo(repository, private=private, exist_ok=force)
        additions = [
            CommitOperationAdd(path_in_repo=filename, path_or_fileobj=content)
            for filename, content in {**parcel.files, README: readme}.items()
        ]
        hub.create_commit(repository, additions, commit_message=f"{parcel.folder.name}, by audiolm {__version__}")
    return f"{config.endpoint}/{repository}"


def wrap(
    name: str, source: str | None, licence: str, evaluation: Path | None, cache: Path | None, on_event: OnEvent
) -> Parcel:
    """A model or codec with its card, its files checked; what a receiver may miss is said.

    Args:
        name: of the model or codec, or the path of its folder.
        source: where others will get it; None is a file.
        licence: its terms; empty takes what its training says.
        evaluation: what `audiolm evaluate --json` printed of it.
        cache: the checkpoint cache; None is the user's.
        on_event: gets the notes.

    Raises:
        ModelError: there is no such model, or it is damaged.
        UsageError: it is the name of a codec that others publish, or the evaluation is none of this model.
    """
    cache = cache_dir(cache)
    if name in KNOWN_CODECS:
        raise UsageError(f"{name} is published by others; give its name to whoever wants it")
    folder = resolve(name, cache)
    verify_folder(folder)
    numbers = "" if evaluation is None else read_evaluation(evaluation, folder)

    terms = licence.strip() or folder.licence
    if not terms:
        on_event(Note(message="licence unknown: say what the recordings' owners allow with --license", warning=True))
    if not folder.carries_codec and not _is_found_elsewhere(folder):
        missing = f"{folder.path} does not carry its codec, {folder.codec['name']}: give that away as well"
        on_event(Note(message=missing, warning=True))

    card = folder.path / CARD
    own = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    files: dict[str, bytes | Path] = {
        CONFIG: _state_licence(folder.path / CONFIG, licence.strip()),
        CARD: write_card(folder, source or f"file:{short_name(folder)}.zip", terms, own, numbers).encode(),
        **{filename: folder.path / filename for filename in folder.files},
    }
    return Parcel(folder=folder, licence=terms, files=files)


def read_evaluation(path: Path, folder: Folder) -> str:
    """The tables of what `audiolm evaluate --json` printed of a model, as Markdown.

    Raises:
        UsageError: it cannot be read, or is of another model.
    """
    try:
        if path.stat().st_size > MOST_EVALUATION_BYTES:
            raise UsageError(f"{path} is larger than any evaluation; give what `audiolm evaluate --json` printed")
        found = json.loads(path.read_text(encoding="utf-8"))
        measured, name = found["model"]["sha256"], found["model"]["name"]
        tables = markdown(found) if measured == folder.sha256 else ""
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no evaluation; give what `audiolm evaluate --json` printed") from error
    if not tables:
        raise UsageError(
            f"{path} is of the model {name} with sha256 {measured:.8}, and this one has {folder.sha256:.8}"
        )
    return tables


@contextlib.contextmanager
def hub_errors_as_ours(target: str, endpoint: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into errors that say what to do.

    Raises:
        NetworkError: no answer, or the server does not allow it.
        OutputError: the repository exists.
        UsageError: it can have no such name.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    host = urlsplit(endpoint).hostname
    try:
        yield
    except HFValidationError as error:
        raise UsageError(f"{target}: {_first_line(error)}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 409:
            raise OutputError(
                f"{target} exists already; choose another name, or add a version to it with -f"
            ) from error
        if status == 401:
            raise NetworkError(f"{host} does not accept the token; make a new one, and run `hf auth login`") from error
        if status == 403:
            raise NetworkError(f"{host}: the token may not write to {target}; make one that may") from error
        raise NetworkError(f"{host} refuses {target} ({status}): {_first_line(error)}") from error
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in TRANSPORTS:
            raise
        raise NetworkError(f"{target}: {host} cannot be reached ({_first_line(error)}); try again later") from error


def _first_line(error: Exception) -> str:
    """What an error says, in a line."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__


def _is_found_elsewhere(folder: Folder) -> bool:
    """Whether a receiver has the codec that a folder names, or can fetch it by that name."""
    if folder.codec["name"] in KNOWN_CODECS:
        return True
    found = codec_by_hash(str(folder.codec.get("sha256", "")))
    return found is not None and found.path in bundled_folders().values()


def _state_licence(config: Path, licence: str) -> bytes:
    """A `config.json` with these terms, which `models list` shows; without any, as it is."""
    content = config.read_bytes()
    if not licence:
        return content
    values: dict[str, Any] = json.loads(content)
    training: Mapping[str, Any] = values["training"]
    values["training"] = {**training, "licence": licence}
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()
