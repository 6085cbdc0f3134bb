"""What sequencers and editors put into a file is in what the commands make of it, at its place."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from mutagen.id3 import COMM, ID3, TIT2
from studio_files import acid, adtl, bext, chunk, chunks_of, cue, smpl, wav

from audiolm_cli.audio import read_audio

Piano = Callable[..., np.ndarray]
RATE_HZ = 16000
LENGTH = 20000
NAMES = {1: ("verse", 1000), 2: ("inside", 9000), 3: ("behind", 15000)}
UNKNOWN = chunk(b"LGWV", bytes(range(99)))


@pytest.fixture(autouse=True)
def take(tmp_path: Path, piano: Piano, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in a folder with 1.25 s of a WAV with markers, a loop, a moment and a chunk of a sequencer."""
    monkeypatch.chdir(tmp_path)
    samples = np.round(piano(LENGTH / RATE_HZ, RATE_HZ) * 32767).astype(np.int16)
    back = [
        cue(*((id_, at) for id_, (_, at) in NAMES.items())),
        adtl({id_: name for id_, (name, _) in NAMES.items()}),
        smpl((9, 15000, 17999)),
        acid(2, 96.0),
        UNKNOWN,
    ]
    wav(Path("take.wav"), [bext(100_000), b"fmt "], samples, RATE_HZ, back)


@pytest.fixture
def go(audiolm: Any, tiny_model: Path) -> Any:
    """A command with the tiny model, its words and its result."""

    def run(command: str, *args: object) -> str:
        done = audiolm(command, "-m", tiny_model, "--seed", 1, *args)
        assert done.exit_code == 0, done.stderr
        return str(done.stderr)

    return run


def places(path: str) -> dict[str, int]:
    """Where the markers of a file are."""
    return {marker.name: marker.start for marker in read_audio(path).markers}


def origin(path: str) -> int:
    """Where the first sample of a file is in time."""
    return int(struct.unpack_from("<Q", dict(chunks_of(Path(path)))[b"bext"], 338)[0])


ALL = {"verse": 1000, "inside": 9000, "behind": 15000, "loop 1": 15000}
COMMANDS = [
    (("continue", "-d", 0.5), 0, ALL),
    (("continue", "-d", 0.5, "--before"), -8000, {name: at + 8000 for name, at in ALL.items()}),
    (("continue", "-d", 0.5, "--stream"), 0, ALL),
    (("continue", "-d", 0.5, "--only-new"), LENGTH, {}),
    (("loop", "--bridge", 0.5, "--repeat", 2), 0, ALL),
    (("infill", "--gap", "0.5:0.75"), 0, {name: at for name, at in ALL.items() if name != "inside"}),
    (("infill", "--gap", "0.5:0.75", "--length", 0.5), 0, {"verse": 1000, "behind": 19000, "loop 1": 19000}),
    (("infill", "--gap", "0:0.25", "--length", 0.5), -4000, {"inside": 13000, "behind": 19000, "loop 1": 19000}),
    (("restyle", "--style", "take.wav"), 0, ALL),
]


@pytest.mark.parametrize(("words", "earlier", "expected"), COMMANDS)
def test_every_command_keeps_what_a_file_holds(
    go: Any, words: tuple[str, ...], earlier: int, expected: dict[str, int]
) -> None:
    """Markers and loops where their samples are, the moment of the first sample, and what nobody knows."""
    said = go(words[0], "take.wav", *words[1:], "-o", "out.wav")
    assert places("out.wav") == expected and origin("out.wav") == 100_000 + earlier
    assert dict(chunks_of(Path("out.wav")))[b"LGWV"] == UNKNOWN[8:-1]
    gone = sorted(ALL.keys() - expected.keys())
    assert ("left out" in said) == bool(gone)
    if gone:
        (line,) = [line for line in said.splitlines() if "left out" in line]
        assert all(name in line for name in gone)

    recording, old = read_audio("out.wav"), read_audio("take.wav")
    assert json.loads(recording.tags["comment"])["command"] == words[0]
    if "--only-new" not in words and words[0] != "restyle":
        at, own = expected["behind"], recording.samples
        np.testing.assert_array_equal(own[at : at + 4000], old.samples[15000:19000])


