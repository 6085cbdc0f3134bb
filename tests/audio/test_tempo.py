"""The tempo that files state: in the chunks that sequencers write, and in the tags of every format."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiolm_cli.audio import read_audio
from audiolm_cli.audio.flac import write_flac_comment

RATE_HZ = 16000
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg writes the file")


def noise() -> np.ndarray:
    """A tenth of a second."""
    return np.random.default_rng(0).uniform(-0.5, 0.5, RATE_HZ // 10).astype(np.float32)


def wav_with(path: Path, *chunks: tuple[bytes, bytes]) -> Path:
    """A WAV with further chunks behind its samples."""
    soundfile.write(path, noise(), RATE_HZ, subtype="PCM_16")
    data = path.read_bytes()
    for name, content in chunks:
        data += name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    return path


def acid(bpm: float, beats: int = 4, note: int = 4, flags: int = 0) -> tuple[bytes, bytes]:
    """The chunk that ACID writes, and most programs after it."""
    return b"acid", struct.pack("<IHHfIHHf", flags, 60, 0x8000, 0.0, 16, note, beats, bpm)


@pytest.mark.parametrize("bpm", [20.0, 97.3, 120.0, 174.01, 400.0])
def test_the_tempo_of_an_acid_chunk(tmp_path: Path, bpm: float) -> None:
    """As it was typed: single precision makes 97.30000305 of 97.3, which would be a sample after 700 bars."""
    tempo = read_audio(wav_with(tmp_path / "x.wav", acid(bpm, 3, 4))).tempo
    assert tempo is not None and (tempo.bpm, tempo.meter, tempo.where) == (bpm, "3/4", "its acid chunk")
    assert struct.unpack("<f", struct.pack("<f", bpm))[0] != bpm or bpm == round(bpm)


@pytest.mark.parametrize(
    ("chunk", "meter"),
    [(acid(0.0), None), (acid(float("nan")), None), (acid(120.0, flags=1), None), ((b"acid", b"short"), None)],
)
def test_chunks_that_state_none(tmp_path: Path, chunk: tuple[bytes, bytes], meter: None) -> None:
    """No tempo, a sound that is struck once, and half a chunk; the samples are read all the same."""
    recording = read_audio(wav_with(tmp_path / "x.wav", chunk))
    assert recording.tempo is meter and recording.num_samples == RATE_HZ // 10


def test_a_meter_that_is_none_is_left_out(tmp_path: Path) -> None:
    """Some programs write zeros there."""
    tempo = read_audio(wav_with(tmp_path / "x.wav", acid(120.0, 0, 0))).tempo
    assert tempo is not None and tempo.bpm == 120 and tempo.meter is None


def test_the_tempo_of_an_ixml_chunk(tmp_path: Path) -> None:
    """Which Broadcast WAVs carry; an acid chunk beside it, which has the meter as well, goes first."""
    text = b"<?xml version='1.0'?><BWFXML><BEXT/><ASWG><tempo>97.3</tempo></ASWG></BWFXML>"
    tempo = read_audio(wav_with(tmp_path / "x.wav", (b"iXML", text))).tempo
    assert tempo is not None and tempo.bpm == 97.3 and tempo.where == "its iXML chunk"
    both = read_audio(wav_with(tmp_path / "y.wav", (b"iXML", text), acid(96.0))).tempo
    assert both is not None and both.bpm == 96 and both.where == "its acid chunk"


def id3_tag(frame: bytes, text: bytes, version: int) -> bytes:
    """A tag with one frame of Latin-1 text."""
    content = b"\0" + text
    sizes = struct.pack(">I", len(content))
    body = frame + (sizes[1:] if version == 2 else sizes + b"\0\0") + content
    return b"ID3" + bytes([version, 0, 0, 0, 0, 0, len(body)]) + body


@pytest.mark.parametrize(("frame", "version"), [(b"TBP", 2), (b"TBPM", 3), (b"TBPM", 4)])
def test_the_tempo_of_an_id3_tag(tmp_path: Path, frame: bytes, version: int) -> None:
    """Of an MP3, of each version, and of a WAV."""
    tag = id3_tag(frame, b"128", version)
    path = tmp_path / "x.mp3"
    soundfile.write(path, noise(), RATE_HZ, format="MP3")
    path.write_bytes(tag + path.read_bytes())
    for found in (read_audio(path).tempo, read_audio(wav_with(tmp_path / "x.wav", (b"id3 ", tag))).tempo):
        assert found is not None and found.bpm == 128 and found.where == "its BPM tag" and found.meter is None


@pytest.mark.parametrize(("name", "text", "bpm"), [("BPM", "97.3", 97.3), ("bpm", "97,3 BPM", 97.3), ("TEMPO", "0", 0)])
def test_the_tempo_of_a_flac(tmp_path: Path, name: str, text: str, bpm: float) -> None:
    """A comment of any letters; a tempo of 0 is what programs write that know none."""
    path = tmp_path / "x.flac"
    soundfile.write(path, noise(), RATE_HZ)
    with path.open("r+b", buffering=0) as stream:
        write_flac_comment(stream, name, text)
    tempo = read_audio(path).tempo
    assert (tempo is None) if not bpm else (tempo is not None and tempo.bpm == bpm)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "codec", "key"),
    [
        ("x.ogg", "libvorbis", "BPM"),
        ("x.opus", "libopus", "BPM"),
        ("x.mp3", "libmp3lame", "TBPM"),
        ("x.mka", "flac", "BPM"),
        ("x.flac", "flac", "BPM"),
    ],
)
def test_the_tempo_that_another_program_wrote(tmp_path: Path, name: str, codec: str, key: str) -> None:
    """Tagged by ffmpeg, with a comment before it that fills several pages of an Ogg; what has none states none."""
    soundfile.write(tmp_path / "in.wav", noise(), 48000)
    command = ["ffmpeg", "-v", "error", "-y", "-i", tmp_path / "in.wav", "-c:a", codec, "-strict", "-2"]
    long = ["-metadata", f"comment={'x' * 90_000}"]
    subprocess.run([*command, *long, "-metadata", f"{key}=97.3", tmp_path / name], check=True)
    tempo = read_audio(tmp_path / name).tempo
    assert tempo is not None and tempo.bpm == 97.3
    subprocess.run([*command, *long, tmp_path / name], check=True)
    assert read_audio(tmp_path / name).tempo is None


def test_half_an_ogg(tmp_path: Path) -> None:
    """Comments that break off anywhere are no error of theirs: the file is refused for what it is."""
    from audiolm_cli.audio.ogg import read_ogg_comments

    path = tmp_path / "x.ogg"
    soundfile.write(path, noise(), RATE_HZ)
    data = path.read_bytes()
    for size in range(0, 4200, 7):
        path.write_bytes(data[:size])
        with path.open("rb") as stream:
            assert read_ogg_comments(stream).keys() <= {"ENCODER"}
