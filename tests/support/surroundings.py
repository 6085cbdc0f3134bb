"""The commands of `full_disks` in other surroundings: signals, streams that are closed, files that appear meanwhile.

Each runs as the program does, in a fork of this process.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from full_disks import Inputs, arguments, prepare_child

from audiolm_cli.stopping import SIGNALS

_FORK = multiprocessing.get_context("fork")
WRITERS = (
    *("continue .wav", "continue .flac", "plot", "page", "infill", "loop", "restyle", "tokenize", "decode", "train"),
    *("codec train", "evaluate --report", "demo"),
)
"""Commands whose work is in files, those with several kinds of files several times."""
LEFTOVERS = (".audiolm-*.part", ".*.partial", ".*.replaced")
"""Names of files and folders that are not finished."""
STREAMS = {
    "stdout closed": ("closed", "heard"),
    "stderr closed": ("heard", "closed"),
    "both closed": ("closed", "closed"),
    "stdout full": ("full", "heard"),
    "stderr full": ("heard", "full"),
    "stdout without a reader": ("gone", "heard"),
    "stderr without a reader": ("heard", "gone"),
    "both without a reader": ("gone", "gone"),
}
"""What becomes of standard output and standard error."""


@dataclass(frozen=True)
class Done:
    """How a command ended, and what could be heard of it."""

    exit_code: int
    stdout: str
    stderr: str
    after_s: float
    """How long it ran."""


def run_command(
    command: str,
    inputs: Inputs,
    out: Path,
    *,
    streams: tuple[str, str] = ("heard", "heard"),
    prepare: Callable[[], object] = lambda: None,
    signals: Sequence[tuple[float, int]] = (),
) -> Done:
    """Run a command that writes into the folder `out`, which is there.

    Args:
        command: one of `WRITERS`.
        inputs: what it works on.
        out: where it writes.
        streams: of standard output and standard error: "heard", "closed", "full", or "gone", a pipe without a reader.
        prepare: called in the process before the program starts.
        signals: what to send, each after so many seconds, in this order.
    """
    heard = [out.with_name(f"{out.name}.{name}") for name in ("stdout", "stderr")]
    child = _FORK.Process(target=_main, args=(command, inputs, out, streams, prepare, heard))
    started = time.monotonic()
    child.start()
    for after_s, number in signals:
        child.join(max(0.0, started + after_s - time.monotonic()))
        if child.is_alive() and child.pid is not None:
            os.kill(child.pid, number)
    child.join()

    said = [path.read_text("utf-8", "replace") if path.exists() else "" for path in heard]
    for path in heard:
        path.unlink(missing_ok=True)
    return Done(-1 if child.exitcode is None else child.exitcode, *said, time.monotonic() - started)


def unfinished(command: str, out: Path) -> list[str]:
    """What a command left that is not finished and never will be; `tokenize` goes on from its parts."""
    found = [path for pattern in LEFTOVERS for path in out.parent.rglob(pattern)]
    return [str(path) for path in found if command != "tokenize" or path.name.endswith(".part")]


def let_appear(content: bytes) -> None:
    """In the process of a command: whatever it makes under a final name, another program is faster by a moment."""
    from audiolm_cli import files
    from audiolm_cli.checkpoints import folder
    from audiolm_cli.tokenizing import assembly

    name_new_file, put_in_place = files.name_new_file, files.put_in_place

    def name(temporary: Path, path: Path) -> None:
        path.write_bytes(content)
        name_new_file(temporary, path)

    def place(temporary: Path, path: Path, *, force: bool = True) -> None:
        path.mkdir()
        (path / "theirs").write_bytes(content)
        put_in_place(temporary, path, force=force)

    files.name_new_file = assembly.name_new_file = name
    folder.put_in_place = place


def _main(
    command: str,
    inputs: Inputs,
    out: Path,
    streams: tuple[str, str],
    prepare: Callable[[], object],
    heard: list[Path],
) -> None:
    prepare_child(command, inputs, out)
    for number, kind, path in zip((1, 2), streams, heard, strict=True):
        if kind == "closed":
            os.close(number)
            continue
        if kind == "gone":
            reader, target = os.pipe()
            os.close(reader)
        else:
            target = os.open("/dev/full" if kind == "full" else path, os.O_WRONLY | os.O_CREAT, 0o666)
        os.dup2(target, number)

    for number in SIGNALS:  # which a test in the background, or under nohup, ignores
        signal.signal(number, signal.SIG_DFL)

    # As Python makes them when it starts.
    sys.stdout = None if streams[0] == "closed" else os.fdopen(1, "w", closefd=False)  # type: ignore[assignment]
    sys.stderr = None if streams[1] == "closed" else os.fdopen(2, "w", closefd=False)  # type: ignore[assignment]
    prepare()

    from audiolm_cli.cli.app import main
    from audiolm_cli.cli.surroundings import settle_in

    settle_in()
    main(arguments(command, inputs, out, force=False))
