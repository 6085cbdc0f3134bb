"""Files to recordings: nothing a header says is believed before the samples are there. Knows nothing about writing.

libsndfile reads from a file descriptor, never from a name (names need not be UTF-8, and ".raw" has a meaning to it) and
never seeks: a seek makes MP3 inexact, and fails at the end of a FLAC of unknown length.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from audiolm_cli.audio.headers import SNIFF_BYTES, find_mends, is_text, read_data_size, sniff
from audiolm_cli.audio.layout import read_layout
from audiolm_cli.audio.recording import BITS, CHANNELS, FLOATS, RATES_HZ, Recording
from audiolm_cli.errors import AudioInputError, MemoryLimitError
from audiolm_cli.files import scratch_file

KNOWN = "WAV, RF64, W64, FLAC, AIFF, AU, CAF, OGG or MP3"
READ_SAMPLES = 4096
"""Read at a time: what precedes a damaged spot is known to this."""
FFMPEG_TIMEOUT_S = 600.0
CUT_SHORT = "is an MP3 of variable bit rate that does not state its length, which libsndfile would cut short"
SLOPPY_BYTES = 64
"""A data chunk may promise this much more than the file holds: some programs count wrong."""
UNREAD_BYTES = 4096
"""More than this behind the last sample of an MP3 is sound, not tags."""


class ForwardFile(soundfile.SoundFile):
    """A sound file that is read from its start to its end."""

    def seekable(self) -> bool:
        return False


def read_audio(source: str | Path, *, max_duration_s: float | None = None) -> Recording:
    """The whole of an audio file, with its exact samples.

    Args:
        source: a file; "-" is standard input. Formats that libsndfile does not read go through the `ffmpeg` program if
            it is installed, and become float32.
        max_duration_s: refuse what is longer than this, in seconds.

    Raises:
        AudioInputError: the file is missing, unreadable, empty, truncated, damaged, not audio, too long, has too many
            channels or too odd a rate, or holds values that are not numbers.
        MemoryLimitError: it does not fit into memory.
    """
    label = "standard input" if str(source) == "-" else str(source)
    try:
        with open_readable(source, label) as stream:
            return _read_open_file(stream, source, label, max_duration_s)
    except OSError as error:
        raise AudioInputError(f"{label}: cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise MemoryLimitError(f"{label}: does not fit into memory; split it into shorter files") from error


@contextlib.contextmanager
def open_readable(source: str | Path, label: str) -> Iterator[BinaryIO]:
    """The file, unbuffered. A pipe is copied first, and so is a file that has to be mended for libsndfile."""
    with _open_raw(source, label) as raw:
        if stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
            needs_mending = bool(find_mends(raw))
            raw.seek(0)
            if not needs_mending:
                yield raw
                return

        with scratch_file() as copy:
            shutil.copyfileobj(raw, copy, 1 << 20)
            copy.check()

            for position, data in find_mends(copy):
                copy.seek(position)
                copy.write(data)
            yield copy


def _open_raw(source: str | Path, label: str) -> BinaryIO:
    """The file, pipe or standard input itself."""
    if str(source) == "-":
        if os.isatty(0):
            raise AudioInputError(f"{label}: is a terminal; pipe a WAV into it, or name a file")
        return os.fdopen(os.dup(0), "rb", buffering=0)

    try:
        mode = os.stat(source).st_mode
        if stat.S_ISREG(mode) or stat.S_ISFIFO(mode):
            return os.fdopen(os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0)), "rb", buffering=0)
    except FileNotFoundError as error:
        raise AudioInputError(f"{label}: no such file; check the name and the folder") from error
    except PermissionError as error:
        raise AudioInputError(f"{label}: no permission to read it; change its owner or mode") from error

    if stat.S_ISDIR(mode):
        raise AudioInputError(f"{label}: is a folder; expected an audio file, so name the files in it")
    raise AudioInputError(f"{label}: is a device; expected an audio file")


def _read_open_file(stream: BinaryIO, source: str | Path, label: str, max_duration_s: float | None) -> Recording:
    """Decide by the first bytes who decodes the file, and check what comes back."""
    head = read_head(stream, label)

    # libsndfile reads the formats that it knows.
    name = "stdin" if str(source) == "-" else Path(source).stem
    if sniff(head):
        recording, complete = _decode(stream, label, name, max_duration_s)
        if complete:
            return recording
        reason = CUT_SHORT
    else:
        reason = unknown_format(head, label)

    # ffmpeg reads everything else, and what libsndfile would cut short.
    if str(source) == "-" or not os.path.isfile(source):  # ffmpeg would wait for a pipe that has been read
        raise AudioInputError(f"{label}: {reason}; pipe a WAV, for example with: ffmpeg -i FILE -f wav -")
    with _convert_with_ffmpeg(label, Path(source), reason, max_duration_s) as wav:
        recording, _ = _decode(wav, label, name, max_duration_s)
    extension = Path(source).suffix[1:].upper()
    return replace(recording, format=extension or "UNKNOWN", subtype="UNKNOWN", lossless=False)


def read_head(stream: BinaryIO, label: str) -> bytes:
    """The first bytes of a file, enough for `sniff`.

    Raises:
        AudioInputError: it is empty.
    """
    stream.seek(0)
    head = stream.read(SNIFF_BYTES)
    if not head:
        raise AudioInputError(f"{label}: is empty (0 bytes); expected an audio file")
    return head


def unknown_format(head: bytes, label: str) -> str:
    """What to say about a file whose first bytes are those of no format that libsndfile should read.

    Raises:
        AudioInputError: they are text, which ffmpeg must not see either: it follows the paths in playlists.
    """
    if is_text(head):
        raise AudioInputError(f"{label}: holds text, not audio; expected {KNOWN}")
    return f"is not {KNOWN}"


def _decode(stream: BinaryIO, label: str, name: str, max_duration_s: float | None) -> tuple[Recording, bool]:
    """All samples of a file that libsndfile knows, and whether these are all."""
    sizes = read_data_size(stream)
    with open_decoder(stream, label, sizes) as file:
        samples, damage = _read_blocks(file, label, max_duration_s)
        facts = {"sample_rate_hz": file.samplerate, "format": file.format, "subtype": file.subtype}
        tags = {key: text for key, text in file.copy_metadata().items() if text}
        promised = file.frames

    complete = is_complete(stream, facts["format"])
    check_length(label, len(samples), promised, facts["sample_rate_hz"], facts["format"], sizes, damage)
    check_finite(samples, 0, facts["sample_rate_hz"], label)

    lossless = facts["subtype"] in BITS or facts["subtype"] in FLOATS
    layout = read_layout(stream, facts["format"], facts["subtype"], samples.shape[1])
    return Recording(samples=samples, lossless=lossless, tags=tags, name=name, layout=layout, **facts), complete


@contextlib.contextmanager
def open_decoder(stream: BinaryIO, label: str, sizes: tuple[int, int] | None) -> Iterator[ForwardFile]:
    """A file that libsndfile knows, open at its first sample; `sizes` is what `read_data_size` says about it.

    Raises:
        AudioInputError: libsndfile cannot read it, or it has too many channels or too odd a rate.
    """
    stream.seek(0)
    try:
        with ForwardFile(stream if os.name == "nt" else stream.fileno(), closefd=False) as file:
            _check_header(file, label)
            yield file
    except soundfile.SoundFileError as error:
        if sizes is not None and sizes[0] > sizes[1] + SLOPPY_BYTES:
            there = f"{sizes[1]} of the {sizes[0]} bytes of sound its header promises"
            raise AudioInputError(f"{label}: is truncated: holds {there}; get a complete copy") from error
        raise AudioInputError(f"{label}: cannot be decoded ({cause_of(error)}); convert it to WAV or FLAC") from error


def is_complete(stream: BinaryIO, format: str) -> bool:
    """Whether libsndfile has read all of the sound, now that it has read `stream` to what it takes for the end."""
    unread = -stream.tell() + stream.seek(0, os.SEEK_END)
    return format != "MP3" or unread <= UNREAD_BYTES


def check_length(
    label: str, count: int, promised: int, rate_hz: int, format: str, sizes: tuple[int, int] | None, damage: str
) -> None:
    """Refuse a file that holds less than its header promises, or nothing.

    Args:
        label: the file, for messages.
        count: samples per channel that were read.
        promised: how many libsndfile says there are.
        rate_hz: their rate, in Hz.
        format: the container, in libsndfile's names.
        sizes: what `read_data_size` says.
        damage: what ended the reading before the end of the file; empty when nothing did.

    Raises:
        AudioInputError: it does.
    """
    # What the data chunk promises counts more than libsndfile's number, which follows the length of the file.
    if sizes is not None and sizes[0] > sizes[1] + SLOPPY_BYTES:
        promised = count * sizes[0] // max(1, sizes[1])
    elif format == "MP3" or promised >= 2**62:  # an estimate, or libsndfile's word for unknown
        promised = count

    if promised > count:
        there = f"holds {count / rate_hz:.2f} s of the {promised / rate_hz:.2f} s its header promises"
        if sizes and sizes[1] >= 2**32 - 2**16 and format in ("WAV", "WAVEX", "AIFF", "AU"):
            raise AudioInputError(f"{label}: is over 4 GB, which its header cannot say; rewrite it as RF64 or W64")
        raise AudioInputError(f"{label}: is truncated or damaged: {there}; get a complete copy")
    if damage:
        raise AudioInputError(f"{label}: is damaged after {count / rate_hz:.2f} s ({damage}); get a good copy")
    if not count:
        raise AudioInputError(f"{label}: holds no audio: 0 samples, or not even one complete block of them")


def _check_header(file: soundfile.SoundFile, label: str) -> None:
    """Refuse what no recording has."""
    if not CHANNELS[0] <= file.channels <= CHANNELS[1]:
        raise AudioInputError(f"{label}: has {file.channels} channels; expected {CHANNELS[0]} to {CHANNELS[1]}")
    if not RATES_HZ[0] <= file.samplerate <= RATES_HZ[1]:
        limits = f"{RATES_HZ[0]} to {RATES_HZ[1]} Hz"
        raise AudioInputError(f"{label}: has a sample rate of {file.samplerate} Hz; expected {limits}")


def _read_blocks(file: soundfile.SoundFile, label: str, max_duration_s: float | None) -> tuple[np.ndarray, str]:
    """Samples [N, C] up to the end or the first error, and that error's text; memory grows with what is there."""
    dtype = np.int32 if file.subtype in BITS else FLOATS.get(file.subtype, np.float32)
    samples = np.empty((16 * READ_SAMPLES, file.channels), dtype)
    limit = None if max_duration_s is None else round(max_duration_s * file.samplerate)

    count, damage = 0, ""
    while True:
        if count + READ_SAMPLES > len(samples):
            samples.resize((len(samples) * 3 // 2, file.channels), refcheck=False)

        try:
            got = len(file.read(out=samples[count : count + READ_SAMPLES]))
        except soundfile.SoundFileError as error:
            damage = cause_of(error)
            break

        count += got
        if limit is not None and count > limit:
            raise AudioInputError(
                f"{label}: is longer than {max_duration_s:g} s, the longest allowed; cut a part of it"
            )
        if got < READ_SAMPLES:
            break

    samples.resize((count, file.channels), refcheck=False)
    return samples, damage


def cause_of(error: Exception) -> str:
    """libsndfile's words for what is wrong."""
    return str(getattr(error, "error_string", error)).removeprefix("Error : ").rstrip(". ")


def check_finite(samples: np.ndarray, offset: int, rate_hz: int, label: str) -> None:
    """Refuse NaN, infinity, and what is infinite as float32, in samples [N, C] that start at sample `offset`.

    Raises:
        AudioInputError: there are such.
    """
    if samples.dtype == np.int32:
        return

    # In pieces, since the comparison makes copies.
    limit = np.finfo(np.float32).max
    for start in range(0, len(samples), 1 << 20):
        wrong = ~(np.abs(samples[start : start + (1 << 20)]) <= limit)  # NaN compares false
        if wrong.any():
            first, channel = np.argwhere(wrong)[0]
            where = f"at {(offset + start + first) / rate_hz:.3f} s in channel {channel + 1}"
            value = samples[start + first, channel]
            raise AudioInputError(f"{label}: the sample {where} is {value}; expected numbers; export the file again")


def ffmpeg_command(label: str, path: Path, reason: str) -> list[str]:
    """How ffmpeg is started on the first audio stream of a file; the caller adds the output that it wants.

    Raises:
        AudioInputError: ffmpeg is not installed.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise AudioInputError(f"{label}: {reason}; install ffmpeg to read it, or convert it to WAV or FLAC")

    # Playlists must not lead it anywhere else: it opens local files and pipes alone.
    # Channels without loudspeakers stay without: it would make 5.1 of six stems.
    command = [program, "-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe", "-guess_layout_max", "2"]
    return [*command, "-i", f"file:{path}", "-map", "0:a:0", "-bitexact"]


def ffmpeg_failure(label: str, reason: str, said: bytes) -> AudioInputError:
    """The error about a file that ffmpeg cannot decode either, with the last line of what ffmpeg said."""
    lines = said.decode("utf-8", "replace").strip().splitlines()
    cause = lines[-1] if lines else "no audio stream"
    return AudioInputError(f"{label}: {reason}, and ffmpeg cannot decode it either ({cause})")


@contextlib.contextmanager
def _convert_with_ffmpeg(label: str, path: Path, reason: str, max_duration_s: float | None) -> Iterator[BinaryIO]:
    """A temporary float WAV that ffmpeg made from the first audio stream of a file."""
    command = ffmpeg_command(label, path, reason)
    if max_duration_s is not None:
        command += ["-t", f"{max_duration_s + 1:.3f}"]
    command += ["-c:a", "pcm_f32le", "-f", "wav", "pipe:1"]

    with tempfile.TemporaryFile(buffering=0) as wav:
        try:
            done = subprocess.run(command, stdout=wav, stderr=subprocess.PIPE, timeout=FFMPEG_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired as error:
            slow = f"ffmpeg took longer than {FFMPEG_TIMEOUT_S:.0f} s"
            raise AudioInputError(f"{label}: {slow}; convert it to WAV or FLAC first") from error

        if done.returncode or not wav.seek(0, os.SEEK_END):
            raise ffmpeg_failure(label, reason, done.stderr)

        yield wav
