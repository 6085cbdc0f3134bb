"""Training a codec on disturbed clips: what is heard, what is wanted, and that codes come to stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.config.training import CodecTrainConfig
from audiolm_cli.data.files import AudioFile, open_audio
from audiolm_cli.evaluation.consistency import measure_consistency
from audiolm_cli.events import ignore
from audiolm_cli.library.loading import load_codec
from audiolm_cli.training.codec.disturbance import disturb, draw_delays
from audiolm_cli.training.codec.loop import CodecTrainer
from audiolm_cli.training.codec.spectral import SpectralTrainee

Piano = Callable[..., np.ndarray]
CONFIG = CodecTrainConfig(steps=150, clips=4, clip_s=0.5, learning_rate=3e-3, state_every=1000, consistency=1.0)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, piano: Piano) -> list[AudioFile]:
    """Two short recordings."""
    folder = tmp_path_factory.mktemp("recordings")
    for i in range(2):
        soundfile.write(folder / f"{i}.flac", piano(4.0, 32000, seed=i), 32000)
    return [open_audio(folder / f"{i}.flac") for i in range(2)]


def trainer(
    codec: Path, recordings: list[AudioFile], folder: Path, config: CodecTrainConfig, steady_frames: int = 1
) -> CodecTrainer:
    """Of a codec whose weights are there."""
    loaded = load_codec(str(codec))
    assert isinstance(loaded, SpectralCodec)
    other = SpectralCodec(dataclasses.replace(loaded.config, steady_frames=steady_frames))
    other.load_state_dict(loaded.state_dict())
    folder.mkdir(exist_ok=True)
    return CodecTrainer(SpectralTrainee(other, config), config, recordings, recordings, folder, ignore, init="0" * 64)


def test_a_lesson_has_the_clip_its_delayed_form_and_a_worn_one(
    tiny_codec: Path, recordings: list[AudioFile], tmp_path: Path
) -> None:
    """What is heard lies near what is wanted, which is the clip itself where it is not late."""
    lesson = trainer(tiny_codec, recordings, tmp_path / "a", CONFIG)._draw_lesson(3)
    assert lesson.heard is not None and lesson.undelayed is not None
    assert lesson.heard.shape == lesson.wanted.shape == lesson.undelayed.shape
    assert not torch.equal(lesson.heard, lesson.wanted)
    late = (lesson.wanted - lesson.undelayed).abs().amax((1, 2)) > 0
    assert 0 < late.sum() < len(late)
    plain = trainer(tiny_codec, recordings, tmp_path / "b", dataclasses.replace(CONFIG, consistency=0.0))._draw_lesson(
        3
    )
    assert plain.heard is None and plain.undelayed is None


def test_disturbances_are_drawn_from_the_generator_and_leave_the_clips_alone() -> None:
    wav = np.random.default_rng(0).normal(0, 0.1, (20, 3200)).astype(np.float32)
    before = wav.copy()
    worn = [disturb(wav, 32_000, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert np.array_equal(wav, before)
    assert np.array_equal(worn[0], worn[1]) and not np.array_equal(worn[0], worn[2])
    delays = draw_delays(1000, 320, np.random.default_rng(0))
    assert delays.min() == 0 and delays.max() <= 320 and 400 < (delays == 0).sum() < 600


def test_codes_come_to_stay(tiny_codec: Path, recordings: list[AudioFile], tmp_path: Path) -> None:
    """More codes of codebook 1 stay under noise than after as many steps of training on clean clips."""
    kept = {}
    for weight in (0.0, 1.0):
        own = trainer(
            tiny_codec, recordings, tmp_path / f"{weight}", dataclasses.replace(CONFIG, consistency=weight), 3
        )
        own.run()
        wavs = [torch.from_numpy(soundfile.read(file.path, dtype="float32")[0]) for file in recordings]
        kept[weight] = measure_consistency(own.codec, wavs)["white noise, SNR 40 dB"][0]
    assert kept[1.0] > kept[0.0] + 0.05
