"""Samples of a model in training: what is written, that it repeats, and that the training does not notice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiolm_cli.data.manifest import TokenClip
from audiolm_cli.errors import OutputError
from audiolm_cli.library.loading import Loaded, load_model
from audiolm_cli.training import samples
from audiolm_cli.training.samples import SampleWriter

HOP = 640


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> Loaded:
    """The tiny model with its codec."""
    return load_model(str(tiny_model), torch.device("cpu"))


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take most of the time; one test draws them."""
    monkeypatch.setattr(samples, "plot_recording", lambda *_, **__: None)


def clips(frames: int = 80) -> list[TokenClip]:
    """Two held-out recordings."""
    rng = np.random.default_rng(0)
    return [TokenClip(id=str(i), codes=rng.integers(32, size=(frames, 4)).astype(np.int16)) for i in range(2)]


def test_what_is_written(loaded: Loaded, tmp_path: Path) -> None:
    """A continuation and an infill with their pictures, beside what the recordings really do there."""
    made = SampleWriter(tmp_path, loaded.codec, clips(), 60, seed=3).write(20, loaded.model)
    assert [sample.name for sample in made] == ["continuation", "infill"]
    folder = tmp_path / "samples" / "step-0000020"
    files = ["continuation.png", "continuation.wav", "infill.png", "infill.wav"]
    assert sorted(path.name for path in folder.iterdir()) == files
    assert sorted(path.name for path in (tmp_path / "samples" / "original").iterdir()) == files
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["original", "step-0000020"]

    for sample in made:
        audio, rate = soundfile.read(sample.path)
        assert (rate, len(audio)) == (32000, 60 * HOP) and sample.path.parent == folder
        np.testing.assert_allclose(audio, sample.wav.clip(-1, 1), atol=2**-15)

    original, _ = soundfile.read(tmp_path / "samples" / "original" / "infill.wav")
    infill, _ = soundfile.read(folder / "infill.wav")
    before = slice(0, 18 * HOP)  # the gap begins at frame 24; steadied columns and phases reach back a little
    np.testing.assert_allclose(infill[before], original[before], atol=5e-3)
    assert np.abs(infill - original)[24 * HOP : 36 * HOP].max() > 0.05


def test_samples_repeat_and_disturb_nothing(loaded: Loaded, tmp_path: Path, no_pictures: None) -> None:
    """The same step twice gives the same files; weights and the global random state are as before."""
    weights = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    state = torch.get_rng_state()
    first = SampleWriter(tmp_path / "a", loaded.codec, clips(), 60, seed=3).write(1, loaded.model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in loaded.model.state_dict().items())

    writer = SampleWriter(tmp_path / "b", loaded.codec, clips(), 60, seed=3)
    writer.write(1, loaded.model)
    second = writer.write(1, loaded.model)  # over what is there
    assert [a.path.read_bytes() for a in first] == [b.path.read_bytes() for b in second]

    other = SampleWriter(tmp_path / "c", loaded.codec, clips(), 60, seed=4).write(1, loaded.model)
    assert other[0].path.read_bytes() != first[0].path.read_bytes()


def test_short_clips(loaded: Loaded, tmp_path: Path, no_pictures: None) -> None:
    """Clips of a few frames still give something to hear."""
    made = SampleWriter(tmp_path, loaded.codec, clips(3), 60, seed=0).write(1, loaded.model)
    assert [len(sample.wav) for sample in made] == [3 * HOP] * len(made) and made


def test_a_disk_that_refuses(loaded: Loaded, tmp_path: Path) -> None:
    """It is told as a failure of the output."""
    (tmp_path / "samples").write_text("in the way")
    with pytest.raises(OutputError, match="samples"):
        SampleWriter(tmp_path, loaded.codec, clips(), 60, seed=0).write(1, loaded.model)
