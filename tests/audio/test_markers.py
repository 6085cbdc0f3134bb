"""The markers, regions and loops of a WAV, as files of other programs hold them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audiolm_cli.audio import read_audio
from audiolm_cli.audio.markers import Marker

RATE_HZ = 16000


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk with its padding."""
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def cue(*points: tuple[int, int]) -> bytes:
    """A cue chunk of (id, sample) points."""
    body = b"".join(struct.pack("<II4sIII", id_, at, b"data", 0, 0, at) for id_, at in points)
    return chunk(b"cue ", struct.pack("<I", len(points)) + body)


def labl(id_: int, text: bytes) -> bytes:
    """The name of a point."""
    return chunk(b"labl", struct.pack("<I", id_) + text + b"\0")


def ltxt(id_: int, length: int, text: bytes = b"") -> bytes:
    """The length of a region."""
    return chunk(b"ltxt", struct.pack("<II4sHHHH", id_, length, b"rgn ", 0, 0, 0, 0) + text)


def smpl(*loops: tuple[int, int, int]) -> bytes:
    """The loops (id, first sample, last sample) of a sampler."""
    body = b"".join(struct.pack("<IIIIII", id_, 0, first, last, 0, 0) for id_, first, last in loops)
    return chunk(b"smpl", struct.pack("<9I", 0, 0, 62500, 60, 0, 0, 0, len(loops), 0) + body)


def wav(path: Path, *chunks: bytes) -> Path:
    """A second of a WAV with these chunks behind it."""
    soundfile.write(path, np.zeros(RATE_HZ), RATE_HZ, subtype="PCM_16")
    data = path.read_bytes() + b"".join(chunks)
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    return path


def test_markers_regions_and_loops(tmp_path: Path) -> None:
    """In order; names in any alphabet; a point without a name has its number."""
    adtl = chunk(b"LIST", b"adtl" + labl(7, "Strophe für Élise".encode()) + labl(2, b"caf\xe9") + ltxt(2, 4000))
    path = wav(tmp_path / "x.wav", cue((7, 8000), (2, 1000), (9, 12000)), adtl, smpl((9, 12000, 13999)))
    assert read_audio(path).markers == (
        Marker(name="café", start=1000, stop=5000),
        Marker(name="Strophe für Élise", start=8000),
        Marker(name="3", start=12000),
        Marker(name="loop 1", start=12000, stop=14000, loops=True),
    )


def test_a_list_in_front_of_its_points(tmp_path: Path) -> None:
    """Chunks come in any order; a region may have its name in its own text, and a loop that of its point."""
    adtl = chunk(b"LIST", b"adtl" + ltxt(1, 100, b"cough\0") + labl(5, b"sustain"))
    path = wav(tmp_path / "x.wav", adtl, cue((1, 50), (5, 200)), smpl((5, 200, 299)))
    region, point, loop = read_audio(path).markers
    assert (region.name, region.stop) == ("cough", 150)
    assert (point.name, point.stop) == ("sustain", None) and (loop.name, loop.stop) == ("sustain", 300)


def test_a_file_without_markers(tmp_path: Path) -> None:
    """Nor one of another format."""
    assert read_audio(wav(tmp_path / "x.wav")).markers == ()
    soundfile.write(tmp_path / "x.flac", np.zeros(100), RATE_HZ)
    assert read_audio(tmp_path / "x.flac").markers == ()


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from([b"cue ", b"LIST", b"smpl"]), content=st.binary(max_size=200))
def test_damaged_chunks(tmp_path_factory: pytest.TempPathFactory, name: bytes, content: bytes) -> None:
    """Whatever stands in them, the samples are read, and what is taken for a marker is one."""
    folder = tmp_path_factory.mktemp("damaged")
    for body in (content, b"adtl" + content, struct.pack("<I", 2**31) + content):
        recording = read_audio(wav(folder / "x.wav", chunk(name, body)))
        assert recording.num_samples == RATE_HZ
        assert all(marker.name and (marker.stop is None or marker.stop > marker.start) for marker in recording.markers)
