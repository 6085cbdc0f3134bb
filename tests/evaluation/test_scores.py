"""Scores of a model: what they are when the model knows nothing, and that passes change only what may be read."""

from __future__ import annotations

import math

import pytest
import torch

from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.evaluation.model import continuation_geometry, score_windows
from audiolm_cli.model.decode import count_known
from audiolm_cli.model.decoders import Decoders, build

V, K = 16, 3


def tiny(passes: int = 1, attention: str = "full") -> Decoders:
    torch.manual_seed(0)
    sizes = {"d_model": 32, "nhead": 2, "num_layers": 1, "num_quantizers": K, "codebook_size": V}
    shape = ModelConfig(**sizes, max_frames=32, nar_passes=passes, context_attention=attention)
    model = build(shape).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


WINDOWS = torch.randint(V, (11, 20, K), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("attention", ["full", "causal"])
@pytest.mark.parametrize("own", [1, 3])
def test_one_pass_scores_what_the_model_predicts(own: int, attention: str) -> None:
    """Each codebook's mean cross-entropy and hits over target frames, from whole passes; several are taken only where
    nothing is said.
    """
    model, geometry = tiny(own, attention), continuation_geometry(20)
    scores, (context, target) = score_windows(model, WINDOWS, passes=1), geometry.split(WINDOWS)
    with torch.no_grad():
        predicted = [model.ar_predict(context, target, geometry)[0]]
        predicted += [model.nar_predict(context, target, geometry, k) for k in range(1, K)]
    assert scores.bits == pytest.approx([p.loss().item() / math.log(2) for p in predicted], rel=1e-5)
    assert scores.top1 == pytest.approx([(p.ranks() < 1).float().mean().item() for p in predicted])
    assert scores.top10 == pytest.approx([(p.ranks() < 10).float().mean().item() for p in predicted])
    assert (score_windows(model, WINDOWS) == scores) is (own == 1)
    assert score_windows(model, WINDOWS) == score_windows(model, WINDOWS, passes=own)


@pytest.mark.parametrize("passes", [1, 2, 5, 50])
def test_every_frame_is_scored_once(passes: int) -> None:
    model = tiny()
    with torch.no_grad():
        for head in model.nar_heads:
            head.weight.zero_()  # type: ignore[union-attr]
        model.nar_copying.scores.zero_()
        model.nar_copying.gates.weight.zero_()
        model.nar_copying.gates.bias.zero_()
    assert score_windows(model, WINDOWS, passes=passes).bits[1:] == pytest.approx([4.0, 4.0], rel=1e-5)


def test_later_passes_read_the_true_codes_of_earlier_ones() -> None:
    """A decoder that copies: the code a frame shares with all others is certain once one of them is known."""
    model = tiny()
    windows = torch.randint(V, (24, 1, K), generator=torch.Generator().manual_seed(2)).expand(-1, 20, -1).clone()
    windows[:, :8] = 0  # the prompt says nothing about the target
    windows[..., 0] = 0
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(3)
    geometry = continuation_geometry(20)
    context, target = geometry.split(windows)
    for _ in range(80):
        known = torch.rand(target.shape[:2], generator=generator) < 0.5
        loss = model.nar_predict(context, target, geometry, 1, known).loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    one, several = score_windows(model, windows), score_windows(model, windows, passes=4)
    assert several.bits[1] < 0.6 * one.bits[1]


def test_portions_grow_to_the_whole() -> None:
    counts = [count_known(done, 4, 100) for done in range(1, 5)]
    assert counts == [8, 29, 62, 100]
    assert [count_known(done, 3, 3) for done in range(1, 4)] == [1, 1, 3], "in a short gap a pass may add nothing"
