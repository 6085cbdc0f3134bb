"""Which process this is among those that `torchrun` started. The only reader of its variables."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from audiolm_cli.errors import UsageError

if TYPE_CHECKING:
    from audiolm_cli.distributed import Ranks


def torchrun_ranks() -> Ranks:
    """This process as `torchrun` describes it; alone where a scheduler, say, has set only some of its variables.

    Raises:
        UsageError: all are there, but make no sense.
    """
    from audiolm_cli.distributed import ALONE, Ranks

    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    given = {name: os.environ[name] for name in names if name in os.environ}
    if "MASTER_ADDR" not in os.environ or len(given) < len(names):
        return ALONE
    rank, size, local, local_size = (int(text) if text.isdecimal() else -1 for text in given.values())
    if not (0 <= local < local_size <= size and local <= rank < size):
        told = ", ".join(f"{name}={text}" for name, text in given.items())
        raise UsageError(
            f"{told}: these are not numbers of processes; start several with torchrun, or unset these variables"
        )
    return Ranks(rank=rank, size=size, local=local, local_size=local_size)
