"""Audio files with all that sequencers, editors and taggers put into them, made byte by byte."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import numpy as np
import soundfile

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""A picture of one pixel."""
IXML = (
    "<BWFXML><SPEED><TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_HI>{0}</TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_HI>"
    "<TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_LO>{1}</TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_LO></SPEED>"
    "<NOTE>Für Élise</NOTE></BWFXML>"
)


def chunk(name: bytes, content: bytes, order: str = "<") -> bytes:
    """A chunk with its padding."""
    return name + struct.pack(f"{order}I", len(content)) + content + bytes(len(content) % 2)


def cue(*points: tuple[int, int]) -> bytes:
    """A cue chunk of (id, sample) points."""
    body = b"".join(struct.pack("<II4sIII", id_, at, b"data", 0, 0, at) for id_, at in points)
    return chunk(b"cue ", struct.pack("<I", len(points)) + body)


def adtl(names: dict[int, str], lengths: dict[int, int] | None = None) -> bytes:
    """The names of points, and the lengths of regions."""
    texts = [
        chunk(b"labl", struct.pack("<I", id_) + name.encode() + b"\0" * (1 + len(name.encode()) % 2))
        for id_, name in names.items()
    ]
    texts += [
        chunk(b"ltxt", struct.pack("<II4sHHHH", id_, length, b"rgn ", 0, 0, 0, 0))
        for id_, length in (lengths or {}).items()
    ]
    return chunk(b"LIST", b"adtl" + b"".join(texts))


def smpl(*loops: tuple[int, int, int], data: bytes = b"") -> bytes:
    """The loops (id, first sample, last sample) of a sampler, and what its maker put behind them."""
    body = b"".join(struct.pack("<IIIIII", id_, 0, first, last, 7, 3) for id_, first, last in loops)
    return chunk(b"smpl", struct.pack("<9I", 1, 2, 62500, 60, 5, 0, 0, len(loops), len(data)) + body + data)


def bext(origin: int) -> bytes:
    """What recorders write, with the place of the first sample in time."""
    texts = b"A take".ljust(256, b"\0") + b"recorder".ljust(32, b"\0") + bytes(32) + b"2026-01-0110:00:00"
    return chunk(b"bext", texts + struct.pack("<QH", origin, 2) + bytes(254) + b"A=PCM,F=16000,W=16,M=mono\r\n")


def ixml(origin: int) -> bytes:
    """The same as XML."""
    return chunk(b"iXML", IXML.format(origin >> 32, origin & 0xFFFFFFFF).encode())


def acid(beats: int, bpm: float, flags: int = 0) -> bytes:
    """What makers of loops write."""
    return chunk(b"acid", struct.pack("<IHHfIHHf", flags, 60, 0x8000, 0.0, beats, 4, 4, bpm))


def wav(
    path: Path, front: list[bytes], samples: np.ndarray, rate_hz: int, back: list[bytes], magic: str = "RIFF"
) -> Path:
    """A 16-bit WAV of int16 [N, C]; "fmt " in `front` stands for that chunk. `magic` may be RF64 or BW64."""
    C = samples.shape[1]
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, C, rate_hz, 2 * C * rate_hz, 2 * C, 16))
    parts = [form if part == b"fmt " else part for part in front]
    data = samples.astype("<i2").tobytes()
    sound = chunk(b"data", data) if magic == "RIFF" else b"data" + b"\xff" * 4 + data
    body = b"WAVE" + b"".join(parts) + sound + b"".join(back)
    if magic != "RIFF":
        size = chunk(b"ds64", struct.pack("<QQQI", len(body) + 36, len(data), len(samples), 0))
        path.write_bytes(magic.encode() + b"\xff" * 4 + b"WAVE" + size + body[4:])
        return path
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def aiff(path: Path, samples: np.ndarray, rate_hz: int, *chunks: bytes) -> Path:
    """A 16-bit AIFF of int16 [N, C] with these chunks behind its samples."""
    soundfile.write(path, samples, rate_hz, "PCM_16", format="AIFF")
    data = path.read_bytes() + b"".join(chunks)
    path.write_bytes(data[:4] + struct.pack(">I", len(data) - 8) + data[8:])
    return path


def mark(*marks: tuple[int, int, bytes]) -> bytes:
    """The markers (id, place, name) of an AIFF."""
    body = b"".join(
        struct.pack(">HIB", id_, place, len(name)) + name + bytes((len(name) + 1) % 2) for id_, place, name in marks
    )
    return chunk(b"MARK", struct.pack(">H", len(marks)) + body, ">")


def inst(*loops: tuple[int, int, int]) -> bytes:
    """The two loops (how played, id, id) of an AIFF."""
    return chunk(b"INST", bytes(8) + b"".join(struct.pack(">HHH", *loop) for loop in loops), ">")


def chunks_of(path: Path) -> list[tuple[bytes, bytes]]:
    """Names and contents of the chunks of a WAV, RF64 or AIFF, in order, its samples left out."""
    data = path.read_bytes()
    order = ">" if data[:4] == b"FORM" else "<"
    found, position, wide = [], 12, 0
    while position + 8 <= len(data):
        name = data[position : position + 4]
        (size,) = struct.unpack_from(f"{order}I", data, position + 4)
        content = data[position + 8 : position + 8 + size]
        if name == b"ds64":
            (wide,) = struct.unpack_from("<Q", content, 8)
        size = wide if size == 2**32 - 1 else size
        found.append((name, b"" if name in (b"data", b"SSND") else content))
        position += 8 + size + size % 2
    return found
