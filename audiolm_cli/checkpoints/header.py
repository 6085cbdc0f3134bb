"""What a safetensors file claims to hold, read from its header before anything is allocated.

Knows nothing about models: names and shapes only. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from audiolm_cli.errors import ModelError
from audiolm_cli.wording import counted

MAX_HEADER_BYTES = 1 << 20
MAX_TENSORS = 10_000
_DTYPES = ("F16", "BF16", "F32", "F64", "I64", "I32", "I16", "I8", "U8", "BOOL")

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

        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
        other = {name: entry["dtype"] for name, entry in entries.items() if entry["dtype"] not in _DTYPES}
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError) as error:
        raise ModelError(f"{path} is damaged: its header is not that of a safetensors file") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error

    if len(shapes) > MAX_TENSORS:
        raise ModelError(f"{path} holds {len(shapes)} tensors, at most {MAX_TENSORS} are read")
    for name, dtype in other.items():
        raise ModelError(f"{path}: tensor {name:.80} is of type {dtype!r:.20}, expected {', '.join(_DTYPES)}")
    return shapes


def check_amount(path: Path, shapes: Shapes, *, tensors: int, numbers: int) -> None:
    """Refuse a file that cannot hold what a configuration describes, before anything of that size is built.

    Args:
        path: the file.
        shapes: what its header lists.
        tensors: at least this many must be in it.
        numbers: at least this many numbers must be in them.

    Raises:
        ModelError: it is smaller.
    """
    size = path.stat().st_size
    if len(shapes) < tensors or size < 2 * numbers:  # no number takes less than two bytes
        raise ModelError(
            f"{path} has {counted(len(shapes), 'tensor')} in {counted(size, 'byte')}; its config.json describes "
            f"at least {counted(tensors, 'tensor')} of {counted(numbers, 'number')}"
        )


def check_shapes(path: Path, found: Shapes, expected: Shapes) -> None:
    """Compare what a file holds with what its model needs.

    Raises:
        ModelError: a tensor is missing, unknown or of another shape; the message names it.
    """
    if missing := expected.keys() - found.keys():
        raise ModelError(f"{path} lacks tensors: {_list_names(missing)}; it does not fit its config.json")
    if unknown := found.keys() - expected.keys():
        raise ModelError(f"{path} has unknown tensors: {_list_names(unknown)}; it does not fit its config.json")

    for name, shape in expected.items():
        if found[name] != tuple(shape):
            raise ModelError(f"{path}: tensor {name} has shape {list(found[name])!r:.80}, expected {list(shape)}")


def _list_names(names: Iterable[str]) -> str:
    """The first five names, and how many there are beside them."""
    ordered = sorted(names)
    more = f" and {len(ordered) - 5} more" if len(ordered) > 5 else ""
    return ", ".join(f"{name:.80}" for name in ordered[:5]) + more
