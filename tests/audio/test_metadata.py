"""What other programs have put into a file: read, moved with the samples, written, and read by other programs."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.image import imsave
from mutagen.flac import FLAC
from mutagen.flac import Picture as FlacPicture
from mutagen.id3 import APIC, CHAP, COMM, CTOC, GEOB, ID3, SYLT, TALB, TCOM, TIT2, TLEN, TXXX, CTOCFlags
from studio_files import PNG, acid, adtl, aiff, bext, chunk, chunks_of, cue, inst, ixml, mark, smpl, wav

from audiolm_cli.audio import AudioSpec, Recording, output_format, read_audio, write_blocks, write_growing
from audiolm_cli.audio.chunks import Chunk
from audiolm_cli.audio.markers import Marker
from audiolm_cli.audio.metadata import W64_MARKERS, Metadata, fit_metadata, list_unheld, move_metadata
from audiolm_cli.audio.moves import Moves

RATE_HZ = 16000
LENGTH = 8001
GAP = (2000, 4000, 2500)
"""Start, stop, and how many samples take their place."""
MOVES = Moves(
    kept=((0, GAP[0], 0), (GAP[1], LENGTH, GAP[0] + GAP[2])),
    begins_at=0,
    length=LENGTH + GAP[2] - GAP[1] + GAP[0],
    rate_hz=RATE_HZ,
    was_long=LENGTH,
)
SAME = Moves(kept=((0, LENGTH, 0),), begins_at=0, length=LENGTH, rate_hz=RATE_HZ, was_long=LENGTH)
COMMENT = '{"audiolm": "1", "command": "infill", "seed": 7}'
needs_ffprobe = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="asks ffprobe")


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests write many files; none must survive a power cut."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def noise(length: int = LENGTH, channels: int = 1) -> np.ndarray:
    """int16 [N, C]."""
    return np.random.default_rng(0).integers(-9000, 9000, (length, channels)).astype(np.int16)


def write(recording: Recording, path: Path, moves: Moves = SAME, *, grows: bool = False) -> list[str]:
    """A file made from a recording whose samples have moved; what is returned lay in what was replaced."""
    assert recording.metadata is not None
    format, subtype = output_format(path, recording)
    moved, gone = move_metadata(recording.metadata, moves)
    spec = AudioSpec(
        shape=(moves.length, recording.channels),
        sample_rate_hz=recording.sample_rate_hz,
        format=format,
        subtype=subtype,
        tags=recording.tags | {"comment": COMMENT},
        layout=recording.layout,
        metadata=fit_metadata(moved, format, moved.markers, recording.tempo, recording.sample_rate_hz),
    )
    samples = np.resize(recording.samples, (moves.length, recording.channels))
    blocks = iter([samples[:1000], samples[1000:]])
    (write_growing if grows else write_blocks)(path, blocks, spec, force=True)
    return gone


def ask_ffprobe(path: Path) -> dict[str, str]:
    """The tags that ffprobe shows, of a file about which it warns of nothing."""
    command = [
        "ffprobe",
        "-v",
        "warning",
        "-select_streams",
        "a",
        "-show_entries",
        "format_tags:stream_tags",
        "-of",
        "json",
        path,
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    # It says so of all that libsndfile writes, and of every WAV that has tags of two kinds.
    known = {".caf": "Estimating duration", ".w64": "Estimating duration", ".wav": "more suitable tags were found"}
    known[".rf64"] = known[".wav"]
    lines = done.stderr.splitlines()
    assert not lines or (len(lines) == 1 and known.get(path.suffix, "\n") in lines[0])
    shown = json.loads(done.stdout)
    parts = (*shown.get("streams", []), shown.get("format", {}))
    return {key.lower(): text for part in parts for key, text in part.get("tags", {}).items()}


def complaints(path: Path) -> list[str]:
    """What libsndfile says of a file, but of chunks whose names it does not know."""
    lines = soundfile.info(path, verbose=True).extra_info.splitlines()
    return [line for line in lines if "***" in line and "nknown" not in line]


POINTS = {1: ("Strophe", 100), 2: ("inside", 2500), 3: ("edge", 2000), 4: ("behind", 5000), 5: ("end", LENGTH)}
FRONT = [chunk(b"JUNK", bytes(28)), bext(160_000), b"fmt ", ixml(160_000), chunk(b"zzZZ", b"odd"), chunk(b"id4 ", b"")]
BACK = [
    cue(*((id_, at) for id_, (_, at) in POINTS.items()), (6, 1900), (7, 2100), (8, 3900)),
    adtl(
        {id_: name for id_, (name, _) in POINTS.items()} | {6: "over", 7: "gone", 8: "begins"}, {6: 50, 7: 99, 8: 200}
    ),
    smpl((1, 100, 400), (9, 2500, 6000), (10, 4000, 7999), data=b"own"),
    acid(16, 120.0),
    chunk(b"LIST", b"INFO" + chunk(b"INAM", b"T\xe9\0") + chunk(b"IENG", b"Eng\0")),
    chunk(b"ResU", bytes(range(77))),
]


@pytest.fixture(params=["RIFF", "RF64", "BW64"])
def studio(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A WAV of each kind with all that sequencers put into one."""
    back = BACK if request.param == "RIFF" else [part + bytes(0) for part in BACK]
    front = FRONT if request.param == "RIFF" else [b"fmt ", chunk(b"zzZZ", b"even")]  # libsndfile stops at odd ones
    return wav(tmp_path / "in.wav", front, noise(), RATE_HZ, back, request.param)


