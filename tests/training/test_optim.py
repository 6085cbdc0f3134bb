"""Optimizers and schedules: orthogonal updates, a falling loss, and the shape of the learning rate."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.config.training import TrainConfig
from audiolm_cli.model.decoders import build
from audiolm_cli.training.optim import Muon, build_optimizers, orthogonalise, split_parameters
from audiolm_cli.training.schedules import cosine, warmup_stable_decay


@pytest.mark.parametrize("shape", [(16, 16), (8, 32), (32, 8), (64, 48)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    """Those of well-conditioned matrices, whatever their scale; five iterations leave 0.7 to 1.2."""
    left, _, right = torch.linalg.svd(torch.randn(4, *shape, generator=torch.Generator().manual_seed(0)))
    values = torch.linspace(0.1, 1.0, min(shape))
    diagonal = torch.zeros(4, *shape)
    diagonal[:, range(min(shape)), range(min(shape))] = values
    matrices = left @ diagonal @ right * torch.tensor([1e-4, 1.0, 30.0, 1e4])[:, None, None]

    made = orthogonalise(matrices)
    assert made.shape == matrices.shape
    singular = torch.linalg.svdvals(made)
    assert singular.min() > 0.65 and singular.max() < 1.25
    assert (made * matrices).sum(dim=(1, 2)).min() > 0, "the direction stays"


def test_iterating_in_bfloat16_reaches_about_the_same_update() -> None:
    torch.manual_seed(0)
    start, gradient = torch.randn(24, 48), torch.randn(24, 48)
    moved = []
    for kind in (torch.float32, torch.bfloat16):
        parameter = nn.Parameter(start.clone())
        parameter.grad = gradient.clone()
        Muon([parameter], lr=0.1, iterate_in=kind).step()
        assert parameter.dtype == torch.float32
        moved.append(parameter.detach() - start)
    assert (moved[0] - moved[1]).norm() < 0.06 * moved[0].norm()


def test_matrices_do_not_touch_each_other() -> None:
    matrices = torch.randn(3, 6, 9, generator=torch.Generator().manual_seed(1))
    for together, one in zip(orthogonalise(matrices), matrices, strict=True):
        torch.testing.assert_close(orthogonalise(one[None])[0], together, atol=1e-5, rtol=1e-4)


def test_no_gradient_is_no_update() -> None:
    assert torch.equal(orthogonalise(torch.zeros(1, 4, 4)), torch.zeros(1, 4, 4))
    still, idle = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4, 4))
    still.grad = torch.zeros(4, 4)
    Muon([still, idle], lr=0.1).step()
    assert torch.equal(still, torch.ones(4, 4)) and torch.equal(idle, torch.ones(4, 4))


def test_muon_fits_a_linear_map() -> None:
    """Beginning far from it, with matrices of two shapes at once, and the rate falling to zero."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, 8, generator=generator)
    wanted = inputs @ torch.randn(8, 6, generator=generator)
    first = nn.Parameter(torch.randn(8, 12, generator=generator) * 0.1)
    second = nn.Parameter(torch.randn(12, 6, generator=generator) * 0.1)

    optimizer = Muon([first, second], lr=0.1)
    losses = []
    for step in range(100):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 100)
        loss = (inputs @ first @ second - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0], losses


def test_weight_decay_shrinks_what_gets_no_push() -> None:
    parameter = nn.Parameter(torch.ones(3, 3))
    optimizer = Muon([parameter], lr=0.5, weight_decay=0.1)
    parameter.grad = torch.zeros(3, 3)
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.full((3, 3), 0.95))


def test_hidden_matrices_are_those_of_the_layers() -> None:
    model = build(ModelConfig(d_model=32, nhead=2, num_layers=2, num_quantizers=3, codebook_size=16))
    hidden, embeddings, other = split_parameters(model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert len(hidden) + len(embeddings) + len(other) == len(names)
    assert sorted(names[p] for p in embeddings) == [f"ar_embeddings.{k}.weight" for k in range(3)]

    matrices = ("attention.qkv", "attention.out", "up", "down")
    layers = [f"{kind}_decoder.layers.{layer}" for kind in ("ar", "nar") for layer in (0, 1)]
    expected = [f"{layer}.{matrix}.weight" for layer in layers for matrix in matrices]
    assert sorted(names[p] for p in hidden) == sorted(expected)


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "scaled-adam"])
def test_every_parameter_has_one_rate(optimizer: str) -> None:
    """Adam's follow the size of what they move, and the decoder."""
    model = build(ModelConfig(d_model=32, nhead=2, num_layers=2, num_quantizers=3, codebook_size=16))
    names = {parameter: name for name, parameter in model.named_parameters()}
    config = TrainConfig(optimizer=optimizer, adam_learning_rate=0.5)

    groups = [group for one in build_optimizers(model, config) for group in one.param_groups]
    peaks = {names[p]: group["peak"] for group in groups for p in group["params"]}
    assert sorted(peaks) == sorted(names.values()) and sum(len(group["params"]) for group in groups) == len(names)

    rate = config.learning_rate
    expected = {
        "muon": {"ar_embeddings.1.weight": 25.0, "ar_head.weight": 2.5, "ar_decoder.norm.weight": 2.5, "ar_start": 2.5,
                 "nar_embeddings.1.weight": 0.5, "nar_heads.0.weight": 0.5, "ar_decoder.layers.1.up.weight": rate},
        "adamw": {"ar_embeddings.1.weight": 50 * rate, "ar_head.weight": rate, "nar_embeddings.1.weight": rate},
        "scaled-adam": {"ar_embeddings.1.weight": rate, "ar_head.weight": rate, "nar_embeddings.1.weight": rate},
    }[optimizer]  # fmt: skip
    assert {name: peaks[name] for name in expected} == expected


def test_warmup_stable_decay_rises_stays_and_falls() -> None:
    factors = [warmup_stable_decay(step, 100, 10, 0.3) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[9:71] == [1.0] * 62
    assert all(later < earlier for earlier, later in pairwise(factors[70:]))
    assert factors[-1] == pytest.approx(1 / 30)
    assert warmup_stable_decay(100, 100, 10, 0.3) == 0.0


def test_cosine_rises_and_falls_to_its_floor() -> None:
    factors = [cosine(step, 100, 10) for step in range(101)]
    assert max(factors) == max(factors[9:12]) <= 1.0
    assert all(later > earlier for earlier, later in pairwise(factors[:10]))
    assert all(later < earlier for earlier, later in pairwise(factors[10:]))
    assert factors[100] == pytest.approx(0.02) == cosine(200, 100, 10)


@pytest.mark.parametrize("warmup", [0, 1])
def test_without_warm_up_the_first_step_is_a_full_one(warmup: int) -> None:
    assert warmup_stable_decay(0, 10, warmup, 0.3) == cosine(0, 10, warmup) == 1.0
    assert warmup_stable_decay(0, 1, warmup, 0.3) == 1.0
