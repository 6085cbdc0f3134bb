"""Manifests, codes and model folders of any bytes: read, or refused in one line; what a fuzzer found stays here."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from fuzzed_readers import Fuzzed, FuzzedManifest, FuzzedTokens, make, mutated

from audiolm_cli.data.cuts import LONGEST_LINE
from audiolm_cli.data.manifest import iter_store
from audiolm_cli.data.parts import Parts
from audiolm_cli.errors import DataError
from audiolm_cli.tokenizing.assembly import revive

COUNTS = {"manifest": 150, "tokens": 150, "model": 40}
DEEP = b'{"a":' * 200_000


@pytest.mark.parametrize("target", COUNTS)
def test_any_bytes_are_read_or_refused(target: str, tmp_path: Path, tiny_model: Path) -> None:
    """Whole files are read; changed ones are read, or refused with the right exit code, whatever was changed."""
    fuzzed = make(target, tmp_path, tiny_model)
    whole = [seed for seed in fuzzed.seeds if seed[0] != 3 or target != "model"]  # that one is cut
    assert {fuzzed(seed) for seed in whole} == {"read"}
    outcomes = {fuzzed(mutated(fuzzed, number)) for number in range(COUNTS[target])}
    assert "refused" in outcomes and outcomes <= {"read", "refused"}


def cut_with(**changes: object) -> Callable[[Fuzzed], bytes]:
    """A manifest whose first cut has other values, for its features where it has no such field."""

    def bytes_of(fuzzed: Fuzzed) -> bytes:
        cut: dict[str, Any] = json.loads(fuzzed.seeds[0][1:].splitlines()[0])
        for name, value in changes.items():
            (cut if name in cut else cut["features"])[name] = value
        return b"\x10" + json.dumps(cut).encode()

    return bytes_of


def facts_with(**changes: object) -> Callable[[Fuzzed], bytes]:
    return lambda fuzzed: b"\3" + json.dumps(json.loads(fuzzed.seeds[4][1:]) | changes).encode()


FOUND_IN_MANIFESTS = {
    "lines nested without end": lambda fuzzed: b"\0" + DEEP,
    "a rate of 0": cut_with(sampling_rate=0),
    "a rate of 400 digits": cut_with(sampling_rate=10**400),
    "no codebooks": cut_with(num_features=0),
    "frames without end": cut_with(frame_shift=float("inf")),
    "frames of next to no time": cut_with(frame_shift=1e-320, duration=1e-320),
    "a start that is no number": cut_with(start=float("nan")),
    "facts nested without end": lambda fuzzed: b"\3" + DEEP,
    "frames of no samples": facts_with(hop_samples=0),
    "a rate that is text": facts_with(sample_rate_hz="32000"),
    "codes that need more than 16 bits": facts_with(codebook_size=1 << 20),
    "a name that is a list": facts_with(name=[]),
    "inputs nested without end": lambda fuzzed: b"\4{}\n" + DEEP,
}
FOUND_IN_TOKENS = {
    "an array whose header is no Python": lambda fuzzed: npy_of("{'descr': '<i2', 'shape': ("),
    "an array whose header is nested without end": lambda fuzzed: npy_of("(" * 5000),
    "an archive in place of an array": lambda fuzzed: b"\1" + fuzzed.seeds[3][1:],
    "a part whose header is no Python": lambda fuzzed: b"\3" + npy_of("{'descr': '<i2', 'shape': (")[1:],
    "a part that is an array": lambda fuzzed: b"\2" + fuzzed.seeds[1][1:],
    "a part that claims more than there is memory": lambda fuzzed: b"\3" + huge_array(),
    "spans that are a single number": lambda fuzzed: b"\4" + array_of(np.array([1])),
    "spans that go back": lambda fuzzed: b"\4" + array_of(np.array([[3, 5], [0, 3]])),
    "spans that hold more than there is": lambda fuzzed: b"\4" + array_of(np.array([[0, 4]])),
    "codes of more than 16 bits": lambda fuzzed: b"\3" + array_of(np.zeros((5, 2), np.int64)),
}


def npy_of(header: str) -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\1\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def array_of(array: np.ndarray) -> bytes:
    from io import BytesIO

    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


def huge_array() -> bytes:
    return npy_of("{'descr': '<i2', 'fortran_order': False, 'shape': (1099511627776, 2), }")[1:]


@pytest.mark.parametrize("name", FOUND_IN_MANIFESTS)
def test_what_was_found_in_manifests_is_refused(name: str, tmp_path: Path) -> None:
    fuzzed = FuzzedManifest(tmp_path)
    assert fuzzed(FOUND_IN_MANIFESTS[name](fuzzed)) == "refused"


@pytest.mark.parametrize("name", FOUND_IN_TOKENS)
def test_what_was_found_in_codes_is_refused(name: str, tmp_path: Path) -> None:
    fuzzed = FuzzedTokens(tmp_path)
    assert fuzzed(FOUND_IN_TOKENS[name](fuzzed)) == "refused"


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e300])
def test_codes_that_are_no_numbers_are_refused(value: float, tmp_path: Path) -> None:
    fuzzed = FuzzedTokens(tmp_path)
    assert fuzzed(b"\1" + array_of(np.full((5, 2), value))) == "refused"


def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    """Gzip makes a thousand bytes of one; a line is read up to a limit."""
    fuzzed = FuzzedManifest(tmp_path)
    line = fuzzed.seeds[0][1:].splitlines()[0].replace(b'"id": "c0"', b'"id": "' + b"x" * LONGEST_LINE + b'"')
    (fuzzed.store / "cuts_train.jsonl.gz").write_bytes(gzip.compress(line, 1))
    with pytest.raises(DataError, match=r"line 1 cannot be read \(longer than 16777216 bytes\)"):
        list(iter_store(fuzzed.store, "train"))


def test_an_array_that_its_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    """HDF5 makes up what was never written, in as much memory as its header says."""
    fuzzed = FuzzedTokens(tmp_path)
    path = fuzzed.store / "codes.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("c", shape=(1 << 24, 2), dtype=np.int16, chunks=(1 << 20, 2))
    with pytest.raises(DataError, match="claims 67108864 bytes, which this file cannot hold"):
        list(iter_store(fuzzed.store, "train"))
    with h5py.File(path, "w") as file:
        file.create_dataset("c", data=["text"] * 5)
    with pytest.raises(DataError, match="holds 'object', not codes"):
        list(iter_store(fuzzed.store, "train"))


@pytest.mark.parametrize("hash", ["../../../../escaped", "/tmp/escaped", "ab/../../../escaped", "AB" * 32, "ab"])
def test_a_hash_in_a_store_is_no_path(hash: str, tmp_path: Path) -> None:
    """`tokenize -f` takes codes over into files named by the hashes that a store states."""
    fuzzed = FuzzedTokens(tmp_path / "deep" / "deeper")
    known = {"path": "/x.wav", "bytes": 1, "mtime_ns": 2, "sha256": hash, "frames": 5, "clips": [["c", 0, 5]]}
    lines = [json.dumps({"version": 1, "codec_sha256": "ab" * 32}), json.dumps(known)]
    (fuzzed.store / "inputs.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    before = sorted(tmp_path.rglob("*"))
    revive(fuzzed.store, fuzzed.parts, "ab" * 32)
    assert sorted(tmp_path.rglob("*")) == before
    known["sha256"] = "cd" * 32  # a hash that is one: the codes are taken over, so the others could have been
    lines[1] = json.dumps(known)
    (fuzzed.store / "inputs.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    revive(fuzzed.store, fuzzed.parts, "ab" * 32)
    part = Parts(tmp_path / "deep" / "deeper" / "unfinished", "ab" * 32).find("cd" * 32)
    assert part is not None and len(part.codes) == 5
