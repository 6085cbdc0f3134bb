"""What the `ffmpeg` program reads: its codec's own samples, at the depth and in the number format that they have there.

Knows nothing about libsndfile, nor about why ffmpeg is asked.
"""

from __future__ import annotations

import collections
import contextlib
import io
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, cast

import numpy as np

from audiolm_cli.audio.checks import check_finite, check_kind, check_not_empty, check_promise
from audiolm_cli.audio.layout import Layout, read_layout
from audiolm_cli.audio.recording import BITS, SampleStream
from audiolm_cli.audio.sndfile import BLOCK_SAMPLES
from audiolm_cli.audio.tempo import tag_tempo
from audiolm_cli.errors import AudioInputError

TIMEOUT_S = 600.0
"""How long ffmpeg may take to say something."""
NO_SOUND = "matches no streams"
"""In what ffmpeg says of a picture, or a film without sound."""
ESTIMATING = b"Estimating duration from bitrate"
"""What it warns of where a container says nothing that can be true, as a WAV with FLAC in it may."""
SAID_LINES = 20
"""Of what ffmpeg says, this much is kept."""
MOST_HEAD_BYTES = 1 << 24
"""No WAV of ffmpeg's has more in front of its samples: text."""
_CHUNK = Struct("<4sI")
"""The name of a chunk of a WAV, and its size."""
_KIND = Struct("<2xHI")
"""Channels and sample rate in Hz, in the chunk "fmt "."""


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

    def find_program(self, name: str) -> str:
        """Where ffmpeg or ffprobe is.

        Raises:
            AudioInputError: it is not installed.
        """
        program = shutil.which(name)
        if program is None:
            known = "ffmpeg" if name == "ffmpeg" else "ffprobe, a part of ffmpeg,"
            raise AudioInputError(
                f"{self.label}: {self.reason}; install {known} to read it, or convert it to WAV or FLAC"
            )
        return program

    def failure(self, said: bytes) -> AudioInputError:
        """The error when ffmpeg cannot decode the file either, with the last line of what it said."""
        lines = said.decode("utf-8", "replace").strip().splitlines()
        if not lines or any(NO_SOUND in line for line in lines):
            return AudioInputError(f"{self.label}: there is no sound in it; expected an audio file")
        return AudioInputError(f"{self.label}: {self.reason}, and ffmpeg cannot decode it either ({lines[-1]})")


def subtype_of(bits: int) -> str:
    """The coarsest integer subtype that holds so many bits."""
    return next(name for name in LADDER if BITS[name] >= bits)


def probe(source: Source) -> Probe:
    """What ffprobe says about the first audio stream.

    Raises:
        AudioInputError: ffmpeg is not installed, or finds no audio.
    """
    source.find_program("ffmpeg")  # the name that a message should have
    wanted = "stream=codec_name,sample_fmt,bits_per_raw_sample,bits_per_sample,duration:stream_tags"
    wanted += ":format=format_name,duration,nb_streams:format_tags"
    command = [source.find_program("ffprobe"), "-v", "level+warning", "-protocol_whitelist", "file,pipe,subfile"]
    command += ["-select_streams", "a:0", "-show_entries", wanted, "-of", "json", source.url]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False)
        found = json.loads(done.stdout.decode("utf-8", "replace") or "{}")
    except subprocess.TimeoutExpired as error:
        slow = f"ffprobe took longer than {TIMEOUT_S:.0f} s"
        raise AudioInputError(f"{source.label}: {slow}; convert it to WAV or FLAC first") from error
    except ValueError:
        found = {}

    # What holds streams, none of them audio, is a picture or a film, whatever is wrong with it.
    streams, container = found.get("streams") or [], found.get("format", {})
    if not streams:
        raise source.failure(b"" if container.get("nb_streams") else _pick_errors(done.stderr))
    stream = streams[0]

    # Tags of a stream (Ogg) and of a file, whose letters some formats make large.
    tags = {key.lower(): text for each in (stream, container) for key, text in each.get("tags", {}).items()}
    return Probe(
        codec=stream.get("codec_name", "unknown"),
        sample_format=stream.get("sample_fmt", "unknown").removesuffix("p"),
        bits=_to_int(stream.get("bits_per_raw_sample")) or _to_int(stream.get("bits_per_sample")),
        duration_s=0.0 if ESTIMATING in done.stderr else _stated_duration(stream, container, tags.get("duration", "")),
        tags={TAGS[key]: text for key, text in tags.items() if key in TAGS and text},
    )


