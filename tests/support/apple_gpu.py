"""A GPU of Apple, as far as it can be emulated where there is none: tensors that say they are on the device "mps".

They are computed on the processor. What is not on such a device is refused as torch refuses it: float64 and complex
numbers, tensors of two devices in one operation, and arrays of NumPy. Which operations torch has for it, and what they
round to, is not emulated.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

MPS, CPU = torch.device("mps"), torch.device("cpu")
REFUSED = (torch.float64, torch.complex64, torch.complex128)
aten = torch.ops.aten
INDEXING = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default)
"""Operations whose indices may lie on the processor."""


class AppleTensor(Tensor):
    """A tensor that is taken for one on a GPU of Apple."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> AppleTensor:
        if held.dtype in REFUSED:
            raise TypeError(f"Cannot convert a MPS Tensor to {held.dtype} dtype: the MPS framework doesn't support it")
        size, strides = held.shape, held.stride()
        made: AppleTensor = Tensor._make_wrapper_subclass(cls, size, strides, held.storage_offset(), dtype=held.dtype)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation, some of whose tensors are on the device: computed on the processor, and put back there."""
        kwargs = kwargs or {}
        given = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
        moved = func is aten.copy_.default
        for value in given[:1] if func in INDEXING else given:
            if not moved and not isinstance(value, cls) and value.dim():
                raise RuntimeError(f"Expected all tensors to be on the same device, but found mps and cpu ({func})")
        if moved and not isinstance(args[0], cls):
            return args[0].copy_(args[1].held)

        owners = {id(value.held): value for value in given if isinstance(value, cls)}
        args, kwargs = tree_map(lambda value: value.held if isinstance(value, cls) else value, (args, kwargs))

        def put_back(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return owners[id(value)] if id(value) in owners else cls(value)

        return tree_map(put_back, func(*args, **kwargs))


class AppleGpu(TorchFunctionMode):
    """While it is entered, "mps" is a device, on which things can be made, and to and from which they can be moved."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One call of torch; no gradient comes back over a move."""
        kwargs = dict(kwargs or {})
        own = args[0] if args and isinstance(args[0], AppleTensor) else None
        if own is not None and func == Tensor.device.__get__:
            return MPS
        if own is not None and func is Tensor.numpy:
            raise TypeError("can't convert mps:0 device type tensor to numpy. Use Tensor.cpu() first")
        if own is not None and func is Tensor.tolist:
            return own.held.tolist()
        if own is not None and func is Tensor.cpu:
            return own.held.clone()
        if own is not None and func is scaled_dot_product_attention and kwargs.pop("is_causal", False):
            # torch would make the mask itself, on the device that it takes this for.
            mask = torch.ones(own.shape[-2], args[1].shape[-2], dtype=torch.bool).tril()
            kwargs["attn_mask"] = AppleTensor(mask)
        if func is Tensor.to:
            return _move(args[0], args[1:], kwargs)

        if kwargs.get("device") in ("mps", MPS):
            return AppleTensor(func(*args, **{**kwargs, "device": CPU}))
        return func(*args, **kwargs)


def _move(tensor: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """`tensor.to(...)`."""
    given = (*args, *kwargs.values())
    kinds = [v.dtype if isinstance(v, Tensor) else v for v in given if isinstance(v, (torch.dtype, Tensor))]
    target, dtype = _device_in(given) or _device_of(tensor), kinds[0] if kinds else tensor.dtype
    if target == _device_of(tensor):
        return tensor.to(dtype, copy=bool(kwargs.get("copy")))
    if isinstance(tensor, AppleTensor):
        return tensor.held.to(dtype, copy=True)
    return AppleTensor(tensor.detach().to(dtype, copy=True))


def _device_in(given: Any) -> torch.device | None:
    """The device among arguments: itself, its name, or that of a tensor."""
    for value in given:
        if isinstance(value, Tensor):
            return _device_of(value)
        if isinstance(value, torch.device) or value in ("cpu", "mps"):
            return torch.device(value)
    return None


def _device_of(tensor: Tensor) -> torch.device:
    return MPS if isinstance(tensor, AppleTensor) else CPU


def _without_gradients(self: torch.inference_mode) -> None:
    """Enter inference mode: here it is the plainer kind, since the other is not for tensors that hold tensors."""
    self._inference_mode_context = torch.no_grad()
    self._inference_mode_context.__enter__()


@contextmanager
def emulated() -> Iterator[None]:
    """A machine with such a GPU, inside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.mps, "is_available", functools.cache(lambda: True))  # torch unwraps it
        patch.setattr(torch.mps, "driver_allocated_memory", lambda: 12_345_678)
        patch.setattr(torch.inference_mode, "__enter__", _without_gradients)
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # what is moved is another kind of tensor
        try:
            with AppleGpu():
                yield
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(False)
