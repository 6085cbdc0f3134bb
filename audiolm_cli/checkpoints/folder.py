"""Folders that describe themselves: `config.json` beside safetensors files, for models and for codecs.

Knows the format on disk and nothing about networks, names on the command line or downloads. torch is imported only
where tensors are read or written, so that listing folders stays quick.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiolm_cli.checkpoints.fields import FORMAT_VERSION, FORMATS, bad_field, check_config
from audiolm_cli.checkpoints.header import check_shapes, read_shapes
from audiolm_cli.errors import ModelError, OutputError
from audiolm_cli.files import hash_file, put_in_place, sync_file, sync_folder, write_synced
from audiolm_cli.guessing import guess_path
from audiolm_cli.stopping import uninterrupted
from audiolm_cli.version import __version__

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "config.json"
MODEL_TENSORS = "model.safetensors"
CODEC_TENSORS = "codec.safetensors"
CARD = "MODEL_CARD.md"
SAMPLES = "samples"
"""Folder of what a codec in training made of some clips; no part of the codec."""

MAX_CONFIG_BYTES = 1 << 20
_STALE_S = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """What `config.json` says about one tensor file."""

    bytes: int
    """Size in bytes."""
    sha256: str
    """Hash of the contents, 64 hex digits."""


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A model or codec folder whose `config.json` has been checked."""

    path: Path
    """Where it is."""
    kind: str
    """"model" or "codec"."""
    name: str
    """The name it was given when written."""
    audiolm_version: str
    """The version that wrote it."""
    model: dict[str, Any] | None
    """Fields of a ModelConfig; None in a codec folder."""
    codec: dict[str, Any]
    """"family", "name" and "config"; "sha256" of a codec that is elsewhere, or whose codes this one's are."""
    training: dict[str, Any]
    """Free-form facts; "licence" is shown by `models list`."""
    files: dict[str, FileEntry]
    """Tensor files by name."""
    sha256: str
    """Identifies the model: a hash over its configuration without the training facts, and over its files' hashes."""

    @property
    def carries_codec(self) -> bool:
        """Whether the codec's weights are in this folder, rather than named by catalogue name and hash."""
        return CODEC_TENSORS in self.files

    @property
    def licence(self) -> str:
        """The licence noted in the training facts; empty when none is."""
        return str(self.training.get("licence", ""))


@dataclass(frozen=True, kw_only=True)
class FolderFacts:
    """What the `config.json` of a new folder will say, apart from its files."""

    kind: str
    """"model" or "codec"."""
    name: str
    """Short name of the model or codec."""
    model: Mapping[str, Any] | None
    """Fields of a ModelConfig; None for a codec."""
    codec: Mapping[str, Any]
    """"family", "name", "config"; also "sha256" when the folder has no codec file, or its codes are another's."""
    training: Mapping[str, Any]
    """JSON-ready facts about the training."""


def write_folder(
    path: Path,
    facts: FolderFacts,
    *,
    tensors: Mapping[str, Mapping[str, Tensor]],
    texts: Mapping[str, str],
    force: bool = False,
) -> Folder:
    """The folder now at `path`, written under a temporary name beside it and renamed when whole.

    Args:
        path: final place; its parent is made when missing.
        facts: what it is.
        tensors: per file name, tensors by name. Their hashes go into `config.json`.
        texts: per file name, a text such as the model card. Not hashed: a card may be edited later.
        force: replace a folder that this function wrote earlier, and all that is in it.

    Raises:
        OutputError: something is in the way or the disk refuses.
        ModelError: the description does not fit, as `read_folder` would say.
    """
    path = Path(os.path.abspath(path))
    _check_free(path, force, [CONFIG, *tensors, *texts])

    with _as_output_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_stale(path)

        # A name of its own, unlike `replacing_folder`: two processes may write the same folder at once, and the old
        # one, which cannot be made again, stays until the new one has been read back.
        temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
        temporary.mkdir()
        try:
            _fill(temporary, facts, tensors, texts)
            folder = read_folder(temporary)
            put_in_place(temporary, path, force=force)
        finally:
            with uninterrupted():
                shutil.rmtree(temporary, ignore_errors=True)

    return dataclasses.replace(folder, path=path)