def test_markers_and_loops_move(studio: Path, tmp_path: Path) -> None:
    """Before a gap they stay, inside it they go, behind it they move; edges stay, and stretches keep what is left."""
    recording = read_audio(studio)
    assert len(recording.markers) == 11 and recording.tempo is not None
    gone = write(recording, tmp_path / "out.wav", MOVES)
    assert sorted(gone) == ["gone", "inside", "loop 2"]
    shift = GAP[2] - (GAP[1] - GAP[0])
    assert set(read_audio(tmp_path / "out.wav").markers) == {
        Marker(name="Strophe", start=100),
        Marker(name="Strophe", start=100, stop=401, loops=True),
        Marker(name="over", start=1900, stop=1950),
        Marker(name="edge", start=2000),
        Marker(name="begins", start=4000 + shift, stop=4100 + shift),
        Marker(name="loop 2", start=4000 + shift, stop=8000 + shift, loops=True),
        Marker(name="behind", start=5000 + shift),
        Marker(name="end", start=LENGTH + shift),
    }


def test_unknown_chunks_stay_byte_for_byte(tmp_path: Path) -> None:
    """In their places; where nothing moves, those that are known as well."""
    source = wav(tmp_path / "in.wav", FRONT, noise(), RATE_HZ, BACK)
    recording = read_audio(source)
    assert write(recording, tmp_path / "out.wav") == []
    own = (b"fmt ", b"data", b"LIST")
    old, new = ([pair for pair in chunks_of(path) if pair[0] not in own] for path in (source, tmp_path / "out.wav"))
    assert new == old and len(old) == 9
    names = [name for name, _ in chunks_of(tmp_path / "out.wav")]
    assert names[: names.index(b"data")] == [b"JUNK", b"bext", b"fmt ", b"iXML", b"zzZZ", b"id4 ", b"LIST"]

    texts = [content for name, content in chunks_of(tmp_path / "out.wav") if name == b"LIST"]
    assert len(texts) == 2 and any(b"IENG\x04\0\0\0Eng\0" in text for text in texts)
    assert read_audio(tmp_path / "out.wav").tags == {"title": "Té", "comment": COMMENT}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunks=st.lists(
        st.tuples(
            st.binary(min_size=4, max_size=4).map(lambda name: bytes(65 + b % 26 for b in name)), st.binary(max_size=99)
        ),
        max_size=6,
    ),
    behind=st.booleans(),
)
def test_any_chunks(tmp_path: Path, chunks: list[tuple[bytes, bytes]], behind: bool) -> None:
    """Whatever is in them, and wherever they are."""
    made = [chunk(name, content) for name, content in chunks]
    source = wav(tmp_path / "in.wav", [b"fmt ", *([] if behind else made)], noise(101), RATE_HZ, made if behind else [])
    recording = read_audio(source)
    moves = Moves(kept=((0, 101, 0),), begins_at=0, length=101, rate_hz=RATE_HZ, was_long=101)
    for name in ("out.wav", "out.rf64"):
        write(recording, tmp_path / name, moves)
        found = [pair for pair in chunks_of(tmp_path / name) if pair[0] not in (b"fmt ", b"data", b"LIST", b"ds64")]
        padded = [(own, content + bytes(len(content) % 2 if name == "out.rf64" else 0)) for own, content in chunks]
        assert found == padded
        np.testing.assert_array_equal(read_audio(tmp_path / name).samples, recording.samples)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([b"cue ", b"LIST", b"smpl", b"plst", b"acid", b"bext", b"iXML", b"id3 ", b"inst"]),
    content=st.binary(max_size=120),
    head=st.sampled_from([b"", b"adtl", b"INFO", b"ID3\x03\0\0\0\0\0\x50CHAP", b"\x02\0\0\0", bytes(36)]),
    suffix=st.sampled_from(["wav", "rf64", "aiff", "flac"]),
    in_front=st.booleans(),
)
def test_damaged_chunks_move(
    tmp_path: Path, name: bytes, content: bytes, head: bytes, suffix: str, in_front: bool
) -> None:
    """Whatever bytes stand in them, a file is written, and it is as long as it should be."""
    back = [chunk(name, head + content)]
    front = back if in_front and shutil.which("ffmpeg") else []  # libsndfile stumbles over some
    source = wav(tmp_path / "in.wav", [b"fmt ", *front], noise(), RATE_HZ, [] if front else back)
    recording = read_audio(source)
    write(recording, tmp_path / f"out.{suffix}", MOVES)
    assert read_audio(tmp_path / f"out.{suffix}").num_samples == MOVES.length
    if suffix == "wav":
        write(recording, tmp_path / "grown.wav", MOVES, grows=True)
        assert read_audio(tmp_path / "grown.wav").num_samples == MOVES.length


