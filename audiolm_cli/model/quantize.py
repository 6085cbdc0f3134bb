"""Linear layers in the forms that a CPU reads fastest. Knows nothing about what they are part of.

For layers that read all their weights for a few rows, once per frame; those that multiply hundreds of rows at once gain
nothing from it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MANY_ROWS = 16
"""Over so many rows, one product in bf16 is faster than going through the int8 weights for every few of them."""


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16 products; without them, it is slower than fp32."""
    return torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()


class Bf16Linear(nn.Module):
    """A linear layer with its weight in bf16: rounds its input [..., in] and gives bf16 [..., out]."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = linear.weight.detach().bfloat16()
        self.bias = None if linear.bias is None else linear.bias.detach().bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        return F.linear(x.bfloat16(), self.weight, self.bias)


class PackedLinear(Bf16Linear):
    """The same with its weight in oneDNN's own order: one row takes 0.6 of the time."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        return torch.ops.mkldnn._linear_pointwise(x.bfloat16(), self.weight, self.bias, "none", [], "")


class Int8Linear(nn.Module):
    """A linear layer whose weight is int8 [out, in] times a scale per output channel; otherwise like `Bf16Linear`."""

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = quantized_rows(linear.weight)
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale.bfloat16())
        self.bias = None if linear.bias is None else linear.bias.detach().bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        rows = x.reshape(-1, x.shape[-1]).bfloat16()  # of float32 rows, torch's kernel takes twelve times as long
        if len(rows) > MANY_ROWS:
            out = F.linear(rows, self.weight.bfloat16()) * self.scale
        else:
            out = torch._weight_int8pack_mm(rows, self.weight, self.scale)
        out = out if self.bias is None else out + self.bias
        return out.view(*x.shape[:-1], len(self.weight))


def quantized_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 [out, in] and its float32 scale [out], whose product is nearest to the weight.

    >>> quantized_rows(torch.tensor([[127.0, -3.0]]))
    (tensor([[127,  -3]], dtype=torch.int8), tensor([1.]))
    """
    scale = weight.detach().float().abs().amax(dim=1).clamp(min=1e-12) / 127
    return (weight.detach().float() / scale[:, None]).round().to(torch.int8).contiguous(), scale


def replace_linears(module: nn.Module, form: Callable[[nn.Linear], nn.Module]) -> None:
    """Replace every linear layer below `module` by that form of it, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, form(child))
        else:
            replace_linears(child, form)
