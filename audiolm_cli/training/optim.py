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
"""Rate of the AR decoder's embeddings over Adam's: Adam moves every weight alike, and these are that much larger."""
AR_RATE = 5.0
"""Under Muon, rate of what else of the AR decoder Adam trains; the NAR decoder learns worse at it."""


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised: for hidden weight matrices (Jordan et al., "Muon", 2024).

    torch's own Muon iterates in bfloat16, which processors without bfloat16 units run a hundred times slower than
    float32; this one is told in which type, and takes all matrices of one shape at once.
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
            shapes: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in shapes.items():
                updates = []
                for parameter in parameters:
                    state = self.state[parameter]
                    momentum = state.setdefault("momentum", torch.zeros_like(parameter))
                    gradient = parameter.grad
                    assert gradient is not None
                    momentum.lerp_(gradient, 1 - group["momentum"])
                    updates.append(gradient.lerp(momentum, group["momentum"]))  # Nesterov
                scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                made = orthogonalise(torch.stack(updates).to(self.iterate_in)).to(parameters[0].dtype)
                for parameter, update in zip(parameters, made, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-scale)


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Matrices [n, rows, columns] with their singular values pushed towards 1 (0.7 to 1.2)."""
    a, b, c = NEWTON_SCHULZ
    x = matrices / matrices.flatten(1).norm(dim=1)[:, None, None].clamp(min=1e-7)
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
        else:
            is_hidden = parameter.dim() == 2 and "decoder" in name and "project" not in name
            (hidden if is_hidden else other).append(parameter)
    return hidden, embeddings, other


def build_optimizers(model: nn.Module, config: TrainConfig, *, bf16: bool = False) -> list[torch.optim.Optimizer]:
    """The optimizers of a training; each parameter group's peak learning rate is under "peak".

    Args:
        bf16: whether the device multiplies bf16 faster than fp32, which Muon's iterations then do.
    """
    hidden, embeddings, other = split_parameters(model)
    rate = config.learning_rate
    assert rate is not None, "TrainConfig fills it in"
    optimizers: list[torch.optim.Optimizer]
    groups: list[dict[str, Any]]
    if config.optimizer == "scaled-adam":
        optimizers = [ScaledAdam([*hidden, *embeddings, *other], lr=rate)]
    elif config.optimizer == "adamw":
        groups = [
            {"params": hidden, "weight_decay": config.weight_decay},
            {"params": embeddings, "lr": EMBEDDING_RATE * rate},
            {"params": other},
        ]
        optimizers = [torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), weight_decay=0.0)]
    else:
        usual = config.adam_learning_rate
        of_nar = {id(parameter) for name, parameter in model.named_parameters() if name.startswith("nar")}
        groups = [
            {"params": [p for p in other if id(p) in of_nar]},
            {"params": [p for p in other if id(p) not in of_nar], "lr": AR_RATE * usual},
            {"params": embeddings, "lr": EMBEDDING_RATE * usual},
        ]
        adam = torch.optim.AdamW(groups, lr=usual, betas=(0.9, 0.95), weight_decay=0.0)
        iterate_in = torch.bfloat16 if bf16 else torch.float32
        optimizers = [Muon(hidden, lr=rate, weight_decay=config.weight_decay, iterate_in=iterate_in), adam]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers
