"""What can be named on the command line: bundled models, cached checkpoints, codecs known by URL and hash.

Knows where these are and whether they are whole; downloads nothing and builds no network.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import platformdirs

from audiolm_cli.checkpoints.folder import CODEC_TENSORS, CONFIG, Folder, read_folder
from audiolm_cli.checkpoints.notes import read_note
from audiolm_cli.checkpoints.source import HUGGINGFACE, Source, Wanted, at_endpoint, parse_source
from audiolm_cli.checkpoints.stamps import verify_hash
from audiolm_cli.errors import ModelError
from audiolm_cli.guessing import guess_name


@dataclass(frozen=True, kw_only=True)
class KnownCodec:
    """A codec's weights that others publish, pinned to one revision."""

    name: str
    """Name on the command line."""
    family: str
    """Codec family that reads the file."""
    filename: str
    """Name of the file in the cache."""
    url: str
    """Where it is published; contains the commit, or part of the hash."""
    bytes: int | None
    """Size in bytes; None when it is not published."""
    sha256: str
    """Leading hex digits of the hash: all 64, or those that are published."""
    licence: str
    """Terms of the weights."""
    unfit: str = ""
    """Why its codes cannot be used here; empty when they can."""


BUNDLED = "piano"
"""The model that ships inside the package, with its codec."""
BUNDLED_CODEC = "sound"
"""The codec for any sound that ships inside the package; it serves where no other is named."""
BEST = "best"
"""Where in the folder of a training run its best model lies."""
SOURCE = "source.json"
"""Where a folder in the cache says where it came from."""
_UNCLEAR = "not stated (the encodec package: CC-BY-NC-4.0)"

