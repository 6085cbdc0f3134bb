"""Several processes of one training, as `torchrun` starts them, one per device. Knows nothing about models or runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed
from torch import Tensor, nn

from audiolm_cli.errors import UsageError

PATIENCE = timedelta(days=2)
"""How long processes wait for each other: the first one may be tokenizing for hours."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those of its training; alone unless `join` says otherwise."""

    rank: int = 0
    """Its number, from 0."""
    size: int = 1
    """How many there are."""
    local: int = 0
    """Its number on its own machine."""

    @property
    def main(self) -> bool:
        """Whether this is the process that validates and writes."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """The device that this process uses where `name` ("auto", "cpu", "cuda" or "cuda:N") was asked for."""
        on_cuda = name.startswith("cuda") or (name == "auto" and torch.cuda.is_available())
        return f"cuda:{self.local}" if self.size > 1 and on_cuda else name

    def part(self, count: int) -> slice:
        """This process's share of `count` windows; the shares of all are as even as can be."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def wrap(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module with its gradients averaged over all processes in `backward`; alone, the module itself."""
        if self.size == 1:
            return module
        return nn.parallel.DistributedDataParallel(
            module,
            device_ids=[device] if device.type == "cuda" else None,
            find_unused_parameters=True,  # each step predicts one of the NAR decoder's codebooks
            broadcast_buffers=False,
        )

    def total(self, values: Tensor) -> Tensor:
        """The sum of every process's values."""
        if self.size > 1:
            values = values.clone()
            torch.distributed.all_reduce(values)
        return values

    def agree(self, number: int, device: torch.device) -> int:
        """The largest number that any process says."""
        if self.size == 1:
            return number
        values = torch.tensor(number, device=device)
        torch.distributed.all_reduce(values, torch.distributed.ReduceOp.MAX)
        return int(values.item())

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            torch.distributed.barrier()


@contextmanager
def join(device: str) -> Iterator[Ranks]:
    """The other processes that `torchrun` started, joined over NCCL on CUDA devices and Gloo on processors.

    Args:
        device: what the user asked for, "auto", "cpu" or "cuda".

    Raises:
        UsageError: the variables that `torchrun` sets make no sense.
    """
    ranks = _from_environment()
    if ranks.size == 1:
        yield ranks
        return
    chosen = ranks.device(device)
    if chosen.startswith("cuda"):
        torch.cuda.set_device(chosen)
    backend = "nccl" if chosen.startswith("cuda") else "gloo"
    torch.distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield ranks
    finally:
        torch.distributed.destroy_process_group()


def _from_environment() -> Ranks:
    """This process as `torchrun` describes it; alone where something else set only some of its variables."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    given = {name: os.environ[name] for name in names if name in os.environ}
    if "MASTER_ADDR" not in os.environ or len(given) < len(names):
        return Ranks()
    try:
        rank, size, local = (int(given[name]) for name in names)
    except ValueError as error:
        raise UsageError(f"{given} are no numbers of processes; start several with torchrun, or unset them") from error
    return Ranks(rank=rank, size=size, local=local)
