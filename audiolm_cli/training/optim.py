"""Muon, and the optimizers of a training. Knows nothing about models beyond their parameters' names and shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from audiolm_cli.config.training import TrainConfig
from audiolm_cli.training.scaled_adam import ScaledAdam

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration (Jordan et al., "Muon", 2024)."""

EMBEDDING_RATE = 50.0
"""Learning rate of the AR decoder's embeddings over Adam's.

Adam moves all weights by about the same amount, and the embeddings are that much larger than the others.
"""
AR_RATE = 5.0
"""Learning rate over Adam's of the AR decoder's other weights, of those that Adam trains beside Muon."""
ADAM_BETAS = (0.9, 0.95)
"""Decay of Adam's two moments."""


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised: for hidden weight matrices (Jordan et al., "Muon", 2024).

    torch's own Muon iterates in bfloat16 only. This one is told in which type, and takes all matrices of one shape at
    once.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        iterate_in: torch.dtype = torch.float32,
    ) -> None:
        self.iterate_in = iterate_in
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)

            for parameters in by_shape.values():
                self._update(parameters, group)

    def _update(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        """One update of matrices of one shape."""
        momenta = torch.stack([self._push_momentum(parameter, group["momentum"]) for parameter in parameters])
        updates = orthogonalise(momenta.to(self.iterate_in)).to(parameters[0].dtype)  # [n, rows, columns]

        # Orthogonal matrices of all shapes thus move a layer's output by about as much.
        rows, columns = parameters[0].shape
        rate = group["lr"] * max(1.0, rows / columns) ** 0.5
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-rate)

    def _push_momentum(self, parameter: nn.Parameter, decay: float) -> Tensor:
        """Bring a parameter's momentum up to date, and return Nesterov's look ahead of it."""
        gradient = parameter.grad
        assert gradient is not None
        momentum: Tensor = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        momentum.lerp_(gradient, 1 - decay)
        return gradient.lerp(momentum, decay)


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Matrices [n, rows, columns] with their singular values pushed towards 1 (0.7 to 1.2)."""
    a, b, c = NEWTON_SCHULZ
    x = matrices / matrices.flatten(1).norm(dim=1)[:, None, None].clamp(min=1e-7)

    # The product of the rows is the smaller one of wide matrices.
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Hidden weight matrices of the decoders, the AR decoder's embeddings, and everything else."""
    hidden: list[nn.Parameter] = []
    embeddings: list[nn.Parameter] = []
    other: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if name.startswith("ar_embeddings"):
            embeddings.append(parameter)
        elif parameter.dim() == 2 and "decoder" in name and "project" not in name:
            hidden.append(parameter)
        else:
            other.append(parameter)
    return hidden, embeddings, other


def build_optimizers(model: nn.Module, config: TrainConfig, *, bf16: bool = False) -> list[torch.optim.Optimizer]:
    """The optimizers of a training; each parameter group's peak learning rate is under "peak".

    Args:
        bf16: whether the device multiplies bf16 faster than fp32, which Muon's iterations then do.
    """
    optimizers: list[torch.optim.Optimizer]
    if config.optimizer == "scaled-adam":
        optimizers = [_build_scaled_adam(model, config)]
    elif config.optimizer == "adamw":
        optimizers = [_build_adamw(model, config)]
    else:
        optimizers = [_build_muon(model, config, bf16), _build_adamw_beside_muon(model, config)]

    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def _build_scaled_adam(model: nn.Module, config: TrainConfig) -> ScaledAdam:
    hidden, embeddings, other = split_parameters(model)
    return ScaledAdam([*hidden, *embeddings, *other], lr=_learning_rate(config))


def _build_adamw(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    hidden, embeddings, other = split_parameters(model)
    rate = _learning_rate(config)
    groups: list[dict[str, Any]] = [
        {"params": hidden, "weight_decay": config.weight_decay},
        {"params": embeddings, "lr": EMBEDDING_RATE * rate},
        {"params": other},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=ADAM_BETAS, weight_decay=0.0)


def _build_muon(model: nn.Module, config: TrainConfig, bf16: bool) -> Muon:
    hidden, _, _ = split_parameters(model)
    iterate_in = torch.bfloat16 if bf16 else torch.float32
    return Muon(hidden, lr=_learning_rate(config), weight_decay=config.weight_decay, iterate_in=iterate_in)


def _build_adamw_beside_muon(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW for what Muon leaves: embeddings, heads and whatever is no matrix."""
    _, embeddings, other = split_parameters(model)
    in_nar = {id(parameter) for name, parameter in model.named_parameters() if name.startswith("nar")}
    rate = config.adam_learning_rate
    assert rate is not None, "TrainConfig fills it in"
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in other if id(parameter) in in_nar]},
        {"params": [parameter for parameter in other if id(parameter) not in in_nar], "lr": AR_RATE * rate},
        {"params": embeddings, "lr": EMBEDDING_RATE * rate},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=ADAM_BETAS, weight_decay=0.0)


def _learning_rate(config: TrainConfig) -> float:
    assert config.learning_rate is not None, "TrainConfig fills it in"
    return config.learning_rate
