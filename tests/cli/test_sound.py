"""The bundled codec, on the demo's prompt: small enough, undamaged, and near to what it is given."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from audiolm_cli.audio import mid, read_audio, resample
from audiolm_cli.checkpoints.catalogue import BUNDLED_CODEC, bundled_folders, resolve
from audiolm_cli.checkpoints.folder import verify_folder
from audiolm_cli.codec.base import Codec
from audiolm_cli.evaluation.consistency import measure_consistency
from audiolm_cli.evaluation.metrics import chroma_correlation, mel_distance
from audiolm_cli.library.loading import load_codec

PRELUDE = Path(str(resources.files("audiolm_cli"))) / "assets" / "demo" / "prelude.flac"


@pytest.fixture(scope="module")
def codec() -> Codec:
    return load_codec(BUNDLED_CODEC)


@pytest.fixture(scope="module")
def wav() -> torch.Tensor:
    """The prelude as the codec takes it, [1, 1, N]."""
    recording = read_audio(PRELUDE)
    return torch.from_numpy(resample(mid(recording.wav())[None], recording.sample_rate_hz, 32000))[None]


def test_it_is_undamaged_and_small() -> None:
    folder = resolve(BUNDLED_CODEC)
    verify_folder(folder)
    assert folder.licence == "MIT" and "Held-out numbers" in (folder.path / "MODEL_CARD.md").read_text()
    sizes = [path.stat().st_size for own in bundled_folders().values() for path in own.iterdir()]
    assert sum(sizes) < 80e6


def test_it_keeps_the_notes(codec: Codec, wav: torch.Tensor) -> None:
    decoded = codec.decode(codec.encode(wav))[..., : wav.shape[-1]]
    assert mel_distance(wav[0, 0], decoded[0, 0]) < 0.3
    assert chroma_correlation(wav[0, 0], decoded[0, 0]) > 0.9


def test_codes_stay_at_another_level_and_under_noise(codec: Codec, wav: torch.Tensor) -> None:
    """Those of the first codebook; the last codebook has the level, which is another one there."""
    kept = measure_consistency(codec, [wav])
    assert kept["3 dB quieter"][:-1] == [1.0] * (codec.num_codebooks - 1)
    assert kept["white noise, SNR 40 dB"][0] > 0.85 and kept["half a frame later"][0] > 0.7


def test_the_level_comes_back(codec: Codec, wav: torch.Tensor) -> None:
    """Quiet recordings stay quiet."""
    for gain in (1.0, 0.1, 0.01):
        decoded = codec.decode(codec.encode(gain * wav))
        ratio = float(decoded.square().mean().sqrt() / (gain * wav).square().mean().sqrt())
        assert abs(20 * np.log10(ratio)) < 1.5, gain
