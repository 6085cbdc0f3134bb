"""Recordings to files: the format that loses least, the same bytes every time, and no half-written file ever.

Knows nothing about where samples come from.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from audiolm_cli.audio.deferring import DeferringFile, scratch_file
from audiolm_cli.audio.headers import chunk_offset
from audiolm_cli.audio.reading import ForwardFile
from audiolm_cli.audio.recording import BITS, FLOATS, Recording, as_float, quantize
from audiolm_cli.errors import OutputError, UsageError

FORMATS = {
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
LOSSY = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}
RIFF_BYTES = 2**32 - 2**20
"""Samples that a WAV, AIFF or AU file can hold, leaving room for its header."""
TAGS = ("title", "artist", "album", "tracknumber", "date", "genre", "comment", "copyright", "license", "software")
"""What libsndfile can store; "software" gets its name appended."""
TAG_BYTES = {"FLAC": 30_000, "OGG": 30_000, "MP3": 30_000}
OTHER_TAG_BYTES = 1500
"""Longest tag elsewhere: libsndfile does not read longer ones back, nor AIFF files with 8 kB of them."""
BLOCK_SAMPLES = 1 << 16
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Every byte with its bits the other way round."""


def output_format(path: str | Path, recording: Recording) -> tuple[str, str]:
    """Which (format, subtype) to write continuations of `recording` in, given the name of the output.

    The format comes from the extension ("-" is WAV); the subtype is the recording's own where the format has it, else
    the nearest that loses nothing, else the finest. What was decoded from a lossy format becomes 16-bit PCM or lossy.

    Raises:
        UsageError: the extension is unknown, or the format cannot hold the channels or the rate.
    """
    format = named_format(path)
    if format == "WAV" and recording.format == "WAVEX":
        format = "WAVEX"
    for subtype in _candidates(format, recording):
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
    if extension not in FORMATS:
        known = " ".join(FORMATS)
        raise UsageError(f"{path}: unknown audio extension {extension!r}; expected one of {known}, or - for a WAV")
    return FORMATS[extension]