def read_folder(path: Path) -> Folder:
    """The folder at `path`, with its configuration, its files' presence and their sizes checked.

    Raises:
        ModelError: it is not a folder of this format; the message names the field or the file.
    """
    folder = read_description(Path(path))
    for filename, entry in folder.files.items():
        _check_size(folder.path / filename, entry)
    return folder


def read_description(path: Path) -> Folder:
    """What the `config.json` at `path` describes, checked; the files may not be there yet.

    Raises:
        ModelError: it is missing or does not fit; the message names the field.
    """
    raw = _read_config(path)
    values = migrate(raw, path)
    check_config(path / CONFIG, values)

    kinds = {label: kind for kind, label in FORMATS.items()}
    return Folder(
        path=path,
        kind=kinds[values["format"]],
        name=values["name"],
        audiolm_version=values["audiolm_version"],
        model=values.get("model"),
        codec=values["codec"],
        training=values["training"],
        files={filename: FileEntry(**entry) for filename, entry in values["files"].items()},
        sha256=_identity(raw),
    )


def migrate(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """`config` in the newest format version; a version gets one step here when its successor is introduced.

    Raises:
        ModelError: the format is unknown, or newer than this program.
    """
    if config.get("format") not in FORMATS.values():
        expected = " or ".join(FORMATS.values())
        raise bad_field(path / CONFIG, "format", f"is {config.get('format')!r}, expected {expected}")

    version = config.get("format_version")
    if type(version) is not int or version < 1:
        raise bad_field(path / CONFIG, "format_version", f"is {version!r}, expected a whole number from 1 on")
    if version > FORMAT_VERSION:
        raise bad_field(
            path / CONFIG,
            "format_version",
            f"is {version}, and audiolm {__version__} reads up to {FORMAT_VERSION}; install a newer audiolm",
        )
    return config


def verify_folder(folder: Folder) -> None:
    """Re-hash every file of `folder`.

    Raises:
        ModelError: a file is missing or changed; the message names it.
    """
    for filename, entry in folder.files.items():
        _check_size(folder.path / filename, entry)
        _check_hash(folder.path / filename, entry)


def load_tensors(
    folder: Folder, filename: str, expected: Mapping[str, tuple[int, ...]] | None = None
) -> dict[str, Tensor]:
    """The tensors of one file, memory-mapped, by name; its hash is checked at every use.

    Args:
        folder: where the file is.
        filename: one of `folder.files`.
        expected: shapes by name that the file must hold, no more and no fewer; None accepts what is there.

    Raises:
        ModelError: the file is damaged or holds other tensors; found before anything is allocated.
    """
    from safetensors import SafetensorError, safe_open

    path = folder.path / filename
    if filename not in folder.files:
        raise ModelError(f"{folder.path} has no file {filename}; it has {', '.join(sorted(folder.files))}")

    # The header and the hash come first: nothing is allocated for a file that is not what it should be.
    shapes = read_shapes(path)
    if expected is not None:
        check_shapes(path, shapes, expected)
    _check_hash(path, folder.files[filename])

    try:
        with safe_open(path, framework="pt", device="cpu") as stream:
            tensors = {name: stream.get_tensor(name) for name in shapes}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} is damaged: {' '.join(str(error).split()):.200}") from error

    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ModelError(f"{path} is damaged: tensor {name} holds NaN or infinity")

    return tensors


