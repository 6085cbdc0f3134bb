"""The same numbers with any number of threads, on every processor. Imports nothing that computes."""

from __future__ import annotations

import os
import platform
from pathlib import Path

STRICT = "AUTO,STRICT"
"""The fastest instructions there are, and every sum in one order: "strict CNR mode" in the guide of Intel's oneMKL."""


def compute_alike(processors: Path = Path("/proc/cpuinfo")) -> None:
    """Have MKL, with which torch multiplies matrices, give the same products with any number of threads.

    On Intel's processors it adds some of them up in another order with two threads than with one, unless the
    environment says otherwise; that is read at its first product. Elsewhere it does not, and is left as it is.

    Args:
        processors: where Linux describes them.
    """
    try:
        with processors.open() as stream:
            described = stream.read(4096)
    except OSError:
        described = platform.processor()
    if "GenuineIntel" in described:
        os.environ.setdefault("MKL_CBWR", STRICT)