def check_target(path: str | Path, force: bool) -> None:
    """Raise now what `write_audio` to this path would raise after long work.

    Raises:
        OutputError: it exists and `force` is false, it is a folder or a device, or its folder is missing or unwritable.
    """
    if str(path) == "-":
        return
    with told(path):
        probe = _beside(_resolve(path, force))
        try:
            _create(probe).close()
        finally:
            probe.unlink(missing_ok=True)


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
        sample_rate_hz: their rate, in Hz.
        format: container, from `output_format`.
        subtype: encoding, from `output_format`.
        tags: text to store under title, artist, album, date, genre, comment, ...; formats without tags (W64, AU) drop
            them, long ones are cut to what the format reads back.
        force: replace an existing file.

    Raises:
        OutputError: the file exists and `force` is false; disk full; no permission; folder missing; too large for the
            format.
    """
    N, C = samples.shape
    blocks = (samples[start : start + BLOCK_SAMPLES] for start in range(0, N, BLOCK_SAMPLES))
    write_blocks(
        target,
        blocks,
        shape=(N, C),
        sample_rate_hz=sample_rate_hz,
        format=format,
        subtype=subtype,
        tags=tags,
        force=force,
    )


def write_blocks(
    target: str | Path,
    blocks: Iterable[np.ndarray],
    *,
    shape: tuple[int, int],
    sample_rate_hz: int,
    format: str,
    subtype: str,
    tags: dict[str, str],
    force: bool,
) -> None:
    """`write_audio` of samples that are made on the way: consecutive blocks [n, C] of any sizes, `shape` in all.

    Raises:
        OutputError: as `write_audio`.
    """
    size = shape[0] * shape[1] * _width(subtype)
    if size > RIFF_BYTES and format in ("WAV", "WAVEX"):
        format = "RF64"
    if size > RIFF_BYTES and format in ("AIFF", "AU"):
        raise OutputError(f"{target}: {size / 1e9:.1f} GB do not fit into {format}; choose .wav, .w64 or .caf")
    stored = (as_stored(block, subtype) for block in _even(blocks))
    with told(target):
        if str(target) == "-":
            with scratch_file() as stream, open(1, "wb", closefd=False) as stdout:
                encode(stream, stored, shape, sample_rate_hz, format, subtype, tags)
                stream.seek(0)
                shutil.copyfileobj(stream, stdout, 1 << 20)
            return
        with replacing(target, force) as file:
            encode(file, stored, shape, sample_rate_hz, format, subtype, tags)


def write_bytes(target: str | Path, data: bytes, *, force: bool) -> None:
    """Write a whole file that goes with a recording, such as its picture, or nothing.

    Raises:
        OutputError: as `write_audio`.
    """
    with told(target), replacing(target, force) as file:
        file.write(data)


def _candidates(format: str, recording: Recording) -> list[str]:
    """Subtypes to try, best first."""
    lossy = [LOSSY[format]] if format in LOSSY else []
    if not recording.lossless:
        own = [recording.subtype] if format == recording.format and lossy else []
        return own + (lossy or ["PCM_16"])
    if recording.subtype in FLOATS:
        step = LADDER.index(recording.subtype)
    else:
        step = next(i for i, name in enumerate(LADDER) if BITS.get(name, 64) >= BITS[recording.subtype])
    own = [] if recording.subtype.startswith("ALAC") else [recording.subtype]  # a full disk crashes libsndfile's ALAC
    return [*own, *LADDER[step:], *reversed(LADDER[:step]), *lossy]


def _can_write(format: str, subtype: str, channels: int, sample_rate_hz: int) -> bool:
    """Whether libsndfile writes such files."""
    if not soundfile.check_format(format, subtype):
        return False
    try:
        soundfile.SoundFile(BytesIO(), "w", sample_rate_hz, channels, subtype, format=format).close()
    except soundfile.SoundFileError:
        return False
    return True


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


def _even(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same samples in blocks of BLOCK_SAMPLES; the last one may be shorter."""
    held: list[np.ndarray] = []
    for block in blocks:
        held.append(block)
        if sum(map(len, held)) >= BLOCK_SAMPLES:
            joined = held[0] if len(held) == 1 else np.concatenate(held)
            whole = len(joined) // BLOCK_SAMPLES * BLOCK_SAMPLES
            yield from (joined[start : start + BLOCK_SAMPLES] for start in range(0, whole, BLOCK_SAMPLES))
            held = [joined[whole:]]
    if any(map(len, held)):
        yield np.concatenate(held)


