"""The page of takes: which part of long recordings it holds, and what browsers cannot play."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from html_page import Page

from audiolm_cli.audio import Recording
from audiolm_cli.editing import takes_page
from audiolm_cli.editing.result import Output
from audiolm_cli.editing.splicing import Gap
from audiolm_cli.editing.takes_page import TakesPage


def add(
    page: TakesPage,
    path: Path,
    rate_hz: int,
    channels: int,
    seconds: float,
    gaps: list[tuple[float, float]],
    faults: list[str] | None = None,
) -> None:
    """Noise with gaps in it, and as the only take the same once more."""
    count = round(seconds * rate_hz)
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (count, channels)).astype(np.float32)
    soundfile.write(path, samples, rate_hz, subtype="FLOAT", format="W64")
    recording = Recording(
        samples=samples, sample_rate_hz=rate_hz, format="W64", subtype="FLOAT", lossless=True, tags={}, name="x"
    )
    output = Output(
        path=str(path), seed=1, take=1, sample_rate_hz=rate_hz, channels=channels, duration_s=seconds, generated=gaps,
        sampling={}, faults=faults or [],
    )  # fmt: skip
    places = [
        Gap(start=round(a * rate_hz), stop=round(b * rate_hz), new_samples=round((b - a) * rate_hz)) for a, b in gaps
    ]
    page.add_recording("x", recording, places, [(output, "audiolm x")])


def test_a_long_recording_is_shown_near_its_gaps(tmp_path: Path) -> None:
    """Twenty seconds on each side, two minutes at most; times and marks are those of the stretch."""
    page = TakesPage("t", "a")
    add(page, tmp_path / "x.w64", 1000, 1, 100.0, [(50, 52)])
    found = Page(page.render())
    original, take = (soundfile.read(io.BytesIO(file))[0] for file in found.decode("audio/flac"))
    assert len(original) == len(take) == 42000
    assert "shown from 0:30.0 to 1:12.0 of 1:40.0" in found.text and "new: 0:50.0 to 0:52.0" in found.text
    assert found.styles == [(kind, "left:47.619%;width:4.762%") for kind in ("span old", "span")]

    page = TakesPage("t", "a")
    add(page, tmp_path / "x.w64", 1000, 1, 300.0, [(30, 31), (290, 291)])
    found = Page(page.render())
    assert [len(soundfile.read(io.BytesIO(file))[0]) for file in found.decode("audio/flac")] == [120000, 120000]
    assert len(found.styles) == 2  # the second gap is beyond the end of what is shown


def test_what_stayed_wrong_stands_beside_the_take(tmp_path: Path) -> None:
    """Each kind once; nothing of takes that are as they should be."""
    for faults, said in (([], ""), (["too loud", "too loud", "silent"], "stayed too loud and silent when made again")):
        page = TakesPage("t", "a")
        add(page, tmp_path / "x.w64", 8000, 1, 8.0, [(6.0, 8.0)], faults)
        text = page.render()
        assert said in text and text.count("when made again") == bool(faults)


@pytest.mark.parametrize(
    ("gap", "start"), [((6.0, 8.0), "4.000"), ((0.0, 5.0), "3.000"), ((0.0, 8.0), None), ((1.0, 2.0), "0.000")]
)
def test_the_button_leads_to_a_seam(gap: tuple[float, float], start: str | None, tmp_path: Path) -> None:
    """Two seconds before the first one; there is none where all is new."""
    page = TakesPage("t", "a")
    add(page, tmp_path / "x.w64", 1000, 1, 8.0, [gap])
    text = page.render()
    assert text.count("From the seam") == (start is not None)
    assert start is None or f'data-from="{start}"' in text


@pytest.mark.parametrize(("rate_hz", "channels", "heard"), [(192000, 2, (48000, 2)), (8000, 6, (8000, 1))])
def test_every_browser_plays_it(tmp_path: Path, rate_hz: int, channels: int, heard: tuple[int, int]) -> None:
    """At most 48 kHz, one or two channels; the recording keeps its length."""
    page = TakesPage("t", "a")
    add(page, tmp_path / "x.w64", rate_hz, channels, 0.5, [(0.2, 0.3)])
    for file in Page(page.render()).decode("audio/flac"):
        samples, rate = soundfile.read(io.BytesIO(file), always_2d=True)
        assert (rate, samples.shape[1], len(samples)) == (*heard, heard[0] // 2)


def test_names_of_other_encodings(tmp_path: Path) -> None:
    """What is not UTF-8 in a name is replaced; the page can be written, and is then what it would be."""
    page = TakesPage("t", "a")
    add(page, tmp_path / "x.w64", 8000, 1, 0.2, [(0.1, 0.2)])
    page.add_recording("caf\udce9 <i>", Recording(
        samples=np.zeros((800, 1), np.float32), sample_rate_hz=8000, format="WAV", subtype="FLOAT", lossless=True,
        tags={}, name="x",
    ), [Gap(start=0, stop=800, new_samples=800)], [])  # fmt: skip
    target = tmp_path / "page.html"
    page.write(target, force=False)
    assert target.read_text(encoding="utf-8") == page.render() and "caf? <i>" in Page(page.render()).text


def test_the_outline_follows_the_sound() -> None:
    """The highest and the lowest sample of each column, on the scale of the loudest; nothing where there is nothing."""
    wav = np.concatenate([np.zeros(300), np.full(300, 0.25)]).astype(np.float32)
    outline = takes_page._draw_waveform(wav, 0.5)
    assert 'viewBox="0 0 599 100"' in outline and " 0,50.0 " in f" {outline.split(chr(34))[-2]} "
    assert "599,26.0" in outline and "10,50.0" in outline
    assert "polygon" in takes_page._draw_waveform(np.zeros(0, np.float32), 0.0)
