"""What was probably meant by a name that nothing has, as a question for the end of an error message.

Knows nothing about what is named.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path


def guess_name(name: str, known: Iterable[str]) -> str:
    """A question whether the nearest of the known names was meant; nothing where none is near.

    >>> guess_name("pianno", ["piano", "sound"])
    '. Did you mean piano?'
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f". Did you mean {close[0]}?" if close else ""


def guess_path(path: str | Path) -> str:
    """The same for a file or folder that is not there: from the names in its folder, or else from that folder's own.

    Endings count only where the rest is near: `b.wav` is not meant by `a.wav`.
    """
    wanted = Path(path)
    try:
        names = sorted(name for name in os.listdir(wanted.parent) if not name.startswith("."))
    except FileNotFoundError:
        return guess_path(wanted.parent)
    except OSError:
        return ""

    ending = wanted.suffix.lower()
    alike = [name for name in names if Path(name).suffix.lower() == ending]
    for group in (alike, names):
        stems = {Path(name).stem.lower(): name for name in group}
        close = difflib.get_close_matches(wanted.stem.lower(), stems, n=1)
        if close:
            return f". Did you mean {wanted.parent / stems[close[0]]}?"
    return ""
