"""Render the pieces that no training hears on a piano that no training hears: what `judge.py` judges on.

    python tests/recipe/withheld.py MIDI OUT --pianos FOLDER [--seconds 45] [--only TEXT]

Every piece that `ensemble.py` leaves out, once, as a FLAC file that bears its name: an excerpt played by the sampled
grand `splendid`, whose start, key, room, tuning, tone, level and noise are drawn from the name. --only takes those
whose path has the TEXT in it. Needs `sox`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from ensemble import HELD_OUT_EVERY, Plan, render
from instruments import open_table
from render import RATE_HZ

PIANO = "splendid"


def plan_withheld(piece: Path, seconds: float) -> Plan:
    """The recording of a withheld piece; always the same one."""
    name = f"withheld-{piece.stem}"
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return Plan(
        name=name,
        kind="piano",
        seconds=seconds,
        piece=piece,
        start_s=float(rng.uniform(0, 60)),
        instrument=PIANO,
        program=0,
        band=False,
        rng=rng,
    )


def main() -> None:
    """Render what is not there yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("midi", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--pianos", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=45.0)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    grand = open_table(given.pianos, PIANO, RATE_HZ)

    for piece in sorted(given.midi.rglob("*.mid"))[::HELD_OUT_EVERY]:
        target = given.output / f"{piece.stem}.flac"
        if target.exists() or given.only not in str(piece):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                render(plan_withheld(piece, given.seconds), {}, {PIANO: grand}, [], target, Path(folder))
            except (subprocess.SubprocessError, OSError, ValueError, IndexError, EOFError) as error:
                print(f"{target.name}: left out: {error}", flush=True)
                continue
        print(target.name, flush=True)


if __name__ == "__main__":
    main()
