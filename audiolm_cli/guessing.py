"""What was probably meant by a name that nothing has, as a question for the end of an error message.

Knows nothing about what is named.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

NEAR, NEARER = 0.6, 0.75
"""Share of letters in common from which on a name may be meant; the second where endings differ or a part counts."""
MOST_MEANT = 3
"""Names in one question."""


def guess_name(name: str, known: Iterable[str]) -> str:
    """A question whether the nearest of the known names was meant; nothing where none is near.

    >>> guess_name("pianno", ["piano", "sound"])
    '. Did you mean piano?'
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f". Did you mean {close[0]}?" if close else ""


def guess_path(path: str | Path) -> str:
    """The same for a file or folder that is not there: from the names in its folder, or else from that folder's own.

    Names with the same ending come first. Those with another have to be nearer: `b.wav` is not meant by `a.wav`. Names
    that are equally near are all said.
    """
    wanted = Path(path)
    try:
        names = sorted(os.listdir(wanted.parent))
    except FileNotFoundError:
        return guess_path(wanted.parent)
    except OSError:
        return ""

    # A link that leads nowhere is there by name.
    names = [name for name in names if not name.startswith(".") and name != wanted.name]
    ending = wanted.suffix.lower()
    alike = [name for name in names if Path(name).suffix.lower() == ending]
    for group, least in ((alike, NEAR), (names, NEARER)):
        nearness = {name: _rate_nearness(name, wanted.stem) for name in group}
        nearest = max(nearness.values(), default=(0.0, 0.0))
        if nearest[0] >= least:
            meant = [str(wanted.parent / name) for name in group if nearness[name] == nearest]
            return f". Did you mean {' or '.join(meant[:MOST_MEANT])}?"
    return ""


def _rate_nearness(name: str, stem: str) -> tuple[float, float]:
    """How near a file's name is to a stem, 0..1: by what comes before its first dot, if that is nearer, and by all."""
    matcher = difflib.SequenceMatcher(b=stem.lower(), autojunk=False)
    matcher.set_seq1(Path(name).stem.lower())
    whole = matcher.ratio()
    matcher.set_seq1(name.partition(".")[0].lower())
    part = matcher.ratio()
    return max(whole, part if part >= NEARER else 0), whole
