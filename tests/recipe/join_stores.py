"""Join token stores of renders into one that is split by piece, so that no training hears a piece of dev or test.

    python tests/recipe/join_stores.py OUT STORE... [--again _second _third _fourth]

`audiolm tokenize` splits by the content of a recording, so that two renderings of one piece may fall on both sides.
Here the name of the piece decides, which is the recording's without what `recorded.py` and `render.py --again` added.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from recorded import render_of

from audiolm_cli.data.files import SPLITS, split_of
from audiolm_cli.data.manifest import COPIES, iter_store, read_facts, write_store
from audiolm_cli.data.tokens import TokenClip


def piece_of(recording: str, endings: list[str]) -> str:
    """The name of the piece that a recording of this name, or a stretch of it between silences, is a rendering of."""
    stem = render_of(Path(re.sub(r"@\d+\.\d\d$", "", recording)).stem)
    for ending in endings:
        stem = stem.removesuffix(ending)
    return stem


def join(stores: list[Path], endings: list[str]) -> Iterator[tuple[str, TokenClip]]:
    """Every clip of the stores with the split that its piece is in; of transposed copies, those to train on."""

    def home(recording: str) -> str:
        return split_of(hashlib.sha256(piece_of(recording, endings).encode()).hexdigest())

    for store in stores:
        for split in SPLITS:
            for clip in iter_store(store, split):
                yield home(clip.id), clip
        for clip in iter_store(store, COPIES):
            if home(clip.copy_of) == "train":
                yield COPIES, clip


def main() -> None:
    """Write OUT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--again", nargs="*", default=[], metavar="ENDING", help="as render.py had them")
    given = parser.parse_args()
    if given.output.exists():
        raise SystemExit(f"{given.output} is there already")

    facts = [read_facts(store) for store in given.stores]
    for store, own in zip(given.stores, facts, strict=True):
        if own != facts[0]:
            raise SystemExit(f"{store} has codes of {own}, but {given.stores[0]} of {facts[0]}")

    for split, count in write_store(given.output, facts[0], join(given.stores, given.again)).items():
        print(f"{split}: {count} recordings")


if __name__ == "__main__":
    main()
