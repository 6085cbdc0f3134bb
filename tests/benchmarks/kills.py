"""SIGKILL at random moments over five commands: what is lost.

    python tests/benchmarks/kills.py MODEL RECORDINGS --kills 200

MODEL is a small model folder, RECORDINGS a folder of a few short recordings. Prints one Markdown table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from hostile_server import HostileServer
from killed_commands import COMMANDS, Bench, Killed, serve_model


def main() -> None:
    """Kill, look, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    given = parser.parse_args()
    killed: list[Killed] = []
    files = serve_model(given.model)
    with (
        tempfile.TemporaryDirectory() as place,
        HostileServer(b"", files=files, only_files=True, pause_s=0.005, piece_bytes=1 << 14) as hub,
    ):
        bench = Bench(Path(place) / "bench", given.recordings, given.model, hub.address)
        for number in range(given.kills):
            killed.append(bench.kill(COMMANDS[number % len(COMMANDS)], number))
            if not killed[-1].clean:
                print(killed[-1], file=sys.stderr)
    print("| command | kills | of them before it was done | clean |\n|---|---|---|---|")
    for command in COMMANDS:
        own = [kill for kill in killed if kill.command == command]
        running = sum(kill.was_running for kill in own)
        print(f"| {command} | {len(own)} | {running} | {sum(kill.clean for kill in own)} |")


if __name__ == "__main__":
    main()