def test_the_moment_of_the_first_sample(tmp_path: Path) -> None:
    """A file that begins earlier or later says so, in both chunks; never before midnight."""
    recording = read_audio(wav(tmp_path / "in.wav", FRONT, noise(), RATE_HZ, BACK))
    for begins_at, expected in ((-8000, 152_000), (2**33, 2**33 + 160_000), (-200_000, 0), (0, 160_000)):
        moves = Moves(kept=SAME.kept, begins_at=begins_at, length=LENGTH, rate_hz=RATE_HZ, was_long=LENGTH)
        write(recording, tmp_path / "out.wav", moves)
        found = dict(chunks_of(tmp_path / "out.wav"))
        assert struct.unpack_from("<Q", found[b"bext"], 338) == (expected,)
        assert chunk(b"iXML", found[b"iXML"]) == ixml(expected)
        assert chunk(b"bext", found[b"bext"]) == bext(expected)


@pytest.mark.parametrize(("flags", "beats"), [(0, 32), (1, 16)])
def test_the_beats_of_a_loop(tmp_path: Path, flags: int, beats: int) -> None:
    """Programs stretch by them: twice the length has twice as many; a single hit has none."""
    source = wav(tmp_path / "in.wav", [b"fmt "], noise(8 * RATE_HZ), RATE_HZ, [acid(16, 120.0, flags)])
    moves = Moves(kept=((0, 8 * RATE_HZ, 0),), begins_at=0, length=16 * RATE_HZ, rate_hz=RATE_HZ, was_long=8 * RATE_HZ)
    write(read_audio(source), tmp_path / "out.wav", moves)
    found = dict(chunks_of(tmp_path / "out.wav"))
    assert chunk(b"acid", found[b"acid"]) == acid(beats, 120.0, flags)