def _fill(
    folder: Path, facts: FolderFacts, tensors: Mapping[str, Mapping[str, Tensor]], texts: Mapping[str, str]
) -> None:
    """Write the files of a folder, and the `config.json` that describes them last."""
    entries = {}
    for filename, items in tensors.items():
        file = folder / filename
        _save_tensors(file, items)
        entries[filename] = {"bytes": file.stat().st_size, "sha256": hash_file(file)}

    for filename, text in texts.items():
        write_synced(folder / filename, text)

    config: dict[str, Any] = {
        "format": FORMATS[facts.kind],
        "format_version": FORMAT_VERSION,
        "name": facts.name,
        "audiolm_version": __version__,
        **({} if facts.model is None else {"model": dict(facts.model)}),
        "codec": dict(facts.codec),
        "training": dict(facts.training),
        "files": entries,
    }
    write_synced(folder / CONFIG, json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    sync_folder(folder)


def _identity(config: dict[str, Any]) -> str:
    """The hash that identifies a folder, of its `config.json` as it is on disk."""
    described = {key: value for key, value in config.items() if key not in ("files", "training")}
    text = json.dumps(described, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    files = config.get("files")
    if isinstance(files, dict):
        text += "".join(f"\n{filename}:{files[filename]['sha256']}" for filename in sorted(files))

    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _read_config(path: Path) -> dict[str, Any]:
    """The JSON object in the `config.json` at `path`, of any version.

    Raises:
        ModelError: there is none.
    """
    config = path / CONFIG
    if not path.is_dir():
        hint = "" if path.exists() else guess_path(path)
        raise ModelError(f"{path} is not a folder; a model is a folder with {CONFIG} and safetensors files{hint}")
    if not config.is_file():
        raise ModelError(f"{path} is no model folder: {CONFIG} is missing")

    try:
        if config.stat().st_size > MAX_CONFIG_BYTES:
            raise ModelError(f"{config} is larger than {MAX_CONFIG_BYTES} bytes, which no model needs")
        values = json.loads(config.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{config} is not valid JSON: {error}") from error
    except OSError as error:
        raise ModelError(f"{config} cannot be read: {error.strerror}") from error

    if not isinstance(values, dict):
        raise ModelError(f"{config} holds a {type(values).__name__}, expected one JSON object")
    return values


def _check_size(path: Path, entry: FileEntry) -> None:
    if not path.is_file():
        raise ModelError(f"{path} is missing; copy the folder again from where it came")
    found = path.stat().st_size
    if found != entry.bytes:
        raise ModelError(f"{path} has {found} bytes, expected {entry.bytes}; copy the folder again")


def _check_hash(path: Path, entry: FileEntry) -> None:
    found = hash_file(path)
    if found != entry.sha256:
        raise ModelError(
            f"{path} is damaged: its sha256 is {found}, expected {entry.sha256}; "
            "copy the folder again from where it came"
        )


def _check_free(path: Path, force: bool, writes: list[str]) -> None:
    """Refuse to write over anything that is not a folder of ours, and over those too unless `force`."""
    if not os.path.lexists(path):
        return

    if not force:
        raise OutputError(f"{path} exists already; choose another place or replace it with --force")
    if path.is_symlink() or not path.is_dir():
        raise OutputError(f"{path} is not a folder, so it is not replaced; move it away first")

    present = sorted(entry.name for entry in path.iterdir())
    if not present:
        return

    # All that is in it must be ours: a card and samples may have been added to what its `config.json` lists.
    try:
        known = {*writes, *_accounted_names(path), CARD, SAMPLES}
    except ModelError as error:
        raise OutputError(
            f"{path} holds something other than a model, so it is not replaced: {error}; move it away first"
        ) from error

    foreign = [name for name in present if name not in known]
    if foreign:
        raise OutputError(f"{path} also holds {', '.join(foreign[:5])}, so it is not replaced; move those away first")


def _accounted_names(path: Path) -> list[str]:
    """File names that the `config.json` at `path` accounts for, itself included; the files may be damaged.

    Raises:
        ModelError: it is not a folder of this format.
    """
    config = _read_config(path)
    if config.get("format") not in FORMATS.values():
        raise bad_field(path / CONFIG, "format", f"is {config.get('format')!r}")
    return [CONFIG, *(config["files"] if isinstance(config.get("files"), dict) else ())]


def _drop_stale(path: Path) -> None:
    """Remove what a killed writer of the same folder left behind more than a day ago."""
    pattern = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{8}\.partial")
    for entry in path.parent.iterdir():
        if pattern.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > _STALE_S:
            shutil.rmtree(entry, ignore_errors=True)


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file with the permissions of any other new file; safetensors alone makes it private."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        path.touch()  # with the user's permissions, which are put back below
        mode = path.stat().st_mode
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error

    path.chmod(mode)
    sync_file(path)


@contextmanager
def _as_output_error(path: Path) -> Iterator[None]:
    """Turn what the system reports about writing the folder `path` into an OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
