"""Streams that nobody hears, files that appear while a command works, full folders for temporary files."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from file_limits import full_after
from full_disks import Inputs, make_inputs, result
from surroundings import STREAMS, WRITERS, let_appear, run_command, unfinished

from audiolm_cli.audio import read_audio
from audiolm_cli.errors import OutputError
from audiolm_cli.files import check_target, name_new_file, put_in_place, scratch_file, scratch_folder, write_whole

pytestmark = pytest.mark.skipif(os.name == "nt", reason="forks, and closes what has a number")
QUICK = ("continue .wav", "tokenize")


def each(quick: tuple[str, ...], others: tuple[str, ...] = WRITERS) -> list[Any]:
    """The commands; all but the quick ones in the slow tests alone."""
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in others]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, piano: Callable[..., Any]) -> Iterator[Inputs]:
    """What the commands work on."""
    with make_inputs(tmp_path_factory.mktemp("inputs"), tiny_model, piano) as made:
        yield made


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
@pytest.mark.parametrize("command", each(QUICK))
def test_streams_that_fail_lose_no_work(command: str, inputs: Inputs, tmp_path: Path) -> None:
    """What is done is what is done where both are heard, and only what a full disk did not take is an error."""
    out = tmp_path / "heard"
    out.mkdir()
    heard = run_command(command, inputs, out)
    right = result(command, out)
    assert heard.exit_code == 0, heard

    for name, streams in STREAMS.items():
        out = tmp_path / name.replace(" ", "-")
        out.mkdir()
        done = run_command(command, inputs, out, streams=streams)
        assert done.exit_code == (7 if name == "stdout full" and heard.stdout else 0), (name, done)
        assert result(command, out).keys() == right.keys(), name
        assert "Traceback" not in done.stderr
        if command not in ("train", "codec train"):  # which write down how long they took
            assert result(command, out) == right, name


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_a_stream_that_is_closed_is_as_one_that_nobody_hears(closed: tuple[int, ...], tmp_path: Path) -> None:
    """No file of the program gets its number, and the exit codes are those of always."""
    code = (
        "import sys; from audiolm_cli.cli.surroundings import settle_in; settle_in()\n"
        f"file = open({str(tmp_path / 'file')!r}, 'w'); print('to stdout'); print('to stderr', file=sys.stderr)\n"
        "assert file.fileno() > 2 and not sys.stdin.isatty()\n"
        "from audiolm_cli.cli.app import main; main(sys.argv[1:])"
    )
    flow = " ".join("<&-" if number == 0 else f"{number}>&-" for number in closed)
    for words, expected in (["guide"], 0), (["models", "info", "nowhere"], 4), (["nothing"], 2):
        command = f'"{sys.executable}" -c "$CODE" {" ".join(words)} {flow}'
        done = subprocess.run(
            ["sh", "-c", command], env={**os.environ, "CODE": code}, capture_output=True, text=True, check=False
        )
        assert done.returncode == expected, (words, done)
        assert ("to stdout" in done.stdout, "to stderr" in done.stderr) == (1 not in closed, 2 not in closed)
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize(
    "words", [["continue", "{take}", "-o", "-"], ["evaluate", "{take}"]], ids=lambda words: words[0]
)
def test_what_only_goes_to_a_closed_standard_output_is_refused_at_once(words: list[str], tmp_path: Path) -> None:
    """Before any work: with -o - the audio, of evaluate the numbers."""
    soundfile.write(tmp_path / "take.wav", np.zeros(1000), 8000)
    arguments = " ".join(word.format(take=tmp_path / "take.wav") for word in words)
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m audiolm_cli {arguments} >&-'], capture_output=True, text=True, check=False
    )
    assert done.returncode == 7 and "standard output" in done.stderr and done.stderr.count("\n") == 1, done


@pytest.mark.parametrize("command", each((*QUICK, "codec train"), tuple(name for name in WRITERS if name != "train")))
def test_what_appears_meanwhile_is_not_overwritten(command: str, inputs: Inputs, tmp_path: Path) -> None:
    """Another program makes a file of the name in the moment before it is given to the new one."""
    out = tmp_path / "out"
    out.mkdir()
    done = run_command(command, inputs, out, prepare=functools.partial(let_appear, b"theirs"))
    assert done.exit_code == 7 and "exists already" in done.stderr, done
    files = [path for path in out.rglob("*") if path.is_file() and not any(p.startswith(".") for p in path.parts)]
    theirs = [path for path in files if path.read_bytes() == b"theirs"]
    assert theirs
    assert not unfinished(command, out)


@contextlib.contextmanager
def without_links(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file system that has no links, as those of memory cards."""

    def link(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link)
        yield


