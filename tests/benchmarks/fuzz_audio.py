"""Damaged audio files by the thousand: how `tokenize`'s reader answers, how soon, and in how much memory.

    python tests/benchmarks/fuzz_audio.py --count 20000

Prints one Markdown table; faults are listed on stderr, with the seed that makes the file again.
"""

from __future__ import annotations

import argparse
import collections
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from fuzzed_audio import Read, read_all


def main() -> None:
    """Make, read, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    given = parser.parse_args()
    results: list[Read] = []
    for result in read_all(range(given.start, given.start + given.count)):
        results.append(result)
        if result.fault:
            print(result, file=sys.stderr, flush=True)
    kinds = collections.Counter((result.what.split()[0], result.outcome) for result in results)
    containers = sorted({kind for kind, _ in kinds})
    print("| format | files | read | refused with exit code 3 | other |\n|---|---|---|---|---|")
    for container in containers:
        own = {outcome: count for (kind, outcome), count in kinds.items() if kind == container}
        total, read, refused = sum(own.values()), own.get("read", 0), own.get("refused", 0)
        print(f"| {container} | {total} | {read} | {refused} | {total - read - refused} |")
    slowest = max(results, key=lambda result: result.seconds)
    largest = max(results, key=lambda result: result.resident_bytes)
    print(f"\n{len(results)} files, {sum(result.fault for result in results)} faults; ", end="")
    print(f"slowest {slowest.seconds:.2f} s (seed {slowest.seed}), ", end="")
    print(f"most memory {largest.resident_bytes / 2**20:.0f} MiB (seed {largest.seed})")


if __name__ == "__main__":
    main()
