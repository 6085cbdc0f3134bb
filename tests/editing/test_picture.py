"""Pictures of recordings: as high as the sound is, one mark for what was generated, the original where all is new."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.figure import Figure

from audiolm_cli.audio import Recording, read_audio
from audiolm_cli.editing.picture import plot_recording

Piano = Callable[..., np.ndarray]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that was saved."""
    found: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: found.append(self))
    return found


def quiet(piano: Piano, folder: Path, peak: float) -> Recording:
    """Half a second that is nowhere louder than this."""
    wav = piano(0.5, 16000)
    soundfile.write(folder / "a.wav", peak * wav / np.abs(wav).max(), 16000, subtype="FLOAT")
    return read_audio(folder / "a.wav")


@pytest.mark.parametrize(("peak", "highest"), [(0.02, 0.021), (1.0, 1.05), (0.0, 0.00105)])
def test_the_waveform_fills_its_panel(
    drawn: list[Figure], piano: Piano, tmp_path: Path, peak: float, highest: float
) -> None:
    plot_recording(tmp_path / "p.png", quiet(piano, tmp_path, peak), [], "a", force=False)
    assert drawn[0].axes[0].get_ylim() == pytest.approx((-highest, highest), rel=1e-3)


def test_generated_is_said_once(drawn: list[Figure], piano: Piano, tmp_path: Path) -> None:
    """However many stretches there are; each is shaded."""
    recording = quiet(piano, tmp_path, 0.5)
    plot_recording(tmp_path / "p.png", recording, [(0.1, 0.2), (0.3, 0.4)], "a", force=False)
    above = drawn[0].axes[0]
    assert [text.get_text() for text in above.get_legend().get_texts()] == ["generated"]
    assert len(above.patches) == 2


def test_the_original_is_drawn_above(drawn: list[Figure], piano: Piano, tmp_path: Path) -> None:
    recording, original = quiet(piano, tmp_path, 0.5), quiet(piano, tmp_path, 0.25)
    plot_recording(tmp_path / "p.png", recording, [(0.0, 0.5)], "new", original=original, force=False)
    waveforms = [axes for axes in drawn[0].axes if axes.get_ylabel() == "amplitude"]
    assert [axes.get_title() for axes in waveforms] == ["the original", "new"]
    assert [len(axes.patches) for axes in waveforms] == [0, 1]
    assert waveforms[0].get_ylim()[1] == pytest.approx(waveforms[1].get_ylim()[1] / 2)
