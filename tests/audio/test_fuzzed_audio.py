"""Audio files that were mutated or cut, through `tokenize`'s reader: read, or refused in one line."""

from __future__ import annotations

import os

import pytest
from fuzzed_audio import FORMATS, LARGEST_BYTES, Read, damaged, originals, read_all

PARTS = [pytest.param(0, 200), pytest.param(200, 3000, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("start", "stop"), PARTS)
def test_damaged_audio_is_read_or_refused(start: int, stop: int) -> None:
    """No traceback, no hang, no crash, little memory; `tests/benchmarks/fuzz_audio.py` reads 20 000."""
    results = list(read_all(range(start, stop)))
    assert not [result for result in results if result.fault]
    assert {result.seed for result in results} == set(range(start, stop))
    assert {result.outcome for result in results} == {"read", "refused"}
    assert {result.what.split()[0] for result in results} == set(FORMATS)


def test_a_fault_is_told_from_an_answer() -> None:
    assert len(originals()) > 40 and damaged(3) == damaged(3) != damaged(4)
    fine = Read(0, "WAV", "read", 1.0, 1 << 20)
    assert not fine.fault
    for outcome, seconds, memory in (
        ("the decoder died with -11", 0.0, 0),
        ("TypeError: x", 0.0, 0),
        ("exit 6: x", 0.0, 0),
        ("read", 11.0, 0),
        ("refused", 0.0, LARGEST_BYTES),
    ):
        assert Read(0, "WAV", outcome, seconds, memory).fault


def test_whole_files_are_read(tmp_path: os.PathLike[str]) -> None:
    """What is damaged above was fit to be read."""
    from pathlib import Path

    import fuzzed_audio

    for name, data in originals().items():
        path = Path(tmp_path) / "x.dat"
        path.write_bytes(data)
        fuzzed_audio._read(path)
        assert data, name