@pytest.mark.parametrize("links", [True, False])
def test_a_new_name_is_taken_in_one_step(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, folders, devices and links to nowhere stay what they are; a free name is taken."""
    with contextlib.nullcontext() if links else without_links(monkeypatch):
        for number, make in enumerate(
            (
                lambda path: path.write_bytes(b"theirs"),
                lambda path: path.mkdir(),
                lambda path: os.mkfifo(path),
                lambda path: path.symlink_to(tmp_path / "nowhere"),
            )
        ):
            new, taken = tmp_path / "new", tmp_path / f"taken{number}"
            new.write_bytes(b"ours")
            make(taken)
            before = os.lstat(taken)
            with pytest.raises(OutputError, match="exists already"):
                name_new_file(new, taken)
            assert os.lstat(taken).st_ino == before.st_ino and new.exists()

        write_whole(tmp_path / "free", b"ours", force=False)
        assert (tmp_path / "free").read_bytes() == b"ours"
    assert not (tmp_path / "nowhere").exists()
    assert sorted(os.listdir(tmp_path)) == ["free", "new", "taken0", "taken1", "taken2", "taken3"]


def test_a_folder_takes_no_name_that_is_taken(tmp_path: Path) -> None:
    new, taken, file = tmp_path / "new", tmp_path / "taken", tmp_path / "file"
    for folder in (new, taken):
        folder.mkdir()
        (folder / folder.name).touch()
    file.touch()
    for path in (taken, file):
        with pytest.raises(OutputError, match="exists already"):
            put_in_place(new, path, force=False)
    assert (taken / "taken").exists() and file.is_file()
    put_in_place(new, tmp_path / "free", force=False)
    assert os.listdir(tmp_path / "free") == ["new"]


FULL = r"folder for temporary files is full; name another one in the environment variable TMPDIR"


def test_a_full_folder_for_temporary_files_is_no_fault_of_the_recording(tmp_path: Path) -> None:
    """What comes through a pipe is kept there; what ffmpeg decodes needs no room."""
    source, pipe, rng = tmp_path / "a.wav", tmp_path / "pipe", np.random.default_rng(0)
    soundfile.write(source, rng.uniform(-0.5, 0.5, 100_000), 32000)
    os.mkfifo(pipe)
    writer = subprocess.Popen(["sh", "-c", f"cat '{source}' > '{pipe}'"])
    with writer, full_after(1 << 16), pytest.raises(OutputError, match=FULL):
        read_audio(pipe)

    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, tmp_path / "a.m4a"], check=True)
    with full_after(1 << 10):
        assert read_audio(tmp_path / "a.m4a").num_samples >= 100_000


def test_a_trial_that_finds_no_room_names_the_folder_for_temporary_files() -> None:
    with pytest.raises(OutputError, match=FULL), scratch_folder("audiolm-") as folder, full_after(10):
        write_whole(folder / "a", bytes(100), force=False)
    with pytest.raises(OutputError, match="somewhere else"), scratch_folder("audiolm-") as folder:
        raise OutputError("somewhere else")
    assert not folder.exists()


def test_only_the_folder_that_was_named_is_used(tmp_path: Path) -> None:
    """One that is missing, is a file, or cannot be written is named; Python alone would take another one."""
    code = (
        "from audiolm_cli.cli.surroundings import settle_in; settle_in()\n"
        "from audiolm_cli.errors import OutputError\n"
        "from audiolm_cli.files import scratch_file\n"
        "try:\n    with scratch_file() as file: print('works')\n"
        "except OutputError as error: print(error)"
    )
    (tmp_path / "file").touch()
    (tmp_path / "good").mkdir()
    for name, told in ("missing", "cannot be written"), ("file", "cannot be written"), ("good", "works"):
        environment = {**os.environ, "TMPDIR": str(tmp_path / name)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        assert told in done.stdout
        assert told == "works" or (str(tmp_path / name) in done.stdout and "TMPDIR" in done.stdout)


def test_where_no_folder_for_temporary_files_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(OutputError, match="TMPDIR"), scratch_file():
        pass


def test_standard_output_that_is_open_is_a_target() -> None:
    check_target("-", False)
