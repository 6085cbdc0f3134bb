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
from struct import Struct
from typing import BinaryIO, cast

import numpy as np

from audiolm_cli.audio.checks import check_finite, check_kind
from audiolm_cli.audio.foreign import (
    CHECKED,
    ESTIMATING,
    PROTOCOLS,
    Probe,
    Source,
    changed_kind,
    check_length,
    leave_out_padding,
    pick_tags,
    settle_subtype,
    stated_duration,
    stated_samples,
)
from audiolm_cli.audio.layout import Layout, read_layout
from audiolm_cli.audio.recording import SampleStream
from audiolm_cli.audio.sndfile import BLOCK_SAMPLES
from audiolm_cli.audio.tempo import tag_tempo
from audiolm_cli.errors import AudioInputError
from audiolm_cli.packages import install_command

TIMEOUT_S = 600.0
"""How long ffmpeg may take to say something."""
SAID_LINES = 20
"""Of what ffmpeg says, this much is kept."""
MOST_HEAD_BYTES = 1 << 24
"""No WAV of ffmpeg's has more in front of its samples: text."""
_CHUNK = Struct("<4sI")
"""The name of a chunk of a WAV, and its size."""
_KIND = Struct("<2xHI")
"""Channels and sample rate in Hz, in the chunk "fmt "."""


def probe(source: Source) -> Probe:
    """What ffprobe says about the first audio stream.

    Raises:
        AudioInputError: ffmpeg is not installed, or finds no audio.
    """
    _find_program(source, "ffmpeg")  # the name that a message should have
    wanted = "stream=codec_name,sample_fmt,bits_per_raw_sample,bits_per_sample,duration:stream_tags"
    wanted += ":format=format_name,duration,nb_streams:format_tags"
    command = [_find_program(source, "ffprobe"), "-v", "level+warning", "-protocol_whitelist", PROTOCOLS]
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
    # Matroska has the length of the longest stream, and perhaps that of each in a tag.
    alone = container.get("nb_streams") == 1
    texts = [stream.get("duration"), tags.get("duration"), container.get("duration") if alone else None]
    is_estimate = ESTIMATING.encode() in done.stderr
    return Probe(
        codec=stream.get("codec_name", "unknown"),
        sample_format=stream.get("sample_fmt", "unknown").removesuffix("p"),
        bits=_to_int(stream.get("bits_per_raw_sample")) or _to_int(stream.get("bits_per_sample")),
        duration_s=0.0 if is_estimate else stated_duration(str(container.get("format_name", "")), texts),
        tags=pick_tags(tags),
        num_samples=stated_samples(tags),
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
    command = [_find_program(source, "ffmpeg"), "-nostdin", "-v", "error", "-protocol_whitelist", PROTOCOLS]
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
            stream.blocks = leave_out_padding(output.read_blocks(stream), found.num_samples)
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
        self._listener.join()
        if not count and self._said:
            raise self._failure()
        check_length(self._source, self._found, stream, count, complained=bool(self._said))
        settle_subtype(stream, used)

    def close(self) -> None:
        """Wait for what listens to the program, which has ended."""
        self._listener.join()

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
            return changed_kind(self._source)
        return self._source.failure(said)


def has_ffmpeg() -> bool:
    """Whether the program is installed."""
    return shutil.which("ffmpeg") is not None


def _find_program(source: Source, name: str) -> str:
    """Where ffmpeg or ffprobe is.

    Raises:
        AudioInputError: it is not installed.
    """
    program = shutil.which(name)
    if program is None:
        known = "ffprobe, a part of ffmpeg" if name == "ffprobe" else f"ffmpeg, or run: {install_command('av')}"
        raise AudioInputError(f"{source.label}: {source.reason}; convert it to WAV or FLAC, install {known}")
    return program


def _pick_errors(said: bytes) -> bytes:
    """Of what ffprobe says with the level of each line, the errors, without their levels."""
    errors = (line for line in said.splitlines(keepends=True) if b"[warning] " not in line)
    return b"".join(re.sub(rb"\[(error|fatal|panic)\] ", b"", line, count=1) for line in errors)


def _to_int(text: object) -> int:
    """A number that ffprobe gives as text, or 0 for none."""
    return int(str(text)) if str(text or "").isdigit() else 0
