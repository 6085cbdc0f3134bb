"""What is known of a file that ffmpeg reads, as a program or as libraries: its codec, its depth, the length it states.

Knows nothing about how ffmpeg is called.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiolm_cli.audio.checks import check_not_empty, check_promise
from audiolm_cli.audio.recording import BITS, SampleStream
from audiolm_cli.errors import AudioInputError

PROTOCOLS = "file,pipe,subfile"
"""What ffmpeg may open: playlists must not lead it anywhere else."""
NO_SOUND = "matches no streams"
"""In what ffmpeg says of a picture, or a film without sound."""
ESTIMATING = "Estimating duration from bitrate"
"""What it warns of where a container says nothing that can be true, as a WAV with FLAC in it may."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """How samples come from ffmpeg."""

    encoder: str
    """What ffmpeg makes of them."""
    dtype: str
    """Its samples, as numpy names them."""
    bits: int
    """Of integers; 0 for floating point."""


SHORT, LONG = (
    Transfer(encoder="pcm_s16le", dtype="<i2", bits=16),
    Transfer(encoder="pcm_s32le", dtype="<i4", bits=32),
)
SINGLE, DOUBLE = (
    Transfer(encoder="pcm_f32le", dtype="<f4", bits=0),
    Transfer(encoder="pcm_f64le", dtype="<f8", bits=0),
)
TRANSFERS = {"u8": SHORT, "s16": SHORT, "s32": LONG, "s64": DOUBLE, "flt": SINGLE, "dbl": DOUBLE}
"""By ffmpeg's name for what its decoder gives: the format that takes it in unchanged (but for 64-bit integers)."""
EXACT_FLOATS = ("pcm_", "wavpack", "mp4als", "dsd_", "dst")
"""Beginnings of the names of codecs whose floating point is the recording, not what a lossy codec made of it."""
LADDER = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32")
"""Integer subtypes, the coarsest first."""
KNOWN_LOSSY = {"vorbis": "VORBIS", "opus": "OPUS", "mp3": "MPEG_LAYER_III"}
"""Lossy codecs that libsndfile knows by another name."""
TAGS = {"track": "tracknumber", "year": "date", "tbpm": "bpm", "tmpo": "bpm", "tempo": "bpm"} | {
    key: key for key in ("title", "artist", "album", "date", "genre", "comment", "copyright", "license", "bpm")
}
"""ffmpeg's names of tags, and libsndfile's."""
STATING = ("mov", "matroska", "wv", "tta", "ape", "flac", "wav", "w64", "aiff", "caf", "au", "dsf", "iff", "tak")
"""Containers that state their length, as ffmpeg names them; of others ffmpeg estimates it."""
LONGEST_PADDING = 8192
"""Samples that an encoder fills up its last frame with, at most."""
TOLERANCE_S = 0.1
TOLERANCE_SAMPLES = 4096
"""Containers may state this much more than there is to decode: a codec's delay, times in milliseconds."""
DAMAGE_S = 0.01
"""They may state this much more where ffmpeg has complained: it leaves out what it cannot decode, and goes on."""
CHECKED = ("flac", "wavpack")
"""Codecs with a checksum in each block that ffmpeg does not look at unless it is told to."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What ffprobe says about the first audio stream of a file."""

    codec: str
    """ffmpeg's name of it."""
    sample_format: str
    """What the decoder gives, as ffmpeg names it: "s16", "flt", ...; planar ones by the same names."""
    bits: int
    """Bits of an integer sample, as the codec or the container states them; 0 where neither does."""
    duration_s: float
    """What the container states; 0 where it states nothing."""
    tags: dict[str, str]
    """Text, by libsndfile's names."""
    num_samples: int | None = None
    """How many samples the encoder was given, where a tag says so: it fills up its last frame with silence."""

    @property
    def transfer(self) -> Transfer:
        """How its samples come without loss."""
        return TRANSFERS.get(self.sample_format, SINGLE)

    @property
    def subtype(self) -> str:
        """The encoding, in libsndfile's names, by what is stated; "UNKNOWN" for lossy ones that it does not know."""
        transfer = self.transfer
        if transfer.bits:
            return subtype_of(min(self.bits or transfer.bits, transfer.bits))
        if self.sample_format in TRANSFERS and self.codec.startswith(EXACT_FLOATS):
            return "DOUBLE" if transfer is DOUBLE else "FLOAT"
        return KNOWN_LOSSY.get(self.codec, "UNKNOWN")


