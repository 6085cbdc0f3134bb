"""`audiolm decode`: a token store, or clips of it, back to audio files. Knows nothing about commands or terminals."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from audiolm_cli.audio import AudioSpec, named_format, write_blocks
from audiolm_cli.audio.writing import CONTAINERS
from audiolm_cli.checkpoints.catalogue import KNOWN_CODECS
from audiolm_cli.codec.base import Codec, OnShare
from audiolm_cli.codec.chunked import iter_decode
from audiolm_cli.data.cuts import Cut, read_clip
from audiolm_cli.data.manifest import SHIFT_TOLERANCE_S, SUFFIXES, CodecFacts, is_store, list_cuts, read_facts
from audiolm_cli.data.storage import ArrayReader
from audiolm_cli.devices import prepare_cpu
from audiolm_cli.editing.jobs import STREAM, make_folder, names_folder
from audiolm_cli.editing.result import Failure
from audiolm_cli.errors import DataError, ModelError, SomeInputsFailedError, UsageError
from audiolm_cli.events import AUDIO_S, Note, OnEvent, Progress, ignore
from audiolm_cli.files import check_target
from audiolm_cli.guessing import guess_name, guess_path
from audiolm_cli.library.loading import codec_hash, load_codec, pick_codec_device
from audiolm_cli.library.store_codec import StoreCodec, codec_of_store
from audiolm_cli.wording import counted

SUBTYPES = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}
"""Encoding of the files; all other formats hold 16 bits."""
LONGEST_NAME = 100
"""Characters of a file's name that come from the clip's."""


@dataclass(frozen=True, kw_only=True)
class DecodedClip:
    """One file that was written."""

    path: str
    """Where."""
    id: str
    """The clip's name in the store."""
    sample_rate_hz: int
    """Its sample rate."""
    channels: int
    """Its channels."""
    duration_s: float
    """Its length in seconds."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What was written."""

    outputs: list[DecodedClip]
    """The files."""
    codec: dict[str, str]
    """"name" of what decoded, and "sha256" of its weights."""
    failed: list[Failure] = field(default_factory=list)
    """Clips that could not be decoded, with the reason."""

    def check_failures(self) -> None:
        """Raise what a command with several clips ends with when some of them failed.

        Raises:
            SomeInputsFailedError: some did.
        """
        if self.failed:
            names = ", ".join(failure.input for failure in self.failed[:5])
            raise SomeInputsFailedError(f"{counted(len(self.failed), 'clip')} could not be decoded: {names}")


def decode(
    source: Path,
    output: str,
    *,
    ids: list[str] | None = None,
    codec: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    cache: Path | None = None,
    force: bool = False,
    on_event: OnEvent = ignore,
) -> Decoded:
    """Decode the clips of a token store to audio files, in constant memory, at the level that they were encoded at.

    Args:
        source: a token store, or one of its manifests.
        output: a folder, made where there is none, for one WAV per clip; or for a single clip a file, "-" being
            standard output.
        ids: names of the clips wanted; none means all.
        codec: name or path of the codec, where it is not where the store says.
        device: where to decode.
        threads: CPU threads; None leaves torch's choice.
        cache: the checkpoint cache; None is the user's.
        force: overwrite existing files.
        on_event: gets the progress.

    Raises:
        DataError: the store, or a clip in it, is missing or damaged.
        ModelError: the codec is not here, or not the one that made the codes.
        UsageError: the output cannot hold that many clips.
        OutputError: an output exists already or cannot be written.
    """
    is_manifest = source.is_file() and source.name.endswith(SUFFIXES)
    if not is_manifest and not is_store(source):
        hint = "" if source.exists() else guess_path(source)
        raise DataError(
            f"{source}: not a token store; expected a folder that audiolm tokenize wrote, or a manifest in it{hint}"
        )
    owner = codec_of_store(source, codec, cache)
    cuts = _choose_cuts(list_cuts(source, owner.facts, on_event=on_event), ids or [], source)

    prepare_cpu(threads)
    module = _load_owner(owner, source, pick_codec_device(device, on_event), cache)

    paths = _output_paths(output, [cut.id for cut in cuts])
    for path in paths:
        check_target(path, force)
    folder = source if source.is_dir() else source.parent
    with ArrayReader(folder) as arrays:
        outputs, failed = _decode_cuts(cuts, paths, arrays, module, force, on_event)
    return Decoded(
        outputs=outputs, codec={"name": module.name, "sha256": codec_hash(str(owner.name), cache)}, failed=failed
    )


def _load_owner(owner: StoreCodec, source: Path, device: torch.device, cache: Path | None) -> Codec:
    """The codec of a store.

    Raises:
        ModelError: it is not here, or cannot have made the codes.
    """
    if owner.name is None:
        raise ModelError(
            f"the codec {owner.facts.name} that made the codes in {source} is not here; name it with --codec"
        )
    codec = load_codec(owner.name, device, cache)
    _check_shape(codec, owner.facts, source)
    return codec


def find_codec_name(source: Path) -> str | None:
    """The catalogue name of a store's codec, so that it can be fetched; None where there is none."""
    try:
        facts = read_facts(source)
    except DataError:
        return None  # which `decode` will say
    return facts.source if facts.source in KNOWN_CODECS else None


