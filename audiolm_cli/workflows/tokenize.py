"""`audiolm tokenize`: recordings to a token store. Knows nothing about commands or terminals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.chunked import encode_chunked
from audiolm_cli.data.files import AudioFile, find_audio, open_audio, read_clip, split_files
from audiolm_cli.data.manifest import CodecFacts, TokenClip, is_store, write_store
from audiolm_cli.errors import DataError, OutputError, SomeInputsFailedError
from audiolm_cli.events import Note, OnEvent, Progress, ignore
from audiolm_cli.workflows.loading import codec_facts, load_codec, pick_device, set_threads

SILENCE_PEAK = 1e-4
"""Recordings that never exceed this are dropped: -80 dB of full scale."""


@dataclass(frozen=True, kw_only=True)
class Tokenized:
    """What was written."""

    path: Path
    """The store."""
    cuts: dict[str, int]
    """Recordings per split."""
    hours: float
    """Audio in the store."""
    dropped: dict[str, int]
    """Recordings left out, by reason."""
    failed: list[str]
    """Recordings that could not be read, with the reason."""


def tokenize(
    inputs: list[Path],
    output: Path,
    codec: Codec,
    facts: CodecFacts,
    *,
    force: bool = False,
    on_event: OnEvent = ignore,
) -> Tokenized:
    """Encode every recording under `inputs` into a token store at `output`.

    Exact duplicates and silence are dropped and counted; files that cannot be read are listed and the others done.

    Raises:
        DataError: there is no usable recording.
        OutputError: the output exists already.
    """
    if is_store(output) and not force:
        raise OutputError(f"{output}: holds a token store already; choose another folder or overwrite it with -f")
    paths = [path for source in inputs for path in find_audio(source)]
    dropped: Counter[str] = Counter()
    failed: list[str] = []
    files: dict[str, AudioFile] = {}
    for path in paths:
        try:
            file = open_audio(path)
        except DataError as error:
            failed.append(str(error))
            continue
        if file.sha256 in files:
            dropped["duplicate"] += 1
        files.setdefault(file.sha256, file)
    if not files:
        raise DataError(f"none of {len(paths)} files could be read as audio; the first: {failed[0]}")
    total_s = sum(file.duration_s for file in files.values())
    names = _unique_names(list(files.values()))
    kept_s = 0.0

    def clips() -> Iterator[tuple[str, TokenClip]]:
        nonlocal kept_s
        done_s = 0.0
        for split, members in split_files(list(files.values())).items():
            for file in members:
                codes = encode_file(file, codec)
                done_s += file.duration_s
                on_event(
                    Progress(stage="tokenize", done=done_s, total=total_s, unit="s", detail=f"{names[file.sha256]}")
                )
                if codes is None:
                    dropped["silence"] += 1
                    continue
                kept_s += file.duration_s
                yield split, TokenClip(id=names[file.sha256], codes=codes)

    cuts = write_store(output, facts, clips())
    if not sum(cuts.values()):
        raise DataError(f"none of {len(paths)} files holds more than silence; nothing was tokenized")
    kept = ", ".join(f"{count} {split}" for split, count in cuts.items())
    left_out = ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "none"
    on_event(Note(message=f"tokenized {kept_s / 3600:.2f} h: {kept}; dropped: {left_out}; failed: {len(failed)}"))
    for line in failed:
        on_event(Note(message=line, warning=True))
    return Tokenized(path=output, cuts=cuts, hours=kept_s / 3600, dropped=dict(dropped), failed=failed)


def tokenize_with(
    inputs: list[Path],
    output: Path,
    codec: str,
    *,
    device: str = "auto",
    threads: int | None = None,
    cache: Path | None = None,
    force: bool = False,
    on_event: OnEvent = ignore,
) -> Tokenized:
    """`tokenize` with a codec by its name or path.

    Raises:
        ModelError: there is no such codec.
    """
    set_threads(threads)
    module = load_codec(codec, pick_device(device), cache)
    return tokenize(inputs, output, module, codec_facts(codec, module, cache), force=force, on_event=on_event)


def check_failures(result: Tokenized) -> None:
    """Raise what a command with several inputs ends with when some of them failed.

    Raises:
        SomeInputsFailedError: some did.
    """
    if result.failed:
        raise SomeInputsFailedError(
            f"{len(result.failed)} recordings could not be read: {'; '.join(result.failed[:5])}"
        )


def encode_file(file: AudioFile, codec: Codec) -> np.ndarray | None:
    """Codes int16 [T, K] of the whole frames of a recording, mixed to mono; None when it is silent."""
    rate = codec.sample_rate_hz
    frames = int(file.duration_s * codec.frame_rate_hz + 1e-6)
    wav = read_clip(file, 0.0, max(frames, 1) * codec.hop_samples, rate)
    if np.abs(wav).max(initial=0.0) < SILENCE_PEAK:
        return None
    codes = encode_chunked(codec, torch.from_numpy(wav)[None, None].to(codec.device))
    return codes[0].cpu().numpy().astype(np.int16)


def _unique_names(files: list[AudioFile]) -> dict[str, str]:
    """A name for each file by its hash: the stem, with part of the hash where two are alike."""
    stems = Counter(file.path.stem for file in files)
    return {
        file.sha256: file.path.stem if stems[file.path.stem] == 1 else f"{file.path.stem}-{file.sha256[:8]}"
        for file in files
    }
