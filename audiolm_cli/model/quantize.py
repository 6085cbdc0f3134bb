"""Linear layers in the forms that a CPU reads fastest. Knows nothing about what they are part of.

For layers that read all their weights for a few rows, once per frame; those that multiply hundreds of rows at once gain
nothing from it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiolm_cli.cores import one_thread
from audiolm_cli.errors import UsageError
from audiolm_cli.model.decoders import Decoders


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16 products; without them, it is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and _has_instructions("_is_avx512_bf16_supported")


def check_dtype(dtype: str, device: torch.device) -> None:
    """Refuse a number format that is not used on a device.

    Raises:
        UsageError: it is one.
    """
    if device.type == "mps" and dtype not in ("auto", "fp32"):
        raise UsageError(f"--dtype {dtype} is not used on GPUs of Apple; leave it out with --device mps")
    if device.type == "cuda" and dtype == "int8":
        raise UsageError(f"--dtype int8 works on the CPU only, not on {device}; use --dtype bf16 there")


def multiplies_int8() -> bool:
    """Whether this processor has instructions for products of 8-bit numbers (VNNI)."""
    return _has_instructions("_is_vnni_supported")


def _has_instructions(question: str) -> bool:
    """What a private function of torch says of this processor; a torch that has no such function is taken for "no"."""
    return bool(getattr(torch.cpu, question, bool)())


def is_supported(form: Callable[[nn.Linear], nn.Module]) -> bool:
    """Whether this torch on this processor multiplies by that form of a layer; some forms need kernels of their own."""
    try:
        with _no_deprecations():
            form(nn.Linear(64, 64))(torch.zeros(1, 64))
    except (RuntimeError, AttributeError):
        return False
    return True


@contextmanager
def _no_deprecations() -> Iterator[None]:
    """Without torch's warning that quantized tensors will go one day: until then they are the fastest form.

    From then on, `is_supported` says no, and another number format is used.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*quantized tensor creation functions")
        yield


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
    """A `Bf16Linear` with its weight in oneDNN's own order, which is read faster."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        return torch.ops.mkldnn._linear_pointwise(x.bfloat16(), self.weight, self.bias, "none", [], "")


class HalfLinear(nn.Module):
    """A linear layer with its weight in half precision; everything else about it is float32.

    Of all 16-bit forms, this one multiplies a single row fastest.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        bias = None if linear.bias is None else linear.bias.detach().float()
        self.packed = torch.ops.quantized.linear_prepack_fp16(linear.weight.detach().float(), bias)

    def forward(self, x: Tensor) -> Tensor:
        """float32 [..., in] to [..., out]."""
        return torch.ops.quantized.linear_dynamic_fp16(x, self.packed)


class StepLinear(HalfLinear):
    """A `HalfLinear` for few rows, as of a step; many rows, as of a context, are multiplied faster in bf16."""

    FEW = 16

    def __init__(self, linear: nn.Linear, wide: Callable[[nn.Linear], nn.Module] = Bf16Linear) -> None:
        """Multiply many rows by the form `wide`."""
        super().__init__(linear)
        self.wide = wide(linear)

    def forward(self, x: Tensor) -> Tensor:
        """float32 [..., in] to float32 or bf16 [..., out]."""
        return super().forward(x.float()) if x.numel() <= self.FEW * x.shape[-1] else self.wide(x)


