"""Folders of recordings: which files there are, which split each belongs to, and random clips of them.

Knows nothing about codes, codecs or models.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from audiolm_cli.audio import resample
from audiolm_cli.errors import DataError

AUDIO_SUFFIXES = (".wav", ".flac", ".aif", ".aiff", ".ogg", ".mp3", ".w64", ".rf64", ".au", ".caf")
SPLITS = ("train", "dev", "test")
MOST_SAMPLES = 2**40
"""A header that promises more than this promises nothing."""
DEV_PER_MILLE = 25
TEST_PER_MILLE = 40


@dataclass(frozen=True, kw_only=True)
class AudioFile:
    """A recording that can be read at random positions."""

    path: Path
    """Where it is."""
    sample_rate_hz: int
    """Its own rate in Hz."""
    num_samples: int
    """Its length at that rate."""
    sha256: str
    """Hash of the file's bytes."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate_hz

    @property
    def split(self) -> str:
        """One of "train", "dev" and "test", fixed by the content hash, so copies of a file never cross over."""
        draw = int(self.sha256[:8], 16) % 1000
        if draw < TEST_PER_MILLE:
            return "test"
        return "dev" if draw < TEST_PER_MILLE + DEV_PER_MILLE else "train"


def find_audio(path: Path) -> list[Path]:
    """Audio files under a folder (recursive, sorted by name), or the one file itself.

    Raises:
        DataError: there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder; expected a folder of audio files")
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file())
    if not found:
        raise DataError(f"{path}: no audio files in this folder; looked for {' '.join(AUDIO_SUFFIXES)}")
    return found


def open_audio(path: Path) -> AudioFile:
    """The facts of one recording, with the hash of its content.

    Raises:
        DataError: the file cannot be read as audio.
    """
    try:
        info = soundfile.info(str(path))
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"{path}: cannot be read as audio ({error}); remove it or convert it to WAV or FLAC") from error
    if info.frames > MOST_SAMPLES:
        raise DataError(f"{path}: does not say how long it is; convert it to WAV or FLAC with a known length")
    return AudioFile(path=path, sample_rate_hz=info.samplerate, num_samples=info.frames, sha256=digest)


def read_clip(file: AudioFile, start_s: float, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    """Mono float32 [num_samples] at `sample_rate_hz`, from `start_s` on; zeros beyond the end of the file.

    Raises:
        DataError: the file turns out to be damaged.
    """
    first = round(start_s * file.sample_rate_hz)
    wanted = -(-num_samples * file.sample_rate_hz // sample_rate_hz) + 1
    try:
        with soundfile.SoundFile(str(file.path)) as stream:
            stream.seek(min(first, file.num_samples))
            mono = stream.read(wanted, dtype="float32", always_2d=True).mean(axis=1)
    except soundfile.SoundFileError as error:
        raise DataError(f"{file.path}: is damaged ({error}); remove it or repair it") from error
    if file.sample_rate_hz != sample_rate_hz:
        mono = resample(mono[None], file.sample_rate_hz, sample_rate_hz)[0]
    clip = np.zeros(num_samples, dtype=np.float32)
    clip[: min(len(mono), num_samples)] = mono[:num_samples]
    return clip


def draw_clips(
    files: list[AudioFile], count: int, num_samples: int, sample_rate_hz: int, rng: np.random.Generator
) -> np.ndarray:
    """Random clips [count, num_samples], every second of audio as likely as every other."""
    durations = np.array([file.duration_s for file in files])
    chosen = rng.choice(len(files), size=count, p=durations / durations.sum())
    clip_s = num_samples / sample_rate_hz
    starts = rng.random(count) * np.maximum(durations[chosen] - clip_s, 0)
    return np.stack(
        [
            read_clip(files[i], float(start), num_samples, sample_rate_hz)
            for i, start in zip(chosen, starts, strict=True)
        ]
    )


def split_files(files: list[AudioFile]) -> dict[str, list[AudioFile]]:
    """Files by split. A folder too small for its hashes to fill "dev" lends it the file of the lowest hash.

    Copies of a file stay together, and no file is in two splits.
    """
    parts: dict[str, list[AudioFile]] = {split: [f for f in files if f.split == split] for split in SPLITS}
    if not parts["train"]:
        largest = "test" if parts["test"] else "dev"
        parts["train"], parts[largest] = parts[largest], []
    if not parts["dev"] and len({file.sha256 for file in parts["train"]}) > 1:
        lent = min(file.sha256 for file in parts["train"])
        parts["dev"] = [file for file in parts["train"] if file.sha256 == lent]
        parts["train"] = [file for file in parts["train"] if file.sha256 != lent]
    return parts
