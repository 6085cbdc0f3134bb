"""The picture in the README: the demo's prompt, continued, as a PNG of few colours.

    python tests/recipe/picture.py audiolm_cli/assets/demo/continuation.png

Runs `audiolm continue prelude.flac --plot` with the demo's seed, and makes what it draws small enough for a repository.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from audiolm_cli.config.generation import DEMO_SEED

PRELUDE = Path(__file__).parents[2] / "audiolm_cli" / "assets" / "demo" / "prelude.flac"
WIDTH, COLOURS = 990, 48


def shrink(drawn: Path, out: Path) -> None:
    """Write a picture with `WIDTH` columns and a palette of `COLOURS`."""
    picture = Image.open(drawn).convert("RGB")
    size = WIDTH, round(picture.height * WIDTH / picture.width)
    picture.resize(size, Image.Resampling.LANCZOS).quantize(COLOURS).save(out, optimize=True)


def main() -> None:
    """Continue the prelude, draw it, and write the smaller picture."""
    (out,) = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "drawn.png"
        words = ["continue", PRELUDE, "--seed", DEMO_SEED, "-o", f"{folder}/", "--plot", drawn]
        subprocess.run([sys.executable, "-m", "audiolm_cli", *map(str, words)], check=True)
        shrink(drawn, out)


if __name__ == "__main__":
    main()
