"""Audio files mutated or cut as a seed draws, and what `tokenize`'s reader makes of them: a few for the suite, and by
the thousand.

Workers read them, as they do for `tokenize`, so that a decoder that crashes ends its worker and nothing else.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import io
import os
import random
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audiolm_cli.audio import open_stream, resample_blocks, scan
from audiolm_cli.errors import AudioLMError
from audiolm_cli.tokenizing.workers import run_workers

FORMATS = {
    "WAV": ("PCM_16", "PCM_24", "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32"),
    "WAVEX": ("PCM_16",),
    "RF64": ("PCM_16",),
    "FLAC": ("PCM_16", "PCM_24"),
    "OGG": ("VORBIS", "OPUS"),
    "MP3": ("MPEG_LAYER_III", "MPEG_LAYER_II"),
    "AIFF": ("PCM_16", "FLOAT", "IMA_ADPCM", "DWVW_16"),
    "CAF": ("PCM_16", "FLOAT", "ALAC_16", "ALAC_24"),
    "W64": ("PCM_16", "FLOAT", "MS_ADPCM"),
    "AU": ("PCM_16", "G723_24"),
}
SLOWEST_S = 10.0
LARGEST_BYTES = 1 << 30
"""Of resident memory."""
RATE_HZ = 16000
"""What `opus` takes, too."""
ODD = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 24)


@dataclass(frozen=True)
class Read:
    """What became of one file."""

    seed: int
    what: str
    """Its format and what was done to it."""
    outcome: str
    """"read", "refused" in one line with exit code 3, or what else happened, which is a fault."""
    seconds: float
    resident_bytes: int
    """The most memory that the process had while it read."""

    @property
    def fault(self) -> bool:
        """Whether it was anything but an answer, soon, in little memory."""
        greedy = self.resident_bytes >= LARGEST_BYTES
        return self.outcome not in ("read", "refused") or self.seconds > SLOWEST_S or greedy


def read_all(seeds: Iterable[int], workers: int = 2) -> Iterator[Read]:
    """Make and read the files of these seeds, in worker processes (two or more: one would be this process)."""
    numbers = list(seeds)
    with contextlib.closing(run_workers(prepare, (), numbers, workers, lambda task, share: None)) as reports:
        for report in reports:
            seed = numbers[report.task]
            if report.died is None:
                yield report.result
            else:
                yield Read(seed, damaged(seed)[1], f"the decoder died with {report.died}", 0.0, 0)


def prepare() -> Callable[[int, Any], Read]:
    """A worker that makes and reads the file of a seed."""
    place = Path(tempfile.mkdtemp())

    def do(seed: int, on_share: Any) -> Read:
        data, what = damaged(seed)
        path = place / "x.dat"
        path.write_bytes(data)
        _forget_peak()
        faulthandler.dump_traceback_later(2 * SLOWEST_S, exit=True)
        started = time.perf_counter()
        try:
            _read(path)
            outcome = "read"
        except AudioLMError as error:
            text = str(error)
            fine = error.exit_code == 3 and "\n" not in text and len(text) < 2000
            outcome = "refused" if fine else f"exit {error.exit_code}: {text[:100]}"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"[:200]
        seconds = time.perf_counter() - started
        faulthandler.cancel_dump_traceback_later()
        path.unlink()
        return Read(seed, what, outcome, seconds, _peak_bytes())

    return do


def _read(path: Path) -> None:
    """Both passes of `tokenize` over a file."""
    found = scan(path, 1)
    with open_stream(path, through_ffmpeg=found.through_ffmpeg) as stream:
        count = 0
        for block in resample_blocks((found.mix(block) for block in stream.blocks), stream.sample_rate_hz, 32000):
            assert block.dtype == np.float32 and len(block) == 1 and np.isfinite(block).all()
            count += block.shape[1]
    assert abs(count - found.num_samples * 32000 / found.sample_rate_hz) <= 2


def damaged(seed: int) -> tuple[bytes, str]:
    """A file, and in words its format and what was done to it."""
    rng = random.Random(seed)
    whole = originals()
    names = sorted(whole)
    container = rng.choice(sorted(FORMATS))
    name = rng.choice([name for name in names if name.startswith(f"{container} ")])
    data, told = bytearray(whole[name]), []
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if not data:
            break
        change = rng.choice(CHANGES)
        at = rng.randrange(min(len(data), rng.choice((64, 512, len(data)))))
        change(rng, data, at)
        told.append(f"{change.__name__[1:]} at {at}")
    return bytes(data), f"{name}: {', '.join(told)}"


@functools.cache
def originals() -> dict[str, bytes]:
    """Short whole files of every format that is read, by name; the same bytes each time."""
    made = {}
    time_s = np.arange(RATE_HZ // 4) / RATE_HZ
    sound = 0.5 * np.sin(2 * np.pi * 440 * time_s) + 0.01 * np.random.default_rng(0).standard_normal(len(time_s))
    for container, subtypes in FORMATS.items():
        for subtype in subtypes:
            for channels in (1, 2):
                file = io.BytesIO()
                samples = np.repeat(sound[:, None], channels, axis=1)
                try:
                    with soundfile.SoundFile(file, "w", RATE_HZ, channels, subtype, format=container) as out:
                        with contextlib.suppress(soundfile.SoundFileError):  # some formats have no tags
                            out.title, out.comment = "a title", "a comment"
                        out.write(samples)
                except soundfile.LibsndfileError:  # some encodings are of one channel
                    continue
                made[f"{container} {subtype} {channels}"] = file.getvalue()
    tag = b"ID3\x04\x00\x00\x00\x00\x00\x0aTIT2" + bytes(6)
    made["MP3 tagged"] = tag + made["MP3 MPEG_LAYER_III 1"]
    before, _, sound = made["WAV PCM_16 1"].partition(b"data")
    made["WAV open"] = before + b"data" + b"\xff" * 4 + sound[4:]
    return made


def _flip(rng: random.Random, data: bytearray, at: int) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _cut(rng: random.Random, data: bytearray, at: int) -> None:
    del data[at:]


def _cut_late(rng: random.Random, data: bytearray, at: int) -> None:
    del data[rng.randrange(len(data)) :]


def _drop(rng: random.Random, data: bytearray, at: int) -> None:
    del data[at : at + rng.choice((1, 2, 4, 7, 100))]


def _insert(rng: random.Random, data: bytearray, at: int) -> None:
    data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 7, 100)))


def _overwrite(rng: random.Random, data: bytearray, at: int) -> None:
    noise = rng.randbytes(rng.choice((1, 2, 4, 16, 200)))
    data[at : at + len(noise)] = noise


def _number(rng: random.Random, data: bytearray, at: int) -> None:
    """A size, count or rate that is odd, of any width and byte order."""
    kind = rng.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    bits = 8 * struct.calcsize(kind)
    value = rng.choice(ODD) if rng.random() < 0.8 else rng.getrandbits(bits)
    data[at : at + bits // 8] = struct.pack(kind, value % (1 << bits))


def _repeat(rng: random.Random, data: bytearray, at: int) -> None:
    data[at:at] = data[at : at + rng.choice((4, 12, 64, 1000))] * rng.choice((1, 2, 50))


def _zeros(rng: random.Random, data: bytearray, at: int) -> None:
    size = len(data[at : at + rng.choice((2, 8, 64, 1000))])
    data[at : at + size] = bytes(size)


def _graft(rng: random.Random, data: bytearray, at: int) -> None:
    """The rest of some other file."""
    other = originals()[rng.choice(sorted(originals()))]
    data[at:] = other[rng.randrange(len(other)) :]


CHANGES: tuple[Callable[[random.Random, bytearray, int], None], ...] = (
    *(_flip, _flip, _cut, _cut_late, _drop, _insert, _overwrite, _overwrite, _number, _number, _number),
    *(_repeat, _zeros, _graft),
)


def _forget_peak() -> None:
    """Let the kernel measure the peak of resident memory anew, where it can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    """The peak of resident memory since then."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        if os.name == "nt":
            return 0
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
