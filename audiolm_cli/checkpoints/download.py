"""One file from the network to its final name: resumed across runs, checked, and whole or absent.

The bytes so far lie beside the final name as `.<name>.part`, with a note of where they came from. Knows nothing about
what the file is for.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import requests

from audiolm_cli.checkpoints.locks import hold
from audiolm_cli.checkpoints.notes import read_note
from audiolm_cli.checkpoints.source import Wanted
from audiolm_cli.checkpoints.transfer import (
    BrokenTransferError,
    RangeRefusedError,
    SourceRefusedError,
    Stream,
    check_address,
    open_download,
)
from audiolm_cli.config.fetching import FetchConfig
from audiolm_cli.errors import NetworkError, OutputError
from audiolm_cli.events import Note, OnEvent, Progress, ignore
from audiolm_cli.files import hash_file, sync_folder

REPORT_EVERY_S = 0.1
_READ_BYTES = 1 << 20
_LONGEST_BACKOFF = 16.0
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A file that is there and whole."""

    path: Path
    """Where it is."""
    bytes: int
    """Its size."""
    sha256: str
    """Its hash, all 64 digits."""
    url: str
    """The address it came from; empty when it was there already."""


def fetch(wanted: Wanted, target: Path, config: FetchConfig | None = None, *, on_event: OnEvent = ignore) -> Fetched:
    """The file at `target`, downloaded unless a whole one is there.

    Processes that want the same file wait for each other, so that it is transferred once. A transfer that was broken
    off, even by SIGKILL, goes on where it stopped.

    Args:
        wanted: addresses, and what is known of the contents. Without a hash, a server that does not say how long the
            file is gets refused, and a file that is there already is taken as it is.
        target: the final name; its folder is made when missing.
        config: timeouts, attempts, endpoint.
        on_event: gets the progress.

    Raises:
        NetworkError: offline, or no address gave the file; what arrived of it is kept.
        OutputError: the disk is full or not writable; what arrived is kept.
    """
    config = config or FetchConfig()
    if present := _find_present(wanted, target):
        return present

    if config.offline:
        raise NetworkError(
            f"{wanted.label} is not here, and no connection may be opened (offline); "
            f"fetch {wanted.place_by_hand} elsewhere and place it as {target}"
        )

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with hold(target.parent, target.name, on_event=on_event):
            if present := _find_present(wanted, target):  # another process has fetched it meanwhile
                return present
            with requests.Session() as session:
                return _Download(session, wanted, target, config, on_event).run()
    except OSError as error:
        raise _describe_disk_error(target, error) from error


def probe_size(url: str, config: FetchConfig, *, pinned: bool = False) -> int | None:
    """How many bytes a server says a file has; None when it does not say, or cannot be reached now.

    Raises:
        SourceRefusedError: the address will not give the file.
    """
    check_address(url, pinned=pinned)
    with requests.Session() as session:
        try:
            stream = open_download(session, url, config)
        except BrokenTransferError:
            return None
        stream.close()
        return stream.total


def matches(digest: str, expected: str) -> bool:
    """Whether a hash starts with the digits that are known of it."""
    return digest.startswith(expected.lower())


