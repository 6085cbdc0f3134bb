"""Which codec made the codes of a token store, and whether it is here. Knows nothing about training or decoding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audiolm_cli.checkpoints.catalogue import KNOWN_CODECS, cache_dir, known_hash, resolve
from audiolm_cli.checkpoints.fields import UNKNOWN
from audiolm_cli.checkpoints.folder import Folder
from audiolm_cli.data.manifest import SHIFT_TOLERANCE_S, CodecFacts, read_facts
from audiolm_cli.errors import ModelError
from audiolm_cli.events import Note, OnEvent, ignore
from audiolm_cli.library.loading import codec_books, codec_by_hash, codec_shape, codes_hash, known_books


@dataclass(frozen=True, kw_only=True)
class StoreCodec:
    """The codec of a store."""

    facts: CodecFacts
    """What the codes mean, with the codec's hash wherever it can be known."""
    name: str | None
    """What loads the codec: a catalogue name or a path; None when it is not here."""
    folder: Folder | None
    """The folder that carries or names it; None for a catalogued codec, and when it is not here."""

    def record(self) -> dict[str, Any]:
        """What a model's `config.json` says about the codec."""
        if self.name in KNOWN_CODECS:
            known = KNOWN_CODECS[str(self.name)]
            return {"family": known.family, "name": known.name, "config": {}, "sha256": self.facts.sha256}
        if self.folder is not None:
            return dict(self.folder.codec)

        frames = {"sample_rate_hz": self.facts.sample_rate_hz, "hop_samples": self.facts.hop_samples}
        sha256 = {"sha256": self.facts.sha256} if self.facts.sha256 else {}
        return {"family": UNKNOWN, "name": self.facts.name, "config": frames, **sha256}


def codec_of_store(
    store: Path, named: str | None = None, cache: Path | None = None, on_event: OnEvent = ignore
) -> StoreCodec:
    """The codec that made the codes of a store.

    Codes can be trained on without it: then, and where only its catalogue name is known, a note says what is missing.

    Args:
        store: the token store.
        named: the codec that the user names; taken at their word where the store does not say which it was.
        cache: the checkpoint cache; None is the user's.
        on_event: gets the notes.

    Raises:
        DataError: the store cannot be read.
        ModelError: the named codec is not here or damaged, is another one than the store's, or cannot have made these
            codes.
    """
    facts = read_facts(store, ignore if named is not None else on_event)
    if named is not None:
        owner = _take_named(store, facts, named, cache)
        if not facts.sha256:
            on_event(Note(message=f"{store} does not say which codec made its codes; taking --codec {named} for it"))
        return owner

    # A codec of the catalogue, whose hash is known even where its file is not here.
    source = facts.source or (facts.name if facts.sha256 else "")
    sha256 = facts.sha256 or (known_hash(source, cache_dir(cache)) if source in KNOWN_CODECS else "")
    if source in KNOWN_CODECS and sha256:
        _check_same(store, source, KNOWN_CODECS[source].sha256, facts)
        if not (cache_dir(cache) / source / KNOWN_CODECS[source].filename).is_file():
            on_event(Note(message=_describe_absence(facts), warning=True))
        return StoreCodec(facts=replace(facts, sha256=sha256), name=source, folder=None)

    # A folder, where the store says it is or with the hash that the store names.
    folder = _resolve_whole(source, cache) or (codec_by_hash(facts.sha256, cache) if facts.sha256 else None)
    if folder is None:
        on_event(Note(message=_describe_absence(facts), warning=True))
        return StoreCodec(facts=facts, name=None, folder=None)
    _check_same(store, str(folder.path), codes_hash(str(folder.path), cache), facts)
    return StoreCodec(facts=facts, name=str(folder.path), folder=folder)


def check_frame_rate(store: Path, facts: CodecFacts, model: str, folder: Folder) -> None:
    """Refuse codes whose frames last longer or shorter than those a model knows.

    Raises:
        ModelError: they do.
    """
    rate, hop = codec_shape(folder)
    if abs(hop / rate - facts.frame_shift_s) > SHIFT_TOLERANCE_S:
        raise ModelError(
            f"{store}: its codes have {1 / facts.frame_shift_s:g} frames per second, "
            f"but the codec of {model} has {rate / hop:g}; tokenize the recordings with that codec"
        )


def _take_named(store: Path, facts: CodecFacts, named: str, cache: Path | None) -> StoreCodec:
    """The codec that the user names, where it can be that of the store."""
    sha256 = codes_hash(named, cache)
    _check_same(store, named, sha256, facts)
    folder = None if named in KNOWN_CODECS else resolve(named, cache)
    if folder is not None:
        check_frame_rate(store, facts, f"--codec {named}", folder)
    if facts.sha256:
        known = facts if folder is not None else replace(facts, name=named, source=named)
        return StoreCodec(facts=replace(known, sha256=sha256), name=named, folder=folder)

    # The store does not say which codec it was: at least the shape of the codes has to fit. EnCodec's may be its first.
    books, size = known_books(named) if folder is None else codec_books(folder)
    is_spectral = folder is not None and folder.codec["family"] == "spectral"
    fits = facts.num_codebooks == books if is_spectral else facts.num_codebooks <= books
    if not fits or facts.codebook_size > size:
        raise ModelError(
            f"{named}: has {books} codebooks of {size} codes, but the codes in {store} are of {facts.num_codebooks} "
            f"codebooks of {facts.codebook_size}; name another with --codec"
        )
    name = named if folder is None else str(folder.codec["name"])
    completed = replace(facts, sha256=sha256, name=name, source=named, codebook_size=size)
    return StoreCodec(facts=completed, name=named, folder=folder)


def _resolve_whole(name: str, cache: Path | None) -> Folder | None:
    """The folder of a codec, or of a model that carries it, where it is here and whole."""
    try:
        folder = resolve(name, cache) if name else None
    except ModelError:
        return None
    return folder if folder is not None and codes_hash(str(folder.path), cache) else None


def _check_same(store: Path, name: str, sha256: str, facts: CodecFacts) -> None:
    """Refuse a codec with other codes than the store's.

    Raises:
        ModelError: it has.
    """
    same = bool(sha256) and facts.sha256.startswith(sha256)  # of some codecs, only the first digits are published
    if facts.sha256 and not same:
        raise ModelError(
            f"{name} is not the codec that made the codes in {store} (sha256 {facts.sha256[:12]}...); "
            "name that one with --codec, or tokenize the recordings again"
        )


def _describe_absence(facts: CodecFacts) -> str:
    return (
        f"the codec {facts.name} that made these codes is not here: the model will be trained on them without audio "
        "samples, and generating with it needs that codec"
    )
