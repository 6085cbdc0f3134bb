"""Training states on disk: whole or absent, and the newest that verifies wins. safetensors and JSON only.

Knows nothing about what is trained.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from audiolm_cli.errors import OutputError, UsageError
from audiolm_cli.events import Note, OnEvent, ignore
from audiolm_cli.files import hash_file, replacing_folder, sync_file, write_synced

STATE_FOLDER = "state"
"""Where a run folder keeps its saved states."""
MANIFEST = "manifest.json"
TENSORS = "state.safetensors"
KEPT_STATES = 2
"""How many saved states stay while a training runs: the newest, and one to go back to where that is damaged."""
MAY_CHANGE = (
    "steps",
    "num_epochs",
    "threads",
    "device",
    "micro_frames",
    "state_every",
    "validate_every",
    "sample_every",
    "log_every",
    "patience",
)
"""Settings that may be others when a run goes on."""
OPTIONS = {
    "adversarial_from": "--adversarial-from",
    "ar_codebooks": "--ar-codebooks",
    "batch_frames": "--batch-frames",
    "clips": "--clips",
    "context_attention": "--context-attention",
    "context_codebooks": "--context-codebooks",
    "d_model": "--decoder-dim",
    "dropout": "--dropout",
    "dtype": "--dtype",
    "family": "--family",
    "filter_max_duration_s": "--filter-max-duration",
    "filter_min_duration_s": "--filter-min-duration",
    "fixed_split": "--fixed-split",
    "init": "--init",
    "keep_codes": "--keep-codes",
    "learning_rate": "--base-lr",
    "max_duration_s": "--max-duration",
    "nhead": "--nhead",
    "num_filters": "--filters",
    "num_layers": "--num-decoder-layers",
    "optimizer": "--optimizer",
    "prompt_from": "--prompt-from",
    "schedule": "--schedule",
    "seed": "--seed",
    "styles": "--styles",
    "train_stage": "--train-stage",
    "warmup_steps": "--warmup-steps",
}
"""The options of the commands, by setting."""


def save_state(folder: Path, step: int, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Path:
    """Write `step-NNNNNNN` under `folder` and remove all but the newest states.

    Raises:
        OutputError: the disk is full or refuses; the states from before are still there.
    """
    final = folder / f"step-{step:07d}"
    try:
        with replacing_folder(final) as partial:
            _write_state(partial, step, tensors, meta)
    except (OSError, safetensors.SafetensorError) as error:
        raise OutputError(
            f"{folder}: the training state of step {step} cannot be saved ({error}); "
            "free some space and start the same command again, which goes on from the state before"
        ) from error

    _remove_old_states(final, KEPT_STATES)
    return final


def keep_newest_state(folder: Path, step: int) -> None:
    """Remove all states under `folder` but that of this step, of a training that has ended in order."""
    newest = folder / f"step-{step:07d}"
    if newest.is_dir():
        _remove_old_states(newest, 1)


def _write_state(folder: Path, step: int, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write a state and see it onto the disk; the manifest comes last, with the hash of the tensors."""
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, folder / TENSORS)
    sync_file(folder / TENSORS)

    digest = hash_file(folder / TENSORS)
    write_synced(folder / MANIFEST, json.dumps({"step": step, "sha256": digest, "meta": meta}))


def _remove_old_states(newest: Path, count: int) -> None:
    """Remove all but `count` of the states beside `newest`, which has just been written, and itself."""
    states = sorted(newest.parent.glob("step-*"))

    # States of later steps did not verify, or this step would not have been done.
    kept = states[: states.index(newest) + 1][-count:]
    for old in set(states) - set(kept):
        shutil.rmtree(old, ignore_errors=True)

    # Of a process that was killed while it saved.
    for partial in newest.parent.glob(".step-*.partial"):
        shutil.rmtree(partial, ignore_errors=True)


def load_state(
    folder: Path, step: int | None = None, on_event: OnEvent = ignore
) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """Step, tensors and meta of the newest state under `folder` that verifies; None when there is none.

    Args:
        folder: what `save_state` wrote into.
        step: take the state of this step or none.
        on_event: hears of states that do not verify.
    """
    pattern = "step-*" if step is None else f"step-{step:07d}"
    for candidate in sorted(folder.glob(pattern), reverse=True):
        try:
            manifest = _read_manifest(candidate)
            return int(manifest["step"]), load_file(candidate / TENSORS), manifest["meta"]
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
            on_event(Note(message=f"{candidate}: this saved state is damaged; looking for an older one", warning=True))
    return None


def has_state(folder: Path) -> bool:
    """Whether a state under `folder` verifies, so that a training can go on from it."""
    for candidate in sorted(folder.glob("step-*"), reverse=True):
        with suppress(OSError, ValueError, KeyError, TypeError):
            _read_manifest(candidate)
            return True
    return False


def _read_manifest(state: Path) -> dict[str, Any]:
    """What `_write_state` wrote of a state, whose tensors are as it says.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError, KeyError, TypeError: the state is damaged.
    """
    manifest: dict[str, Any] = json.loads((state / MANIFEST).read_text())
    if hash_file(state / TENSORS) != manifest["sha256"]:
        raise ValueError(f"{state}: the tensors are not those of the manifest")
    return manifest


def check_same_settings(folder: Path, saved: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuse to go on from a state that other settings led to.

    Raises:
        UsageError: a setting differs; the message names it.
    """
    decisive = {name: value for name, value in given.items() if name not in MAY_CHANGE}
    changes = describe_changes(saved, decisive)
    if changes:
        raise UsageError(f"{folder}: was started with {changes}; give the same settings, or another output with -o")


def describe_changes(saved: dict[str, Any], given: dict[str, Any]) -> str:
    """Settings that differ, named as the command names its options where it has one; empty when none differs.

    >>> describe_changes({"seed": 0, "max_duration_s": 40.0}, {"seed": 0, "max_duration_s": None})
    '--max-duration 40.0 (now none)'
    """
    saved, given = json.loads(json.dumps([saved, given]))  # as files have them: tuples have become lists
    changed = [name for name, value in given.items() if saved.get(name, value) != value]
    if "max_duration_s" in changed:  # frames per step follow from it
        changed = [name for name in changed if name != "batch_frames"]

    def describe(value: object) -> object:
        value = ", ".join(map(str, value)) if isinstance(value, list) else value
        return "none" if value in (None, "") else value

    return ", ".join(
        f"{OPTIONS.get(name, name)} {describe(saved[name])} (now {describe(given[name])})" for name in changed
    )


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as named tensors."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{key}": torch.as_tensor(value) for index, entry in state.items() for key, value in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor

    # Rates and the like come from the configuration, not from the state.
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each name behind `prefix.`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors whose names begin with `prefix.`, without it."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(prefix + ".")}