class _Download:
    """One call of `fetch` once it holds the lock."""

    def __init__(
        self, session: requests.Session, wanted: Wanted, target: Path, config: FetchConfig, on_event: OnEvent
    ) -> None:
        self.session = session
        self.wanted = wanted
        self.target = target
        self.config = config
        self.on_event = on_event
        self.part = _PartialFile(target, wanted)

    def run(self) -> Fetched:
        """The file, from the first address that gives it.

        Raises:
            NetworkError: none does.
        """
        reasons = []
        try:
            for url in self.wanted.urls:
                try:
                    check_address(url, pinned=bool(self.wanted.sha256))
                    return self._fetch_from(url)
                except SourceRefusedError as error:
                    reasons.append(f"{url}: {error}")
        finally:
            self.part.close()

        kept = f" {self.part.size} bytes are kept, and the next attempt goes on from there." if self.part.size else ""
        raise NetworkError(
            f"{self.wanted.label} could not be downloaded: {'; '.join(reasons)}.{kept} "
            f"Try again, or fetch {self.wanted.place_by_hand} by other means and place it as {self.target}"
        )

    def _fetch_from(self, url: str) -> Fetched:
        """The file from this address, asked as often as `attempts` allows without a new byte.

        Raises:
            SourceRefusedError: it does not give the file.
        """
        failures, farthest, mismatches = 0, self.part.size, 0
        while True:
            try:
                total = self._receive(url)
                digest = self.part.digest()
                if matches(digest, self.wanted.sha256):
                    return self._keep(url, digest)

                wrong = f"its sha256 is {digest}, expected {self.wanted.sha256}"
                if total is None:  # it may be a part: such a body ends where the connection does
                    raise BrokenTransferError(wrong)

                # All bytes are there, and wrong. An earlier connection may have left the fault, so one more try from
                # the start; after that, or when all came through one connection, it is the source's.
                pieces = self.part.pieces
                self.part.restart()
                mismatches += 1
                if pieces == 1 or mismatches > 1:
                    raise SourceRefusedError(wrong)
                continue

            except RangeRefusedError as error:
                self.part.restart()
                failures, reason, wait_s = failures + 1, str(error), 0.0

            except BrokenTransferError as error:
                if self.part.size > farthest:
                    farthest, failures = self.part.size, 0
                failures, reason = failures + 1, str(error)
                wait_s = self._back_off_s(failures, error)

            if failures >= self.config.attempts:
                raise SourceRefusedError(f"{reason} ({failures} attempts without a new byte)")
            if wait_s >= 1:
                self.on_event(Note(message=f"{self.wanted.label}: {reason}; trying again in {wait_s:.0f} s"))
            time.sleep(wait_s)

    def _back_off_s(self, failures: int, error: BrokenTransferError) -> float:
        """Seconds to wait before the next attempt: twice as many each time, and no fewer than the server asks for.

        Raises:
            SourceRefusedError: the server asks for more than anybody would wait.
        """
        asked = error.wait_s
        if asked is not None and asked > self.config.longest_wait_s:
            raise SourceRefusedError(f"{error} and asks to wait {asked:.0f} s") from error

        backoff = min(2.0 ** (failures - 1), _LONGEST_BACKOFF) * self.config.backoff_s
        return max(backoff * random.uniform(1, 1.25), asked or 0.0)  # spread, so that not all come back at once

    def _receive(self, url: str) -> int | None:
        """Add what one connection gives to the part, until the file is complete.

        Returns:
            The size of the file; None when it is not known and the connection was closed in good order.

        Raises:
            SourceRefusedError, RangeRefusedError, BrokenTransferError: it is not complete.
        """
        offset = self.part.size
        if offset and offset == self.wanted.bytes:
            return offset

        # A server that knows its version of the file sends all of it when it has another one now.
        validator = self.part.validator_for(url)
        if offset and not validator and not self.wanted.sha256:
            self.part.restart()  # nothing would show that the file has changed since
            offset = 0

        stream = open_download(self.session, url, self.config, offset, validator)
        try:
            if stream.start and validator and stream.validator and stream.validator != validator:
                raise RangeRefusedError("the file has changed since the transfer began")
            if stream.start != offset:
                self.part.restart()

            total = self._agree_on_size(stream)
            self._check_space(total)
            self.part.begin(url, stream)
            self._copy(stream, total)
        finally:
            stream.close()
        return total

    def _agree_on_size(self, stream: Stream) -> int | None:
        """The size of the whole file; None when only a hash will tell whether it is whole.

        Raises:
            SourceRefusedError: it is not the size that is known, or neither size nor hash is known.
        """
        known = self.wanted.bytes
        if known is not None and stream.total is not None and stream.total != known:
            raise SourceRefusedError(f"the server says it has {stream.total} bytes, expected {known}")

        total = known if known is not None else stream.total
        if total is None and not self.wanted.sha256:
            raise SourceRefusedError("the server does not say how long it is; give its --sha256")
        return total

    def _copy(self, stream: Stream, total: int | None) -> None:
        """Append the body of an answer to the part, and report how far it is.

        Raises:
            SourceRefusedError: it is longer than the file.
            BrokenTransferError: it is shorter.
        """
        reported, begun, first = 0.0, time.monotonic(), self.part.size
        for block in stream.blocks():
            if total is not None and self.part.size + len(block) > total:
                self.part.restart()
                raise SourceRefusedError(f"the server sends more than {total} bytes")
            self.part.write(block)

            now = time.monotonic()
            if now - reported >= REPORT_EVERY_S or self.part.size == total:
                reported = now
                rate = (self.part.size - first) / max(now - begun, 1e-3)  # bytes per second, of this connection
                self._report(total, rate)

        if total is not None and self.part.size < total:
            raise BrokenTransferError(f"the server sent {self.part.size} of {total} bytes")

    def _report(self, total: int | None, rate: float) -> None:
        self.on_event(
            Progress(
                stage=f"download {self.wanted.label}",
                done=self.part.size,
                total=total,
                unit="B",
                detail=f"{rate / 1e6:.1f} MB/s",
            )
        )

    def _check_space(self, total: int | None) -> None:
        """Refuse a download that would fill the disk, before it begins."""
        free = shutil.disk_usage(self.target.parent).free
        missing = (total or 0) - self.part.size + self.config.spare_bytes - free
        if missing > 0:
            raise OutputError(
                f"{self.target.parent}: {self.wanted.label} needs {-(-missing // 1_000_000)} MB more than is free; "
                "make room, or choose another cache with --cache-dir"
            )

    def _keep(self, url: str, digest: str) -> Fetched:
        """Give the part its final name."""
        size = self.part.size
        self.part.sync()

        # Read once more from the disk: some network file systems give one lock to two processes.
        if hash_file(self.part.path) != digest:
            self.part.restart()
            raise SourceRefusedError("the disk holds something other than what was written; try another --cache-dir")

        self.part.become(self.target)
        return Fetched(path=self.target, bytes=size, sha256=digest, url=url)


