"""Recordings to files: the format that loses least, the same bytes every time, and no half-written file ever.

Knows nothing about where samples come from.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from audiolm_cli.audio.headers import append_aiff_chunk, find_chunk, overwrite, replace_bytes
from audiolm_cli.audio.id3 import merge_id3
from audiolm_cli.audio.layout import Layout, file_order, needs_extensible, write_layout
from audiolm_cli.audio.metadata import Metadata, count_bytes, write_metadata
from audiolm_cli.audio.recording import BITS, FLOATS, Recording, as_float, quantize
from audiolm_cli.audio.sndfile import ForwardFile, HeldFile, cause_of
from audiolm_cli.errors import OutputError, UsageError
from audiolm_cli.files import DeferringFile, as_output_error, describe_folder, replacing, scratch_file
from audiolm_cli.stopping import uninterrupted

CONTAINERS = {
    ".wav": "WAV",
    ".flac": "FLAC",
    ".aiff": "AIFF",
    ".aif": "AIFF",
    ".w64": "W64",
    ".rf64": "RF64",
    ".ogg": "OGG",
    ".mp3": "MP3",
    ".au": "AU",
    ".caf": "CAF",
}
LADDER = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
"""Subtypes from the coarsest to the finest."""
WRITABLE = (*LADDER, "ULAW", "ALAW")
"""Lossless subtypes that a recording may keep: a full disk crashes libsndfile's ALAC, and few programs read DWVW."""
LOSSY = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}
RIFF_BYTES = 2**32 - 2**20
"""Samples that a WAV, AIFF or AU file can hold, leaving room for its header."""
TAGS = ("title", "artist", "album", "tracknumber", "date", "genre", "comment", "copyright", "license", "software")
"""What libsndfile can store; "software" gets its name appended."""
TAG_BYTES = {"FLAC": 30_000, "OGG": 30_000, "MP3": 30_000}
OTHER_TAG_BYTES = 1500
"""Longest tag elsewhere: libsndfile does not read longer ones back, nor AIFF files with 8 kB of them."""
UNHELD_TAGS = {
    "W64": TAGS,
    "AU": TAGS,
    "WAV": ("license",),
    "WAVEX": ("license",),
    "RF64": ("license",),
}
"""What formats have no place for."""
ID3_TAGS = {"MP3": TAGS, "AIFF": ("album", "tracknumber", "date", "genre", "license", "software")}
"""Tags that are not left to libsndfile: in an MP3 it takes text for Latin-1, and an AIFF has few by itself."""
NO_TEXT = {0: " ", 0xFFFE: "\ufffd", 0xFFFF: "\ufffd"}
"""Characters that end text for libsndfile, or end the program when it writes a FLAC, and what stands for them."""
WRITTEN_SAMPLES = 1 << 16
"""Samples that libsndfile gets at a time, and that are compared at a time when the file is read back."""


@dataclass(frozen=True, kw_only=True)
class AudioSpec:
    """How samples are to be stored in a file."""

    shape: tuple[int, int]
    """Samples per channel, and channels."""
    sample_rate_hz: int
    """Sample rate in Hz."""
    format: str
    """Container, from `output_format`."""
    subtype: str
    """Encoding of the samples, from `output_format`."""
    tags: dict[str, str]
    """Text for title, artist, album, date, genre, comment, ...; formats without tags (W64, AU) drop it, and text that
    is too long is cut to what the format reads back."""
    layout: Layout | None = None
    """Which loudspeakers the channels are for, in the order in which they come; the file has its format's order."""
    metadata: Metadata | None = None
    """What else the file is to hold, as `fit_metadata` returns it for this format."""


def output_format(path: str | Path, recording: Recording) -> tuple[str, str]:
    """Which (format, subtype) to write continuations of `recording` in, given the name of the output.

    The format comes from the extension ("-" is WAV). The subtype is the recording's own where the format has it, else
    the nearest that loses nothing, else the finest. What was decoded from a lossy format becomes 16-bit PCM or lossy.

    Raises:
        UsageError: the extension is unknown, or the format cannot hold the channels or the rate.
    """
    format = named_format(path)
    if format == "WAV" and (recording.format == "WAVEX" or needs_extensible(recording.layout, recording.channels)):
        format = "WAVEX"

    for subtype in _list_subtypes(format, recording):
        if _can_write(format, subtype, recording.channels, recording.sample_rate_hz):
            return format, subtype

    what = f"{recording.channels} channels at {recording.sample_rate_hz} Hz"
    raise UsageError(f"{path}: {format} cannot hold {what}; choose .wav, .w64 or .caf")


