"""The recordings of a folder that can be used, whatever reads them; the others are named and left out.

Knows nothing about what the recordings are for.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from audiolm_cli.audio import DecoderProcess
from audiolm_cli.data.files import AudioFile, open_audio
from audiolm_cli.data.folders import find_audio
from audiolm_cli.errors import AudioInputError, DataError, OutputError, SomeInputsFailedError
from audiolm_cli.events import Note, OnEvent, Progress
from audiolm_cli.files import hash_file
from audiolm_cli.wording import counted

Opener = Callable[[Path], AudioFile]
"""Opens what libsndfile does not; raises an AudioInputError that says what is wrong with the file."""


def open_recordings(
    source: Path, otherwise: Opener, decoder: DecoderProcess, on_event: OnEvent
) -> tuple[list[AudioFile], list[str]]:
    """The recordings under a folder, or the one file, that can be opened, and what else should have been and cannot be.

    Args:
        source: the folder or file.
        otherwise: opens what libsndfile does not read.
        decoder: opens the others, and reads clips of all.
        on_event: hears of each that cannot be opened.

    Raises:
        DataError: none can.
    """
    found = find_audio([source])
    found.announce(on_event, problems=True)

    files: list[AudioFile] = []
    failed = list(found.problems)
    for done, path in enumerate(found.files, start=1):
        try:
            files.append(_open_file(path, otherwise, decoder))
        except AudioInputError as error:
            failed.append(str(error))
            on_event(Note(message=str(error), warning=True))
        on_event(Progress(stage="open", done=done, total=len(found.files), unit="files"))

    if not files:
        reason = f"could be read as audio; the first: {failed[0]}"
        raise DataError(f"{source}: no file, of {len(found.files)} found, {reason}")
    return files, failed


def scanning_opener(decoder: DecoderProcess) -> Opener:
    """Opens a recording that is only read from its start to its end, through `ffmpeg` where it has to be."""

    def measure(path: Path) -> AudioFile:
        scan, digest = decoder.scan(path, 1), hash_file(path)
        return AudioFile(path=path, sample_rate_hz=scan.sample_rate_hz, num_samples=scan.num_samples, sha256=digest)

    return measure


def copying_opener(folder: Path, decoder: DecoderProcess) -> Opener:
    """Opens a recording as a mono copy in `folder`, which can be read at any place; it is made once.

    Raises:
        OutputError: from what is returned, when the copy cannot be written.
    """

    def open_copy(path: Path) -> AudioFile:
        try:
            digest = hash_file(path)
        except OSError as error:
            raise AudioInputError(f"{path}: cannot be read ({error.strerror or error})") from error

        copy = folder / f"{digest}.flac"
        if not copy.is_file():
            _write_copy(path, copy, decoder)
        return dataclasses.replace(open_audio(copy), sha256=digest)

    return open_copy


def check_failures(failed: Sequence[str]) -> None:
    """Raise what a command with several inputs ends with when some of them failed.

    Raises:
        SomeInputsFailedError: some did.
    """
    if failed:
        raise SomeInputsFailedError(f"{counted(len(failed), 'recording')} could not be read: {'; '.join(failed[:5])}")


def _open_file(path: Path, otherwise: Opener, decoder: DecoderProcess) -> AudioFile:
    try:
        file = decoder.call(path, open_audio, path)
    except DataError:  # libsndfile does not read it
        file = otherwise(path)
    return dataclasses.replace(file, decoder=decoder)


def _write_copy(path: Path, copy: Path, decoder: DecoderProcess) -> None:
    """A recording as 24-bit FLAC, whole or not at all."""
    # Not `files.taking_place_of`: under a name that is always the same, the large file that a killed process left is
    # overwritten.
    partial = copy.with_name(f".{copy.name}.partial")
    with decoder.open_stream(path) as stream:
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with soundfile.SoundFile(
                str(partial), "w", stream.sample_rate_hz, channels=1, format="FLAC", subtype="PCM_24"
            ) as file:
                for block in stream.blocks:
                    file.write(np.clip(block.mean(axis=0), -1, 1))
            os.replace(partial, copy)
        except (OSError, soundfile.SoundFileError) as error:
            raise OutputError(f"{copy}: cannot be written ({error}); make room and run the command again") from error
        finally:
            partial.unlink(missing_ok=True)
