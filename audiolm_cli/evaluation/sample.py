"""What an evaluation measures on, from what the user named: recordings, a token store, or a manifest of one.

Knows nothing about models.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audiolm_cli.audio import DecoderProcess
from audiolm_cli.codec.base import Codec
from audiolm_cli.data.files import SPLITS
from audiolm_cli.data.manifest import SHIFT_TOLERANCE_S, SUFFIXES, find_manifest, is_store, iter_clips, read_facts
from audiolm_cli.data.parts import load_inputs
from audiolm_cli.data.tokens import CodecFacts, TokenClip
from audiolm_cli.errors import DataError, ModelError
from audiolm_cli.evaluation import excerpts
from audiolm_cli.evaluation.choosing import Choice, Training, choose
from audiolm_cli.evaluation.excerpts import Excerpt, decode_excerpts, read_held_out
from audiolm_cli.events import Note, OnEvent
from audiolm_cli.tokenizing.recordings import open_recordings, scanning_opener
from audiolm_cli.wording import counted, listed


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What is measured on."""

    codes: list[TokenClip]
    """Codes of the recordings."""
    excerpts: list[Excerpt]
    """Stretches that are compared as audio."""
    choice: Choice
    """Which of the recordings there are, and why."""
    failed: list[str]
    """Recordings that could not be read, with the reason."""


def holds_codes(source: Path) -> bool:
    """Whether a token store or a manifest is named, and not recordings."""
    return source.name.endswith(SUFFIXES) or is_store(source)


def read_recordings(
    source: Path, codec: Codec, training: Training, split: str | None, clips: int, on_event: OnEvent
) -> Sample:
    """Recordings, encoded with the codec that is measured, and at most `clips` excerpts of them.

    Raises:
        DataError: none is long enough, or belongs to the split.
    """
    with DecoderProcess() as decoder:
        opened, failed = open_recordings(source, scanning_opener(decoder), decoder, on_event)
        files = [file for file in opened if file.duration_s >= excerpts.SHORTEST_S]
        short = [str(file.path) for file in opened if file.duration_s < excerpts.SHORTEST_S]
        _check_lengths(source, len(files), short, on_event)

        homes = [training.homes.get(file.sha256) for file in files]
        choice = choose(homes, [file.split for file in files], split, source, training.name)
        files = [files[index] for index in choice.indices]
        codes, chosen = read_held_out(files, codec, decoder, clips, failed, on_event)
    if not codes:
        raise DataError(f"{source}: {counted(len(files), 'recording')}, of which none could be read")
    return Sample(codes=codes, excerpts=chosen, choice=choice, failed=failed)


def read_codes(
    source: Path,
    codec: Codec,
    codes_sha256: str,
    training: Training,
    split: str | None,
    clips: int,
    on_event: OnEvent,
) -> Sample:
    """The clips of a token store or of one of its manifests, and at most `clips` excerpts, decoded from them.

    Raises:
        DataError: they cannot be read, or none is long enough, or belongs to the split.
        ModelError: they are not codes of this codec, whose codes have the hash `codes_sha256`.
    """
    facts = read_facts(source)
    _check_codec(source, facts, codec, codes_sha256, training.name)
    folder = source if source.is_dir() else source.parent

    # Which recording a clip is of, the store says.
    inputs = load_inputs(folder)
    owners = {name: own.sha256 for own in (inputs[1] if inputs else []) for name, _, _ in own.clips}
    is_its_own = training.owns(folder)

    kept: list[TokenClip] = []
    homes: list[str | None] = []
    splits: list[str | None] = []
    short: list[str] = []
    for clip, own_split in _read_clips(source, facts, on_event):
        if len(clip.codes) < round(excerpts.SHORTEST_S / facts.frame_shift_s):
            short.append(clip.id)
        else:
            kept.append(clip)
            splits.append(own_split)
            homes.append(own_split if is_its_own else training.homes.get(owners.get(clip.id, "")))
    _check_lengths(source, len(kept), short, on_event)

    choice = choose(homes, splits, split, source, training.name)
    codes = [kept[index] for index in choice.indices]
    return Sample(codes=codes, excerpts=decode_excerpts(codes, owners, codec, clips), choice=choice, failed=[])


def _read_clips(source: Path, facts: CodecFacts, on_event: OnEvent) -> list[tuple[TokenClip, str | None]]:
    """Every clip of a store or a manifest, with its split where that is known."""
    folder = source if source.is_dir() else source.parent
    manifests = {path: name for name in SPLITS if (path := find_manifest(folder, name)) is not None}
    return [
        (clip, manifests.get(manifest))
        for manifest in (manifests if source.is_dir() else [source])
        for clip in iter_clips(manifest, facts, on_event)
    ]


def _check_codec(source: Path, facts: CodecFacts, codec: Codec, codes_sha256: str, model: str) -> None:
    """Refuse codes of another codec.

    Raises:
        ModelError: they are.
    """
    shift_s = codec.hop_samples / codec.sample_rate_hz
    own = codec.num_codebooks, codec.codebook_size
    fits = facts.num_codebooks == own[0] and facts.codebook_size <= own[1]
    is_same = fits and abs(facts.frame_shift_s - shift_s) < SHIFT_TOLERANCE_S
    if facts.sha256 and not (codes_sha256 and facts.sha256.startswith(codes_sha256)):
        is_same = False
    if not is_same:
        raise ModelError(
            f"{source}: its codes are those of the codec {facts.name}, which is not that of {model}; "
            "give recordings, or tokenize them with the codec of the model"
        )


def _check_lengths(source: Path, kept: int, short: list[str], on_event: OnEvent) -> None:
    """Say which recordings are too short.

    Raises:
        DataError: all are.
    """
    if not kept:
        raise DataError(
            f"{source}: {counted(len(short), 'recording')}, but none of {excerpts.SHORTEST_S:g} s or more; "
            "give longer ones"
        )
    if short:
        on_event(Note(message=f"left out, shorter than {excerpts.SHORTEST_S:g} s: {listed(short)}"))