class _PartialFile:
    """The bytes so far, on disk, with their hash.

    Not one of the writers of `files.py`: the temporary name is known beforehand and the file stays when a download is
    broken off, so that the next one goes on; its hash grows with it.
    """

    def __init__(self, target: Path, wanted: Wanted) -> None:
        self.path, self.note = _name_part(target)
        self.wanted = wanted
        self.size = 0
        self.pieces = 0
        """Connections that contributed, an earlier run counted as one."""

        self._origin = read_note(self.note)  # what `begin` wrote down last
        if self._origin.get("sha256", wanted.sha256) != wanted.sha256:
            self.path.unlink(missing_ok=True)  # the catalogue has another version since

        # Opened without truncating, and hashed up to its end.
        self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b")
        self._hash = hashlib.sha256()
        while block := self._file.read(_READ_BYTES):
            self._hash.update(block)
            self.size += len(block)

        self.pieces = int(self.size > 0)
        if wanted.bytes is not None and self.size > wanted.bytes:
            self.restart()

    def validator_for(self, url: str) -> str:
        """What the server at `url` said of the version these bytes are of; empty when they are of another server."""
        return str(self._origin.get("validator", "")) if self._origin.get("url") == url else ""

    def begin(self, url: str, stream: Stream) -> None:
        """Note where the next bytes come from."""
        self.pieces += 1
        self._origin = {"url": url, "validator": stream.validator, "sha256": self.wanted.sha256}
        self.note.write_text(json.dumps(self._origin))

    def write(self, block: bytes) -> None:
        """Append a block."""
        self._file.write(block)
        self._file.flush()
        self._hash.update(block)
        self.size += len(block)

    def restart(self) -> None:
        """Start from nothing, in a new file: a process that still writes to the old one does no harm."""
        self._file.close()
        self.path.unlink(missing_ok=True)
        self._file = self.path.open("w+b")
        self._hash = hashlib.sha256()
        self.size = self.pieces = 0

    def digest(self) -> str:
        """The hash of all bytes so far."""
        return self._hash.hexdigest()

    def sync(self) -> None:
        """Wait until the bytes are on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def become(self, target: Path) -> None:
        """Give the file its final name."""
        self._file.close()
        os.replace(self.path, target)
        self.note.unlink(missing_ok=True)
        sync_folder(target.parent)

    def close(self) -> None:
        """Leave the bytes for the next run; an empty part is removed."""
        self._file.close()
        if self.size == 0:  # also when it has its final name: then there is nothing to remove
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
                self.note.unlink(missing_ok=True)


def _name_part(target: Path) -> tuple[Path, Path]:
    """Where the bytes so far of `target` lie, and the note of where they came from."""
    return target.with_name(f".{target.name}.part"), target.with_name(f".{target.name}.part.json")


def _find_present(wanted: Wanted, target: Path) -> Fetched | None:
    """What is at `target` when it is what is wanted."""
    try:
        size = target.stat().st_size
        if not target.is_file() or (wanted.bytes is not None and size != wanted.bytes):
            return None
        digest = hash_file(target)
    except OSError:
        return None

    return Fetched(path=target, bytes=size, sha256=digest, url="") if matches(digest, wanted.sha256) else None


def _describe_disk_error(target: Path, error: OSError) -> OutputError:
    """What to do about a disk that is full or not writable."""
    if error.errno in _FULL:
        part = _name_part(target)[0]
        kept = part.stat().st_size if part.is_file() else 0
        return OutputError(
            f"{target.parent}: the disk is full; {kept} bytes are kept, and the download goes on from there once "
            "there is room, or choose another cache with --cache-dir"
        )
    return OutputError(f"{target.parent} cannot be written ({error.strerror or error}); choose another --cache-dir")