def test_a_wav_that_grows_has_all_of_it(tmp_path: Path) -> None:
    """Byte for byte what it has when it is written at once, and also where its writing is broken off."""
    recording = read_audio(wav(tmp_path / "in.wav", FRONT, noise(), RATE_HZ, BACK))
    write(recording, tmp_path / "whole.wav", MOVES)
    write(recording, tmp_path / "grown.wav", MOVES, grows=True)
    assert (tmp_path / "grown.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()

    def fail() -> Iterator[np.ndarray]:
        yield recording.samples[:1001]
        raise KeyboardInterrupt

    spec = AudioSpec(
        shape=recording.samples.shape,
        sample_rate_hz=RATE_HZ,
        format="WAV",
        subtype="PCM_16",
        tags={},
        metadata=recording.metadata,
    )
    with pytest.raises(KeyboardInterrupt):
        write_growing(tmp_path / "stopped.wav", fail(), spec, force=True)
    stopped = read_audio(tmp_path / "stopped.wav")
    assert stopped.num_samples == 1001 and stopped.markers == recording.markers
    assert complaints(tmp_path / "stopped.wav") == []


def test_an_old_id3_chunk_does_not_hide_the_new_comment(tmp_path: Path) -> None:
    """It is read before the other tags; all else in it stays."""
    tag = tmp_path / "tag"
    frames = ID3()
    frames.add(COMM(encoding=1, lang="eng", desc="", text="old"))
    frames.add(TIT2(encoding=0, text="Title"))
    frames.add(APIC(encoding=3, mime="image/png", type=3, desc="Hülle", data=PNG))
    frames.add(GEOB(encoding=0, mime="x/y", filename="f", desc="d", data=b"own" * 99))
    for version in (3, 4):
        frames.save(tag, v2_version=version)
        source = wav(tmp_path / "in.wav", [b"fmt "], noise(), RATE_HZ, [chunk(b"id3 ", tag.read_bytes())])
        write(read_audio(source), tmp_path / "out.wav", MOVES)
        assert read_audio(tmp_path / "out.wav").tags["comment"] == COMMENT
        found = mutagen.File(tmp_path / "out.wav").tags
        assert [frame.text for frame in found.getall("COMM")] == [[COMMENT]] and found["TIT2"].text == ["Title"]
        assert found.getall("APIC")[0].data == PNG and found.getall("GEOB")[0].data == b"own" * 99


def tag_mp3(path: Path, version: int) -> Path:
    """An MP3 with a picture, chapters, and frames that say how long it is."""
    soundfile.write(path, noise() / 2**15, RATE_HZ, format="MP3")
    tag = ID3()
    tag.add(TIT2(encoding=3, text="Title"))
    tag.add(TALB(encoding=1, text="Für Élise"))
    tag.add(TCOM(encoding=3, text="L. v. B."))
    tag.add(TLEN(encoding=3, text="500"))
    tag.add(TXXX(encoding=3, desc="MOOD", text="sad"))
    tag.add(COMM(encoding=3, lang="eng", desc="", text="mine"))
    tag.add(COMM(encoding=3, lang="eng", desc="iTunSMPB", text=" 00000000 00000210"))
    tag.add(APIC(encoding=0, mime="image/png", type=3, desc="", data=PNG))
    for id_, start, end in (("a", 0, 100), ("b", 130, 240), ("c", 240, 500)):
        tag.add(CHAP(element_id=id_, start_time=start, end_time=end, sub_frames=[TIT2(encoding=3, text=id_)]))
    flags = CTOCFlags.TOP_LEVEL | CTOCFlags.ORDERED
    tag.add(CTOC(element_id="toc", flags=flags, child_element_ids=["a", "b", "c"], sub_frames=[]))
    tag.save(path, v2_version=version)
    return path


@pytest.mark.parametrize("version", [3, 4])
def test_an_mp3(tmp_path: Path, version: int) -> None:
    """Pictures and frames of every kind stay, chapters move, and what counted samples is gone."""
    recording = read_audio(tag_mp3(tmp_path / "in.mp3", version))
    assert write(recording, tmp_path / "out.mp3", MOVES) == ["chapter b"]
    tag = ID3(tmp_path / "out.mp3")
    assert (tag.version[1], tag["TIT2"].text, tag["TALB"].text) == (version, ["Title"], ["Für Élise"])
    assert tag["TCOM"].text == ["L. v. B."] and tag["TXXX:MOOD"].text == ["sad"] and tag.getall("APIC")[0].data == PNG
    assert [frame.text for frame in tag.getall("COMM")] == [[COMMENT]] and "TLEN" not in tag
    chapters = {frame.element_id: (frame.start_time, frame.end_time) for frame in tag.getall("CHAP")}
    assert chapters == {"a": (0, 100), "c": (281, 531)} and tag.getall("CTOC")[0].child_element_ids == ["a", "c"]
    assert complaints(tmp_path / "out.mp3") == []


def test_moments_in_a_tag(tmp_path: Path) -> None:
    """They stay where nothing moves. Where sound moves they are left out, which is no matter of markers in a gap."""
    soundfile.write(tmp_path / "in.mp3", noise() / 2**15, RATE_HZ, format="MP3")
    tag = ID3()
    tag.add(SYLT(encoding=3, lang="eng", format=2, type=1, desc="", text=[("la", 100), ("li", 300)]))
    tag.add(TIT2(encoding=3, text="Title"))
    tag.save(tmp_path / "in.mp3")
    recording = read_audio(tmp_path / "in.mp3")
    assert write(recording, tmp_path / "same.mp3") == []
    assert ID3(tmp_path / "same.mp3").getall("SYLT")[0].text == [("la", 100), ("li", 300)]
    assert write(recording, tmp_path / "moved.mp3", MOVES) == []
    assert "SYLT" not in str(ID3(tmp_path / "moved.mp3").keys())
    assert recording.metadata is not None and move_metadata(recording.metadata, MOVES)[0].left_out == ("SYLT",)


def tag_flac(path: Path) -> Path:
    """A FLAC with everything that taggers put into one."""
    soundfile.write(path, noise(), RATE_HZ, "PCM_16")
    file = FLAC(path)
    file["title"], file["artist"] = ["Title"], ["One", "Two"]
    file["bpm"], file["replaygain_track_gain"], file["comment"] = ["97.3"], ["-3.1 dB"], ["mine"]
    picture = FlacPicture()
    picture.data, picture.mime, picture.type, picture.desc = PNG, "image/png", 3, "Hülle"
    file.add_picture(picture)
    file.save()
    return path


def test_a_flac(tmp_path: Path) -> None:
    """All comments in their order, several of one name as well, pictures, and blocks of other programs."""
    source = tag_flac(tmp_path / "in.flac")
    data = source.read_bytes()
    source.write_bytes(data[:42] + b"\x02\0\0\x0aABCDunread" + data[42:])
    write(read_audio(source), tmp_path / "out.flac", MOVES)
    file = FLAC(tmp_path / "out.flac")
    assert (file["title"], file["artist"], file["bpm"]) == (["Title"], ["One", "Two"], ["97.3"])
    assert file["replaygain_track_gain"] == ["-3.1 dB"] and file["comment"] == [COMMENT]
    assert [(each.data, each.desc, each.type) for each in file.pictures] == [(PNG, "Hülle", 3)]
    assert [block.data for block in file.metadata_blocks if block.code == 2] == [b"ABCDunread"]
    np.testing.assert_array_equal(read_audio(tmp_path / "out.flac").samples[:LENGTH], read_audio(source).samples)
    assert complaints(tmp_path / "out.flac") == []


def test_the_cue_sheet_of_a_flac(tmp_path: Path) -> None:
    """Its tracks move, and it is of no disc any more."""
    source = tag_flac(tmp_path / "in.flac")
    tracks = [(0, 1), (2500, 2), (5000, 3), (LENGTH, 170)]
    body = b"".join(
        struct.pack(">QB12sB13xB", at, number, b"", 0, number != 170) + (bytes(12) if number != 170 else b"")
        for at, number in tracks
    )
    sheet = bytes(128) + struct.pack(">QB258xB", 0, 0x80, len(tracks)) + body
    data = source.read_bytes()
    source.write_bytes(data[:42] + b"\x05" + struct.pack(">I", len(sheet))[1:] + sheet + data[42:])
    assert write(read_audio(source), tmp_path / "out.flac", MOVES) == ["track 2"]
    found = FLAC(tmp_path / "out.flac").cuesheet
    assert [(track.track_number, track.start_offset) for track in found.tracks] == [
        (1, 0),
        (3, 5500),
        (170, MOVES.length),
    ]
    assert not found.compact_disc and len(found.tracks[0].indexes) == 1


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg(tmp_path: Path, subtype: str) -> None:
    """With a picture that needs several pages."""
    rate_hz = 48000
    soundfile.write(tmp_path / "in.ogg", noise(20_000) / 2**15, rate_hz, subtype, format="OGG")
    picture = FlacPicture()
    drawn = io.BytesIO()
    imsave(drawn, np.random.default_rng(1).uniform(0, 1, (200, 200, 3)), format="png")
    picture.data, picture.mime, picture.type = drawn.getvalue(), "image/png", 3
    assert len(picture.data) > 100_000
    file = mutagen.File(tmp_path / "in.ogg")
    file["artist"], file["isrc"], file["comment"] = ["One", "Two"], ["X1"], ["mine"]
    file["metadata_block_picture"] = [base64.b64encode(picture.write()).decode()]
    file.save()

    recording = read_audio(tmp_path / "in.ogg")
    assert recording.metadata is not None
    spec = AudioSpec(
        shape=recording.samples.shape,
        sample_rate_hz=rate_hz,
        format="OGG",
        subtype=subtype,
        tags=recording.tags | {"comment": COMMENT},
        metadata=recording.metadata,
    )
    write_blocks(tmp_path / "out.ogg", iter([recording.samples]), spec, force=True)
    write_blocks(tmp_path / "again.ogg", iter([recording.samples]), spec, force=True)
    assert (tmp_path / "out.ogg").read_bytes() == (tmp_path / "again.ogg").read_bytes()
    found = mutagen.File(tmp_path / "out.ogg")
    assert (found["artist"], found["isrc"], found["comment"]) == (["One", "Two"], ["X1"], [COMMENT])
    assert FlacPicture(base64.b64decode(found["metadata_block_picture"][0])).data == picture.data
    assert read_audio(tmp_path / "out.ogg").num_samples == recording.num_samples
    if shutil.which("ffprobe"):
        ask_ffprobe(tmp_path / "out.ogg")


def test_an_aiff(tmp_path: Path) -> None:
    """Its markers and loops are read and move, and its other chunks stay."""
    marks = mark((1, 100, b"start"), (2, 2500, b"inside"), (3, 5000, b"behind"), (4, 8000, b"stop"))
    others = [chunk(b"APPL", b"xxxxown", ">"), chunk(b"AESD", bytes(range(24)), ">")]
    source = aiff(tmp_path / "in.aiff", noise(), RATE_HZ, marks, inst((1, 1, 4), (1, 2, 3)), *others)
    recording = read_audio(source)
    assert recording.markers == (
        Marker(name="start", start=100),
        Marker(name="start", start=100, stop=8000, loops=True),
        Marker(name="inside", start=2500),
        Marker(name="inside", start=2500, stop=5000, loops=True),
    )
    assert write(recording, tmp_path / "out.aiff", MOVES) == ["inside"]
    found = chunks_of(tmp_path / "out.aiff")
    assert [chunk(name, content, ">") for name, content in found if name in (b"APPL", b"AESD")] == others
    assert chunk(b"MARK", dict(found)[b"MARK"], ">") == mark(
        (1, 100, b"start"), (3, 5500, b"behind"), (4, 8500, b"stop")
    )
    assert chunk(b"INST", dict(found)[b"INST"], ">") == inst((1, 1, 4), (0, 0, 0))
    assert read_audio(tmp_path / "out.aiff").num_samples == MOVES.length and complaints(tmp_path / "out.aiff") == []


def test_a_caf(tmp_path: Path) -> None:
    """Markers move, text and other chunks stay."""
    path = tmp_path / "in.caf"
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, "PCM_16", format="CAF") as file:
        file.title = "Title"
        file.write(noise())
    places = (100, 2500, 5000)
    marks = struct.pack(">II", 0, len(places)) + b"".join(
        struct.pack(">IdI8sI", 0, place, number, b"\xff" * 8, 0) for number, place in enumerate(places, start=1)
    )
    for name, content in ((b"mark", marks), (b"uuid", bytes(range(30)))):
        path.write_bytes(path.read_bytes() + name + struct.pack(">Q", len(content)) + content)

    assert write(read_audio(path), tmp_path / "out.caf", MOVES) == ["marker 2"]
    got = read_audio(tmp_path / "out.caf")
    assert got.tags == {"title": "Title", "comment": COMMENT} and got.num_samples == MOVES.length
    assert got.metadata is not None
    found = {each.name: each.content for each in got.metadata.chunks}
    assert found[b"uuid"] == bytes(range(30))
    assert [struct.unpack_from(">d", found[b"mark"], 12 + 28 * number)[0] for number in (0, 1)] == [100, 5500]

    # Its markers are not read, so that no other format gets them.
    assert list_unheld(got.metadata, "WAV", ()) == ["mark", "uuid"]
    moved, gone = move_metadata(replace(got.metadata, chunks=(Chunk(b"regn", b"x"),)), MOVES)
    assert moved.left_out == ("the regions of a CAF",) and (moved.chunks, gone) == ((), [])


