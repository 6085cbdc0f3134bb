"""Model folders damaged by the thousand: how many are refused cleanly, and how much memory the worst one took.

    python tests/benchmarks/model_folders.py MODEL --count 10000

MODEL is a small model folder to damage, such as one of a short training. Prints one Markdown table.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from damaged_folders import Result, damage_and_load, make_models


def main() -> None:
    """Damage, load, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    given = parser.parse_args()
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as name:
        models = make_models(Path(name), given.model)
        for seed in range(given.count):
            with tempfile.TemporaryDirectory() as folder:
                results.append(damage_and_load(models[seed % 2], seed, Path(folder) / "m"))
                if results[-1].fault:
                    print(seed, results[-1], file=sys.stderr)
    kinds = collections.Counter((result.damage.split(":")[0], result.outcome) for result in results)
    print("| what | result |\n|---|---|")
    print(f"| folders | {len(results)} |")
    for (kind, outcome), count in sorted(kinds.items()):
        print(f"| {kind.replace('_', ' ')}: {outcome} | {count} |")
    print(f"| faults | {sum(result.fault for result in results)} |")
    worst = max(results, key=lambda result: result.largest / result.allowed)
    print(f"| largest tensor over the size of the files | {4 * worst.largest / worst.allowed:.2f} |")
    print(f"| slowest | {max(result.seconds for result in results):.2f} s |")


if __name__ == "__main__":
    main()
