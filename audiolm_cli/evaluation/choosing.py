"""Which recordings an evaluation measures: by default those that the model was not trained on.

Recordings are known by the hash of their content, which token stores note. Knows nothing about models or audio.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from audiolm_cli.data.files import split_hashes
from audiolm_cli.data.parts import load_inputs
from audiolm_cli.errors import DataError
from audiolm_cli.wording import counted

EVERYTHING = "all"
"""The choice that leaves out nothing."""
UNSEEN = (None, "test")
"""Where recordings are that a training did not use: not in its store, or in this split of it."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is known of the recordings that a model was trained on."""

    name: str
    """The model's."""
    tokens: Path | None = None
    """The token store it was trained on; None where that is not here."""

    @cached_property
    def homes(self) -> dict[str, str]:
        """The split of each recording in the store by the hash of its content; empty where the store does not say.

        Raises:
            DataError: what the store says is damaged.
        """
        known = load_inputs(self.tokens) if self.tokens is not None else None
        return split_hashes({own.sha256 for own in known[1] if own.clips}) if known else {}

    def owns(self, folder: Path) -> bool:
        """Whether a folder is the token store."""
        return self.tokens is not None and folder.resolve() == self.tokens.resolve()


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is measured."""

    indices: list[int]
    """Which of the recordings."""
    held_out: bool
    """Whether the model was trained on none of them, as far as is known."""
    reason: str
    """Which they are and why, for a person."""


def choose(
    homes: Sequence[str | None], splits: Sequence[str | None], split: str | None, source: Path, model: str
) -> Choice:
    """What to measure.

    Args:
        homes: of each recording under `source`, its split in the model's training; None where that did not know it.
        splits: of each, the split that counts where the training did not know it; None where there is none.
        split: "all", "train", "dev" or "test"; None is what the training left out.
        source: what the user named.
        model: name of the model.

    Raises:
        DataError: the split that is asked for holds none.
    """
    if split == EVERYTHING:
        indices = _find(homes, lambda _: True)
        return _chosen(indices, homes, f"{_every(indices)} of {source} (--split all)")
    if split is not None:
        indices = _find([home or own for home, own in zip(homes, splits, strict=True)], lambda own: own == split)
        if not indices:
            raise DataError(f"{source}: no recording belongs to the split {split}; --split all measures all of them")
        return _chosen(indices, homes, f"the {_amount(indices)} of {source} in the split {split} (--split {split})")

    # What the training did not use; where that is nothing, what it was validated with.
    indices = _find(homes, lambda home: home in UNSEEN)
    if len(indices) == len(homes):
        return _chosen(indices, homes, f"{_every(indices)} of {source}")
    if indices:
        return _chosen(indices, homes, f"the {_amount(indices)} of {source} that {model} was not trained on")
    indices = _find(homes, lambda home: home == "dev")
    if indices:
        said = f"the {_amount(indices)} of {source} that {model} was validated with: it was trained on all others"
        return _chosen(indices, homes, said)
    indices = _find(homes, lambda _: True)
    return _chosen(indices, homes, f"{_every(indices)} of {source}, which {model} was trained on")


def _find(homes: Sequence[str | None], fits: Callable[[str | None], bool]) -> list[int]:
    return [index for index, home in enumerate(homes) if fits(home)]


def _chosen(indices: list[int], homes: Sequence[str | None], reason: str) -> Choice:
    left_out = len(homes) - len(indices)
    held_out = all(homes[index] != "train" for index in indices)
    reason += f"; {left_out} left out (--split all measures all)" if left_out else ""
    reason += "" if held_out else ": expect better numbers than on other music"
    return Choice(indices=indices, held_out=held_out, reason=reason)


def _every(indices: Sequence[int]) -> str:
    return "the recording" if len(indices) == 1 else f"all {_amount(indices)}"


def _amount(indices: Sequence[int]) -> str:
    return counted(len(indices), "recording")
