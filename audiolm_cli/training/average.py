"""Moving averages of a network's weights, kept beside it by name. Knows nothing about what is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def start_average(module: nn.Module) -> dict[str, Tensor]:
    """An average that begins at the weights as they are."""
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def update_average(average: dict[str, Tensor], module: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the weights after `step`."""
    # Early steps count for more, so that the average forgets the weights that it began with.
    decay = min(decay, (1 + step) / (10 + step))

    parameters = dict(module.named_parameters())
    torch._foreach_lerp_(list(average.values()), [parameters[name].detach() for name in average], 1 - decay)


@torch.no_grad()
def swap_average(average: dict[str, Tensor], module: nn.Module) -> None:
    """Exchange the average and the weights. Done twice, everything is as before."""
    for name, parameter in module.named_parameters():
        current = parameter.detach().clone()
        parameter.copy_(average[name])
        average[name] = current


@contextmanager
def holding_average(average: dict[str, Tensor], module: nn.Module) -> Iterator[None]:
    """While it lasts, the module holds the averaged weights."""
    swap_average(average, module)
    try:
        yield
    finally:
        swap_average(average, module)
