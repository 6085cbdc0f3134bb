"""int8 weights with one scale per output channel. Knows nothing about what the layers are part of."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Int8Linear(nn.Module):
    """A linear layer whose weight is int8 [out, in] times a scale per output channel; inputs stay as they are."""

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        scale = linear.weight.abs().amax(dim=1).clamp(min=1e-12) / 127  # [out]
        self.register_buffer("weight", (linear.weight / scale[:, None]).round().to(torch.int8).contiguous())
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        out = torch._weight_int8pack_mm(x.reshape(-1, x.shape[-1]), self.weight, self.scale)
        out = out if self.bias is None else out + self.bias
        return out.view(*x.shape[:-1], -1)


def quantize_linears(module: nn.Module) -> None:
    """Replace every linear layer below `module` by its int8 form, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Int8Linear(child))
        else:
            quantize_linears(child)
