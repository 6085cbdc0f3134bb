"""Files that keep the first error of a write: everything is there, or `check` says why it is not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from file_limits import full_after

from audiolm_cli.errors import OutputError
from audiolm_cli.files import DeferringFile, write_whole

pytest.importorskip("resource")
DATA = bytes(range(256)) * 1000


@pytest.mark.parametrize("size", [0, 1000, len(DATA) - 1])
def test_no_byte_is_lost_unnoticed(size: int, tmp_path: Path) -> None:
    """Neither of a picture nor of a settings file, which go through the same function; the old one stays."""
    target = tmp_path / "a.png"
    write_whole(target, b"old", force=False)
    with full_after(size), pytest.raises(OutputError, match="no space left in"):
        write_whole(target, DATA, force=True)
    assert os.listdir(tmp_path) == ["a.png"] and target.read_bytes() == b"old"
    with full_after(len(DATA)):
        write_whole(target, DATA, force=True)
    assert target.read_bytes() == DATA


def test_the_first_error_is_kept(tmp_path: Path) -> None:
    """Whoever writes goes on as if all were well, and nothing follows what was lost."""
    with DeferringFile(tmp_path / "a", "w+") as file:
        with full_after(10):
            assert file.write(DATA) == len(DATA) and file.write(b"x") == 1
        assert file.write(b"y") == 1  # there would be room again
        assert file.truncate(5) == 5
        with pytest.raises(OSError) as caught:
            file.check()
        assert caught.value.errno == errno.EFBIG
    assert (tmp_path / "a").read_bytes() == DATA[:10]


def test_without_an_error_it_is_a_file(tmp_path: Path) -> None:
    with DeferringFile(tmp_path / "a", "w+") as file:
        assert file.write(memoryview(DATA)) == len(DATA)
        assert file.truncate(7) == 7
        file.check()
    assert (tmp_path / "a").read_bytes() == DATA[:7]
