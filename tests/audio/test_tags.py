"""Titles in every alphabet: read whatever they are encoded in, and written so that other programs read them right."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audiolm_cli.audio import AudioSpec, read_audio, write_blocks, write_growing
from audiolm_cli.audio.id3 import decode_text, make_id3, parse_id3

RATE_HZ = 44100
TITLE = "Für Élise"
FOREIGN = "エリーゼのために / Für die 🎹 / Ελίζα"
TAGS = {
    "title": FOREIGN,
    "artist": "Ludwig van Beethoven",
    "album": "Bagatellen, 1. Teil: „Elise“",
    "tracknumber": "3/9",
    "date": "1810-04-27",
    "genre": "Klassik",
    "comment": '{"seed": 7, "text": "ö"}',
    "copyright": "gemeinfrei ©",
    "license": "CC0",
}
KINDS = {
    "x.wav": ("WAV", "PCM_16"),
    "x.rf64": ("RF64", "PCM_16"),
    "x.flac": ("FLAC", "PCM_16"),
    "x.aiff": ("AIFF", "PCM_16"),
    "x.caf": ("CAF", "PCM_16"),
    "x.ogg": ("OGG", "VORBIS"),
    "o.ogg": ("OGG", "OPUS"),
    "x.mp3": ("MP3", "MPEG_LAYER_III"),
}
needs_ffprobe = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="asks ffprobe")


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests write many files; none must survive a power cut."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def save(path: Path, tags: dict[str, str], num_samples: int = 4801) -> Path:
    """Noise in one channel, with tags."""
    format, subtype = KINDS[path.name]
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (num_samples, 1)).astype(np.float32)
    rate_hz = 48000 if subtype == "OPUS" else RATE_HZ
    spec = AudioSpec(shape=noise.shape, sample_rate_hz=rate_hz, format=format, subtype=subtype, tags=tags)
    write_blocks(path, iter([noise]), spec, force=True)
    return path


def chunk(name: bytes, content: bytes, order: str = "<") -> bytes:
    return name + struct.pack(f"{order}I", len(content)) + content + bytes(len(content) % 2)


def wav(path: Path, *chunks: bytes, behind: bytes = b"") -> Path:
    """A 16-bit WAV with these chunks in front of its samples, and behind them."""
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16))
    body = b"WAVE" + form + b"".join(chunks) + chunk(b"data", bytes(2000)) + behind
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def info(**texts: bytes) -> bytes:
    """A chunk of tags."""
    return chunk(b"LIST", b"INFO" + b"".join(chunk(name.encode(), text) for name, text in texts.items()))


def id3(version: int, *frames: tuple[str, bytes], flags: int = 0) -> bytes:
    """An ID3 2 tag."""
    body = b""
    for name, content in frames:
        size = len(content)
        synchsafe = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
        field = size.to_bytes(3, "big") if version == 2 else synchsafe if version == 4 else size.to_bytes(4, "big")
        body += name.encode() + field + (b"" if version == 2 else bytes(2)) + content
    if flags & 0x80:
        body = body.replace(b"\xff", b"\xff\0")
    return b"ID3" + bytes([version, 0, flags]) + bytes(len(body) >> s & 0x7F for s in (21, 14, 7, 0)) + body


@pytest.mark.parametrize("name", KINDS)
def test_tags_come_back(tmp_path: Path, name: str) -> None:
    """All that a format has a place for, in any alphabet."""
    got = read_audio(save(tmp_path / name, TAGS))
    lost = {"license"} if name in ("x.wav", "x.rf64") else set()
    assert {key: got.tags.get(key) for key in TAGS} == TAGS | dict.fromkeys(lost)
    assert got.num_samples == 4801


@pytest.mark.parametrize("name", KINDS)
def test_text_that_is_none(tmp_path: Path, name: str) -> None:
    """As UTF-16 that was read a byte too late gives it; in a FLAC, it ended the program."""
    got = read_audio(save(tmp_path / name, {"title": "A\uffff", "album": "\ufffe", "artist": "B"}))
    assert got.tags["title"] == "A\ufffd" and got.tags["artist"] == "B"


@needs_ffprobe
@pytest.mark.parametrize("name", KINDS)
def test_another_program_reads_them(tmp_path: Path, name: str) -> None:
    """As ffprobe shows them, letter for letter."""
    save(tmp_path / name, TAGS)
    command = ["ffprobe", "-v", "error", "-show_entries", "format_tags:stream_tags", "-of", "json"]
    shown = json.loads(subprocess.run([*command, tmp_path / name], check=True, capture_output=True).stdout)
    tags = {
        key.lower(): text
        for part in (*shown.get("streams", []), shown.get("format", {}))
        for key, text in part.get("tags", {}).items()
    }
    other_names = {"track": "tracknumber", "author": "artist", "year": "date"}
    tags = {other_names.get(key, key): text for key, text in tags.items()}
    lost = {"x.wav": {"license"}, "x.rf64": {"license"}}.get(name, set())
    assert {key: tags.get(key) for key in TAGS} == TAGS | dict.fromkeys(lost)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (TITLE.encode(), TITLE),
        (TITLE.encode("cp1252"), TITLE),
        (TITLE.encode("utf-8-sig"), TITLE),
        ("„Elise“ 5 €".encode("cp1252"), "„Elise“ 5 €"),
        (b"\x81 undefined", "\x81 undefined"),
        (FOREIGN.encode(), FOREIGN),
        (b"until here\0not this", "until here"),
        (b"", ""),
    ],
)
def test_text_without_an_encoding(data: bytes, text: str) -> None:
    assert decode_text(data) == text


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_the_tags_of_a_wav_are_utf8_or_western(tmp_path: Path, encoding: str) -> None:
    """In front of the samples or behind them, padded or not, with the number of a track in either of its chunks."""
    texts = {"INAM": TITLE.encode(encoding) + b"\0", "IART": "Björk".encode(encoding), "IPRT": b"7\0\0"}
    for path in (wav(tmp_path / "a.wav", info(**texts)), wav(tmp_path / "b.wav", behind=info(**texts))):
        assert read_audio(path).tags == {"title": TITLE, "artist": "Björk", "tracknumber": "7"}


def test_an_id3_chunk_counts_more(tmp_path: Path) -> None:
    """Taggers write it beside shorter tags that older programs read."""
    tag = make_id3({"title": FOREIGN, "album": "ganz"})
    for name in (b"id3 ", b"ID3 "):
        path = wav(tmp_path / "a.wav", info(INAM=b"????"), behind=chunk(name, tag))
        assert read_audio(path).tags == {"title": FOREIGN, "album": "ganz"}


def test_the_tags_of_an_aiff(tmp_path: Path) -> None:
    """Its own chunks in a Western code page, and the ID3 chunk of other programs."""
    soundfile.write(tmp_path / "a.aiff", np.zeros(1000), RATE_HZ, "PCM_16")
    data = (tmp_path / "a.aiff").read_bytes()
    more = chunk(b"NAME", TITLE.encode("cp1252"), ">") + chunk(b"(c) ", b"ich\0", ">")
    for addition, tags in ((more, {"title": TITLE, "copyright": "ich"}), (chunk(b"ID3 ", make_id3(TAGS), ">"), TAGS)):
        body = data[8:] + addition
        (tmp_path / "b.aiff").write_bytes(b"FORM" + struct.pack(">I", len(body)) + body)
        assert read_audio(tmp_path / "b.aiff").tags == tags


UTF16 = b"\x01" + TITLE.encode("utf-16")


@pytest.mark.parametrize(
    "tag",
    [
        id3(2, ("TT2", b"\0" + TITLE.encode("latin-1"))),
        id3(2, ("TT2", UTF16)),
        id3(3, ("TPE2", b"\0someone"), ("TIT2", b"\0" + TITLE.encode("latin-1") + b"\0")),
        id3(3, ("TIT2", b"\0" + TITLE.encode())),  # as audiolm itself once wrote
        id3(3, ("TIT2", UTF16 + bytes(2)), ("APIC", bytes(5000))),
        id3(3, ("APIC", bytes(5000)), ("TIT2", UTF16), flags=0x80),
        id3(4, ("TIT2", b"\x02" + TITLE.encode("utf-16-be"))),
        id3(4, ("TIT2", b"\x03" + TITLE.encode() + b"\0")),
        id3(4, ("COMM", b"\x03eng\0"), ("TIT2", b"\x03" + TITLE.encode())),
        id3(4, ("TXXX", b"\x03mood\0sad"), ("COMM", b"\x03engdescribed\0no"), ("TIT2", b"\x03" + TITLE.encode())),
    ],
)
def test_the_tags_of_an_mp3(tmp_path: Path, tag: bytes) -> None:
    """Of every version of ID3 and in every encoding that it has."""
    assert parse_id3(tag) == {"title": TITLE}
    sound = save(tmp_path / "x.mp3", {}).read_bytes()
    (tmp_path / "y.mp3").write_bytes(tag + sound)
    assert read_audio(tmp_path / "y.mp3").tags["title"] == TITLE


def test_the_old_tag_of_an_mp3(tmp_path: Path) -> None:
    """128 bytes behind the sound, when there is nothing better."""
    old = b"TAG" + struct.pack("30s30s30s4s28sxBB", TITLE.encode("cp1252"), b"Bj\xf6rk   ", b"", b"1810", b"gut", 7, 32)
    sound = save(tmp_path / "x.mp3", {}).read_bytes()
    (tmp_path / "y.mp3").write_bytes(sound + old)
    expected = {"title": TITLE, "artist": "Björk", "date": "1810", "comment": "gut", "tracknumber": "7"}
    assert read_audio(tmp_path / "y.mp3").tags.items() >= expected.items()
    (tmp_path / "y.mp3").write_bytes(make_id3({"title": FOREIGN}) + sound + old)
    assert read_audio(tmp_path / "y.mp3").tags.items() >= (expected | {"title": FOREIGN}).items()


def ape(**texts: str) -> bytes:
    """An APE tag with a header, as it stands behind the sound."""
    items = b"".join(
        struct.pack("<II", len(text.encode()), 0) + name.encode() + b"\0" + text.encode()
        for name, text in texts.items()
    )
    head, foot = (
        struct.pack("<8sIIII8x", b"APETAGEX", 2000, len(items) + 32, len(texts), flags)
        for flags in (0xA << 28, 1 << 31)
    )
    return head + items + foot


@pytest.mark.parametrize("name", ["x.mp3", "x.flac"])
def test_tags_around_the_sound(tmp_path: Path, name: str) -> None:
    """As of programs that put the tags of an MP3 on every file; a FLAC's own count more."""
    old = b"TAG" + b"cut sho".ljust(30, b"\0") + bytes(94) + b"\xff"
    behind = ape(TITLE=TITLE, Artist="A\0B", Year="1810", Nonsense="x")
    path = save(tmp_path / name, {})
    plain = path.read_bytes()
    wanted = {"title": TITLE, "artist": "A; B", "date": "1810"}

    for sound in (plain + behind, plain + behind + old):
        path.write_bytes(sound)
        assert read_audio(path).tags == wanted
    for cut in range(1, len(behind), 7):  # of a broken tag no more than of none
        path.write_bytes(plain + behind[cut:])
        assert read_audio(path).tags.keys() <= wanted.keys()

    path.write_bytes(id3(4, ("TIT2", b"\x03" + FOREIGN.encode())) + plain + old)
    assert read_audio(path).tags == {"title": FOREIGN}
    path = save(path, {"title": "own"})
    path.write_bytes(path.read_bytes() + behind)
    assert read_audio(path).tags == wanted | {"title": "own"}