@dataclass(frozen=True, kw_only=True)
class Source:
    """What ffmpeg is to read, and what to say when it cannot."""

    path: Path
    """The file."""
    span: tuple[int, int] | None = None
    """Its bytes from the one to the other; None are all."""
    label: str
    """Its name, for messages."""
    reason: str
    """Why ffmpeg is asked, for messages."""

    @property
    def url(self) -> str:
        """How ffmpeg is told about it."""
        if self.span is None:
            return f"file:{self.path}"
        start, stop = self.span
        return f"subfile,,start,{start},end,{stop},,:file:{self.path}"

    def failure(self, said: bytes) -> AudioInputError:
        """The error when ffmpeg cannot decode the file either, with the last line of what it said."""
        lines = said.decode("utf-8", "replace").strip().splitlines()
        if not lines or any(NO_SOUND in line for line in lines):
            return AudioInputError(f"{self.label}: there is no sound in it; expected an audio file")
        return AudioInputError(f"{self.label}: {self.reason}, and ffmpeg cannot decode it either ({lines[-1]})")


def subtype_of(bits: int) -> str:
    """The coarsest integer subtype that holds so many bits."""
    return next(name for name in LADDER if BITS[name] >= bits)


def check_length(source: Source, found: Probe, stream: SampleStream, count: int, *, complained: bool) -> None:
    """Refuse a file that holds less than its container promises.

    Args:
        source: the file.
        found: what is known of it.
        stream: the same.
        count: samples per channel that were decoded.
        complained: whether ffmpeg said something while it decoded.

    Raises:
        AudioInputError: it does.
    """
    rate_hz = stream.sample_rate_hz
    promised = found.duration_s * rate_hz
    tolerance = TOLERANCE_S * rate_hz + (0 if stream.lossless else TOLERANCE_SAMPLES)
    if promised - count > (DAMAGE_S * rate_hz if complained else tolerance):
        check_promise(source.label, count, promised, rate_hz)
    check_not_empty(source.label, count)


def settle_subtype(stream: SampleStream, used: int) -> None:
    """Leave a stream of integers with the subtype that holds all bits `used` by them, which are filled from the top.

    A container may state fewer bits than its codec gives: companded sound has 8, and needs 16.
    """
    if used:
        needed = 32 - ((used & -used).bit_length() - 1)
        stream.subtype = subtype_of(max(needed, BITS[stream.subtype]))


def changed_kind(source: Source) -> AudioInputError:
    """The error for a stream that does not stay as it began."""
    what = "changes its sample rate or its channels in the middle"
    return AudioInputError(f"{source.label}: {what}; split it there, or convert it to WAV or FLAC")


def leave_out_padding(blocks: Iterator[np.ndarray], num_samples: int | None) -> Iterator[np.ndarray]:
    """The blocks [n, C] of a file without what its encoder filled up its last frame with.

    Args:
        blocks: all that is decoded.
        num_samples: what the encoder was given; None is not known. Where there is much more, it is not believed.
    """
    count, padding = 0, 0
    held: list[np.ndarray] = []
    for block in blocks:
        if num_samples is None or padding > LONGEST_PADDING:
            yield block
            continue

        own = min(len(block), max(0, num_samples - count))
        count += len(block)
        if own:
            yield block[:own]
        held.append(block[own:])
        padding += len(held[-1])
        if padding > LONGEST_PADDING:
            yield from held


def stated_samples(tags: dict[str, str]) -> int | None:
    """How many samples the tag of Apple's encoders says that there are; None where there is none.

    >>> stated_samples({"itunsmpb": " 00000000 00000840 000001C0 000000000000AC44 00000000"})
    44100
    """
    fields = tags.get("itunsmpb", "").split()
    try:
        return int(fields[3], 16) or None
    except (IndexError, ValueError):
        return None


def pick_tags(tags: dict[str, str]) -> dict[str, str]:
    """Text by libsndfile's names, of which ffmpeg's are in small letters."""
    return {TAGS[key]: text for key, text in tags.items() if key in TAGS and text}


def stated_duration(format: str, texts: list[object]) -> float:
    """Seconds that a container states for a stream; 0 where it states none.

    Args:
        format: the container, by ffmpeg's name.
        texts: what it states, the surest first: seconds, or as hours:minutes:seconds; None is nothing.
    """
    if not format.split(",")[0].startswith(STATING):
        return 0.0
    for text in texts:
        parts = str(text or "").split(":")
        with contextlib.suppress(ValueError):
            return sum(float(part) * 60**power for power, part in enumerate(reversed(parts)))
    return 0.0