def test_what_a_format_does_not_hold_is_said_in_one_line(go: Any) -> None:
    """And nothing where all is held."""
    said = go("continue", "take.wav", "-d", 0.5, "-o", "out.flac")
    (line,) = [line for line in said.splitlines() if "no place" in line]
    assert line.endswith("out.flac: 4 markers, bext, LGWV of the recording have no place in FLAC; name it .wav")
    assert read_audio("out.flac").tags["bpm"] == "96"
    assert "no place" not in go("continue", "out.flac", "-d", 0.5, "-o", "again.flac")
    assert "no place" not in go("continue", "out.flac", "-d", 0.5, "-o", "again.wav")
    again = read_audio("again.wav")
    assert again.tempo is not None and again.tempo.bpm == 96


def test_what_audiolm_does_not_carry_over_is_said(go: Any) -> None:
    """Whatever the output is called, it is not told to take the name that it has."""
    data = read_audio("take.wav").samples[:, 0] >> 16
    soundfile.write("turned.wav", data.astype(np.int16), 16000, "PCM_16", endian="BIG")
    content = Path("turned.wav").read_bytes()
    assert content[:4] == b"RIFX"
    point = struct.pack(">III4sIII", 1, 1, 100, b"data", 0, 0, 100)
    content += chunk(b"cue ", point, ">") + chunk(b"bext", bytes(602), ">") + chunk(b"JUNK", bytes(8), ">")
    Path("turned.wav").write_bytes(content[:4] + struct.pack(">I", len(content) - 8) + content[8:])
    for target in ("from-turned.wav", "from-turned.flac"):
        (line,) = [line for line in go("continue", "turned.wav", "-d", 0.5, "-o", target).splitlines() if "cue" in line]
        assert line.endswith(
            f"{target}: audiolm does not carry over cue, bext of the recording; add it again with the program that "
            "wrote it"
        )

    # What a FLAC holds of the file that it was made from.
    soundfile.write("own.flac", data.astype(np.int16), 16000)
    content = Path("own.flac").read_bytes()
    Path("own.flac").write_bytes(content[:42] + bytes([2, 0, 0, 8]) + b"riffRIFF" + content[42:])
    said = go("continue", "own.flac", "-d", 0.5, "-o", "from-own.flac")
    assert "audiolm does not carry over RIFF header of the recording" in said and "name it" not in said


def test_losses_are_in_the_json(audiolm: Any, tiny_model: Path) -> None:
    words = ("infill", "take.wav", "-m", tiny_model, "--gap", "0.5:0.75", "-o", "out.mp3", "--json")
    losses = json.loads(audiolm(*words).stdout)["outputs"][0]["losses"]
    found = {loss["kind"]: loss["count"] for loss in losses}
    assert found["metadata"] == 3 and found["markers"] == 1


def test_a_tag_of_a_tagger_does_not_hide_the_settings(go: Any, audiolm: Any, tiny_model: Path) -> None:
    """`audiolm again` finds them in a file that has an ID3 chunk with a comment of its own."""
    tag = ID3()
    tag.add(COMM(encoding=3, lang="eng", desc="", text="mine"))
    tag.add(TIT2(encoding=3, text="Für Élise"))
    tag.save("tag")
    data = Path("take.wav").read_bytes() + chunk(b"id3 ", Path("tag").read_bytes())
    Path("take.wav").write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    go("continue", "take.wav", "-d", 0.25, "-o", "out.wav")
    done = audiolm("again", "out.wav", "--with-model", tiny_model)
    assert done.exit_code == 0 and "out.again.wav has the samples of out.wav" in done.stderr
    facts = json.loads(read_audio("out.wav").tags["comment"])
    assert facts["input_comment"] == "mine" and read_audio("out.again.wav").tags["title"] == "Für Élise"


def test_a_gap_by_a_marker_of_an_aiff(go: Any) -> None:
    """The markers of an AIFF name gaps as those of a WAV do."""
    go("continue", "take.wav", "-d", 0.25, "-o", "take.aiff")
    go("infill", "take.aiff", "--gap", "marker:inside:marker:behind", "-o", "out.aiff")
    old, new = read_audio("take.aiff"), read_audio("out.aiff")
    np.testing.assert_array_equal(old.samples[:9000], new.samples[:9000])
    np.testing.assert_array_equal(old.samples[15000:], new.samples[15000:])
    assert new.markers == old.markers and (old.samples[9000:15000] != new.samples[9000:15000]).any()