def named_format(path: str | Path) -> str:
    """The container that an output's name asks for; "-" is WAV.

    Raises:
        UsageError: the extension is unknown.
    """
    extension = ".wav" if str(path) == "-" else Path(path).suffix.lower()
    if not extension:
        name = Path(path).name
        raise UsageError(f"{path}: has no extension; write {name}.wav or {name}.flac, or {name}/ for a folder")
    if extension not in CONTAINERS:
        known = " ".join(CONTAINERS)
        raise UsageError(f"{path}: unknown audio extension {extension!r}; expected one of {known}, or - for a WAV")
    return CONTAINERS[extension]


def write_audio(
    target: str | Path,
    samples: np.ndarray,
    *,
    sample_rate_hz: int,
    format: str,
    subtype: str,
    tags: dict[str, str],
    force: bool,
) -> None:
    """Write a whole audio file, or nothing: under a temporary name in its folder, read back, and then renamed.

    The same arguments give the same bytes. A WAV over 4 GB becomes an RF64.

    Args:
        target: the file; "-" is standard output.
        samples: [N, C] int32, float32 or float64, as in `Recording.samples`.
        sample_rate_hz: as in `AudioSpec`.
        format: as in `AudioSpec`.
        subtype: as in `AudioSpec`.
        tags: as in `AudioSpec`.
        force: replace an existing file.

    Raises:
        OutputError: the file exists and `force` is false; disk full; no permission; folder missing; too large for the
            format.
    """
    N, C = samples.shape
    spec = AudioSpec(shape=(N, C), sample_rate_hz=sample_rate_hz, format=format, subtype=subtype, tags=tags)
    blocks = (samples[start : start + WRITTEN_SAMPLES] for start in range(0, N, WRITTEN_SAMPLES))
    write_blocks(target, blocks, spec, force=force)


def write_blocks(target: str | Path, blocks: Iterable[np.ndarray], spec: AudioSpec, *, force: bool) -> None:
    """`write_audio` of samples that are still being made.

    Args:
        target: the file; "-" is standard output.
        blocks: consecutive blocks [n, C] of any sizes, which together have the shape of `spec`.
        spec: how to store them.
        force: replace an existing file.

    Raises:
        OutputError: as `write_audio`.
    """
    N, C = spec.shape
    size = N * C * _sample_bytes(spec.subtype) + count_bytes(spec.metadata)
    if size > RIFF_BYTES and spec.format in ("WAV", "WAVEX"):
        spec = replace(spec, format="RF64")
    if size > RIFF_BYTES and spec.format in ("AIFF", "AU"):
        raise OutputError(f"{target}: {size / 1e9:.1f} GB do not fit into {spec.format}; choose .wav, .w64 or .caf")

    stored = (as_stored(block, spec.subtype) for block in _equal_blocks(in_file_order(blocks, spec)))
    with encoder_as_output_error(target):
        if str(target) != "-":
            with replacing(target, force) as file:
                encode_audio(file, stored, spec)
            return

        # Headers are corrected at the end, which a pipe does not allow: the file is made elsewhere first.
        with scratch_file() as stream, open(1, "wb", closefd=False) as stdout:
            encode_audio(stream, stored, spec)
            stream.seek(0)
            shutil.copyfileobj(stream, stdout, 1 << 20)


def encode_audio(stream: DeferringFile, blocks: Iterator[np.ndarray], spec: AudioSpec) -> None:
    """Write an audio file into an open file, and read it back.

    Args:
        stream: the open file, empty.
        blocks: from `as_stored`, of `WRITTEN_SAMPLES` samples each; the last may be shorter.
        spec: how to store them.

    Raises:
        OSError: the disk is full, or what is read back is not what was written.
    """
    N, C = spec.shape
    dtype, checksums = encode_unread(stream, blocks, spec)

    # Only these subtypes give back exactly what they were given.
    is_exact = spec.subtype in FLOATS or (spec.subtype in BITS and spec.subtype not in ("ULAW", "ALAW"))
    _read_back(stream, np.empty((WRITTEN_SAMPLES, C), dtype), N, checksums if is_exact else None)


