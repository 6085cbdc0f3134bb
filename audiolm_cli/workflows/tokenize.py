"""`audiolm tokenize`: recordings to a token store. Knows nothing about commands or terminals."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from audiolm_cli.audio import mid, read_audio, resample
from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.chunked import encode_chunked
from audiolm_cli.data.files import AudioFile, find_audio, open_audio, split_files
from audiolm_cli.data.manifest import CodecFacts, TokenClip, is_store, write_store
from audiolm_cli.errors import AudioLMError, DataError, OutputError, SomeInputsFailedError
from audiolm_cli.events import Note, OnEvent, Progress, ignore
from audiolm_cli.workflows.level import training_gain
from audiolm_cli.workflows.loading import codec_facts, load_codec, pick_device, prepare_cpu

PARTIAL = ".partial"
"""Where a store is while it is being written, inside its folder."""
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
    The store appears when it is whole.

    Raises:
        DataError: there is no usable recording.
        OutputError: the output exists already or cannot be written.
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
    names = unique_names(list(files.values()))
    kept_s = 0.0

    def clips() -> Iterator[tuple[str, TokenClip]]:
        nonlocal kept_s
        done_s = 0.0
        for split, members in split_files(list(files.values())).items():
            for file in members:
                done_s += file.duration_s
                try:
                    codes = encode_file(file, codec)
                except AudioLMError as error:
                    failed.append(str(error))
                    continue
                finally:
                    name = names[file.sha256]
                    on_event(Progress(stage="tokenize", done=done_s, total=total_s, unit="s", detail=name))
                if codes is None:
                    dropped["silence"] += 1
                    continue
                kept_s += len(codes) / codec.frame_rate_hz
                yield split, TokenClip(id=names[file.sha256], codes=codes)

    with _whole(output) as partial:
        cuts = write_store(partial, facts, clips(), place=output)
        if not sum(cuts.values()):
            reason = f"could be read; the first: {failed[0]}" if failed else "holds more than silence"
            raise DataError(f"none of {len(paths)} files {reason}; nothing was tokenized")
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
    prepare_cpu(threads)
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
    """Codes int16 [T, K] of the whole frames of a recording, mixed to mono; None when it is silent.

    Raises:
        AudioInputError: it is damaged, or not what its header says.
        MemoryLimitError: it does not fit into memory.
    """
    wav = read_leveled(file, codec)
    if wav is None:
        return None
    codes = encode_chunked(codec, torch.from_numpy(wav)[None, None].to(codec.device))
    return codes[0].cpu().numpy().astype(np.int16)


def read_leveled(file: AudioFile, codec: Codec) -> np.ndarray | None:
    """A recording as codes are made of it: mono float32 [n] at the codec's rate, whole frames, at the training level.

    Returns:
        None for silence.

    Raises:
        AudioInputError: it is damaged, or not what its header says.
        MemoryLimitError: it does not fit into memory.
    """
    recording = read_audio(file.path)
    samples = max(1, int(recording.duration_s * codec.frame_rate_hz + 1e-6)) * codec.hop_samples
    mono = mid(recording.wav())
    if np.abs(mono).max(initial=0.0) < SILENCE_PEAK:
        return None
    wav = resample(mono[None], recording.sample_rate_hz, codec.sample_rate_hz)[0, :samples]
    return np.pad(wav, (0, samples - len(wav))) * np.float32(training_gain(mono))


def unique_names(files: list[AudioFile]) -> dict[str, str]:
    """A name for each file by its hash: the stem, with part of the hash where two are alike."""
    stems = {file.sha256: file.path.stem.encode("utf-8", "replace").decode("utf-8") for file in files}
    uses = Counter(stems.values())
    return {sha256: stem if uses[stem] == 1 else f"{stem}-{sha256[:8]}" for sha256, stem in stems.items()}


@contextmanager
def _whole(output: Path) -> Iterator[Path]:
    """A new folder whose files move into `output` when all went well, and which is gone otherwise.

    Raises:
        OutputError: the system refuses to write there.
    """
    made, partial = not output.exists(), output / PARTIAL
    try:
        try:
            shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
            partial.mkdir(parents=True)
            yield partial
            for old in output.glob("cuts_*.jsonl.gz"):  # which would not fit the new codes
                old.unlink()
            for new in sorted(partial.iterdir(), key=lambda path: path.name.startswith("cuts_")):  # these make a store
                os.replace(new, output / new.name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            if made and output.is_dir() and not any(output.iterdir()):
                output.rmdir()
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{output}: the store cannot be written ({reason}); choose another with -o") from error
