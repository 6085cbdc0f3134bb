"""Checkpoints of EnCodec in every dialect that `codec.dialects` reads: its inverse, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from audiolm_cli.codec.dialects import (
    _HOLES,
    _PARAMETRIZED,
    _RULES,
    Names,
    _compile_rules,
    _rename_key,
)


@dataclass(frozen=True)
class Dialect:
    """How one checkpoint spells its keys."""

    names: Names
    """Who named the modules."""
    parametrized: bool = False
    """Whether weight norm is spelled as parametrizations, not as `weight_g` and `weight_v`."""


HUGGINGFACE = Dialect("huggingface")
ENCODEC = Dialect("encodec")


def from_encodec(state: Mapping[str, Tensor], dialect: Dialect) -> dict[str, Tensor]:
    """The same tensors in `dialect`, from names of `encodec.model.EncodecModel` with `weight_g`/`weight_v`."""
    pairs = [(encodec, huggingface if dialect.names == "huggingface" else encodec) for huggingface, encodec in _RULES]
    rules = _compile_rules(pairs, _HOLES)
    renamed = {_rename_key(key, rules): tensor for key, tensor in state.items()}

    return {_new_leaf(key): tensor for key, tensor in renamed.items()} if dialect.parametrized else renamed


def _new_leaf(key: str) -> str:
    for new, old in _PARAMETRIZED.items():
        if key.endswith(f".{old}"):
            return key.removesuffix(old) + new
    return key