@contextlib.contextmanager
def open_ffmpeg(source: Source, format: str) -> Iterator[SampleStream]:
    """What ffmpeg makes of the first audio stream of a file.

    Args:
        source: the file.
        format: its container, for `Recording.format`.

    Raises:
        AudioInputError: ffmpeg is not installed or cannot read it, or it has too many channels or too odd a rate; the
            blocks raise it when the file turns out to be truncated, or holds values that are not numbers.
    """
    found = probe(source)

    # Channels without loudspeakers stay without: it would make 5.1 of six stems.
    # Playlists must not lead it anywhere else: it opens local files and pipes alone. A stream that changes its rate
    # or its channels is refused, where ffmpeg would convert it and say nothing. Text is not passed on: with a long one,
    # ffmpeg's WAV states no size in front of it that could be true.
    command = [source.find_program("ffmpeg"), "-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe,subfile"]
    command += ["-err_detect", "crccheck+explode"] if found.codec in CHECKED else []
    command += ["-guess_layout_max", "2", "-reinit_filter", "0", "-i", source.url, "-map", "0:a:0", "-bitexact"]
    command += ["-map_metadata", "-1"]
    command += ["-c:a", found.transfer.encoder, "-f", "wav", "pipe:1"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        output = _Output(program, source, found)
        try:
            rate_hz, channels, layout = output.read_header()
            stream = SampleStream(
                sample_rate_hz=rate_hz,
                channels=channels,
                format=format,
                subtype=found.subtype,
                tags=found.tags,
                tempo=tag_tempo(found.tags),
                layout=layout,
                blocks=iter(()),
            )
            stream.blocks = output.read_blocks(stream)
            yield stream
        finally:
            program.kill()
            output.close()


class _Output:
    """The WAV that comes from an ffmpeg that is running."""

    def __init__(self, program: subprocess.Popen[bytes], source: Source, found: Probe) -> None:
        """Read from the standard output of `program`, and keep the last that it says on the other one."""
        self._program, self._source, self._found = program, source, found
        self._said: collections.deque[bytes] = collections.deque(maxlen=SAID_LINES)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def read_header(self) -> tuple[int, int, Layout | None]:
        """Sample rate in Hz, number of channels, and their loudspeakers.

        Raises:
            AudioInputError: ffmpeg cannot decode the file, or these are not those of a recording.
        """
        head = self._read(12)
        name, size = b"", 0
        while name != b"data" and len(head) < MOST_HEAD_BYTES:
            chunk = self._read(_CHUNK.size)
            if len(chunk) < _CHUNK.size:
                raise self._failure()

            name, size = _CHUNK.unpack(chunk)
            content = b"" if name == b"data" else self._read(size + size % 2)
            head += chunk + content
            if name == b"fmt ":
                channels, rate_hz = _KIND.unpack_from(content)
                check_kind(channels, rate_hz, self._source.label)

        return rate_hz, channels, read_layout(cast("BinaryIO", io.BytesIO(head)), "WAV", "", channels)

    def read_blocks(self, stream: SampleStream) -> Iterator[np.ndarray]:
        """Blocks [n, C] up to the end, which may leave `stream` with a finer subtype.

        Raises:
            AudioInputError: ffmpeg failed, a sample is no number, or there are fewer than promised.
        """
        transfer, label, count, used = self._found.transfer, self._source.label, 0, 0
        frame_bytes = np.dtype(transfer.dtype).itemsize * stream.channels

        while data := self._read(frame_bytes * BLOCK_SAMPLES):
            wire = np.frombuffer(data, transfer.dtype, len(data) // frame_bytes * stream.channels)
            if transfer.bits:
                block = wire.astype(np.int32) << (32 - transfer.bits)
                used |= int(np.bitwise_or.reduce(block))
            else:
                block = wire.astype(stream.dtype)

            block = block.reshape(-1, stream.channels)
            check_finite(block, count, stream.sample_rate_hz, label)
            count += len(block)
            yield block

        if self._program.wait():
            raise self._failure()
        self._check_length(count, stream)

        # A container may state fewer bits than its codec gives: companded sound has 8, and needs 16.
        if used:
            needed = 32 - ((used & -used).bit_length() - 1)
            stream.subtype = subtype_of(max(needed, BITS[stream.subtype]))

    def close(self) -> None:
        """Wait for what listens to the program, which has ended."""
        self._listener.join()

    def _check_length(self, count: int, stream: SampleStream) -> None:
        """Refuse a file that holds less than its container promises."""
        rate_hz, label = stream.sample_rate_hz, self._source.label
        promised = self._found.duration_s * rate_hz
        self._listener.join()
        tolerance = TOLERANCE_S * rate_hz + (0 if stream.lossless else TOLERANCE_SAMPLES)
        if promised - count > (DAMAGE_S * rate_hz if self._said else tolerance):
            check_promise(label, count, promised, rate_hz)
        if not count and self._said:
            raise self._failure()
        check_not_empty(label, count)

    def _listen(self) -> None:
        """Keep the last lines that the program says."""
        with contextlib.suppress(ValueError):  # the pipe was closed
            for line in self._program.stderr or ():
                self._said.append(line)

    def _read(self, size: int) -> bytes:
        """Bytes of the pipe; fewer only at its end. ffmpeg is ended when it gives nothing for too long."""
        timer = threading.Timer(TIMEOUT_S, self._program.kill)
        timer.start()
        try:
            return self._program.stdout.read(size) if self._program.stdout else b""
        finally:
            timer.cancel()

    def _failure(self) -> AudioInputError:
        """What went wrong."""
        self._program.wait()
        self._listener.join()
        said = b"".join(self._said)
        if b"inject frame into filter" in said:
            what = "changes its sample rate or its channels in the middle"
            return AudioInputError(f"{self._source.label}: {what}; split it there, or convert it to WAV or FLAC")
        return self._source.failure(said)


def _stated_duration(stream: dict[str, Any], container: dict[str, Any], tagged: str) -> float:
    """Seconds that a container states for a stream; 0 where it states none, or only those of a longer stream."""
    if not str(container.get("format_name", "")).split(",")[0].startswith(STATING):
        return 0.0

    # Matroska has the length of the longest stream, and perhaps that of each in a tag, as hours:minutes:seconds.
    alone = container.get("nb_streams") == 1
    for text in (stream.get("duration"), tagged, container.get("duration") if alone else None):
        parts = str(text or "").split(":")
        with contextlib.suppress(ValueError):
            return sum(float(part) * 60**power for power, part in enumerate(reversed(parts)))
    return 0.0


def _pick_errors(said: bytes) -> bytes:
    """Of what ffprobe says with the level of each line, the errors, without their levels."""
    errors = (line for line in said.splitlines(keepends=True) if b"[warning] " not in line)
    return b"".join(re.sub(rb"\[(error|fatal|panic)\] ", b"", line, count=1) for line in errors)


def _to_int(text: object) -> int:
    """A number that ffprobe gives as text, or 0 for none."""
    return int(str(text)) if str(text or "").isdigit() else 0