class Int8Linear(nn.Module):
    """A linear layer whose weight is int8 times a scale per output channel; it rounds each row of its input to 8 bits.

    The kernel takes one range for all rows of its input. A single row goes to it as it is; several are brought to
    ranges of their own first, in the kernel's own way, so that a row gives the same whatever stands beside it.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = quantize_rows(linear.weight)
        zeros = torch.zeros(len(scale), dtype=torch.long)
        quantized = torch._make_per_channel_quantized_tensor(weight, scale.double(), zeros, 0)
        self.bias = torch.zeros_like(scale) if linear.bias is None else linear.bias.detach().float()
        self.packed = torch.ops.quantized.linear_prepack(quantized, self.bias)

        self.sums = weight.sum(1) * scale  # [out]
        self.levels = 255 if multiplies_int8() else 127  # without VNNI, sums of larger products overflow

    def forward(self, x: Tensor) -> Tensor:
        """float32 [..., in] to [..., out]."""
        if x.numel() == x.shape[-1]:
            return self._multiply(x)

        # Each row's own range, and the row in whole numbers 0..levels.
        low, high = x.aminmax(dim=-1, keepdim=True)  # [..., 1]
        low = low.clamp(max=0)
        step = ((high.clamp(min=0) - low) / self.levels).clamp(min=1e-30)
        least = (low / step).round()  # [..., 1]
        rounded = (x / step).sub_(least).round_().clamp_(0, self.levels).flatten(0, -2)  # [rows, in]

        # One more row of the largest number and zeros makes the kernel's own step 1: it rounds nothing any more.
        ends = F.pad(rounded.new_full((1, 1), self.levels), (0, x.shape[-1] - 1))  # [1, in]
        out = self._multiply(torch.cat([rounded, ends]))[:-1].view(*x.shape[:-1], len(self.sums))
        return out.sub_(self.bias).addcmul_(least, self.sums).mul_(step).add_(self.bias)

    def _multiply(self, x: Tensor) -> Tensor:
        return torch.ops.quantized.linear_dynamic(x, self.packed, self.levels < 255)


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 [out, in] and its float32 scale [out], whose product is nearest to the weight.

    >>> quantize_rows(torch.tensor([[127.0, -3.0]]))
    (tensor([[127,  -3]], dtype=torch.int8), tensor([1.]))
    """
    scale = weight.detach().float().abs().amax(dim=1).clamp(min=1e-12) / 127
    return (weight.detach().float() / scale[:, None]).round().to(torch.int8).contiguous(), scale


def replace_linears(module: nn.Module, form: Callable[[nn.Linear], nn.Module]) -> None:
    """Replace every linear layer below `module` by that form of it, in place, several at a time."""
    found = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear)
    ]

    # Torch packs a weight on one core, so several are packed at a time, each by one thread.
    with _no_deprecations(), one_thread() as most, ThreadPoolExecutor(most) as pool:
        made = list(pool.map(form, (child for _, _, child in found)))

    for (parent, name, _), layer in zip(found, made, strict=True):
        setattr(parent, name, layer)


def use_dtype(model: Decoders, dtype: str) -> str:
    """Bring the weights into "fp32", "bf16" or "int8" for generating, in place, and say into which.

    A processor or a torch without a kernel for int8 gets another form: bf16 where it multiplies that, otherwise fp32.

    On a CPU, only the products of the layers are narrow; the sums they add to stay float32, and in bf16 the logits
    too. The AR decoder reads all its weights for every frame, so it gets them in the form that is read fastest: for
    "bf16" that is half precision, with bf16 for contexts. The NAR decoder multiplies whole targets at once; it gets
    bf16, also where the AR decoder has int8.
    """
    if model.device.type != "cpu":
        model.to(torch.bfloat16 if dtype == "bf16" else torch.float32)
        return dtype

    with one_thread():
        model.float()
    fast = multiplies_bf16(model.device)
    if dtype == "int8" and not is_supported(Int8Linear):
        dtype = "bf16" if fast else "fp32"

    if dtype == "bf16":
        for layers in (model.ar_decoder, model.ar_depth_decoder):
            replace_linears(layers, _sixteen_bit_form(fast))
        if is_supported(HalfLinear):
            model.set_submodule("ar_head", HalfLinear(model.ar_head))
            replace_linears(model.ar_depth_heads, HalfLinear)
    elif dtype == "int8":
        for layers in (model.ar_decoder, model.ar_depth_decoder, model.ar_depth_heads):
            replace_linears(layers, Int8Linear)
        model.set_submodule("ar_head", Int8Linear(model.ar_head))

    if dtype == "bf16" or (dtype == "int8" and fast):
        replace_linears(model.nar_decoder, Bf16Linear)
    return dtype


def _sixteen_bit_form(fast: bool) -> Callable[[nn.Linear], nn.Module]:
    """The fastest form with 16-bit weights for layers that multiply few rows at a time, and sometimes many."""
    wide = PackedLinear if fast and is_supported(PackedLinear) else Bf16Linear
    if not is_supported(HalfLinear):
        return wide
    return partial(StepLinear, wide=wide) if fast else HalfLinear
