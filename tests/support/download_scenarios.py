"""Downloads from a hostile server, drawn from a seed: for the test suite, and in thousands for a benchmark."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from hostile_server import Fault, HostileServer, draw_fault

from audiolm_cli.checkpoints.download import fetch
from audiolm_cli.checkpoints.source import Wanted
from audiolm_cli.config.fetching import FetchConfig
from audiolm_cli.errors import NetworkError

QUICK = FetchConfig(read_timeout_s=0.1, connect_timeout_s=2.0, backoff_s=0.001, spare_bytes=0)
"""Patience for servers that are in this process."""
UNDETECTABLE = {"flip", "range_lie", "changed", "page", "short", "long", "gzip_lie"}
"""Faults that only a hash shows."""
MOST_RUNS = 12


@dataclass(frozen=True)
class Result:
    """How a scenario went."""

    faults: tuple[Fault, ...]
    runs: int
    """Calls of `fetch` until the file was there."""
    wrong: bool
    """Whether something else than the file was ever under its final name."""
    whole: bool
    """Whether the file was there in the end."""
    size: int
    sent: int


def run_scenario(seed: int, folder: Path) -> Result:
    """Fetch one file through random faults, again and again until it is there."""
    rng = random.Random(seed)
    size = rng.choice((0, 1, rng.randint(2, 1000), 1 << 16, rng.randint(1000, 400_000)))
    data = rng.randbytes(size)
    faults = [draw_fault(rng, size) for _ in range(rng.randint(0, 6))]
    known = rng.choice(("all", "all", "all", "hash", "prefix", "size", "nothing"))
    if known in ("size", "nothing"):
        faults = [fault for fault in faults if fault.kind not in UNDETECTABLE]
    mirrored = [draw_fault(rng, size) for _ in range(2)] if rng.random() < 0.3 and known == "all" else None
    target = folder / "file.bin"
    with HostileServer(data, faults) as server, HostileServer(data, mirrored or ()) as mirror:
        digits = {"all": 64, "hash": 64, "prefix": 8}.get(known, 0)
        wanted = Wanted(
            label="file",
            urls=(server.url, mirror.url) if mirrored is not None else (server.url,),
            bytes=size if known in ("all", "size") else None,
            sha256=server.sha256[:digits],
        )
        if digits and rng.random() < 0.2:
            folder.joinpath(".file.bin.part").write_bytes(rng.randbytes(rng.randint(0, size + 10)))
        runs, wrong, whole = 0, False, False
        while runs < MOST_RUNS and not whole:
            runs += 1
            try:
                fetched = fetch(wanted, target, QUICK)
                whole = fetched.bytes == size and fetched.sha256 == server.sha256
            except NetworkError:
                pass
            wrong = wrong or (target.exists() and target.read_bytes() != data)
        left = sorted(path.name for path in folder.iterdir() if path.name not in ("file.bin", ".locks"))
        whole = whole and not left
        return Result(tuple(faults), runs, wrong, whole, size, server.sent + mirror.sent)
