"""The spectral codec as its trainer sees it."""

from __future__ import annotations

from pathlib import Path

import torch

from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.config.training import CodecTrainConfig
from audiolm_cli.library.loading import load_codec
from audiolm_cli.training.codec.spectral import SpectralTrainee


def test_learning_in_bf16_goes_the_same_way(tiny_codec: Path) -> None:
    """Gradients point where those in float32 point, and what is measured is in float32 anyway."""
    codec = load_codec(str(tiny_codec))
    assert isinstance(codec, SpectralCodec)
    trainee = SpectralTrainee(codec, CodecTrainConfig())
    inputs = trainee.inputs(torch.randn(3, 32_000, generator=torch.Generator().manual_seed(0)) / 10)
    gradients, losses = {}, {}
    for bf16 in (False, True):
        trainee.bf16 = bf16
        codec.network.zero_grad()
        outputs = trainee.outputs(trainee.latents(inputs))
        assert outputs.dtype == torch.float32
        trainee.distance(outputs, inputs, 0)[0].backward()
        gradients[bf16] = torch.cat([p.grad.flatten() for p in codec.network.parameters() if p.grad is not None])
        with torch.no_grad():
            losses[bf16] = trainee.distance(trainee.outputs(trainee.latents(inputs)), inputs, None)[1]
    assert not torch.equal(gradients[True], gradients[False])
    assert torch.nn.functional.cosine_similarity(gradients[True], gradients[False], dim=0) > 0.999
    assert losses[True] == losses[False]


def test_mel_bands_see_a_level_that_medians_miss(tiny_codec: Path) -> None:
    """Of noise, the median of each bin is the nearest guess by "log", and too quiet by "mel"."""
    codec = load_codec(str(tiny_codec))
    assert isinstance(codec, SpectralCodec)
    trainee = SpectralTrainee(codec, CodecTrainConfig(), trained=True)
    inputs = trainee.inputs(torch.randn(1, 320_000, generator=torch.Generator().manual_seed(0)) / 10)
    medians = inputs.median(dim=1, keepdim=True).values.expand_as(inputs)
    quiet, louder = (trainee.distance(medians + raised, inputs, None)[1] for raised in (0.0, 0.06))
    assert quiet["log"] < louder["log"] and quiet["mel"] > louder["mel"]
    same = trainee.distance(inputs, inputs, None)[1]
    assert same == {"log": 0.0, "linear": 0.0, "mel": 0.0}
