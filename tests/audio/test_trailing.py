"""What lies behind the samples of a file and is none of them: no damage, no sound, and no cover for real damage."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiolm_cli.audio import read_audio, scan
from audiolm_cli.audio.trailing import find_mpeg_end, find_sound_end, holds_mpeg_audio
from audiolm_cli.data.files import open_audio, read_mono_clip
from audiolm_cli.errors import AudioInputError

RATE_HZ = 48_000
KINDS = [
    *(("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("WAV", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "PCM_16")),
    *(("CAF", "PCM_16"), ("W64", "PCM_16"), ("RF64", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")),
    ("MP3", "MPEG_LAYER_III"),
]


def ape_tag(size: int) -> bytes:
    """An APE tag with a head, a foot, and something between them."""
    ends = [b"APETAGEX" + struct.pack("<4I", 2000, size + 32, 1, flags) + bytes(8) for flags in (5 << 29, 4 << 29)]
    return (b"\x01" * size).join(ends)


ID3V1 = b"TAG" + b"title".ljust(125, b"\0")
TAILS = {
    "an ID3 tag": ID3V1,
    "an APE tag": ape_tag(500),
    "a large APE tag and an ID3 tag": ape_tag(60_000) + ID3V1,
    "zeros": bytes(4096),
    "many zeros": bytes(1 << 20),
    "lyrics": b"LYRICSBEGIN" + b"IND0000200" + b"000021LYRICS200" + ID3V1,
    "old lyrics": b"LYRICSBEGINla la la" + b"LYRICSEND" + ID3V1,
    "an ID3 tag of version 2.4": b"ID3\x04\0\x10\0\0\0\x0a" + bytes(10) + b"3DI\x04\0\x10\0\0\0\x0a",
    "text": b"made by a program\r\n" * 9,
    "noise": np.random.default_rng(0).bytes(3000),
}


def write(path: Path, format: str, subtype: str) -> Path:
    """A second of a sine."""
    soundfile.write(path, 0.3 * np.sin(np.arange(RATE_HZ) / 30), RATE_HZ, subtype, format=format)
    return path


@pytest.mark.parametrize(("format", "subtype"), KINDS)
def test_foreign_bytes_behind_are_no_damage(tmp_path: Path, format: str, subtype: str) -> None:
    """Nor are they sound."""
    path = write(tmp_path / "a", format, subtype)
    whole, wanted = path.read_bytes(), read_audio(path).samples
    for kind, tail in TAILS.items():
        path.write_bytes(whole + tail)
        np.testing.assert_array_equal(read_audio(path).samples, wanted, err_msg=kind)
        assert scan(path, 1).num_samples == len(wanted)


@pytest.mark.parametrize(("format", "subtype"), [kind for kind in KINDS if kind[0] not in ("OGG", "MP3")])
def test_foreign_bytes_cover_no_damage(tmp_path: Path, format: str, subtype: str) -> None:
    """A file that was cut off is found out, whatever was put behind it, if that is not as long as what is missing."""
    path = write(tmp_path / "a", format, subtype)
    half = path.read_bytes()[: path.stat().st_size // 2]
    for kind in ("an ID3 tag", "an APE tag", "zeros"):
        path.write_bytes(half + TAILS[kind])
        with pytest.raises(AudioInputError, match=r"truncated|damaged"):
            read_audio(path)


def test_tags_behind_a_flac_of_unknown_length(tmp_path: Path) -> None:
    """They alone say where it ends."""
    path = write(tmp_path / "a.flac", "FLAC", "PCM_16")
    wanted = read_audio(path).samples
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    for kind in ("an ID3 tag", "an APE tag", "a large APE tag and an ID3 tag", "lyrics"):
        path.write_bytes(bytes(data) + TAILS[kind])
        np.testing.assert_array_equal(read_audio(path).samples, wanted)


def test_zeros_behind_an_mp3_without_a_length(tmp_path: Path) -> None:
    """Frames of silence end in zeros too, and are kept."""
    samples = np.concatenate([0.3 * np.sin(np.arange(RATE_HZ) / 30), np.zeros(RATE_HZ)])
    soundfile.write(tmp_path / "a", samples, RATE_HZ, "MPEG_LAYER_III", format="MP3")
    data = (tmp_path / "a").read_bytes()
    data = data[data.index(b"\xff\xfb", 4) :]  # without the frame that says how long it is
    (tmp_path / "b").write_bytes(data)
    (tmp_path / "c").write_bytes(data + bytes(100_000))
    with (tmp_path / "c").open("rb") as stream:
        assert find_sound_end(stream) <= find_mpeg_end(stream) == len(data)
        assert holds_mpeg_audio(stream, 0) and not holds_mpeg_audio(stream, len(data) - 10)
    np.testing.assert_array_equal(read_audio(tmp_path / "c").samples, read_audio(tmp_path / "b").samples)


def test_clips_at_the_end_of_a_flac_with_a_tag(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", "FLAC", "PCM_16")
    path.write_bytes(path.read_bytes() + ID3V1)
    clip = read_mono_clip(open_audio(path), 0.5, RATE_HZ // 2, RATE_HZ)
    np.testing.assert_array_equal(clip, read_audio(path).wav()[0, RATE_HZ // 2 :])
