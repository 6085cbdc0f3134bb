"""`audiolm infill --gap marker:NAME`, `region:NAME` and `markers`: the samples that markers name, no others."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiolm_cli.audio import read_audio

Piano = Callable[..., np.ndarray]
RATE_HZ = 16000
POINTS = {"Intro": (0, 0), "cough": (4000, 800), "Verse": (8000, 0), "Cough": (12000, 1600), "late": (90000, 100)}
"""First sample and length."""


@pytest.fixture(autouse=True)
def take(tmp_path: Path, piano: Piano, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in a folder with 1.25 s of a WAV with markers, and with the same without."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("plain.wav", piano(1.25, RATE_HZ), RATE_HZ, subtype="PCM_16")

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)

    cues, texts = b"", b"adtl"
    for id_, (name, (start, size)) in enumerate(POINTS.items(), start=1):
        cues += struct.pack("<II4sIII", id_, start, b"data", 0, 0, start)
        texts += chunk(b"labl", struct.pack("<I", id_) + name.encode() + b"\0")
        texts += chunk(b"ltxt", struct.pack("<II4sHHHH", id_, size, b"rgn ", 0, 0, 0, 0)) if size else b""
    data = (
        Path("plain.wav").read_bytes() + chunk(b"cue ", struct.pack("<I", len(POINTS)) + cues) + chunk(b"LIST", texts)
    )
    Path("take.wav").write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])


@pytest.fixture
def go(audiolm: Any, tiny_model: Path) -> Any:
    """`audiolm infill` with the tiny model."""
    return lambda *args: audiolm("infill", "-m", tiny_model, "--seed", 1, *args)


def changed(path: str) -> list[tuple[int, int]]:
    """The stretches of a file that are new, as its own report has them, after all others were compared."""
    old, new = read_audio("plain.wav").samples, read_audio(path).samples
    assert old.shape == new.shape
    where = np.flatnonzero((old != new).any(axis=1))
    stretches: list[tuple[int, int]] = []
    for piece in np.split(where, np.flatnonzero(np.diff(where) > 400) + 1):
        stretches.append((int(piece[0]), int(piece[-1]) + 1))
    return stretches


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        ("region:cough", [(4000, 4800), (12000, 13600)]),
        ("marker:Intro", [(0, 4000)]),
        ("marker:verse", [(8000, 12000)]),
        ("marker:Intro:marker:Verse", [(0, 8000)]),
        ("marker:Verse-marker:Cough", [(8000, 12000)]),
    ],
)
def test_a_gap_by_its_name(go: Any, gap: str, expected: list[tuple[int, int]]) -> None:
    """New samples lie inside of it, over its whole length, and all others are the recording's."""
    shown = go("take.wav", "--gap", gap, "-o", "new.wav", "--json")
    assert shown.exit_code == 0, shown.stderr
    (output,) = json.loads(shown.stdout)["outputs"]
    assert [(round(a * RATE_HZ), round(b * RATE_HZ)) for a, b in output["generated"]] == expected
    for (start, stop), (first, last) in zip(expected, changed("new.wav"), strict=True):
        assert start <= first < last <= stop and last - first > 0.5 * (stop - start)
    assert json.loads(read_audio("new.wav").tags["comment"])["gaps"] == [gap.replace("-marker", ":marker")]


@pytest.mark.parametrize(
    ("text", "gap", "expected"),
    [
        ("0.25\t0.3\tcough\n0.5\t0.5\tVerse\n", "markers", [(4000, 4800)]),
        ("#,Name,Start,End,Length\nR1,cough,1.2.00,1.3.00,0.1.00\n", "region:cough", [(3200, 6400)]),
    ],
)
def test_a_file_of_labels(go: Any, text: str, gap: str, expected: list[tuple[int, int]]) -> None:
    """In place of the recording's own markers; bars by the tempo that is asked for."""
    Path("labels.txt").write_text(text)
    shown = go("take.wav", "--gap", gap, "--labels", "labels.txt", "--bpm", 300, "-o", "new.wav", "--json")
    assert shown.exit_code == 0, shown.stderr
    (output,) = json.loads(shown.stdout)["outputs"]
    assert [(round(a * RATE_HZ), round(b * RATE_HZ)) for a, b in output["generated"]] == expected


@pytest.mark.parametrize(
    ("source", "flags", "told"),
    [
        ("plain.wav", ["--gap", "markers"], "plain.wav holds no markers, as --gap markers needs"),
        ("take.wav", ["--gap", "region:hum"], "has no region 'hum'; it has 3 (cough, Cough, late)"),
        (
            "take.wav",
            ["--gap", "region:Verse"],
            "has no region 'Verse', but markers: 5 (Intro, cough, Verse, Cough, late)",
        ),
        ("take.wav", ["--gap", "marker:hum"], "has no marker 'hum'; it has 5 (Intro, cough, Verse, Cough, late)"),
        ("take.wav", ["--gap", "marker:Verse:marker:Intro"], "no marker 'Intro' comes behind the marker 'Verse'"),
        ("take.wav", ["--gap", "region:late"], "gap region:late (5.625:5.631 s) reaches beyond"),
        ("take.wav", ["--gap", "markers"], "gap region:late (5.625:5.631 s) reaches beyond"),
        ("take.wav", ["--gap", "region:"], "lacks a name; write region:NAME"),
        ("take.wav", ["--gap", "region:cough", "--gap", "0.26:0.28"], "overlap; join them into one"),
        ("take.wav", ["--gap", "0.2:0.3", "--labels", "other.txt"], "no gap asks for one"),
        ("take.wav", ["--gap", "markers", "--labels", "other.txt"], "other.txt: is not a label track of Audacity"),
        ("take.wav", ["--gap", "markers", "--labels", "none.txt"], "none.txt: cannot be read"),
        ("take.wav", ["--gap", "markers", "--labels", "bars.csv"], "take.wav does not say how fast it is"),
    ],
)
def test_bad_markers(go: Any, source: str, flags: list[str], told: str) -> None:
    """One line that names what there is, and exit code 2; nothing is written."""
    Path("other.txt").write_text("TITLE: of another program\n")
    Path("bars.csv").write_text("#,Name,Start,End,Length\nR1,x,1.2.00,1.3.00,0.1.00\n")
    shown = go(source, *flags, "-o", "new.wav", "-q")
    assert shown.exit_code == 2 and told in shown.stderr, shown.stderr
    assert len(shown.stderr.strip().splitlines()) == 1 and not Path("new.wav").exists()