def encode_unread(stream: DeferringFile, blocks: Iterator[np.ndarray], spec: AudioSpec) -> tuple[np.dtype, list[int]]:
    """Write an audio file into an open file; the type of its samples, and the CRC-32 of each block.

    Raises:
        OSError: the disk is full.
    """
    _, C = spec.shape
    dtype: np.dtype = np.dtype(np.float32)
    checksums: list[int] = []
    with HeldFile(stream, "w", spec.sample_rate_hz, C, spec.subtype, format=spec.format, closefd=False) as file:
        with uninterrupted():
            _set_tags(file, spec)
        for block in blocks:
            file.write(block)
            dtype = block.dtype
            checksums.append(zlib.crc32(np.ascontiguousarray(block).data))
    stream.check()

    _fix_headers(stream, spec)
    stream.check()
    return dtype, checksums


def find_lost_tags(tags: dict[str, str], format: str) -> list[str]:
    """Names of the tags that a format has no place for, or not for all of them.

    The name of the program is not one of them, and a comment may be of any length: it is written anew.
    """
    limit, unheld = TAG_BYTES.get(format, OTHER_TAG_BYTES), UNHELD_TAGS.get(format, ())
    long = {key for key in TAGS if key != "comment" and len(tags.get(key, "").encode("utf-8", "replace")) > limit}
    return [key for key in TAGS if key != "software" and tags.get(key) and (key in unheld or key in long)]


def in_file_order(blocks: Iterable[np.ndarray], spec: AudioSpec) -> Iterator[np.ndarray]:
    """Blocks [n, C] with their channels in the order that the format has them in."""
    order = file_order(spec.layout, spec.format, spec.shape[1])
    moved = order != sorted(order)
    for block in blocks:
        yield np.take(block, order, axis=1) if moved else block


def as_stored(samples: np.ndarray, subtype: str) -> np.ndarray:
    """Samples in the type and at the precision of a subtype, so that libsndfile changes nothing."""
    if subtype not in BITS:
        dtype = FLOATS.get(subtype, np.float32)
        return samples if samples.dtype == dtype else as_float(samples, dtype)

    bits = BITS[subtype]
    if samples.dtype != np.int32:
        return quantize(samples, bits)[0]
    if bits < 32 and np.bitwise_and(samples, (1 << (32 - bits)) - 1).any():
        return quantize(as_float(samples, np.float64), bits)[0]
    return samples


@contextlib.contextmanager
def encoder_as_output_error(path: str | Path) -> Iterator[None]:
    """Turn what the system or libsndfile reports about writing `path` into an OutputError."""
    try:
        with as_output_error(path):
            yield
    except (soundfile.SoundFileError, AssertionError) as error:  # soundfile asserts that all samples were taken
        folder = tempfile.gettempdir() if str(path) == "-" else Path(os.path.realpath(path)).parent
        hint = f"{shutil.disk_usage(folder).free / 1e6:.0f} MB are free there; make room, or choose another with -o"
        raise OutputError(
            f"{path}: cannot be written to {describe_folder(path)} ({cause_of(error)}); {hint}"
        ) from error


def _list_subtypes(format: str, recording: Recording) -> list[str]:
    """Subtypes to try for a recording, best first."""
    lossy = [LOSSY[format]] if format in LOSSY else []
    if not recording.lossless:
        own = [recording.subtype] if format == recording.format and lossy else []
        return own + (lossy or ["PCM_16"])

    # Where the recording stands on the ladder: finer subtypes come first, nearest first, then coarser ones.
    if recording.subtype in FLOATS:
        step = LADDER.index(recording.subtype)
    else:
        step = next(i for i, name in enumerate(LADDER) if BITS.get(name, 64) >= BITS[recording.subtype])
    own = [recording.subtype] if recording.subtype in WRITABLE else []
    return [*own, *LADDER[step:], *reversed(LADDER[:step]), *lossy]


def _can_write(format: str, subtype: str, channels: int, sample_rate_hz: int) -> bool:
    """Whether libsndfile writes such files."""
    if not soundfile.check_format(format, subtype):
        return False
    try:
        HeldFile(BytesIO(), "w", sample_rate_hz, channels, subtype, format=format).close()
    except soundfile.SoundFileError:
        return False
    return True