def encode(
    stream: DeferringFile,
    blocks: Iterator[np.ndarray],
    shape: tuple[int, int],
    sample_rate_hz: int,
    format: str,
    subtype: str,
    tags: dict[str, str],
) -> None:
    """Write a file into an open one, and read it back."""
    N, C = shape
    dtype: np.dtype = np.dtype(np.float32)
    sums: list[int] = []
    with soundfile.SoundFile(stream, "w", sample_rate_hz, C, subtype, format=format, closefd=False) as file:
        limit = TAG_BYTES.get(format, OTHER_TAG_BYTES)
        for key in TAGS:
            if key not in tags or (format == "AIFF" and key == "software"):  # which returns with bits of the comment
                continue
            value = tags[key].replace("\0", " ").encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")
            if value:
                with contextlib.suppress(soundfile.SoundFileError):  # a format without tags
                    setattr(file, key, value)
        for written in blocks:
            file.write(written)
            dtype = written.dtype
            sums.append(zlib.crc32(np.ascontiguousarray(written).data))
    stream.check()
    if format == "OGG":
        _fix_serial(stream)
    if (peak := chunk_offset(stream, b"PEAK")) is not None:  # its second field is the time of writing
        _overwrite(stream, peak + 4, bytes(4))
    common, sound = chunk_offset(stream, b"COMM"), chunk_offset(stream, b"SSND")
    if subtype in BITS and N * C * _width(subtype) % 2 and common and sound:  # libsndfile counts the padding as sound
        _overwrite(stream, common + 2, struct.pack(">I", N))
        _overwrite(stream, sound - 4, struct.pack(">I", 8 + N * C * _width(subtype)))
    stream.check()
    stream.seek(0)
    exact = subtype in FLOATS or (subtype in BITS and subtype not in ("ULAW", "ALAW"))
    with ForwardFile(stream if os.name == "nt" else stream.fileno(), closefd=False) as file:
        block = np.empty((BLOCK_SAMPLES, C), dtype)
        count = 0
        while got := len(file.read(out=block)):
            if exact and [zlib.crc32(block[:got].data)] != sums[count // BLOCK_SAMPLES :][:1]:
                raise OSError(errno.EIO, f"what was written differs after sample {count}")
            count += got
        if count < N:
            raise OSError(errno.EIO, f"only {count} of {N} samples were written")


def _width(subtype: str) -> int:
    """Bytes that a sample takes; 0 where that depends on the sound."""
    widths = {"FLOAT": 4, "DOUBLE": 8, "ULAW": 1, "ALAW": 1}
    return widths.get(subtype, BITS.get(subtype, 0) // 8)


def _overwrite(stream: BinaryIO, position: int, data: bytes | bytearray) -> None:
    """Replace bytes in the middle of a file."""
    stream.seek(position)
    stream.write(data)


def _fix_serial(stream: BinaryIO) -> None:
    """Give an Ogg stream a serial number that follows from its content, where libsndfile takes a random one."""
    stream.seek(0)
    data = bytearray(stream.read())
    pages, position = [], 0
    while position < len(data):
        segments = data[position + 26]
        head = 27 + segments
        size = head + sum(data[position + 27 : position + head])
        pages.append((position, size))
        data[position + 14 : position + 18] = data[position + 22 : position + 26] = bytes(4)  # serial, checksum
        position += size
    serial = struct.pack("<I", zlib.crc32(data))
    for position, size in pages:
        data[position + 14 : position + 18] = serial
        data[position + 22 : position + 26] = struct.pack("<I", _ogg_checksum(data[position : position + size]))
    _overwrite(stream, 0, data)


def _ogg_checksum(page: bytearray) -> int:
    """Ogg's CRC-32: zlib's polynomial with the bits of every byte the other way round, and no inversions."""
    return int(f"{zlib.crc32(page.translate(MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF:032b}"[::-1], 2)


def _resolve(path: str | Path, force: bool) -> Path:
    """Where a file goes, past links; refuses what must not or cannot be replaced."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file in it")
    if target.exists():
        if not target.is_file():
            raise OutputError(f"{path}: is a device; give the name of a file, or - for standard output")
        if not force:
            raise OutputError(f"{path}: exists already; choose another name or replace it with -f/--force")
    if not target.parent.is_dir():
        raise OutputError(f"{path}: the folder {target.parent} does not exist; make it, or choose another with -o")
    return target


def _beside(target: Path) -> Path:
    """A temporary name in the folder of `target`."""
    return target.with_name(f".audiolm-{secrets.token_hex(6)}.part")


@contextlib.contextmanager
def replacing(target: str | Path, force: bool) -> Iterator[DeferringFile]:
    """An open file under a temporary name, which takes the place of `target` when all went well and else is gone."""
    path = _resolve(target, force)
    temporary = _beside(path)
    try:
        with _create(temporary) as file:
            yield file
            file.check()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _create(path: Path) -> DeferringFile:
    """A new file, with the permissions that the user gives new files."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    return DeferringFile(descriptor, "w+b")


@contextlib.contextmanager
def told(path: str | Path) -> Iterator[None]:
    """Turns what the system or libsndfile reports about writing `path` into an OutputError."""
    where = "standard output" if str(path) == "-" else f"the folder {Path(os.path.realpath(path)).parent}"
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutputError(f"{path}: no space left in {where}; free some, or choose another with -o") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OutputError(f"{path}: no permission to write in {where}; choose another with -o") from error
        raise OutputError(f"{path}: cannot be written to {where} ({error.strerror or error})") from error
    except (soundfile.SoundFileError, AssertionError) as error:  # soundfile asserts that all samples were taken
        cause = getattr(error, "error_string", str(error)).removeprefix("Error : ").rstrip(". ")
        free = shutil.disk_usage(
            tempfile.gettempdir() if str(path) == "-" else Path(os.path.realpath(path)).parent
        ).free
        hint = f"{free / 1e6:.0f} MB are free there; make room, or choose another with -o"
        raise OutputError(f"{path}: cannot be written to {where} ({cause}); {hint}") from error