def _decode_cuts(
    cuts: list[Cut], paths: list[str], arrays: ArrayReader, codec: Codec, force: bool, on_event: OnEvent
) -> tuple[list[DecodedClip], list[Failure]]:
    """Every clip to its file, and those that could not be decoded.

    Raises:
        DataError: the only clip is damaged.
        OutputError: a file cannot be written.
    """
    outputs: list[DecodedClip] = []
    failed: list[Failure] = []
    done, total = 0, sum(cut.count for cut in cuts)
    for cut, path in zip(cuts, paths, strict=True):

        def report(share: float, cut: Cut = cut, before: int = done, path: str = path) -> None:
            made_s, total_s = (frames / codec.frame_rate_hz for frames in (before + share * cut.count, total))
            on_event(Progress(stage="decode", done=made_s, total=total_s, unit=AUDIO_S, detail=Path(path).name))

        report(0)
        try:
            outputs.append(_decode_cut(cut, path, arrays, codec, force, report, on_event))
        except DataError as error:
            if len(cuts) == 1:
                raise
            on_event(Note(message=str(error), warning=True))
            failed.append(Failure(input=cut.id, error=str(error)))
            report(1)

        done += cut.count
    return outputs, failed


def _decode_cut(
    cut: Cut,
    path: str,
    arrays: ArrayReader,
    codec: Codec,
    force: bool,
    on_share: OnShare,
    on_event: OnEvent,
) -> DecodedClip:
    """One clip to its file, at the level it was encoded at; `on_share` hears how much of it is decoded."""
    codes = torch.from_numpy(read_clip(cut, arrays, codec.codebook_size).codes.astype(np.int64))[None]  # [1, T, K]
    samples, clipped = codes.shape[1] * codec.hop_samples, 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal clipped
        with torch.inference_mode():
            for wav in iter_decode(codec, codes.to(codec.device), on_share=on_share):
                block = wav[0].T.cpu().numpy()  # [n, C]
                clipped += int(np.count_nonzero(np.abs(block) > 1))
                yield np.clip(block, -1, 1)

    kind = named_format(path)
    spec = AudioSpec(
        shape=(samples, codec.channels),
        sample_rate_hz=codec.sample_rate_hz,
        format=kind,
        subtype=SUBTYPES.get(kind, "PCM_16"),
        tags={},
    )
    write_blocks(path, blocks(), spec, force=force)
    if clipped:
        on_event(Note(message=f"{path}: clipped {counted(clipped, 'sample')} beyond full scale", warning=True))
    return DecodedClip(
        path=path,
        id=cut.id,
        sample_rate_hz=codec.sample_rate_hz,
        channels=codec.channels,
        duration_s=samples / codec.sample_rate_hz,
    )


def _choose_cuts(cuts: list[Cut], ids: list[str], source: Path) -> list[Cut]:
    """The cuts of these names, in the order of the store; all without names.

    Raises:
        DataError: there are none, or none of one of the names.
    """
    names = {cut.id for cut in cuts}
    for name in ids:
        if name not in names:
            hint = guess_name(name, names) or f"; it has {counted(len(names), 'other')}"
            raise DataError(f"{source}: has no clip called {name!r}{hint}")

    if not cuts:
        raise DataError(f"{source}: has no clips")
    return [cut for cut in cuts if not ids or cut.id in ids]


def _check_shape(codec: Codec, facts: CodecFacts, source: Path) -> None:
    """Refuse codes of another shape than the codec's.

    Raises:
        ModelError: they are.
    """
    for what, own, given in (
        ("codebooks", codec.num_codebooks, facts.num_codebooks),
        ("codes per codebook", codec.codebook_size, facts.codebook_size),
    ):
        if own < given or (own > given and what == "codebooks"):
            raise ModelError(f"{codec.name}: has {own} {what}, but the codes in {source} are of {given}; use --codec")

    if abs(codec.hop_samples / codec.sample_rate_hz - facts.frame_shift_s) > SHIFT_TOLERANCE_S:
        raise ModelError(
            f"{codec.name}: has {codec.frame_rate_hz:g} frames per second, but the codes in {source} have "
            f"{1 / facts.frame_shift_s:g}; use --codec"
        )


def _output_paths(output: str, ids: list[str]) -> list[str]:
    """Where each clip goes.

    Raises:
        UsageError: the output is one file, and the clips are several.
        OutputError: the folder cannot be made.
    """
    is_file = output == STREAM or (
        not names_folder(output) and not os.path.isdir(output) and Path(output).suffix.lower() in CONTAINERS
    )
    if is_file and len(ids) > 1:
        raise UsageError(f"-o {output}: holds one clip, but there are {len(ids)}; name one with --id, or give a folder")
    if is_file:
        return [output]

    # Clips may have the same name but for letters that files cannot have: then their places tell them apart.
    make_folder(output if names_folder(output) else f"{output}/")
    taken: set[str] = set()
    paths = []
    for number, name in enumerate(ids, start=1):
        plain = _plain_name(name)
        if plain.casefold() in taken:
            plain = f"{plain}-{number}"
        taken.add(plain.casefold())
        paths.append(str(Path(output) / f"{plain}.wav"))
    return paths


def _plain_name(name: str) -> str:
    """A clip's name as that of a file: a manifest written elsewhere may hold anything."""
    return re.sub(r"[^\w @.+,()=-]", "_", name).strip(". ")[:LONGEST_NAME] or "clip"