def test_a_w64_and_an_au(tmp_path: Path) -> None:
    """Chunks with names of any bytes, and a text."""
    suffix = bytes.fromhex("f3acd3118cd100c04f8edb8a")
    soundfile.write(tmp_path / "a.w64", noise(), RATE_HZ, "PCM_16")
    data = (tmp_path / "a.w64").read_bytes()
    at = data.index(b"data" + suffix)
    more = b"".join(
        name + struct.pack("<Q", 24 + len(content)) + content + bytes(-len(content) % 8)
        for name, content in ((b"bext" + suffix, bext(5)[8:]), (bytes(range(1, 17)), b"odd"))
    )
    data = data[:at] + more + data[at:]
    (tmp_path / "a.w64").write_bytes(data[:16] + struct.pack("<Q", len(data)) + data[24:])
    write(read_audio(tmp_path / "a.w64"), tmp_path / "b.w64")
    assert (tmp_path / "b.w64").read_bytes()[24:at] == data[24:at] and more in (tmp_path / "b.w64").read_bytes()
    np.testing.assert_array_equal(read_audio(tmp_path / "b.w64").samples[:, 0] >> 16, noise()[:, 0])

    metadata = Metadata(family="W64", chunks=(Chunk(W64_MARKERS, b"x"), Chunk(b"zzZZ", b"y")))
    assert move_metadata(metadata, SAME) == (metadata, [])
    assert list_unheld(metadata, "WAV", ()) == ["the markers of a W64", "zzZZ"]
    moved, gone = move_metadata(metadata, MOVES)
    assert moved.left_out == ("the markers of a W64",) and (moved.chunks, gone) == (metadata.chunks[1:], [])

    soundfile.write(tmp_path / "a.au", noise(), RATE_HZ, "PCM_16")
    data = (tmp_path / "a.au").read_bytes()
    (tmp_path / "a.au").write_bytes(
        b".snd" + struct.pack(">I", 40) + data[8:24] + b"A note".ljust(16, b"\0") + data[24:]
    )
    write(read_audio(tmp_path / "a.au"), tmp_path / "b.au")
    assert (tmp_path / "b.au").read_bytes()[24:30] == b"A note"
    np.testing.assert_array_equal(read_audio(tmp_path / "b.au").samples[:, 0] >> 16, noise()[:, 0])


