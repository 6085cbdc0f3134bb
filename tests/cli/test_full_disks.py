"""Full disks: whatever a command writes, it ends with exit code 7 and leaves nothing that is not whole."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from full_disks import COMMANDS, Ended, Inputs, damage, make_inputs, result, run, seen

pytestmark = pytest.mark.skipif(os.name == "nt", reason="forks, and limits the size of files")
QUICK = ("continue .mp3", "tokenize", "codec train", "pull")
EACH = [
    *(pytest.param(command, False) for command in QUICK),
    *(pytest.param(command, True, marks=pytest.mark.slow) for command in COMMANDS),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, piano: Callable[..., Any]) -> Iterator[Inputs]:
    """Two short recordings, their codes, a model and where it can be pulled from."""
    with make_inputs(tmp_path_factory.mktemp("inputs"), tiny_model, piano) as made:
        yield made


def check(command: str, ended: Ended, may_be_done: bool = False) -> None:
    """A refusal; or, of a training, that only its pictures could not be written."""
    assert ended.clean, (command, ended)
    assert ended.exit_code == 7 or may_be_done or (command == "train" and "cannot be made" in ended.said), ended


@pytest.mark.parametrize(("command", "thorough"), EACH)
def test_a_full_disk_damages_nothing(command: str, thorough: bool, inputs: Inputs, tmp_path: Path) -> None:
    """Where a byte is missing for the largest file: the system takes the others without an error.

    If `thorough`, also at half of it, over what is there already, and with room again at the end.
    """
    out, old = tmp_path / "out", tmp_path / "old"
    old.mkdir()
    whole = run(command, inputs, old)
    assert whole.exit_code == 0, whole
    right = result(command, old)
    assert not damage(command, old, {}, right)
    largest = max((old / name).stat().st_size for name in seen(old))
    can_replace = thorough and command not in ("train", "evaluate")
    for limit in (largest - 1, largest // 2)[: 1 + thorough]:
        for replaced in (False, True)[: 1 + can_replace]:
            shutil.rmtree(out, ignore_errors=True)
            if replaced:
                shutil.copytree(old, out)
            else:
                out.mkdir()
            before = result(command, out)
            check(command, run(command, inputs, out, most_bytes=limit, force=replaced))
            assert not damage(command, out, right, before)
    if thorough:
        assert run(command, inputs, out, force=True).exit_code == 0
        assert result(command, out).keys() >= right.keys()


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_small_disk_damages_nothing(command: str, inputs: Inputs, tmp_path: Path) -> None:
    """A real file system that is full after so many bytes, from none to enough; then there is room again."""
    out = tmp_path / "disk"
    out.mkdir()
    whole = run(command, inputs, out)
    assert whole.exit_code == 0, whole
    right = result(command, out)
    used = sum(-(-(out / name).stat().st_size // 4096) for name in seen(out)) * 4
    shutil.rmtree(out)
    out.mkdir()
    endings = set()
    shares = (0.5, 1.5) if command.startswith("evaluate") else (0.1, 0.3, 0.5, 0.8, 0.95, 1.0, 1.1, 1.5)
    for share in (0.0, *shares):
        size = max(4, round(share * used))
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", out], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip(f"no file system can be mounted here ({mounted.stderr.decode().strip()})")
        try:
            if not share:
                (out / ".full").write_bytes(bytes(size * 1024))
            ended = run(command, inputs, out)
            (out / ".full").unlink(missing_ok=True)
            endings.add(ended.exit_code)
            check(command, ended, may_be_done=share >= 0.95 or (share > 0 and command == "evaluate"))
            assert not damage(command, out, right, {})
            subprocess.run(["mount", "-o", "remount,size=512m", out], check=True)
            again = run(command, inputs, out, force=command != "tokenize")
            assert again.exit_code == 0, (share, again)
            # samples of a step that was saved before the disk was full are not made again
            needed = {name for name in right if "samples/" not in name}
            assert result(command, out).keys() >= needed and not damage(
                command, out, right, {n: right[n] for n in needed}
            )
        finally:
            subprocess.run(["umount", out], check=True)
    assert 7 in endings
