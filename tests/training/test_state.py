"""Training states on disk: in and out unchanged, the newest whole one wins, and old ones go."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from inspect import getsource
from pathlib import Path

import pytest
import torch
from torch import nn

from audiolm_cli.cli import codec_train, train
from audiolm_cli.config.base import declared, flag_of
from audiolm_cli.config.training import CodecTrainConfig, TrainConfig
from audiolm_cli.errors import UsageError
from audiolm_cli.training.optim import Muon
from audiolm_cli.training.state import (
    MANIFEST,
    OPTIONS,
    TENSORS,
    check_same_settings,
    describe_changes,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
    with_prefix,
    without_prefix,
)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    tensors = {
        "model.weight": torch.randn(3, 4),
        "transposed": torch.randn(3, 4).T,
        "codes": torch.arange(5),
        "step": torch.tensor(7.0),
        "half": torch.randn(2).bfloat16(),
        "empty": torch.zeros(0, 3),
    }
    meta = {"best": float("inf"), "config": {"steps": 5, "name": "ä"}}

    path = save_state(tmp_path / "state", 42, tensors, meta)
    assert path.name == "step-0000042"
    found = load_state(tmp_path / "state")
    assert found is not None

    step, loaded, loaded_meta = found
    assert (step, loaded_meta) == (42, meta)
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype and torch.equal(loaded[name], tensor)


def test_no_folder_is_no_state(tmp_path: Path) -> None:
    assert load_state(tmp_path / "nothing") is None
    assert load_state(tmp_path) is None


def test_two_states_are_kept(tmp_path: Path) -> None:
    for step in (5, 50, 500, 5000):
        save_state(tmp_path, step, {"x": torch.tensor(step)}, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-0000500", "step-0005000"]


def test_a_step_saved_twice_holds_what_came_last(tmp_path: Path) -> None:
    save_state(tmp_path, 5, {"x": torch.tensor(1)}, {})
    save_state(tmp_path, 5, {"x": torch.tensor(2)}, {})
    found = load_state(tmp_path)
    assert found is not None and found[1]["x"] == 2


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / TENSORS).read_bytes())
    content[-1] ^= 1
    (folder / TENSORS).write_bytes(content)


def cut(folder: Path) -> None:
    (folder / TENSORS).write_bytes((folder / TENSORS).read_bytes()[:-5])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit": flip_a_bit,
    "tensors cut short": cut,
    "tensors gone": lambda folder: (folder / TENSORS).unlink(),
    "manifest gone": lambda folder: (folder / MANIFEST).unlink(),
    "manifest cut short": lambda folder: (folder / MANIFEST).write_text('{"step": 2, "sha'),
    "manifest of something else": lambda folder: (folder / MANIFEST).write_text("[]"),
    "never renamed": lambda folder: folder.rename(folder.with_name(f".{folder.name}.partial")),
    "folder gone": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_state_falls_back_to_the_one_before(tmp_path: Path, damage: str) -> None:
    save_state(tmp_path, 1, {"x": torch.tensor(1)}, {})
    DAMAGE[damage](save_state(tmp_path, 2, {"x": torch.tensor(2)}, {}))
    found = load_state(tmp_path)
    assert found is not None and (found[0], found[1]["x"].item()) == (1, 1)


@pytest.mark.parametrize("again", [1, 2, 3, 4])
def test_damaged_states_do_not_push_out_what_is_saved_after_them(tmp_path: Path, again: int) -> None:
    for step in (2, 3):
        flip_a_bit(save_state(tmp_path, step, {"x": torch.tensor(step)}, {}))
    save_state(tmp_path, again, {"x": torch.tensor(again)}, {})
    found = load_state(tmp_path)
    assert found is not None and (found[0], found[1]["x"].item()) == (again, again)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_an_optimizer_goes_on_from_its_tensors(kind: str) -> None:
    """Three steps, then two more, are the same as five; a parameter without a gradient so far has no state."""

    def fresh() -> tuple[list[nn.Parameter], torch.optim.Optimizer]:
        parameters = [nn.Parameter(torch.ones(4, 4) * i) for i in range(3)]
        optimizer: torch.optim.Optimizer = (
            torch.optim.AdamW(parameters, lr=0.1) if kind == "adamw" else Muon(parameters, lr=0.1)
        )
        return parameters, optimizer

    def go(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            for i, parameter in enumerate(parameters):
                gradient = torch.randn(4, 4, generator=torch.Generator().manual_seed(10 * step + i))
                parameter.grad = gradient if i != 1 or step > 3 else None
            optimizer.step()

    whole, optimizer = fresh()
    go(whole, optimizer, range(6))

    before, optimizer = fresh()
    go(before, optimizer, range(3))
    after, resumed = fresh()
    with torch.no_grad():
        for own, theirs in zip(after, before, strict=True):
            own.copy_(theirs)

    tensors = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer).items()}
    restore_optimizer(resumed, tensors)
    go(after, resumed, range(3, 6))

    for a, b in zip(whole, after, strict=True):
        assert torch.equal(a, b)


def test_prefixes_come_off_again() -> None:
    tensors = {"a.b": torch.ones(1), "c": torch.zeros(1)}
    both = with_prefix("x", tensors) | with_prefix("xy", {"a.b": torch.zeros(2)})
    assert without_prefix("x", both) == tensors
    assert list(without_prefix("xy", both)) == ["a.b"]


def test_other_settings_are_named() -> None:
    """What decides the result may not change on the way; how long and where to compute may."""
    saved = {"seed": 0, "steps": 10, "gain_db": [-6.0, 2.0]}
    check_same_settings(Path("run"), saved, {"seed": 0, "steps": 20, "gain_db": (-6.0, 2.0)})
    with pytest.raises(UsageError, match=r"--seed 0 \(now 1\)"):
        check_same_settings(Path("run"), saved, {"seed": 1, "steps": 10, "gain_db": (-6.0, 2.0)})


def test_changes_are_told_as_options_that_there_are() -> None:
    """And nothing is asked for twice: frames per step follow from --max-duration."""
    saved = {"max_duration_s": 40.0, "batch_frames": 2000, "filter_min_duration_s": None, "ema_decay": 0.9}
    given = {"max_duration_s": 80.0, "batch_frames": 4000, "filter_min_duration_s": 2.0, "ema_decay": 0.5}
    told = "--max-duration 40.0 (now 80.0), --filter-min-duration none (now 2.0), ema_decay 0.9 (now 0.5)"
    assert describe_changes(saved, given) == told

    offered = {name for command in (train, codec_train) for name in re.findall(r'"(--[a-z-]+)"', getsource(command))}
    offered |= {flag_of(field, about) for cls in (TrainConfig, CodecTrainConfig) for field, about, _ in declared(cls)}
    assert set(OPTIONS.values()) <= offered