def sources(folder: Path) -> Iterator[Path]:
    """A file of each kind with all that it can hold."""
    yield wav(folder / "a.wav", FRONT, noise(), RATE_HZ, BACK)
    yield tag_flac(folder / "b.flac")
    yield tag_mp3(folder / "c.mp3", 4)
    yield aiff(
        folder / "d.aiff", noise(), RATE_HZ, mark((1, 100, b"start"), (2, 300, b"stop")), inst((1, 1, 2), (0, 0, 0))
    )


LOST = {
    ("a.wav", "flac"): ["11 markers", "bext", "iXML", "zzZZ", "id4", "IENG", "ResU"],
    ("a.wav", "aiff"): ["bext", "iXML", "zzZZ", "id4", "IENG", "ResU"],
    ("b.flac", "ogg"): [],
    ("b.flac", "mp3"): [],
    ("b.flac", "wav"): [],
    ("b.flac", "caf"): ["pictures"],
    ("b.flac", "w64"): ["BPM", "REPLAYGAIN_TRACK_GAIN", "pictures"],
    ("c.mp3", "wav"): [],
    ("c.mp3", "flac"): ["CHAP", "CTOC"],
    ("d.aiff", "wav"): ["INST"],
    ("d.aiff", "flac"): ["2 markers", "INST"],
}


