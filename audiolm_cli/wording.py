"""Numbers with their nouns, lengths of time, lists of names, and command lines, for messages that a person reads."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence

MOST_NAMES = 20
"""Names in one line; more are only counted."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun in the right form; a plural that is not given ends in s.

    >>> counted(1, "input"), counted(2, "input"), counted(0, "clip"), counted(2, "stretch", "stretches")
    ('1 input', '2 inputs', '0 clips', '2 stretches')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"


def length_of(seconds: float) -> str:
    """A length of time, roughly.

    >>> [length_of(s) for s in (20, 1500, 20000, 900000)]
    ['20 s', '25 min', '5.6 h', '10.4 days']
    """
    for unit, size_s in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size_s:
            amount = seconds / size_s
            return f"{amount:.0f} {unit}" if unit == "min" else f"{amount:.1f} {unit}"
    return f"{max(1, round(seconds))} s"


def printable(text: str) -> str:
    """Text that can be written: of a name that is not UTF-8, what is not is replaced.

    >>> printable("caf\\udce9")
    'caf?'
    """
    return text.encode("utf-8", "replace").decode("utf-8")


def listed(names: Sequence[str]) -> str:
    """How many names there are, and the first of them.

    >>> listed(["a.wav", "b.wav"])
    '2 (a.wav, b.wav)'
    """
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{len(names)} ({', '.join(names[:MOST_NAMES])}{more})"


def name_path(path: str) -> str:
    """A path as a word of a command line, where it must not be taken for an option; "-" is no path.

    >>> name_path("take.wav"), name_path("-"), name_path("-take.wav") == os.path.join(os.curdir, "-take.wav")
    ('take.wav', '-', True)
    """
    return os.path.join(os.curdir, path) if path.startswith("-") and path != "-" else path


def join_words(words: list[str]) -> str:
    """The words of a command as a line for this system's shell.

    >>> join_words(["audiolm", "continue", "take.wav"])
    'audiolm continue take.wav'
    """
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
