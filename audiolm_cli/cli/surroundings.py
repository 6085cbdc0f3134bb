"""What the program makes of the process it runs in: its signals, its standard streams, its temporary folder.

Knows nothing about commands.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext
from typing import NoReturn, TextIO

from audiolm_cli.errors import OutputError
from audiolm_cli.files import DeferringFile
from audiolm_cli.stopping import StopSignals, find_handler

STOPPED = 128
"""The exit code of a program that a signal ended, less the number of the signal."""
ENDED = "ended"
"""Where the program keeps, beside its settings, that a command which only a signal ends has said that it has ended."""


def settle_in() -> None:
    """Prepare the process, once and for as long as it lives: signals end it well, and no stream's failure ends it."""
    open_streams()
    StopSignals(stop).install()

    # Else Python takes another folder where this one is missing or cannot be written, and says nothing.
    tempfile.tempdir = os.environ.get("TMPDIR") or None


def stop_signals() -> AbstractContextManager[StopSignals]:
    """The handler of signals that `settle_in` has installed, or one for a program that is called as a function."""
    found = find_handler()
    return StopSignals(stop) if found is None else nullcontext(found)


def stop(number: int) -> NoReturn:
    """End the program because of a signal, by an exception, so that cleaning up runs.

    Raises:
        SystemExit: always.
    """
    raise SystemExit(STOPPED + number)


def leave(number: int) -> NoReturn:
    """End the program because of a signal, at once."""
    os._exit(STOPPED + number)


def open_streams() -> None:
    """Make standard streams of what there is: a closed one is as one that nobody listens to.

    What cannot be written, because it is closed, full or without a reader, ends no work. `flush_stdout` says it in the
    end.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # Or a file of ours would get the number, and with it what others print. It is opened the wrong way round,
            # so that reading and writing fail as on a closed one.
            opened = os.open(os.devnull, os.O_RDONLY if number else os.O_WRONLY)
            os.set_inheritable(opened, True)

    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), "utf-8")
    sys.stdout, sys.stderr = _lasting(1, sys.stdout), _lasting(2, sys.stderr)


def flush_stdout() -> OSError | None:
    """Hand over what was printed; returns what kept the system from taking all of it."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return error

    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, DeferringFile) else None


def check_heard() -> None:
    """Refuse long work whose only result is what the program prints, where standard output is closed.

    Raises:
        OutputError: it is.
    """
    try:
        os.write(1, b"")
    except OSError as error:
        raise OutputError(
            "standard output is closed, so that the result would be lost; redirect it to a file, or use --report"
        ) from error


def _lasting(number: int, before: TextIO | None) -> TextIO:
    """A stream like the one that Python made, which keeps errors instead of raising them."""
    if before is not None and os.name == "nt":  # whose consoles take text, not bytes
        return before

    file = io.BufferedWriter(DeferringFile(number, "wb", closefd=False))
    if not isinstance(before, io.TextIOWrapper):
        return io.TextIOWrapper(file, "utf-8", "backslashreplace", line_buffering=True)
    at_once = before.line_buffering or before.write_through
    return io.TextIOWrapper(file, before.encoding, before.errors, line_buffering=at_once)