def test_from_every_format_to_every_other(tmp_path: Path) -> None:
    """What is written is read by soundfile, mutagen and ffprobe without a warning, and what is not held is named."""
    for source in sources(tmp_path):
        recording = read_audio(source)
        assert recording.metadata is not None
        for suffix in ("wav", "rf64", "flac", "aiff", "caf", "ogg", "mp3", "w64", "au"):
            path = tmp_path / f"out.{suffix}"
            moves = Moves(**{**vars(MOVES), "was_long": recording.num_samples})
            write(recording, path, moves)
            got = read_audio(path)
            assert got.num_samples == moves.length or suffix == "mp3"
            assert complaints(path) == []
            format, _ = output_format(path, recording)
            unheld = list_unheld(recording.metadata, format, recording.markers)
            assert unheld == LOST.get((source.name, suffix), unheld)

            if suffix not in ("w64", "au"):
                assert got.tags["comment"] == COMMENT
            if suffix not in ("caf", "w64", "au", "rf64"):
                file = mutagen.File(path)
                assert file is not None and file.info.length > 0
            if shutil.which("ffprobe") and suffix != "au":
                shown = ask_ffprobe(path)
                assert suffix == "w64" or shown["comment"] == COMMENT
            if (source.name, suffix) in {("b.flac", "ogg"), ("b.flac", "mp3"), ("b.flac", "wav"), ("c.mp3", "flac")}:
                assert got.metadata is not None and [each.data for each in got.metadata.pictures] == [PNG]
            if source.name == "b.flac" and suffix in ("ogg", "mp3", "wav", "aiff", "rf64", "caf"):
                assert got.tempo is not None or suffix == "caf"
                assert got.metadata is not None and ("REPLAYGAIN_TRACK_GAIN", "-3.1 dB") in got.metadata.fields


