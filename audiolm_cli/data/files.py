"""Recordings: what a file holds, which split it belongs to, and random clips. `folders.py` finds the files.

Knows nothing about codes, codecs or models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from audiolm_cli.audio import DecoderProcess, holds_several, resample
from audiolm_cli.errors import AudioInputError, DataError
from audiolm_cli.files import encode_path, hash_file

AUDIO_SUFFIXES = (
    *(".wav", ".bwf", ".rf64", ".w64", ".flac", ".aif", ".aiff", ".aifc", ".ogg", ".oga", ".opus", ".mp3", ".au"),
    *(".snd", ".caf"),
)
FFMPEG_SUFFIXES = (
    *(".m4a", ".m4b", ".m4r", ".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".aac", ".ac3", ".eac3", ".amr", ".ape", ".dsf"),
    *(".dff", ".mka", ".mkv", ".webm", ".mp1", ".mp2", ".mpa", ".mpc", ".tta", ".tak", ".wma", ".asf", ".wmv", ".wv"),
    *(".avi", ".flv", ".mpg", ".mpeg", ".vob", ".m2ts", ".dts", ".mlp", ".thd", ".ra", ".rm", ".spx", ".ogv", ".ogx"),
    *(".sph", ".voc", ".8svx"),
)
"""Sound and film that only `ffmpeg` reads, as a program or as libraries."""
READABLE_SUFFIXES = (*AUDIO_SUFFIXES, *FFMPEG_SUFFIXES)
SPLITS = ("train", "dev", "test")
MOST_SAMPLES = 2**40
"""A header that promises more than this promises nothing."""
MOST_DRAWS = 100
"""Places tried for a clip where recordings are damaged."""
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
    decoder: DecoderProcess | None = field(default=None, compare=False)
    """What reads it; None is this process."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate_hz

    @property
    def split(self) -> str:
        """One of "train", "dev" and "test", fixed by the content hash, so copies of a file never cross over."""
        return split_of(self.sha256)


def open_audio(path: Path) -> AudioFile:
    """The facts of one recording, with the hash of its content.

    Raises:
        DataError: libsndfile does not read it, or not all of it.
    """
    try:
        if holds_several(path):
            raise DataError(f"{path}: holds several recordings, of which one would be used; split it into files")
        info = soundfile.info(encode_path(path))
        digest = hash_file(path)
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"{path}: cannot be read as audio ({error}); remove it or convert it to WAV or FLAC") from error

    if info.frames > MOST_SAMPLES:
        raise DataError(f"{path}: does not say how long it is; convert it to WAV or FLAC with a known length")
    return AudioFile(path=path, sample_rate_hz=info.samplerate, num_samples=info.frames, sha256=digest)


def read_mono_clip(file: AudioFile, start_s: float, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    """Mono float32 [num_samples] at `sample_rate_hz`, from `start_s` on; zeros beyond the end of the file.

    Raises:
        DataError: the file turns out to be damaged.
    """
    # The part of the file, at its own rate, with a sample to spare.
    first = round(start_s * file.sample_rate_hz)
    wanted = -(-num_samples * file.sample_rate_hz // sample_rate_hz) + 1
    part = file.path, min(first, file.num_samples), wanted
    try:
        if file.decoder is None:
            mono, is_estimated = _read_mono_samples(*part)
        else:
            mono, is_estimated = file.decoder.call(file.path, _read_mono_samples, *part)
    except AudioInputError as error:
        raise DataError(str(error)) from error

    if not is_estimated and len(mono) < min(wanted, file.num_samples - first):
        there = f"holds {(first + len(mono)) / file.sample_rate_hz:.2f} of {file.duration_s:.2f} s"
        raise DataError(f"{file.path}: is truncated or damaged: {there}; get a complete copy")

    if file.sample_rate_hz != sample_rate_hz:
        mono = resample(mono[None], file.sample_rate_hz, sample_rate_hz)[0]

    clip = np.zeros(num_samples, dtype=np.float32)
    clip[: min(len(mono), num_samples)] = mono[:num_samples]
    return clip


def _read_mono_samples(path: Path, first: int, count: int) -> tuple[np.ndarray, bool]:
    """At most `count` samples, mono float32 [n], from `first` on, and whether the file's length is an estimate."""
    try:
        with soundfile.SoundFile(encode_path(path)) as stream:
            stream.seek(first)
            if stream.format == "FLAC":  # what may lie behind its samples is no part of it
                count = min(count, stream.frames - first)
            return stream.read(count, dtype="float32", always_2d=True).mean(axis=1), stream.format == "MP3"
    except soundfile.SoundFileError as error:
        raise DataError(f"{path}: is damaged ({error}); remove it or repair it") from error


def draw_clips(
    files: list[AudioFile],
    count: int,
    num_samples: int,
    sample_rate_hz: int,
    rng: np.random.Generator,
    on_damage: Callable[[AudioFile, DataError], None] | None = None,
) -> np.ndarray:
    """Random clips [count, num_samples], every second of audio as likely as every other.

    Args:
        files: where to draw from.
        count: how many clips.
        num_samples: of each clip.
        sample_rate_hz: theirs.
        rng: what decides.
        on_damage: hears of a clip that cannot be read, and another one is drawn instead; None makes it an error.

    Raises:
        DataError: a clip cannot be read; with `on_damage`, so many in a row cannot that hardly any can.
    """
    durations = np.array([file.duration_s for file in files])
    shares, clip_s = durations / durations.sum(), num_samples / sample_rate_hz

    # Files and places are drawn before any is read; those in the stead of damaged ones come later.
    chosen = rng.choice(len(files), size=count, p=shares)
    starts = rng.random(count) * np.maximum(durations[chosen] - clip_s, 0)

    clips = []
    for i, start in zip(chosen, starts, strict=True):
        for turn in range(MOST_DRAWS):
            try:
                clips.append(read_mono_clip(files[i], float(start), num_samples, sample_rate_hz))
                break
            except DataError as error:
                if on_damage is None or turn == MOST_DRAWS - 1:
                    raise
                on_damage(files[i], error)
                i = rng.choice(len(files), p=shares)
                start = rng.random() * max(durations[i] - clip_s, 0)

    return np.stack(clips)


def split_files(files: list[AudioFile]) -> dict[str, list[AudioFile]]:
    """Files by split, as `split_hashes` has it. Copies of a file stay together."""
    homes = split_hashes({file.sha256 for file in files})
    return {split: [file for file in files if homes[file.sha256] == split] for split in SPLITS}


def split_of(sha256: str) -> str:
    """One of "train", "dev" and "test", fixed by the hash of a file's content."""
    draw = int(sha256[:8], 16) % 1000
    if draw < TEST_PER_MILLE:
        return "test"
    return "dev" if draw < TEST_PER_MILLE + DEV_PER_MILLE else "train"


def split_hashes(hashes: Iterable[str]) -> dict[str, str]:
    """The split of each content, by its hash.

    Hashes decide alone, unless a split that is needed would be empty: without "train", "test" becomes it, or else
    "dev"; without "dev", the content of "train" with the lowest hash does.
    """
    homes = {sha256: split_of(sha256) for sha256 in hashes}
    held = {split: [sha256 for sha256, home in homes.items() if home == split] for split in SPLITS}

    if not held["train"]:
        other = "test" if held["test"] else "dev"
        held["train"], held[other] = held[other], []
        homes.update(dict.fromkeys(held["train"], "train"))

    if not held["dev"] and len(held["train"]) > 1:
        homes[min(held["train"])] = "dev"
    return homes
