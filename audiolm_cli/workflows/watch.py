"""`audiolm watch`: the new files of a folder, each as soon as it is finished. Knows nothing about what becomes of them.

watchfiles says that something has changed. What has changed is found by looking at the folder again, so that renamed
folders, lost reports and drives that report nothing make no difference.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from audiolm_cli.data.folders import find_audio
from audiolm_cli.errors import UsageError
from audiolm_cli.events import Activity, OnEvent, ignore
from audiolm_cli.guessing import guess_path
from audiolm_cli.packages import explained_imports
from audiolm_cli.stopping import check_stopped

SETTLE_S = 1.0
"""A file that has not changed for so long is finished, unless another time is asked for."""
LOOK_EVERY_S = 5.0
"""The folder is looked at this often although nothing was reported: some drives, as those of a network, never do."""
LOOKING_SHARE = 0.05
"""Looking takes no more than this share of the time: in a folder of a hundred thousand files it takes a second."""
WAKE_EVERY_S = 0.25
"""Unfinished files are looked at this often."""
SHARING_VIOLATION = 32
"""What Windows says of a file that another program has open for itself alone."""


@dataclass(frozen=True)
class Stamp:
    """What a file changes when it is written or replaced."""

    size: int
    written_ns: int
    number: int


@dataclass
class Unfinished:
    """A file that may still be written."""

    stamp: Stamp
    """As it was when it was last looked at."""
    since_s: float
    """Since when it has been like that, by the clock."""


class FolderWatch:
    """A folder that is watched, with all below it; what is there already is taken for known."""

    def __init__(
        self,
        folder: str | Path,
        settle_s: float = SETTLE_S,
        on_event: OnEvent = ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look at the folder for the first time, and begin to listen for changes.

        Args:
            folder: it.
            settle_s: a file that has not changed for so long is finished.
            on_event: hears what is being waited for.
            clock: seconds since any moment.

        Raises:
            UsageError: there is no such folder.
            DataError: it cannot be read.
        """
        self.folder = Path(folder)
        if not self.folder.is_dir():
            what = "is no folder" if self.folder.exists() else f"no such folder{guess_path(self.folder)}"
            raise UsageError(f"{folder}: {what}; name the folder that your program bounces to")

        self._settle_s, self._on_event, self._clock = settle_s, on_event, clock
        self._known: dict[Path, Stamp] = {}
        self._unfinished: dict[Path, Unfinished] = {}
        self._looked_s = self._look_took_s = 0.0
        self._changes = listen(self.folder)
        next(self._changes)  # from here on, no change is missed
        self.look()
        self.skip(self._unfinished)

    @property
    def unfinished(self) -> list[Path]:
        """Files that came and may still be written."""
        return list(self._unfinished)

    def skip(self, paths: Iterable[str | Path]) -> None:
        """Take files as they are for known: they are given out when they change."""
        for path in map(Path, list(paths)):
            self._unfinished.pop(path, None)
            if (stamp := stamp_of(path)) is not None:
                self._known[path] = stamp

    def files(self) -> Iterator[Path]:
        """Every file that comes or changes from now on, once it is finished, for as long as anybody asks.

        Files that come together are in the order in which they were written.

        Raises:
            DataError: the folder is gone.
        """
        said = ""
        for changed in self._changes:
            if changed or self._is_look_due():
                self.look()
            while (path := self._take_finished()) is not None:
                yield path
                said = ""

            waiting = self._unfinished
            words = f"waiting until {next(iter(waiting)).name} is finished" if waiting else f"watching {self.folder}"
            if words != said:
                self._on_event(Activity(stage=words))
                said = words

    def look(self) -> None:
        """Find files that are new or have changed.

        Raises:
            DataError: the folder is gone.
        """
        began_s = self._clock()
        found = find_audio([self.folder], may_be_empty=True).files
        stamps = {path: stamp for path in found if (stamp := stamp_of(path)) is not None}
        for path, stamp in sorted(stamps.items(), key=lambda item: (item[1].written_ns, item[0])):
            if path not in self._unfinished and stamp != self._known.get(path):
                self._unfinished[path] = Unfinished(stamp, self._clock())

        self._known = {path: stamp for path, stamp in self._known.items() if path in stamps}
        self._looked_s = self._clock()
        self._look_took_s = self._looked_s - began_s

    def _is_look_due(self) -> bool:
        return self._clock() - self._looked_s >= max(LOOK_EVERY_S, self._look_took_s / LOOKING_SHARE)

    def _take_finished(self) -> Path | None:
        """The first file that is finished, which is then known; what is gone is forgotten."""
        for path, waiting in list(self._unfinished.items()):
            now_s, stamp = self._clock(), stamp_of(path)
            if stamp is None:
                del self._unfinished[path]
            elif stamp != waiting.stamp:
                self._unfinished[path] = Unfinished(stamp, now_s)
            elif stamp.size and now_s - waiting.since_s >= self._settle_s and not is_held(path):
                self.skip([path])
                return path
        return None


def listen(folder: Path) -> Iterator[bool]:
    """Whether anything has changed in a folder or below it since the last time, as soon as it has, and now and then.

    Raises:
        InstallationError: watchfiles does not work here.
        SystemExit: by a signal that asks the program to end.
    """
    with explained_imports():
        from watchfiles import watch

    wake_ms = round(1000 * WAKE_EVERY_S)
    wakes = watch(
        folder,
        watch_filter=None,
        debounce=2 * wake_ms,
        rust_timeout=wake_ms,
        yield_on_timeout=True,
        ignore_permission_denied=True,
    )
    return _until_stopped(wakes)


def _until_stopped(wakes: Iterator[object]) -> Iterator[bool]:
    """Whether each is anything; watchfiles keeps the exception of a signal to itself and says KeyboardInterrupt."""
    interrupted = False
    while not interrupted:
        try:
            changed = bool(next(wakes))
        except KeyboardInterrupt:
            interrupted = True
        check_stopped()
        if not interrupted:
            yield changed
    raise KeyboardInterrupt


def stamp_of(path: Path) -> Stamp | None:
    """How a file is now; None where there is none."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return Stamp(facts.st_size, facts.st_mtime_ns, facts.st_ino)


def is_held(path: Path) -> bool:
    """Whether another program has a file open for itself alone, which Windows allows."""
    try:
        path.open("rb").close()
    except OSError as error:
        return getattr(error, "winerror", None) == SHARING_VIOLATION
    return False
