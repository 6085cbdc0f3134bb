"""ScaledAdam and Eden: steps relative to a parameter's size, whatever the gradients' scale, and a learned size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from audiolm_cli.config.training import TrainConfig
from audiolm_cli.training.scaled_adam import LARGEST_RMS, LARGEST_SCALAR, SMALLEST_RMS, ScaledAdam
from audiolm_cli.training.schedules import eden, rate_factor
from audiolm_cli.training.state import optimizer_tensors, restore_optimizer


def rms(tensor: torch.Tensor) -> float:
    return tensor.detach().square().mean().sqrt().item()


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [1e-3, 0.1, 2.0])
def test_the_first_update_is_the_rate_times_the_size(size: float) -> None:
    """Adam's first direction is the gradient's sign; the size moves by a tenth of the rate, along or against."""
    value = normal(40, 50)
    value *= size / rms(value)
    parameter, gradient = nn.Parameter(value.clone()), normal(40, 50, seed=1)
    parameter.grad = gradient.clone()
    ScaledAdam([parameter], lr=0.05).step()
    grown = -0.05 * 0.1 * torch.sign((gradient * value).sum())
    expected = value * (1 + grown) - 0.05 * size * gradient.sign()
    torch.testing.assert_close(parameter.detach(), expected, rtol=1e-4, atol=1e-6 * size)


def test_the_scale_of_gradients_does_not_matter() -> None:
    ends = []
    for scale in (1e-2, 1.0, 1e3):
        parameter = nn.Parameter(normal(6, 7))
        optimizer = ScaledAdam([parameter], lr=0.02)
        for step in range(10):
            parameter.grad = scale * normal(6, 7, seed=step)
            optimizer.step()
        ends.append(parameter.detach().clone())
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-3, atol=1e-4)


def test_a_size_is_learned_faster_than_by_its_direction_alone() -> None:
    """Towards a target of the same direction and three times the size."""
    ends = []
    for size_rate in (0.0, 1.0):
        target = normal(30, 30)
        parameter = nn.Parameter(target / 3)
        optimizer = ScaledAdam([parameter], lr=0.01, size_rate=size_rate)
        for _ in range(30):
            loss = (parameter - target).square().mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        ends.append((parameter - target).square().mean().item())
    assert ends[1] < 0.7 * ends[0], ends


def test_sizes_and_scalars_stay_within_their_bounds() -> None:
    """A parameter that begins at zero gets going; one at the upper bound does not grow; a scalar moves by Adam."""
    zero, large, scalar = nn.Parameter(torch.zeros(4, 4)), nn.Parameter(normal(4, 4)), nn.Parameter(torch.ones(1))
    large.data *= LARGEST_RMS / rms(large)
    optimizer = ScaledAdam([zero, large, scalar], lr=0.1)
    zero.grad, large.grad, scalar.grad = -torch.ones(4, 4), -large.detach().clone(), torch.tensor([-3.0])

    optimizer.step()
    torch.testing.assert_close(zero.detach(), torch.full((4, 4), 0.1 * SMALLEST_RMS))
    assert rms(large) < LARGEST_RMS * 1.11, "its direction still moves, its size does not"
    torch.testing.assert_close(scalar.detach(), torch.tensor([1.01]))

    for _ in range(400):
        zero.grad, scalar.grad = -torch.ones(4, 4), torch.tensor([-3.0])
        large.grad = None
        optimizer.step()
    assert rms(zero) > 0.1, "growth is exponential"
    assert scalar.item() == pytest.approx(1.01 + 400 * 0.01, rel=1e-3) and scalar.item() < LARGEST_SCALAR


def test_a_parameter_without_a_gradient_stays_and_ages_on_its_own() -> None:
    """Moments are corrected by the number of their own updates."""
    a, b = nn.Parameter(normal(3, 3)), nn.Parameter(normal(3, 3))
    optimizer = ScaledAdam([a, b], lr=0.1)
    a.grad = torch.ones(3, 3)
    before = b.detach().clone()
    optimizer.step()
    assert torch.equal(b, before)

    b.grad = torch.ones(3, 3)
    optimizer.step()

    # As the first step of an optimizer that has no other parameter.
    alone = nn.Parameter(before.clone())
    alone.grad = torch.ones(3, 3)
    ScaledAdam([alone], lr=0.1).step()
    assert torch.equal(alone, b)


def test_it_goes_on_from_its_tensors() -> None:
    def go(parameters: list[nn.Parameter], optimizer: ScaledAdam, steps: range) -> None:
        for step in steps:
            for i, parameter in enumerate(parameters):
                parameter.grad = normal(*parameter.shape, seed=10 * step + i) if i != 1 or step > 2 else None
            optimizer.step()

    def fresh() -> list[nn.Parameter]:
        return [nn.Parameter(normal(3, 4)), nn.Parameter(normal(3, 4, seed=5)), nn.Parameter(torch.ones(1))]

    whole, first = fresh(), fresh()
    go(whole, ScaledAdam(whole, lr=0.1), range(6))

    optimizer = ScaledAdam(first, lr=0.1)
    go(first, optimizer, range(3))
    resumed = ScaledAdam(first, lr=0.1)
    restore_optimizer(resumed, {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer).items()})
    go(first, resumed, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole, first, strict=True))


def test_eden_warms_up_from_a_half_and_falls_with_steps_and_epochs() -> None:
    assert eden(0, 0, 200, 5000, 4) == 0.5
    assert eden(100, 0, 200, 5000, 4) == pytest.approx(0.75, rel=1e-3)
    assert eden(5000, 0, 200, 5000, 4) == pytest.approx(2**-0.25)
    assert eden(0, 4, 0, 5000, 4) == pytest.approx(2**-0.25)

    far = [eden(step, 0, 200, 5000, 4) for step in (10**6, 4 * 10**6)]
    assert far[1] / far[0] == pytest.approx(0.5, rel=1e-3), "with the square root of the steps"
    assert eden(10_000, 8.0, 200, 5000, 4) == pytest.approx(5**-0.25 * 5**-0.25)


def test_the_schedule_is_the_one_that_is_named() -> None:
    config = TrainConfig(steps=100, warmup_steps=0, schedule="eden", eden_steps=10, eden_epochs=1e9)
    assert rate_factor(config, 10, 3.0) == pytest.approx(2**-0.25)
    assert rate_factor(TrainConfig(steps=100, warmup_steps=0, schedule="cosine"), 50, 0.0) == pytest.approx(0.51)
    assert rate_factor(TrainConfig(steps=100, warmup_steps=0), 50, 0.0) == 1.0
    assert TrainConfig(optimizer="scaled-adam").schedule == "eden"
