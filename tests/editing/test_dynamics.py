"""What is made stays about as loud as its context, in the codes of a codec that has a code for the level."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from audiolm_cli.audio import Recording
from audiolm_cli.codec.base import Codec
from audiolm_cli.codec.level import encode_level
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.editing import takes
from audiolm_cli.editing.dynamics import LEAST_RANGE_DB, keep_dynamics
from audiolm_cli.editing.session import open_session
from audiolm_cli.editing.splicing import Gap
from audiolm_cli.editing.windows import GapFiller
from audiolm_cli.library.loading import load_codec
from audiolm_cli.model.decoders import Decoders

K = 5
SHAPE = ModelConfig(d_model=32, nhead=2, num_layers=1, num_quantizers=K, codebook_size=256, max_frames=80)
"""Of a codec with four codebooks and a level."""


@pytest.fixture(scope="module")
def leveled(tiny_codec: Path) -> SpectralCodec:
    """A codec of random weights with a code for the level."""
    codec = load_codec(str(tiny_codec))
    assert isinstance(codec, SpectralCodec)
    config = dataclasses.replace(codec.config, level_s=0.5, codebook_size=256, num_codebooks=K - 1)
    return SpectralCodec(config)


def context(low_db: float, high_db: float, frames: int = 60) -> torch.Tensor:
    """Random codes [1, frames, K] whose level rises from one value to the other."""
    codes = torch.randint(256, (1, frames, K), generator=torch.Generator().manual_seed(0))
    codes[0, :, -1] = encode_level(10 ** (torch.linspace(low_db, high_db, frames) / 20), 256)
    return codes


def fill(model: Decoders, left: torch.Tensor, right: torch.Tensor, frames: int = 100) -> torch.Tensor:
    """Codes [1, frames, K] between contexts, in steps."""
    filler = GapFiller(model=model, sampling=SamplingConfig(nar_temperature=1.0, guidance=2.0))
    return filler.fill(left, right, frames, [torch.Generator().manual_seed(1)])


@pytest.mark.parametrize("ar_codebooks", [1, 2, K])
def test_levels_stay_within_those_of_the_context(leveled: Codec, ar_codebooks: int) -> None:
    """Whichever decoder makes them: those of random weights are anywhere. Other codes of the first frame stay."""
    model = Decoders(dataclasses.replace(SHAPE, ar_codebooks=ar_codebooks)).eval()
    nothing = context(0, 0, 0)
    rising = context(-10, -2)
    low, high = rising[0, 6, -1].item(), rising[0, -1, -1].item()
    for left, right in ((rising, nothing), (nothing, rising), (rising[:, :30], rising[:, 30:])):
        kept = keep_dynamics(model, leveled, left, right)
        made = fill(kept, left, right)
        assert low - 1 <= made[..., -1].min() and made[..., -1].max() <= high
        assert len(made[..., -1].unique()) > 10
        free = fill(model, left, right)
        assert free[..., -1].min() < low and free[..., -1].max() > high
        if left.shape[1]:  # from behind, another frame is the first
            assert torch.equal(free[:, 0, : K - 1], made[:, 0, : K - 1])


def test_a_context_of_one_level_leaves_some_room(leveled: Codec) -> None:
    """A little softer and a little louder, as music is."""
    model = Decoders(dataclasses.replace(SHAPE, ar_codebooks=K)).eval()
    level = context(-6, -6)
    made = fill(keep_dynamics(model, leveled, level, level[:, :0]), level, level[:, :0])[..., -1]
    step_db = 72 / 255
    room = (made.max() - made.min()).item() * step_db
    assert 0.5 * LEAST_RANGE_DB < room <= LEAST_RANGE_DB + step_db
    assert made.min() < level[0, 0, -1] < made.max()


def test_a_rest_is_no_reason_to_fade_away(leveled: Codec) -> None:
    """What is soft for less than a tenth of the context does not count; silence as a whole goes on as silence."""
    model = Decoders(dataclasses.replace(SHAPE, ar_codebooks=K)).eval()
    music = context(-6, -6)
    music[0, -4:, -1] = 0
    assert fill(keep_dynamics(model, leveled, music, music[:, :0]), music, music[:, :0])[..., -1].min() > 100
    silence = context(-80, -80)
    assert fill(keep_dynamics(model, leveled, silence, silence[:, :0]), silence, silence[:, :0])[..., -1].max() < 10


def test_no_level_and_no_context_change_nothing(leveled: Codec, tiny_codec: Path) -> None:
    """Codecs whose codes all say how a frame sounds, and new music from nothing."""
    model = Decoders(dataclasses.replace(SHAPE, ar_codebooks=K)).eval()
    level = context(-6, -6)
    assert keep_dynamics(model, load_codec(str(tiny_codec)), level, level) is model
    assert keep_dynamics(model, leveled, level[:, :0], level[:, :0]) is model


def test_what_is_right_after_a_context_is_asked_of_it_alone(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later gap hears what its own take has in the one before: several takes are what each is by itself."""
    heard: list[int] = []

    def keep(model: Decoders, codec: Codec, left: torch.Tensor, right: torch.Tensor) -> Decoders:
        heard.append(len(left))
        return keep_dynamics(model, codec, left, right)

    monkeypatch.setattr(takes, "keep_dynamics", keep)
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, (32000, 1)).astype(np.float32)
    gaps = [Gap(start=8000, stop=9000, new_samples=1000), Gap(start=16000, stop=17000, new_samples=1000)]

    def make(seed: int, count: int) -> list[np.ndarray]:
        config = GenerateConfig(model=str(tiny_model), seed=seed, takes=count, threads=1)
        recording = Recording(
            samples=samples, sample_rate_hz=16000, format="WAV", subtype="FLOAT", lossless=True, tags={}, name="noise"
        )
        made = takes.make_takes(open_session(config, SamplingConfig()), recording, gaps)
        return [np.concatenate([piece.wav for piece in take.pieces], axis=1) for take in made]

    together = make(1, 2)
    assert heard == [1, 1, 1]
    for seed, take in zip((1, 2), together, strict=True):
        np.testing.assert_array_equal(take, make(seed, 1)[0])
