"""Stores in the making: what is written comes back, and what is damaged or out of date does not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from audiolm_cli.data.parts import INPUTS, Input, Part, Parts, is_unfinished, load_inputs, save_inputs
from audiolm_cli.errors import DataError

PART = Part(codes=np.arange(40, dtype=np.int16).reshape(10, 4), spans=np.array([[2, 9], [20, 23]], np.int64), frames=30)


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    made = Parts(tmp_path / "store", "ab" * 32)
    made.create()
    made.create()
    return made


def look(path: Path, **changed: object) -> Input:
    found = path.stat()
    facts = {"path": str(path), "bytes": found.st_size, "mtime_ns": found.st_mtime_ns, "sha256": "1" * 64}
    return Input(**{**facts, **changed})  # type: ignore[arg-type]


def test_codes_come_back(parts: Parts) -> None:
    assert parts.find("1" * 64) is None
    parts.save("1" * 64, PART)
    found = parts.find("1" * 64)
    assert found is not None and found.frames == 30 and found.codes.dtype == np.int16
    np.testing.assert_array_equal(found.codes, PART.codes)
    assert [(start, codes[:, 0].tolist()) for start, codes in found.clips()] == [
        (2, [0, 4, 8, 12, 16, 20, 24]),
        (20, [28, 32, 36]),
    ]
    assert Parts(parts.folder.parent.parent, "cd" * 32).find("1" * 64) is None, "of another codec"


@pytest.mark.parametrize("keep", [0, 10, 200, -1, -30])
def test_damaged_codes_are_as_if_they_were_not_there(parts: Parts, keep: int) -> None:
    parts.save("1" * 64, PART)
    path = next((parts.folder / "codes").iterdir())
    path.write_bytes(path.read_bytes()[:keep])
    assert parts.find("1" * 64) is None


def test_a_flipped_bit_is_noticed(parts: Parts) -> None:
    parts.save("1" * 64, PART)
    path = next((parts.folder / "codes").iterdir())
    data = bytearray(path.read_bytes())
    data[180] ^= 1
    path.write_bytes(data)
    assert parts.find("1" * 64) is None


def test_what_is_known_about_a_file_holds_until_it_changes(parts: Parts, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    path.write_bytes(b"abc")
    assert parts.find_input(path) is None
    parts.save_input(look(path))
    assert parts.find_input(path) == look(path)
    path.write_bytes(b"abd")
    os.utime(path, ns=(0, 1))
    assert parts.find_input(path) is None
    path.unlink()
    assert parts.find_input(path) is None
    parts.save_input(Input(path=str(path), bytes=-1, mtime_ns=0, sha256="", problem="is gone"))
    assert (parts.find_input(path) or look(tmp_path)).problem == "is gone"


def test_inputs_of_a_finished_store(parts: Parts, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert is_unfinished(store) and load_inputs(store) is None
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    path.write_bytes(b"abc")
    inputs = [look(path, frames=9, clips=(("a@0.00", 0, 3), ("a@0.10", 5, 4))), look(path, problem="ünreadable")]
    save_inputs(store / INPUTS, {"hours": 1.5}, inputs)
    assert not is_unfinished(store)
    assert load_inputs(store) == ({"hours": 1.5}, inputs)
    first = (store / INPUTS).read_bytes()
    save_inputs(store / INPUTS, {"hours": 1.5}, inputs)
    assert (store / INPUTS).read_bytes() == first
    for damaged in (first[:-3], b"", b"text", first[:12]):
        (store / INPUTS).write_bytes(damaged)
        with pytest.raises(DataError, match=r"inputs\.jsonl\.gz: cannot be read.*-f"):
            load_inputs(store)
    assert sorted(os.listdir(store)) == [".partial", INPUTS], "no temporary file stays"
