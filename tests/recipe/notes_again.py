"""How many notes of recordings are heard again after codecs, beside Opus at 8 and 16 kbit/s: a Markdown table.

    python tests/recipe/notes_again.py FOLDER... --codecs piano OTHER --work WORK --transcriber PYTHON [--kinds piano]

Excerpts are chosen as `compare.py` does it. What basic-pitch hears in them (`transcribe.py`, with PYTHON's environment)
counts as true; a note is heard again where its key is, within 50 ms of its start. Audio and notes stay in WORK.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).parent))

from compare import choose, read_excerpts, round_trip, through_opus
from fetch import RATE_HZ
from note_figures import f1, match_notes
from transcribe import load_notes, notes_file, transcribe

from audiolm_cli.library.loading import load_codec
from audiolm_cli.reports.tables import table

TRUE = "original"


def main() -> None:
    """Print the table: F1 over all notes of a kind."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--codecs", nargs="+", default=["piano"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--transcriber", required=True, help="the Python of an environment with basic-pitch")
    parser.add_argument("--kinds", nargs="+", default=["piano"])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--most", type=int, default=5, help="recordings of a kind")
    given = parser.parse_args()
    torch.set_num_threads(1)

    excerpts = {
        name: wav
        for name, wav in read_excerpts(choose(given.folders, given.most), given.seconds).items()
        if name.split(".")[0] in given.kinds
    }
    codecs = {Path(name).name: load_codec(name) for name in given.codecs}
    versions = {
        TRUE: lambda wav: wav,
        "Opus 8k": lambda wav: through_opus(wav, 8),
        "Opus 16k": lambda wav: through_opus(wav, 16),
        **{title: lambda wav, codec=codec: round_trip(codec, wav) for title, codec in codecs.items()},
    }
    for title, version in versions.items():
        (given.work / title).mkdir(parents=True, exist_ok=True)
        for name, wav in excerpts.items():
            soundfile.write(given.work / title / f"{name}.flac", version(wav).clip(-1, 1), RATE_HZ)
            notes_file(given.work / title / f"{name}.flac").unlink(missing_ok=True)
    transcribe(given.transcriber, [given.work / title for title in versions])

    rows = []
    for kind in [*given.kinds, "all"]:
        names = [name for name in excerpts if kind in ("all", name.split(".")[0])]
        row: list[str | int | float] = [kind, len(names)]
        for title in versions:
            counts = np.zeros(3)
            for name in names:
                true, found = (load_notes(given.work / folder / f"{name}.flac") for folder in (TRUE, title))
                counts += match_notes(true, found), len(true), len(found)
            row.append(int(counts[1]) if title == TRUE else f"{f1(*counts):.2f}")
        rows.append(row)
    print(table(["kind", "clips", "notes", *list(versions)[1:]], rows))


if __name__ == "__main__":
    main()
