"""The bundled codec at 2.2 kbit/s against Opus at 6 and 8 kbit/s, on ten-second excerpts of piano recordings.

The recordings are those of the folder that PIANO_RECORDINGS names (its held-out files, when it has such), or else the
files of ten seconds and more in `tests/audio`. Opus is Debian's `opus-tools`. `-s` shows the table.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from audiolm_cli.codec.base import Codec
from audiolm_cli.data.files import AudioFile, open_audio, read_mono_clip
from audiolm_cli.data.folders import find_audio
from audiolm_cli.errors import AudioLMError
from audiolm_cli.evaluation.metrics import chroma_correlation, mel_distance, spectral_distance

RATE_HZ = 32000
EXCERPT_S = 10.0
EXCERPTS = 10
OWN_AUDIO = Path(__file__).parents[1] / "audio"
MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mel": mel_distance,
    "spectral": spectral_distance,
    "chroma": chroma_correlation,
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("opusenc") and shutil.which("opusdec")), reason="needs opusenc and opusdec (opus-tools)"
    ),
]


def bundled_codec() -> Codec:
    """The codec that ships inside the package."""
    from audiolm_cli.library.loading import load_codec

    try:
        return load_codec("piano")
    except AudioLMError as error:
        pytest.skip(f"needs the bundled model: {error}")


def usable(folder: Path) -> Iterator[AudioFile]:
    """Recordings of the folder that are long enough, in order of their names."""
    for path in find_audio([folder]).files:
        file = open_audio(path)
        if file.duration_s >= EXCERPT_S:
            yield file


@pytest.fixture(scope="module")
def excerpts() -> list[Tensor]:
    """Excerpts [N] from the middle of up to ten recordings."""
    named = os.environ.get("PIANO_RECORDINGS")
    folder = Path(named) if named else OWN_AUDIO
    try:
        files = list(usable(folder))
    except AudioLMError as error:
        pytest.skip(f"needs piano recordings: {error}")
    files = [file for file in files if file.split == "test"] or files
    if not files:
        pytest.skip(f"needs piano recordings of {EXCERPT_S:g} s or more: PIANO_RECORDINGS=folder")
    chosen = files[:: max(1, len(files) // EXCERPTS)][:EXCERPTS]
    samples = round(EXCERPT_S * RATE_HZ)
    clips = [read_mono_clip(file, (file.duration_s - EXCERPT_S) / 2, samples, RATE_HZ) for file in chosen]
    return [torch.from_numpy(np.ascontiguousarray(clip)).reshape(-1) for clip in clips]


def through_opus(wav: Tensor, bitrate_kbps: int, folder: Path) -> Tensor:
    """`wav` [N] encoded and decoded with the reference tools; they take out the encoder's delay themselves."""
    original, packed, decoded = folder / "original.wav", folder / "packed.opus", folder / "decoded.wav"
    soundfile.write(original, wav.numpy(), RATE_HZ, subtype="PCM_16")
    encode = ["opusenc", "--quiet", "--music", "--bitrate", str(bitrate_kbps), str(original), str(packed)]
    subprocess.run(encode, check=True, timeout=60)
    subprocess.run(["opusdec", "--quiet", "--rate", str(RATE_HZ), str(packed), str(decoded)], check=True, timeout=60)
    back = torch.from_numpy(soundfile.read(decoded, dtype="float32")[0])
    assert back.shape == wav.shape
    return back


def through_codec(wav: Tensor, codec: Codec) -> Tensor:
    """`wav` [N] encoded and decoded with the codec under test."""
    assert codec.sample_rate_hz == RATE_HZ
    with torch.inference_mode():
        decoded = codec.decode(codec.encode(wav.expand(1, codec.channels, -1)))
    return decoded[0].mean(0)[: len(wav)]


def means(excerpts: list[Tensor], round_trip: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """Each measure of a round trip, averaged over the excerpts."""
    pairs = [(wav, round_trip(wav)) for wav in excerpts]
    return {name: float(np.mean([measure(*pair).item() for pair in pairs])) for name, measure in MEASURES.items()}


def show(name: str, figures: dict[str, float]) -> None:
    """One row of the table."""
    print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in figures.values()) + " |")


@pytest.fixture(scope="module")
def opus(excerpts: list[Tensor], tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, float]]:
    """Figures of Opus by bitrate in kbit/s."""
    folder = tmp_path_factory.mktemp("opus")
    found = {kbps: means(excerpts, lambda wav, kbps=kbps: through_opus(wav, kbps, folder)) for kbps in (6, 8)}
    print("\n| | " + " | ".join(MEASURES) + " |")
    for kbps, figures in found.items():
        show(f"Opus {kbps} kbit/s", figures)
    return found


def test_the_measures_tell_bitrates_apart(opus: dict[int, dict[str, float]]) -> None:
    """More bits are better by every measure, so that the comparison below means something."""
    assert opus[8]["mel"] < opus[6]["mel"]
    assert opus[8]["spectral"] < opus[6]["spectral"]
    assert opus[8]["chroma"] > opus[6]["chroma"]


def test_the_bundled_codec_is_closer_than_opus(excerpts: list[Tensor], opus: dict[int, dict[str, float]]) -> None:
    """At a third of the bits, the codec is closer to the original than Opus at 6 kbit/s, at short and long windows."""
    codec = bundled_codec()
    ours = means(excerpts, lambda wav: through_codec(wav, codec))
    show(codec.name, ours)
    assert ours["mel"] < opus[6]["mel"]
    assert ours["spectral"] < opus[6]["spectral"]