def test_several_texts_of_a_frame() -> None:
    assert parse_id3(id3(4, ("TPE1", b"\x03A\0B"), ("TIT2", b"\x03C"))) == {"artist": "A; B", "title": "C"}
    twice = b"\x01" + "A".encode("utf-16") + bytes(2) + "B".encode("utf-16")
    assert parse_id3(id3(3, ("TPE1", twice))) == {"artist": "A; B"}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200), version=st.integers(0, 6), cut=st.integers(0, 400))
def test_any_bytes_are_tags_or_none(data: bytes, version: int, cut: int) -> None:
    """A tag that is cut or forged gives what is whole in it."""
    forged = b"ID3" + bytes([version, 0, data[0] if data else 0, 0, 0, 1, 0x48]) + b"TIT2" + data
    assert all(isinstance(text, str) and text for text in parse_id3(forged[:cut]).values())
    whole = make_id3(TAGS)[:cut]
    assert all(TAGS[key].startswith(text) or "\ufffd" in text for key, text in parse_id3(whole).items())


def test_the_tags_of_a_flac_that_are_not_utf8(tmp_path: Path) -> None:
    """Which its format does not allow, and some taggers write."""
    path = save(tmp_path / "x.flac", {"title": "F?r ?lise"})
    path.write_bytes(path.read_bytes().replace(b"F?r ?lise", TITLE.encode("cp1252")))
    assert read_audio(path).tags["title"] == TITLE


def test_tags_while_a_wav_grows(tmp_path: Path) -> None:
    spec = AudioSpec(shape=(10, 1), sample_rate_hz=RATE_HZ, format="WAV", subtype="PCM_16", tags=TAGS)
    write_growing(tmp_path / "x.wav", iter([np.zeros((10, 1), np.int32)]), spec, force=False)
    assert read_audio(tmp_path / "x.wav").tags["title"] == FOREIGN
