"""Files that are written whole or not at all, and the hashes of files. Knows nothing about what is in them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import secrets
import select
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audiolm_cli.errors import NameTakenError, OutputError
from audiolm_cli.stopping import check_stopped, uninterrupted

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where there is no room."""


def hash_file(path: Path) -> str:
    """The sha256 of a file's contents, as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def encode_path(path: str | Path) -> str | bytes:
    """A path for soundfile, which itself refuses names that are not UTF-8."""
    return os.fsencode(path) if os.name == "posix" else os.fspath(path)


def count_bytes(folder: Path) -> int:
    """Bytes of all files under a folder; 0 where it is missing. What symbolic links lead to does not count."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_symlink() or file.is_file())


def write_whole(target: str | Path, data: bytes, *, force: bool) -> None:
    """Write a whole file, or nothing: an error or a crash leaves no half of it, and an old file as it was.

    Args:
        target: the file.
        data: what it will hold.
        force: replace an existing file.

    Raises:
        OutputError: the file exists and `force` is false; disk full; no permission; folder missing.
    """
    with as_output_error(target), replacing(target, force) as file:
        file.write(data)


def check_target(path: str | Path, force: bool) -> None:
    """Raise now what `write_whole` to this path would raise after long work; "-" is standard output.

    Raises:
        OutputError: it exists and `force` is false, it is a folder or a device, or its folder is missing or unwritable.
    """
    with as_output_error(path):
        if str(path) == "-":
            os.write(1, b"")  # which fails where it is closed
            return

        probe = _hidden_name(_resolve_target(path, force))
        try:
            _create(probe).close()
        finally:
            probe.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(target: str | Path, force: bool) -> Iterator[DeferringFile]:
    """An open file that becomes `target` when the block ends well, and is gone when it does not.

    Raises:
        OutputError: `target` must not or cannot be replaced.
        OSError: the system refuses; `as_output_error` makes an OutputError of it.
    """
    path = _resolve_target(target, force)
    with taking_place_of(path, force=force) as temporary:
        with _create(temporary) as file:
            yield file
            file.check()
            os.fsync(file.fileno())

        if path.exists():
            shutil.copymode(path, temporary)


