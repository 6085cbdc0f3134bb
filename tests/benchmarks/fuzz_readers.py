"""Coverage-guided fuzzing of the readers of manifests, of codes and of model folders.

    pip install atheris            # a tool of developers alone
    python tests/benchmarks/fuzz_readers.py manifest --minutes 30
    python tests/benchmarks/fuzz_readers.py tokens --minutes 30
    python tests/benchmarks/fuzz_readers.py model --model MODEL --minutes 30

MODEL is a small model folder. Every kind of fault is printed once, and the bytes that cause it kept in FOUND; what
became interesting is kept in CORPUS, from which a later run goes on. Prints a Markdown table row at the end.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

with atheris.instrument_imports(include=["audiolm_cli"], enable_loader_override=False):
    from fuzzed_readers import WORDS, make


def main() -> None:
    """Fuzz, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=("manifest", "tokens", "model"))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--corpus", type=Path, default=Path("fuzz-corpus"))
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"))
    given = parser.parse_args()
    corpus = given.corpus / given.target
    corpus.mkdir(parents=True, exist_ok=True)
    given.found.mkdir(parents=True, exist_ok=True)
    memory = Path("/dev/shm")
    place = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
    fuzzed = make(given.target, Path(place.name), given.model)
    for seed in fuzzed.seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = Path(place.name) / "words"
    keys = {word for seed in fuzzed.seeds for word in seed.replace(b":", b'"').split(b'"') if 0 < len(word) < 30}
    listed = [word for word in (*sorted(keys), *WORDS) if len(word) < 60]
    words.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in listed))
    outcomes: collections.Counter[str] = collections.Counter()
    started, busy = time.monotonic(), time.process_time()

    def one(data: bytes) -> None:
        outcome = fuzzed(data)
        kind = outcome.split(": ")[0]
        outcomes[kind] += 1
        if kind not in ("read", "refused") and outcomes[kind] == 1:
            name = f"{given.target}-{hashlib.sha256(data).hexdigest()[:16]}"
            (given.found / name).write_bytes(data)
            print(f"fault: {outcome}; {name}", file=sys.stderr, flush=True)
        if time.monotonic() - started > 60 * given.minutes:
            tell()
            place.cleanup()
            os._exit(0)  # libFuzzer would end the process without letting it say anything

    def tell() -> None:
        total, faults = sum(outcomes.values()), sum(kind not in ("read", "refused") for kind in outcomes)
        minutes, busy_minutes = (time.monotonic() - started) / 60, (time.process_time() - busy) / 60
        counts = f"{total} | {outcomes['read']} | {outcomes['refused']} | {faults}"
        print("| reader | minutes | of processor time | files | read | refused | kinds of faults |")
        print("|---|---|---|---|---|---|---|")
        print(f"| {given.target} | {minutes:.1f} | {busy_minutes:.1f} | {counts} |", flush=True)

    limits = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=8192", f"-dict={words}", "-print_final_stats=0"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={given.found}/", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
