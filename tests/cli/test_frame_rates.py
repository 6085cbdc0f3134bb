"""Every command with codecs of other frame rates and other numbers of codebooks than the usual 50 and 4."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from small_model import SMALL_MODEL

from audiolm_cli.evaluation.consistency import CHANGES, DELAYS
from audiolm_cli.library.loading import load_codec

Piano = Callable[..., np.ndarray]
MakeCodec = Callable[..., Path]
SHAPES = {
    "25x6": {"hop_samples": 1280, "columns": 4, "num_codebooks": 6},
    "75x2": {"sample_rate_hz": 24_000, "hop_samples": 320, "columns": 1, "num_codebooks": 2},
    "25x6 and a level": {"hop_samples": 1280, "columns": 4, "num_codebooks": 5, "level_s": 1.0, "steady_frames": 3},
}
FRAMES_AND_CODEBOOKS = {"25x6": (25.0, 6), "75x2": (75.0, 2), "25x6 and a level": (25.0, 6)}


class Setting:
    """A codec of one of SHAPES, a model of it, and recordings."""

    def __init__(self, folder: Path, shape: str, make_codec: MakeCodec, make_model: MakeCodec, piano: Piano) -> None:
        self.folder, self.shape = folder, shape
        self.codec = make_codec(folder / "codec", **SHAPES[shape])
        self.model = make_model(folder / "model", codec=self.codec)
        self.recordings = folder / "recordings"
        self.recordings.mkdir()
        for i in range(6):
            soundfile.write(self.recordings / f"{i}.wav", piano(6.0, 32_000, seed=i), 32_000)
        self.take = self.recordings / "0.wav"


@pytest.fixture(scope="module", params=list(SHAPES))
def setting(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    make_codec: MakeCodec,
    make_model: MakeCodec,
    piano: Piano,
) -> Iterator[Setting]:
    yield Setting(tmp_path_factory.mktemp("shape"), request.param, make_codec, make_model, piano)


def test_the_codec_has_the_shape(setting: Setting) -> None:
    codec = load_codec(str(setting.codec))
    assert (codec.frame_rate_hz, codec.num_codebooks) == FRAMES_AND_CODEBOOKS[setting.shape]


def test_generating_commands_make_what_was_asked_for(audiolm: Any, setting: Setting, tmp_path: Path) -> None:
    """To the sample: continue, infill, loop and restyle, streamed and not."""
    samples = 6 * 32_000
    for words, expected in (
        (["continue", "-d", "1.5"], samples + 48_000),
        (["continue", "-d", "1.5", "--stream"], samples + 48_000),
        (["infill", "--gap", "2:2.5"], samples),
        (["restyle", "--style", setting.recordings / "1.wav"], samples),
    ):
        output = tmp_path / f"{len(list(tmp_path.iterdir()))}.wav"
        command, *options = words
        shown = audiolm(command, setting.take, "-o", output, "-m", setting.model, "--seed", 1, *options)
        assert shown.exit_code == 0, (words, shown.stderr)
        assert soundfile.info(output).frames == expected, words

    shown = audiolm("loop", setting.take, "-o", tmp_path / "loop.wav", "-m", setting.model, "--seed", 1)
    assert shown.exit_code == 0, shown.stderr
    original, _ = soundfile.read(setting.take, dtype="int16")
    looped, _ = soundfile.read(tmp_path / "loop.wav", dtype="int16")
    assert len(looped) and (np.isin(looped[:1000], original)).all()


def test_a_store_of_its_codes_trains_a_model_that_is_evaluated(audiolm: Any, setting: Setting, tmp_path: Path) -> None:
    """tokenize, decode, train and evaluate; the model has the codec."""
    tokens, run = tmp_path / "tokens", tmp_path / "run"
    shown = audiolm("tokenize", setting.recordings, "-o", tokens, "--codec", setting.codec)
    assert shown.exit_code == 0, shown.stderr
    shown = audiolm("decode", tokens, "-o", tmp_path / "decoded")
    assert shown.exit_code == 0, shown.stderr
    decoded = sorted((tmp_path / "decoded").rglob("*.wav"))
    rate = load_codec(str(setting.codec)).sample_rate_hz
    assert [soundfile.info(path).frames for path in decoded] == [6 * rate] * 6

    small = [*SMALL_MODEL, "--steps", 2, "--batch-frames", 300]
    shown = audiolm("train", tokens, "-o", run, "--preset", "tiny", *small, "--sample-every", 0)
    assert shown.exit_code == 0, shown.stderr
    codec = load_codec(str(run))
    assert (codec.frame_rate_hz, codec.num_codebooks) == FRAMES_AND_CODEBOOKS[setting.shape]

    options = ["-m", run, "--split", "all", "--clips", 2, "--windows", 2, "--json"]
    shown = audiolm("evaluate", setting.recordings, *options)
    assert shown.exit_code == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert len(found["scores"]["bits"]) == codec.num_codebooks
    assert list(found["consistency"]) == [*CHANGES, *DELAYS]
    assert {len(shares) for shares in found["consistency"].values()} == {codec.num_codebooks}


def test_its_codec_is_trained_on(audiolm: Any, setting: Setting, tmp_path: Path) -> None:
    options = ["--init", setting.codec, "--steps", 2, "--clips", 2, "--consistency", 1]
    shown = audiolm("codec", "train", setting.recordings, "-o", tmp_path / "tuned", *options)
    assert shown.exit_code == 0, shown.stderr
    assert "codes that stay" in shown.stderr
    codec = load_codec(str(tmp_path / "tuned"))
    assert (codec.frame_rate_hz, codec.num_codebooks) == FRAMES_AND_CODEBOOKS[setting.shape]
