"""What Windows forbids and Linux allows, forbidden here: to find it before a user of Windows does."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def forbid(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Let the system calls of this process fail as those of Windows do, for files below `folder`.

    - A file that is open, or a folder with one in it, is neither renamed, replaced nor removed.
    - What is synced to the disk is open for writing. Folders cannot be opened at all.
    - `os.kill(pid, 0)` would end a process, or press Ctrl-C.

    Returns:
        What was refused; the calls fail as well.
    """
    refused: list[str] = []
    top = os.path.realpath(folder)

    def refuse(call: str, path: Any) -> None:
        real = os.path.realpath(path)
        if not real.startswith(top):
            return
        for held in list_open_files():
            if held == real or held.startswith(real + os.sep):
                refused.append(f"{call} {real}: {held} is open")
                raise PermissionError(errno.EACCES, "The process cannot access the file", str(path))

    def guard(name: str, paths: int) -> None:
        original: Callable[..., Any] = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if not kwargs.get("dir_fd") and not kwargs.get("src_dir_fd"):
                for path in args[:paths]:
                    refuse(name, path)
            return original(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    for name, paths in (("replace", 2), ("rename", 2), ("unlink", 1), ("remove", 1)):
        guard(name, paths)

    sync, kill = os.fsync, os.kill

    def fsync(descriptor: int) -> None:
        mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        if mode == os.O_RDONLY and not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            refused.append(f"fsync {os.readlink(f'/proc/self/fd/{descriptor}')}: it is open for reading")
            raise OSError(errno.EBADF, "Bad file descriptor")
        sync(descriptor)

    def no_kill(pid: int, number: int) -> None:
        if number == 0:
            refused.append(f"kill {pid}, 0")
            raise OSError(errno.EINVAL, "Ctrl-C was pressed")
        kill(pid, number)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "kill", no_kill)
    return refused


def list_open_files() -> set[str]:
    """Every file that this process has open or in its memory."""
    held = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            held.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:  # that of the list itself
            continue
    held |= set(re.findall(r"^\S+ \S+ \S+ \S+ \S+ +(/.*)$", Path("/proc/self/maps").read_text(), re.MULTILINE))
    return held
