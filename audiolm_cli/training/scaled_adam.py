"""ScaledAdam: Adam whose steps are relative to each parameter's size. Knows nothing about models.

Yao et al., "Zipformer: a faster and better encoder for automatic speech recognition" (2023), section 3.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

SMALLEST_RMS, LARGEST_RMS = 1e-5, 3.0
"""Bounds of the size that a parameter is taken to have, so that one that begins at zero can move."""
LARGEST_SCALAR = 10.0
"""Single numbers have no size to be relative to: they move by plain Adam and stay within this."""


class ScaledAdam(torch.optim.Optimizer):
    """Adam with each update multiplied by its parameter's root mean square, and that size learned on its own.

    The direction is Adam's. The size has an Adam of its own, on the gradient of the loss by the logarithm of the size.
    That gradient is the sum of gradient times parameter. Gradients of any scale thus give the same steps.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.98),
        size_rate: float = 0.1,
        scalar_rate: float = 0.1,
        eps: float = 1e-8,
    ):
        """`size_rate` and `scalar_rate` are the learning rates of sizes and of single numbers over `lr`."""
        super().__init__(
            params, {"lr": lr, "betas": betas, "size_rate": size_rate, "scalar_rate": scalar_rate, "eps": eps}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            # Adam corrects its moments by the number of their updates, which differs where some steps gave no gradient.
            by_age: dict[int, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    state = self._find_or_make_state(parameter)
                    state["step"] += 1
                    by_age.setdefault(int(state["step"]), []).append(parameter)

            for age, parameters in by_age.items():
                self._update_tensors([p for p in parameters if p.numel() > 1], group, age)
                self._update_scalars([p for p in parameters if p.numel() == 1], group, age)

    def _find_or_make_state(self, parameter: nn.Parameter) -> dict[str, Any]:
        """How often a parameter was updated, and the moments of its gradient and of its size."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["mean"] = torch.zeros_like(parameter)
            state["square"] = torch.zeros_like(parameter)
            state["size_mean"] = torch.zeros((), device=parameter.device)
            state["size_square"] = torch.zeros((), device=parameter.device)
        return state

    def _update_tensors(self, parameters: list[nn.Parameter], group: dict[str, Any], age: int) -> None:
        """One update of parameters whose moments have the same age; all of them at once."""
        if not parameters:
            return
        values, gradients, states = self._gather(parameters)

        # The two moves are of the parameter as it was: both are computed before either is made.
        sizes = _measure_sizes(values)
        size_gradients = [product.sum() for product in torch._foreach_mul(gradients, values)]
        growth = _adam(size_gradients, states, "size_mean", "size_square", group, age)
        torch._foreach_mul_(growth, -group["lr"] * group["size_rate"])
        for grown, size in zip(growth, sizes, strict=True):  # sizes stay within their bounds
            grown.masked_fill_((size <= SMALLEST_RMS) & (grown < 0), 0.0)
            grown.masked_fill_((size >= LARGEST_RMS) & (grown > 0), 0.0)

        direction = _adam(gradients, states, "mean", "square", group, age)
        torch._foreach_mul_(direction, torch._foreach_clamp_min(sizes, SMALLEST_RMS))

        torch._foreach_add_(values, torch._foreach_mul(values, growth))
        torch._foreach_add_(values, direction, alpha=-group["lr"])

    def _update_scalars(self, parameters: list[nn.Parameter], group: dict[str, Any], age: int) -> None:
        """The same for parameters that are single numbers: by plain Adam."""
        if not parameters:
            return
        values, gradients, states = self._gather(parameters)

        direction = _adam(gradients, states, "mean", "square", group, age)
        torch._foreach_add_(values, direction, alpha=-group["lr"] * group["scalar_rate"])
        torch._foreach_clamp_min_(values, -LARGEST_SCALAR)
        torch._foreach_clamp_max_(values, LARGEST_SCALAR)

    def _gather(self, parameters: list[nn.Parameter]) -> tuple[list[Tensor], list[Tensor], list[dict[str, Any]]]:
        """The values, gradients and states of parameters, in lists as torch's `_foreach` functions take them."""
        values = [parameter.detach() for parameter in parameters]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        return values, gradients, [self.state[parameter] for parameter in parameters]


def _measure_sizes(values: list[Tensor]) -> list[Tensor]:
    """Root mean square of each tensor, zero-dimensional."""
    norms = torch._foreach_norm(values)
    return [norm / value.numel() ** 0.5 for norm, value in zip(norms, values, strict=True)]


def _adam(
    gradients: list[Tensor], states: list[dict[str, Any]], mean: str, square: str, group: dict[str, Any], age: int
) -> list[Tensor]:
    """Adam's directions (Kingma and Ba 2015, algorithm 1), with the moments in `states` brought up to date."""
    beta1, beta2 = group["betas"]

    means, squares = [state[mean] for state in states], [state[square] for state in states]
    torch._foreach_lerp_(means, gradients, 1 - beta1)
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)

    # The moments began at zero, which young ones still show: each is divided by what has come into it.
    roots = torch._foreach_sqrt(torch._foreach_div(squares, 1 - beta2**age))
    torch._foreach_add_(roots, group["eps"])
    directions = torch._foreach_div(means, 1 - beta1**age)
    return list(torch._foreach_div(directions, roots))