KNOWN_CODECS = {
    "encodec-32khz": KnownCodec(
        name="encodec-32khz",
        family="encodec",
        filename="model.safetensors",
        url="https://huggingface.co/facebook/encodec_32khz/resolve/"
        "4966e19f4931abbc51c4bfb92ae06bdcb53b392e/model.safetensors",
        bytes=235_972_432,
        sha256="0e78f34d2ff3259f29bd51f7a99060151fe4ba5776fee216f58847f06082f1ca",
        licence="CC-BY-NC-4.0 (non-commercial use only)",
    ),
    "encodec-24khz": KnownCodec(
        name="encodec-24khz",
        family="encodec",
        filename="encodec_24khz-d7cc33bc.th",
        url="https://dl.fbaipublicfiles.com/encodec/v0/encodec_24khz-d7cc33bc.th",
        bytes=None,
        sha256="d7cc33bc",
        licence=_UNCLEAR,
    ),
    "encodec-48khz": KnownCodec(
        name="encodec-48khz",
        family="encodec",
        filename="encodec_48khz-7e698e3e.th",
        url="https://dl.fbaipublicfiles.com/encodec/v0/encodec_48khz-7e698e3e.th",
        bytes=None,
        sha256="7e698e3e",
        licence=_UNCLEAR,
        unfit="it is stereo and keeps a loudness per second beside its codes, which a model of codes alone loses; "
        "use encodec-32khz or encodec-24khz",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of `audiolm models list`."""

    name: str
    """Name on the command line."""
    kind: str
    """"model" or "codec"; "unknown" when the folder is damaged."""
    source: str
    """"bundled", "cached", or "not here" for a known codec that is not in the cache."""
    bytes: int
    """Size on disk, 0 when not here."""
    licence: str
    """Terms; empty when the folder does not say."""
    path: Path | None
    """The folder of a model, the file of a known codec; None when not here."""
    problem: str = ""
    """Why it cannot be used; empty when nothing is wrong."""


def cache_dir(override: Path | str | None = None) -> Path:
    """Where checkpoints are cached: `override`, else the user's cache folder of this system."""
    if override is not None:
        return Path(override).expanduser()

    return platformdirs.user_cache_path("audiolm", appauthor=False)


def bundled_folders() -> dict[str, Path]:
    """The model folders that ship inside the package, by name."""
    return _folders_in(Path(str(resources.files("audiolm_cli"))) / "assets")


def cached_folders(cache: Path) -> dict[str, Path]:
    """The model and codec folders in the cache, by name."""
    return _folders_in(cache)


def resolve(name_or_path: str, cache: Path | None = None) -> Folder:
    """The model or codec folder that was meant.

    `https://...` and `hf:...` mean what was pulled from there. Anything else with a path separator is a path, and so is
    a folder here that holds a `config.json`. All else is a name, first among the bundled models, then in the cache. The
    folder of a training run stands for its best model.

    Args:
        name_or_path: what stood on the command line.
        cache: the cache folder; None is the user's.

    Raises:
        ModelError: nothing has this name, or the folder does not fit.
    """
    source = parse_source(name_or_path)
    if source is not None and source.kind == "web":
        return read_folder(_find_pulled(source, cache or cache_dir()))

    # A path, or something here that looks like a model or a run.
    name_or_path = name_or_path if source is None else os.path.join(source.address, "")  # `file:` is always a path
    path = Path(name_or_path).expanduser()
    if (path / BEST / CONFIG).is_file() and not (path / CONFIG).is_file():
        return read_folder(path / BEST)
    separators = [separator for separator in (os.sep, os.altsep, "/") if separator]
    if any(separator in name_or_path for separator in separators) or (path / CONFIG).is_file():
        return read_folder(path)

    # A name, or a mistake: say what would have been right.
    folders = {**cached_folders(cache or cache_dir()), **bundled_folders()}
    if name_or_path in folders:
        return read_folder(folders[name_or_path])
    refuse_codec(name_or_path, cache)
    if path.is_dir():
        return read_folder(path)
    close = guess_name(name_or_path, [*folders, *KNOWN_CODECS, *_names_here()]) or "."
    raise ModelError(
        f"no model is called {name_or_path!r}{close} Models: {_names_of('model', cache)} (codecs: "
        f"{_names_of('codec', cache)}); or give the path of a folder"
    )


def resolve_model(name_or_path: str, cache: Path | None = None) -> Folder:
    """The folder that was meant, where only a model will do; see `resolve`.

    Raises:
        ModelError: nothing has this name, the folder does not fit, or it is a codec.
    """
    folder = resolve(name_or_path, cache)
    if folder.model is None:
        raise ModelError(_describe_codec_instead(name_or_path, cache))
    return folder


def refuse_codec(name: str | None, cache: Path | None) -> None:
    """Refuse the name of a known codec where only a model will do, before anything is fetched for it.

    Raises:
        ModelError: it is one.
    """
    if name in KNOWN_CODECS:
        raise ModelError(_describe_codec_instead(name, cache))


def find_checkpoint(name: str, cache: Path, *, rehash: bool = False) -> Path:
    """The file of a known codec in the cache, its size and hash checked.

    Args:
        name: a key of `KNOWN_CODECS`.
        cache: the cache folder.
        rehash: compute the hash even if a stamp says that it was right before.

    Raises:
        ModelError: the name is unknown, or the file is missing or damaged; the message says what to put where.
    """
    if name not in KNOWN_CODECS:
        known_names = _join_names(KNOWN_CODECS)
        raise ModelError(f"no codec is called {name!r}{guess_name(name, KNOWN_CODECS) or '.'} Known: {known_names}")

    known = KNOWN_CODECS[name]
    path = cache / known.name / known.filename
    wanted = f"{wanted_file(known).place_by_hand}, licence {known.licence},"
    if not path.is_file():
        raise ModelError(
            f"codec {name} is not in the cache; run: audiolm models pull {name}, or fetch {wanted} and place it as "
            f"{path}; or use the bundled codec with --codec {BUNDLED_CODEC}"
        )

    try:
        verify_hash(path, known.bytes, known.sha256, rehash=rehash)
    except ModelError as error:
        raise ModelError(f"{error}; run: audiolm models pull {name}, or replace it with {wanted} yourself") from error

    return path


def known_hash(name: str, cache: Path | None = None) -> str:
    """The whole hash of a known codec; empty where only a part is published and the file is not in the cache."""
    known = KNOWN_CODECS[name]
    path = (cache or cache_dir()) / known.name / known.filename
    if len(known.sha256) == 64 or not path.is_file():
        return known.sha256 if len(known.sha256) == 64 else ""
    return verify_hash(path, known.bytes, known.sha256)


def folder_codes_hash(folder: Folder) -> str:
    """The hash of the codes of a codec that a folder carries, or names."""
    own = folder.files[CODEC_TENSORS].sha256 if folder.carries_codec else ""
    return str(folder.codec.get("sha256", own))


def codec_by_hash(sha256: str, cache: Path | None = None) -> Folder | None:
    """A bundled or cached folder that carries the codec with these weights, else one with the same codes, or None."""
    folders = []
    for path in (*bundled_folders().values(), *cached_folders(cache_dir(cache)).values()):
        with contextlib.suppress(ModelError):
            folders.append(read_folder(path))

    folders = [folder for folder in folders if folder.carries_codec]
    same = [folder for folder in folders if folder.files[CODEC_TENSORS].sha256 == sha256]
    return next(iter(same + [folder for folder in folders if folder_codes_hash(folder) == sha256]), None)


def wanted_file(known: KnownCodec, endpoint: str = HUGGINGFACE) -> Wanted:
    """What to download for a known codec."""
    return Wanted(label=known.name, urls=(at_endpoint(known.url, endpoint),), bytes=known.bytes, sha256=known.sha256)


def find_pulled_folder(source: Source, cache: Path) -> Path | None:
    """The folder in the cache that came from `source`; None when none did."""
    for path in cached_folders(cache).values():
        if read_note(path / SOURCE).get("source") == source.text:
            return path
    return None


def list_models(cache: Path) -> list[Entry]:
    """What can be named: bundled first, then cached, then the known codecs that are not here."""
    entries = [_folder_entry(name, path, "bundled") for name, path in sorted(bundled_folders().items())]
    entries += [_folder_entry(name, path, "cached") for name, path in sorted(cached_folders(cache).items())]
    return entries + [_codec_entry(known, cache) for known in KNOWN_CODECS.values()]


def _describe_codec_instead(name: str, cache: Path | None) -> str:
    """What to say of a codec where a model was expected: which models there are, and if one can use this codec."""
    advice = (
        f"A model brings its own codec along; to train one on this codec: audiolm train FOLDER -o RUN --codec {name}"
    )
    if name in KNOWN_CODECS and KNOWN_CODECS[name].unfit:
        advice = f"No model can be trained on this codec, either: {KNOWN_CODECS[name].unfit}"
    return f"{name} is a codec, not a model; models: {_names_of('model', cache)}. {advice}"


def _find_pulled(source: Source, cache: Path) -> Path:
    """The folder in the cache that came from `source`.

    Raises:
        ModelError: none did.
    """
    path = find_pulled_folder(source, cache)
    if path is None:
        raise ModelError(f"{source.text} is not in the cache; run: audiolm models pull {source.text}")
    return path


def _folder_entry(name: str, path: Path, source: str) -> Entry:
    """The line of a folder; one that is damaged has a line too."""
    size = sum(entry.stat().st_size for entry in path.iterdir() if entry.is_file())
    try:
        folder = read_folder(path)
    except ModelError as error:
        return Entry(name=name, kind="unknown", source=source, bytes=size, licence="", path=path, problem=str(error))

    return Entry(name=name, kind=folder.kind, source=source, bytes=size, licence=folder.licence, path=path)


def _codec_entry(known: KnownCodec, cache: Path) -> Entry:
    """The line of a known codec. Its size is checked, its hash is not: listing is quick."""
    path = cache / known.name / known.filename
    if not path.is_file():
        return Entry(name=known.name, kind="codec", source="not here", bytes=0, licence=known.licence, path=None)

    size = path.stat().st_size
    problem = "" if known.bytes in (None, size) else f"{path} has {size} bytes, expected {known.bytes}"
    return Entry(
        name=known.name, kind="codec", source="cached", bytes=size, licence=known.licence, path=path, problem=problem
    )


def _folders_in(parent: Path) -> dict[str, Path]:
    """The folders with a `config.json` in `parent`, by name; hidden ones are not looked at."""
    if not parent.is_dir():
        return {}

    try:
        return {
            entry.name: entry
            for entry in parent.iterdir()
            if not entry.name.startswith(".") and (entry / CONFIG).is_file()
        }
    except OSError as error:
        raise ModelError(f"{parent} cannot be read: {error.strerror}") from error


def _names_here() -> set[str]:
    """The names of models and of runs in the current folder."""
    patterns = (f"*/{CONFIG}", f"*/{BEST}/{CONFIG}")
    return {path.parts[0] for pattern in patterns for path in Path().glob(pattern)}


def _names_of(kind: str, cache: Path | None) -> str:
    """The names of all models or of all codecs, bundled, cached or known."""
    return _join_names({entry.name for entry in list_models(cache or cache_dir()) if entry.kind == kind})


def _join_names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
