"""What a safetensors file claims to hold, read from its header before anything is allocated.

Knows nothing about models: names and shapes only. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from audiolm_cli.errors import ModelError

MAX_HEADER_BYTES = 1 << 20
MAX_TENSORS = 10_000

Shapes = Mapping[str, tuple[int, ...]]


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by tensor name, as the header of the file states them.

    Raises:
        ModelError: the header is damaged, larger than `MAX_HEADER_BYTES`, or lists over `MAX_TENSORS` tensors.
    """
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(MAX_HEADER_BYTES, path.stat().st_size - 8):
                raise ModelError(f"{path} is damaged: its header claims {length} bytes (limit {MAX_HEADER_BYTES})")
            header = json.loads(stream.read(length))
        shapes = {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError) as error:
        raise ModelError(f"{path} is damaged: its header is not that of a safetensors file") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    if len(shapes) > MAX_TENSORS:
        raise ModelError(f"{path} holds {len(shapes)} tensors, at most {MAX_TENSORS} are read")
    return shapes


def check_shapes(path: Path, found: Shapes, expected: Shapes) -> None:
    """Compare what a file holds with what its model needs.

    Raises:
        ModelError: a tensor is missing, unknown or of another shape; the message names it.
    """
    if missing := expected.keys() - found.keys():
        raise ModelError(f"{path} lacks tensors: {_listed(missing)}; it does not fit its config.json")
    if unknown := found.keys() - expected.keys():
        raise ModelError(f"{path} has unknown tensors: {_listed(unknown)}; it does not fit its config.json")
    for name, shape in expected.items():
        if found[name] != tuple(shape):
            raise ModelError(f"{path}: tensor {name} has shape {list(found[name])}, expected {list(shape)}")


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:5]) + (f" and {len(ordered) - 5} more" if len(ordered) > 5 else "")
