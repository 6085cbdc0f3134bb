"""Several processes that share one piece of work, as `torchrun` starts them, one per device.

Knows nothing about models or runs, nor about the variables by which `torchrun` tells a process which one it is. Torch
is imported where it is needed: a command asks which process it is before it has shown that it is alive.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from audiolm_cli.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

PATIENCE = timedelta(days=2)
"""How long processes wait for each other: the first one may be tokenizing for hours."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those that share a training, or the recordings of a token store."""

    rank: int = 0
    """Its number, from 0."""
    size: int = 1
    """How many there are."""
    local: int = 0
    """Its number on its own machine."""
    local_size: int = 1
    """How many there are on that machine."""

    @property
    def main(self) -> bool:
        """Whether this is the process that validates, writes and speaks for all."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """The device that this process uses where `name` ("auto", "cpu", "cuda" or "cuda:N") was asked for."""
        import torch

        on_cuda = name.startswith("cuda") or (name == "auto" and torch.cuda.is_available())
        return f"cuda:{self.local}" if self.size > 1 and on_cuda else name

    def part(self, count: int) -> slice:
        """This process's share of `count` windows; the shares of all are as even as can be."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def wrap(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module with its gradients averaged over all processes in `backward`; alone, the module itself."""
        if self.size == 1:
            return module

        from torch import nn

        return nn.parallel.DistributedDataParallel(
            module,
            device_ids=[device] if device.type == "cuda" else None,
            find_unused_parameters=True,  # each step predicts one of the NAR decoder's codebooks
            broadcast_buffers=False,
        )

    def total(self, values: Tensor) -> Tensor:
        """The sum of every process's values."""
        if self.size > 1:
            import torch.distributed

            values = values.clone()  # the sum is written over what it is given
            torch.distributed.all_reduce(values)

        return values

    def agree(self, number: int, device: torch.device) -> int:
        """The largest number that any process says."""
        if self.size == 1:
            return number

        import torch.distributed

        values = torch.tensor(number, device=device)
        torch.distributed.all_reduce(values, torch.distributed.ReduceOp.MAX)
        return int(values.item())

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.barrier()


ALONE = Ranks()


@contextmanager
def join_processes(ranks: Ranks, device: str) -> Iterator[None]:
    """Connect the processes while the block runs: over NCCL on CUDA devices, over Gloo on processors.

    Args:
        ranks: this process, started by `torchrun`, whose variables say where the others are; alone, nothing is done.
        device: what the user asked for, "auto", "cpu" or "cuda".

    Raises:
        UsageError: the processes are to share a GPU of Apple.
    """
    if ranks.size == 1:
        yield
        return

    import torch.distributed

    chosen = ranks.device(device)
    if chosen == "mps":
        raise UsageError("--device mps: processes cannot share the GPU of a Mac; start one, without torchrun")
    if chosen.startswith("cuda"):
        torch.cuda.set_device(chosen)
    backend = "nccl" if chosen.startswith("cuda") else "gloo"
    torch.distributed.init_process_group(backend, timeout=PATIENCE)

    try:
        yield
    finally:
        torch.distributed.destroy_process_group()
