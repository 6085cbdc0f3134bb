"""Lay a training folder: so much of each kind, pianos several times, everything else once.

    python tests/recipe/balance.py OUT FOLDER... [--pianos 3] [--most KIND=HOURS...]

FOLDERs hold `KIND.SOURCE.NAME.flac`, as `fetch.py`, `ensemble.py` and `mixes.py` write them; training draws every
second of a folder as often as every other, so hours are weights. Which recordings of a kind are left out over its most
is drawn from their names. A recording is linked, and copied where it is there several times: audiolm reads a file once,
whatever links lead to it. Copies are split as one, since they have one content.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import zlib
from collections import defaultdict
from pathlib import Path

import soundfile

sys.path.insert(0, str(Path(__file__).parent))

from mixes import find_recordings, hours

MOST = {"speech": 1.3, "band": 2.0, "orchestra": 1.8, "electronic": 0.8, "nature": 0.8}
"""Hours at most of a kind that packages have more of than renders make of the others."""


def balance(folders: list[Path], output: Path, pianos: int, most: dict[str, float]) -> None:
    """Link the recordings into `output`."""
    output.mkdir(parents=True, exist_ok=True)
    used = defaultdict[str, float](float)
    for path in sorted(find_recordings(folders), key=lambda path: zlib.crc32(path.name.encode())):
        kind, own = path.name.split(".")[0], soundfile.info(path).duration / 3600
        if used[kind] + own > most.get(kind, 1e9):
            continue
        used[kind] += own
        for copy in range(pianos if kind == "piano" else 1):
            target = output / f"{path.stem}{f'-again{copy}' if copy else ''}.flac"
            if not target.exists():
                (shutil.copyfile if copy else os.link)(path, target)


def main() -> None:
    """Lay the folder and print its hours."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--pianos", type=int, default=3, help="how often each piano is there")
    parser.add_argument("--most", nargs="*", default=[], metavar="KIND=HOURS")
    given = parser.parse_args()
    asked = {kind: float(most) for kind, most in (one.split("=") for one in given.most)}
    balance(given.folders, given.output, given.pianos, {**MOST, **asked})
    print(hours([given.output]))


if __name__ == "__main__":
    main()
