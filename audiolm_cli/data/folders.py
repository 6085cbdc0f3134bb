"""What lies under a folder of recordings: the files to read, and all else, counted and named with the reason.

Links are followed, each folder and each file is taken once, and hidden ones are left out. Knows nothing about what is
in the files.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from audiolm_cli.data.files import READABLE_SUFFIXES
from audiolm_cli.errors import DataError
from audiolm_cli.events import Note, OnEvent
from audiolm_cli.guessing import guess_path
from audiolm_cli.wording import MOST_NAMES, listed

HIDDEN, TWICE, LOOP, OTHER = "hidden", "twice", "loop", "other"
SAID = {
    HIDDEN: "hidden",
    TWICE: "read already, by another name",
    LOOP: "links to a folder that they lie in",
    OTHER: "not audio by name",
}
"""Why something is left out that is no problem."""
SYSTEM_FOLDERS = frozenset(
    ("$recycle.bin", "recycler", "#recycle", "system volume information", "lost+found", "__macosx", "@eadir")
)
"""Trash and notes of systems that do not begin the names of hidden folders with a dot."""
_OTHER_KIND = re.compile(r"\.[a-z][a-z0-9]{0,4}", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class FoundAudio:
    """What lies under the given files and folders."""

    files: list[Path]
    """To be read, those under each folder in the order of their names."""
    problems: list[str]
    """What should have been read and cannot be: its name and the reason."""
    left_out: dict[str, list[str]]
    """What needs not be read, by the reason (a key of `SAID`)."""

    @property
    def notes(self) -> list[str]:
        """A line for each reason to leave something out, with the number and the names."""
        return [f"left out, {SAID[why]}: {listed(names)}" for why, names in self.left_out.items() if names]

    def announce(self, on_event: OnEvent, *, problems: bool) -> None:
        """Say what was left out; with `problems`, also what cannot be read, as warnings."""
        for line in self.notes:
            on_event(Note(message=line))
        for line in self.problems if problems else ():
            on_event(Note(message=line, warning=True))


def find_audio(
    sources: Sequence[Path], suffixes: Sequence[str] = READABLE_SUFFIXES, *, may_be_empty: bool = False
) -> FoundAudio:
    """The audio files among and under `sources`, and what is left out.

    A file that is named is taken, whatever it is called. Under a folder, names decide which files are audio, and which
    are hidden: the names below the folder, so that a hidden folder is read when it is named itself.

    Args:
        sources: files, and folders of them at any depth.
        suffixes: of the audio files in folders, in lower case.
        may_be_empty: whether a folder may be without audio files.

    Raises:
        DataError: a source is not there or cannot be read, or there is no audio file in it.
    """
    named = {os.path.realpath(source) for source in sources}
    walk = _Walk(suffixes=suffixes, named=named, may_be_empty=may_be_empty)
    for source in sources:
        walk.take_source(source)
    return FoundAudio(files=walk.files, problems=walk.problems, left_out=walk.left_out)


@dataclass(kw_only=True)
class _Walk:
    """One call of `find_audio`."""

    suffixes: Sequence[str]
    named: set[str]
    """Where the sources really are."""
    may_be_empty: bool
    files: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=lambda: {why: [] for why in SAID})
    seen: set[str | tuple[int, int]] = field(default_factory=set)
    """Where files and folders really are that were reached: their paths, and the numbers of files with several."""
    found: list[Path] = field(default_factory=list)
    """Files under the source that is walked through."""

    def take_source(self, source: Path) -> None:
        """All files of a source.

        Raises:
            DataError: it is not there or cannot be read, or there is no audio file in it.
        """
        try:
            facts = source.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            hint = guess_path(source) or "; expected a folder of audio files"
            raise DataError(f"{source}: no such file or folder{hint}") from error
        except OSError as error:
            raise DataError(f"{source}: cannot be read ({error.strerror}); name another folder or allow it") from error

        if stat.S_ISREG(facts.st_mode):
            if self._is_new(source, facts, os.path.realpath(source)):
                self.files.append(source)
            return
        if not stat.S_ISDIR(facts.st_mode):
            kind = _describe_kind(facts.st_mode)
            raise DataError(f"{source}: is {kind}; expected an audio file, or a folder of them")

        try:
            os.scandir(source).close()
        except OSError as error:
            raise DataError(f"{source}: cannot be read ({error.strerror}); name another folder or allow it") from error

        reached, self.found = len(self.left_out[TWICE]), []
        self._walk_folder(source)
        self.files += sorted(self.found)
        if not (self.found or self.may_be_empty) and len(self.left_out[TWICE]) == reached:
            raise DataError(self._describe_nothing(source))

    def _describe_nothing(self, source: Path) -> str:
        """That there is no audio file under a folder, and what is there instead."""
        found = FoundAudio(files=[], problems=self.problems, left_out=self.left_out)
        reasons = [*found.problems[:MOST_NAMES], *found.notes]
        message = f"{source}: no audio files in this folder; looked for {' '.join(self.suffixes)}"
        return "; ".join([message, *reasons])

    def _walk_folder(self, source: Path) -> None:
        """Everything under a folder: first what is really there, then what links lead to, in the order of names."""
        links = deque([source])
        while links:
            path = links.popleft()
            if path == source or self._leads_on(path, source):
                links.extend(sorted(self._walk_tree(path)))

    def _leads_on(self, link: Path, source: Path) -> bool:
        """Whether a link leads to a folder that was not walked through; a file it leads to is taken."""
        try:
            facts = link.stat()
        except OSError as error:
            self._note_unreachable(link, error)
            return False

        if not stat.S_ISDIR(facts.st_mode):
            self._take_file(link, facts, os.path.realpath(link))
            return False

        # What holds the folder that the link lies in, or the whole source, would be walked through without an end, or
        # would bring in everything around the source.
        target = Path(os.path.realpath(link))
        if any(Path(os.path.realpath(place)).is_relative_to(target) for place in (link.parent, source)):
            self.left_out[LOOP].append(str(link))
            return False
        return True

    def _walk_tree(self, top: Path) -> Iterator[Path]:
        """Take the files of a folder and of those below it; gives the links in it, without following them."""
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            real = os.path.realpath(folder)
            if real in self.seen:
                self.left_out[TWICE].append(str(folder))
                continue
            self.seen.add(real)

            try:
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self.problems.append(f"{folder}: this folder cannot be read ({error.strerror})")
                continue
            for entry in listed:
                path = Path(entry.path)
                if _is_hidden(entry):
                    if os.path.join(real, entry.name) not in self.named:
                        self.left_out[HIDDEN].append(str(path))
                elif entry.is_symlink():
                    yield path
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                else:
                    self._take_entry(path, os.path.join(real, entry.name))

    def _take_entry(self, path: Path, real: str) -> None:
        """A name in a folder that is neither a folder nor a link."""
        try:
            facts = path.lstat()
        except OSError as error:
            self._note_unreachable(path, error)
        else:
            self._take_file(path, facts, real)

    def _take_file(self, path: Path, facts: os.stat_result, real: str) -> None:
        """A file, if it is audio by its name and was not reached before."""
        if path.suffix.lower() not in self.suffixes:
            self.left_out[OTHER].append(str(path))
        elif not stat.S_ISREG(facts.st_mode):
            self.problems.append(f"{path}: is {_describe_kind(facts.st_mode)}, not a file")
        elif self._is_new(path, facts, real):
            self.found.append(path)

    def _is_new(self, path: Path, facts: os.stat_result, real: str) -> bool:
        """Whether a file was not reached before, by this name or another one."""
        has_other_names = facts.st_nlink > 1 and facts.st_ino  # hard links
        identity = (facts.st_dev, facts.st_ino) if has_other_names else real
        if identity in self.seen:
            self.left_out[TWICE].append(str(path))
            return False
        self.seen.add(identity)
        return True

    def _note_unreachable(self, path: Path, error: OSError) -> None:
        """Say why nothing is known about a name, unless it is that of another kind of file."""
        suffix = path.suffix.lower()
        if suffix not in self.suffixes and _OTHER_KIND.fullmatch(suffix):
            self.left_out[OTHER].append(str(path))
        elif error.errno == errno.ELOOP:
            self.problems.append(f"{path}: is a link that leads back to itself")
        elif error.errno in (errno.ENOENT, errno.ENOTDIR) and path.is_symlink():
            self.problems.append(f"{path}: is a broken link, to {os.readlink(path)}")
        else:
            self.problems.append(f"{path}: cannot be read ({error.strerror})")


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    """Whether a system hides this name: by a dot, by a mark of its own, or because it is its own."""
    if entry.name.startswith("."):
        return True
    try:
        facts = entry.stat(follow_symlinks=False)
    except OSError:
        return False

    is_marked = (
        getattr(facts, "st_file_attributes", 0) & stat.FILE_ATTRIBUTE_HIDDEN  # Windows
        or getattr(facts, "st_flags", 0) & stat.UF_HIDDEN  # macOS
    )
    return bool(is_marked) or (entry.name.lower() in SYSTEM_FOLDERS and stat.S_ISDIR(facts.st_mode))


def _describe_kind(mode: int) -> str:
    """What something is that is neither a file nor a folder."""
    kinds = ((stat.S_ISSOCK, "a socket"), (stat.S_ISFIFO, "a named pipe"))
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")