def test_markers_go_from_wav_to_aiff_and_back(tmp_path: Path) -> None:
    """With names and loops; a region of a WAV has no length in an AIFF, but a second marker."""
    parts = [cue((1, 10), (2, 20)), adtl({1: "A", 2: "B"}), smpl((2, 20, 29))]
    recording = read_audio(wav(tmp_path / "in.wav", [b"fmt "], noise(), RATE_HZ, parts))
    write(recording, tmp_path / "x.aiff")
    assert read_audio(tmp_path / "x.aiff").markers[:3] == recording.markers[:3]
    write(read_audio(tmp_path / "x.aiff"), tmp_path / "back.wav")
    back: Any = {(each.name, each.start, each.stop) for each in read_audio(tmp_path / "back.wav").markers}
    assert back >= {(each.name, each.start, each.stop) for each in recording.markers}


def test_places_and_tempos_that_no_sound_has(tmp_path: Path) -> None:
    """As a damaged file names them: what has no number behind a gap is gone, and a tempo stays what it is."""
    for bpm in (float("nan"), float("inf"), 3e38):
        parts = [cue((1, 2**32 - 1), (2, LENGTH + 5)), smpl((1, 2**32 - 2, 2**32 - 1)), acid(16, bpm)]
        recording = read_audio(wav(tmp_path / "in.wav", [b"fmt "], noise(), RATE_HZ, parts))
        gone = write(recording, tmp_path / "out.wav", MOVES)
        got = read_audio(tmp_path / "out.wav")
        assert len(gone) == 2 and [marker.start for marker in got.markers] == [LENGTH + 505]
        assert chunk(b"acid", dict(chunks_of(tmp_path / "out.wav"))[b"acid"]) == acid(16, bpm)


def test_a_caf_without_text_gets_some(tmp_path: Path) -> None:
    """Behind the description of its samples, which has to be the first."""
    soundfile.write(tmp_path / "in.caf", noise(), RATE_HZ, "PCM_16")
    data = (tmp_path / "in.caf").read_bytes()
    at, end = data.index(b"free"), data.index(b"data")
    (tmp_path / "in.caf").write_bytes(data[:at] + data[end:])
    write(read_audio(tmp_path / "in.caf"), tmp_path / "out.caf")
    assert (tmp_path / "out.caf").read_bytes()[8:12] == b"desc"
    assert read_audio(tmp_path / "out.caf").tags == {"comment": COMMENT}
