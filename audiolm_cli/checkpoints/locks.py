"""Locks between processes, each with a note that says who holds it. Knows nothing about what is being guarded.

The lock files stay where they are: unlinking one that somebody waits for would let two processes in at once.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from audiolm_cli.errors import ModelError, OutputError
from audiolm_cli.events import Note, OnEvent, ignore

LOCKS = ".locks"
"""Folder of the locks inside the folder they guard."""
REMIND_S = 10.0
"""Seconds between two notes about waiting for a lock."""
_POLL_S = 0.05
_MAX_NOTE_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lock, as it wrote down itself."""

    lock: Path
    """The lock file."""
    pid: int
    """Its process."""
    host: str
    """Its machine."""
    since: float
    """When it got the lock, in seconds since 1970."""

    @property
    def gone(self) -> bool:
        """True when the process is known to be dead; False on another machine, where nothing can be known."""
        if self.host != socket.gethostname():
            return False

        # Systems free the locks of dead processes. To ask for the process itself would end it on Windows.
        try:
            with FileLock(self.lock, timeout=0):
                return True
        except (OSError, Timeout):  # somebody has it, or it is another user's
            return False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@contextmanager
def hold(folder: Path, name: str, *, wait: bool = True, on_event: OnEvent = ignore) -> Iterator[None]:
    """Keep other processes out of `name` in `folder` while the block runs.

    Args:
        folder: what is guarded; the lock lies in its `.locks`.
        name: a plain name inside it.
        wait: whether to wait until the lock is free, with a note every `REMIND_S` seconds.
        on_event: gets these notes.

    Raises:
        ModelError: `wait` is False and another process holds it.
        OutputError: the lock cannot be made.
    """
    path = folder / LOCKS / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        _acquire(lock, path, name, wait, on_event)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be made ({error.strerror or error}); choose another cache with --cache-dir"
        ) from error

    note = path.with_suffix(".json")
    try:
        with suppress(OSError):  # the lock holds without it
            note.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}))
        yield
    finally:
        with suppress(OSError):
            note.unlink(missing_ok=True)
        lock.release()


def _acquire(lock: FileLock, path: Path, name: str, wait: bool, on_event: OnEvent) -> None:
    """Take the lock. While another process has it, raise an error, or wait with a note every `REMIND_S` seconds."""
    timeout_s = 0.0  # the first note comes at once
    while True:
        try:
            lock.acquire(timeout=timeout_s, poll_interval=_POLL_S)
            return

        except Timeout as error:
            holder = read_holder(path)
            who = str(holder) if holder else "another process"
            if not wait:
                raise ModelError(f"{name} is in use by {who}; try again when it is done") from error

            on_event(Note(message=f"waiting for {who}, which is working on {name}"))
            timeout_s = REMIND_S


def read_holder(lock: Path) -> Holder | None:
    """The process that wrote down that it holds this lock; None when none did."""
    try:
        with lock.with_suffix(".json").open("rb") as stream:
            values = json.loads(stream.read(_MAX_NOTE_BYTES))
        return Holder(lock=lock, pid=int(values["pid"]), host=str(values["host"]), since=float(values["since"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def list_holders(folder: Path) -> list[Holder]:
    """Who holds locks in `folder`, or died while holding one."""
    try:
        locks = sorted((folder / LOCKS).glob("*.lock"))
    except OSError:
        return []
    return [holder for lock in locks if (holder := read_holder(lock)) is not None]