def _sample_bytes(subtype: str) -> int:
    """Bytes that a sample takes; 0 where that depends on the sound."""
    known = {"FLOAT": 4, "DOUBLE": 8, "ULAW": 1, "ALAW": 1}
    return known.get(subtype, BITS.get(subtype, 0) // 8)


def _equal_blocks(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same samples in blocks of WRITTEN_SAMPLES; the last one may be shorter."""
    held: list[np.ndarray] = []
    for block in blocks:
        held.append(block)
        if sum(map(len, held)) >= WRITTEN_SAMPLES:
            joined = held[0] if len(held) == 1 else np.concatenate(held)
            whole = len(joined) // WRITTEN_SAMPLES * WRITTEN_SAMPLES
            yield from (joined[start : start + WRITTEN_SAMPLES] for start in range(0, whole, WRITTEN_SAMPLES))
            held = [joined[whole:]]

    if any(map(len, held)):
        yield np.concatenate(held)


def _set_tags(file: soundfile.SoundFile, spec: AudioSpec) -> None:
    """Store the tags that libsndfile has a place for."""
    for key, text in fit_tags(spec).items():
        if key not in ID3_TAGS.get(spec.format, ()):
            setattr(file, key, text)


def _add_id3(stream: BinaryIO, spec: AudioSpec) -> None:
    """Store the other tags, in front of the sound of an MP3 and behind that of an AIFF."""
    own = ID3_TAGS.get(spec.format, ())
    tag = spec.metadata.tag if spec.metadata and own else b""
    data = merge_id3(
        tag, {key: text for key, text in fit_tags(spec).items() if key in own or (tag and key == "comment")}
    )
    if data and spec.format == "AIFF":
        append_aiff_chunk(stream, b"ID3 ", data)
    elif data:
        replace_bytes(stream, 0, 0, data)


def fit_tags(spec: AudioSpec) -> dict[str, str]:
    """The tags that the format has a place for, as far as they fit."""
    limit = TAG_BYTES.get(spec.format, OTHER_TAG_BYTES)
    fitting = {}
    for key in TAGS:
        if key not in UNHELD_TAGS.get(spec.format, ()):
            text = spec.tags.get(key, "").translate(NO_TEXT)
            fitting[key] = text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")
    return {key: text for key, text in fitting.items() if text}


def _fix_headers(stream: BinaryIO, spec: AudioSpec) -> None:
    """Overwrite what would differ from one writing to the next, and what libsndfile counts wrong."""
    peak = find_chunk(stream, b"PEAK")
    if peak is not None:  # its second field is the time of writing
        overwrite(stream, peak + 4, bytes(4))

    # An AIFF with an odd number of bytes is padded to an even one, and libsndfile counts the padding as sound.
    N, C = spec.shape
    size = N * C * _sample_bytes(spec.subtype)
    common, sound = find_chunk(stream, b"COMM"), find_chunk(stream, b"SSND")
    if spec.subtype in BITS and size % 2 and common and sound:
        overwrite(stream, common + 2, struct.pack(">I", N))
        overwrite(stream, sound - 4, struct.pack(">I", 8 + size))

    write_layout(stream, spec.layout, spec.format, spec.subtype, C)
    _add_id3(stream, spec)
    write_metadata(stream, spec.metadata, spec.format, fit_tags(spec))


def _read_back(stream: BinaryIO, block: np.ndarray, num_samples: int, checksums: list[int] | None) -> None:
    """Read a file that was just written, and compare.

    Args:
        stream: the file.
        block: where to read to [WRITTEN_SAMPLES, C].
        num_samples: samples per channel that must be there.
        checksums: CRC-32 of each block; None compares their number alone.

    Raises:
        OSError: samples are missing, or differ.
    """
    stream.seek(0)
    count = 0
    with ForwardFile(stream if os.name == "nt" else stream.fileno(), closefd=False) as file:
        while got := len(file.read(out=block)):
            if checksums is not None:
                expected = checksums[count // WRITTEN_SAMPLES :][:1]
                if [zlib.crc32(block[:got].data)] != expected:
                    raise OSError(errno.EIO, f"what was written differs after sample {count}")
            count += got

        if count < num_samples:
            raise OSError(errno.EIO, f"only {count} of {num_samples} samples were written")