@contextlib.contextmanager
def taking_place_of(path: Path, *, force: bool = True) -> Iterator[Path]:
    """A temporary name beside `path`: the file that the block writes there becomes `path` in one step.

    When the block fails, the temporary file is removed and `path` stays as it was. Unlike `replacing`, this does not
    wait for the disk: after a power failure the file may be empty. It is for files that can be made again.

    Raises:
        OutputError: there is a `path` by now, and `force` is false.
        OSError: the system refuses.
    """
    temporary = _hidden_name(path)
    try:
        yield temporary
        check_stopped()
        if force:
            os.replace(temporary, path)
        else:
            name_new_file(temporary, path)
    except BaseException:
        with uninterrupted():
            temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder that becomes `path` when the block ends well, and is gone when it does not.

    One process writes at a time, so the temporary name is always the same, and the next run clears what a killed one
    left. Folders that several processes may write, and whose old content is precious, go through `put_in_place`.
    """
    temporary = path.with_name(f".{path.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        check_stopped()
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
    except BaseException:
        with uninterrupted():
            shutil.rmtree(temporary, ignore_errors=True)
        raise


def put_in_place(temporary: Path, path: Path, *, force: bool = True) -> None:
    """Rename the folder `temporary` to `path`; an old folder is moved aside first, and removed when all went well.

    Raises:
        OutputError: there is a `path` by now, and `force` is false.
        OSError: the system refuses.
    """
    if not force:
        try:
            temporary.rename(path)  # which refuses whatever is there, but for a folder with nothing in it
        except OSError as error:
            if os.path.lexists(path):
                raise _exists_already(path) from error
            raise
        sync_folder(path.parent)
        return

    aside = path.parent / f".{path.name}.{secrets.token_hex(4)}.replaced"
    with uninterrupted():  # an old folder is under its name, or the new one is
        try:
            if path.exists():
                path.rename(aside)
            temporary.rename(path)
            sync_folder(path.parent)
        finally:
            if path.exists():
                shutil.rmtree(aside, ignore_errors=True)
            elif aside.exists():
                aside.rename(path)


def name_new_file(temporary: Path, path: Path) -> None:
    """Rename a file to a name that nothing has, in one step: who else makes a file there is not overwritten.

    Raises:
        OutputError: something has it.
        OSError: the system refuses.
    """
    try:
        if os.name == "nt":
            os.rename(temporary, path)
            return

        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links, as that of many memory cards: an empty file claims the name
            _create(path).close()
            os.replace(temporary, path)
            return
    except FileExistsError as error:
        raise _exists_already(path) from error
    temporary.unlink()


def _exists_already(path: str | Path) -> NameTakenError:
    return NameTakenError(f"{path}: exists already; choose another name or replace it with -f/--force")


def write_synced(path: Path, text: str) -> None:
    """Write a text file, and wait until it is on the disk."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def sync_file(path: Path) -> None:
    """Wait until the contents of a file are on the disk."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if os.name == "nt":  # Windows cannot open folders
        return

    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DeferringFile(io.FileIO):
    """An unbuffered file for libraries that crash when a write fails, or overlook it: `check` raises the first error.

    On a full disk HDF5 ends the process when it closes a file, libsndfile loses the end of an MP3 and says nothing, and
    the system writes the part that fits without an error.
    """

    error: OSError | None = None
    """The first error of a write; nothing was written after it."""

    def write(self, data: Any) -> int:
        """Write all of `data`, or keep the error; returns its length in bytes."""
        rest = memoryview(data).cast("B")
        count = len(rest)

        while len(rest) and self.error is None:
            try:
                taken = super().write(rest)  # the system may take a part of it
                if taken is None:  # a pipe that does not wait for its reader
                    select.select([], [self], [])
                rest = rest[taken or 0 :]
            except OSError as error:
                self.error = error

        return count

    def truncate(self, size: int | None = None) -> int:
        """Make the file `size` bytes long, or keep the error; returns the size."""
        if self.error is None:
            try:
                return super().truncate(size)
            except OSError as error:
                self.error = error
        return self.tell() if size is None else size

    def check(self) -> None:
        """Raise the error that was kept.

        Raises:
            OSError: a write failed.
        """
        if self.error is not None:
            raise self.error


class ScratchFile(DeferringFile):
    """A nameless file in the folder for temporary files."""

    def check(self) -> None:
        """Raise the error that was kept.

        Raises:
            OutputError: a write failed.
        """
        with as_scratch_error():
            super().check()


@contextlib.contextmanager
def scratch_file() -> Iterator[ScratchFile]:
    """A nameless file in the folder for temporary files, which is gone after the block.

    Raises:
        OutputError: it cannot be made.
    """
    with contextlib.ExitStack() as stack:
        with as_scratch_error():
            plain = stack.enter_context(tempfile.TemporaryFile(buffering=0))
            file = stack.enter_context(ScratchFile(os.dup(plain.fileno()), "r+b"))
        yield file


@contextlib.contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A new folder in the folder for temporary files, which is gone with all in it after the block.

    Raises:
        OutputError: it cannot be made, or the block could not write into it.
    """
    with contextlib.ExitStack() as stack:
        with as_scratch_error():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)))
        try:
            yield folder
        except OutputError as error:
            if isinstance(error.__cause__, OSError):
                with as_scratch_error():
                    raise error.__cause__ from error
            raise


@contextlib.contextmanager
def as_scratch_error() -> Iterator[None]:
    """Turn what the system reports about temporary files into an OutputError that says what to do."""
    try:
        yield
    except OSError as error:
        try:
            folder = tempfile.gettempdir()
        except OSError:
            raise OutputError(
                "no folder for temporary files can be written; name one in the environment variable TMPDIR"
            ) from error
        what = "is full" if error.errno in FULL else f"cannot be written ({error.strerror or error})"
        raise OutputError(
            f"{folder}: the folder for temporary files {what}; name another one in the environment variable TMPDIR"
        ) from error


@contextlib.contextmanager
def as_output_error(path: str | Path) -> Iterator[None]:
    """Turn what the system reports about writing `path` into an OutputError that says what to do."""
    try:
        yield
    except OSError as error:
        where = describe_folder(path)
        if error.errno in FULL:
            raise OutputError(f"{path}: no space left in {where}; free some, or choose another") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OutputError(f"{path}: no permission to write in {where}; choose another") from error
        raise OutputError(f"{path}: cannot be written to {where} ({error.strerror or error})") from error


def describe_folder(path: str | Path) -> str:
    """Where an output goes, in words: "standard output", or the folder of the file."""
    return "standard output" if str(path) == "-" else f"the folder {Path(os.path.realpath(path)).parent}"


def _resolve_target(path: str | Path, force: bool) -> Path:
    """The file that `path` leads to, past links; refuses what must not or cannot be replaced."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file in it")

    if target.exists():
        if not target.is_file():
            raise OutputError(f"{path}: is a device; give the name of a file, or - for standard output")
        if not force:
            raise _exists_already(path)

    if not target.parent.is_dir():
        raise OutputError(f"{path}: the folder {target.parent} does not exist; make it, or choose another")
    return target


def _hidden_name(target: Path) -> Path:
    """A temporary name in the folder of `target`, which no other process uses."""
    return target.with_name(f".audiolm-{secrets.token_hex(6)}.part")


def _create(path: Path) -> DeferringFile:
    """A new file, with the permissions that the user gives new files."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    return DeferringFile(descriptor, "w+b")
