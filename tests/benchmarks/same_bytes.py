"""Whether two checkouts of the project write the same bytes: what a change that keeps behaviour has to show.

    python tests/benchmarks/same_bytes.py BEFORE AFTER [--only SUBSTRING] [--notes-may-differ]

BEFORE and AFTER are two checkouts. Every command of `support/same_bytes_cases.py` runs in both, each time in a fresh
folder of the same path, with the same inputs, on one thread; the code lies at the same path as well. Every file that
was written is compared byte for byte, and so are what the command printed and its exit code. What is left out of the
comparison, such as how long something took, is decided in `support/comparing.py`, with reasons.

Prints one Markdown table, with every difference below it, and exits with 1 when there is one. `--notes-may-differ`
shows differences in what a file says about how it was made, but does not count them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from comparing import Difference, compare_folders
from same_bytes_cases import CASES, Case, write_inputs

SIDES = ("before", "after")
STDOUT, STDERR, EXIT_CODE = "stdout", ".stderr", "exit code"
"""Names under which a run's streams and exit code are kept among the files that it wrote."""
LONGEST_S = 900
KILLED = -signal.SIGKILL


@dataclass
class Result:
    """What became of one case."""

    case: Case
    files: int = 0
    differences: list[Difference] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


class Bench:
    """A folder in which two versions of the program run by turns, at the same paths."""

    def __init__(self, place: Path, before: Path, after: Path) -> None:
        """Copy the packages and make the inputs."""
        self.place = place
        self.checkout, self.work, self.inputs = place / "checkout", place / "work", place / "inputs"
        self.environment = self._environment()

        # Copies, so that nobody's checkout changes during the run or gets a __pycache__ because of it
        for side, source in zip(SIDES, (before, after), strict=True):
            own = place / f"checkout-{side}"
            shutil.copytree(source / "audiolm_cli", own / "audiolm_cli", ignore=shutil.ignore_patterns("__pycache__"))

        write_inputs(self.inputs)

    def compare(self, case: Case) -> Result:
        """Run a case in both versions and compare what is left; a case that is only prepared runs in the old one."""
        result = Result(case)
        for side in SIDES[:1] if case.stop_at else SIDES:
            started = time.monotonic()
            self._run(case, side)
            result.seconds[side] = time.monotonic() - started
        if not case.stop_at:
            result.files, result.differences = compare_folders(*(self._kept(case, side) for side in SIDES))

        # The same failure twice is no agreement
        ended = (self._kept(case, "before") / EXIT_CODE).read_text()
        expected = str(KILLED if case.stop_at else case.exit_code)
        if ended != expected:
            told = (self._kept(case, "before") / STDERR).read_text(errors="replace").strip()[-300:]
            result.differences.append(Difference("exit code", f"{ended}, where {expected} is expected: {told}"))
        return result

    def _run(self, case: Case, side: str) -> None:
        """Run a case in one version; what it leaves is moved out of the way of the next run."""
        self.work.mkdir()
        for needed, name in case.needs:  # always what the old version wrote: the new one has to go on with it
            shutil.copytree(self._kept(_by_name(needed), "before") / name, self.work / name, dirs_exist_ok=True)

        own = self.place / f"checkout-{side}"
        own.rename(self.checkout)
        try:
            code = self._start(case)
        finally:
            self.checkout.rename(own)

        (self.work / EXIT_CODE).write_text(str(code))
        kept = self._kept(case, side)
        kept.parent.mkdir(exist_ok=True)
        self.work.rename(kept)

    def _start(self, case: Case) -> int:
        """The exit code of a case's process."""
        words = [word.format(inputs=self.inputs) for word in case.words]
        program = ["-c", case.python] if case.python else ["-m", "audiolm_cli"]
        given = Path(case.stdin.format(inputs=self.inputs)) if case.stdin else Path(os.devnull)
        with (
            given.open("rb") as stdin,
            (self.work / STDOUT).open("wb") as stdout,
            (self.work / STDERR).open("wb") as stderr,
        ):
            process = subprocess.Popen(
                [sys.executable, *program, *words],
                cwd=self.work,
                env=self.environment,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,  # so that its decoder and workers can be killed with it
            )
            if case.stop_at:
                _kill_at(process, self.work / case.stop_at)
            return process.wait(timeout=LONGEST_S)

    def _kept(self, case: Case, side: str) -> Path:
        return self.place / side / str(CASES.index(case))

    def _environment(self) -> dict[str, str]:
        """No user's settings, no network, one thread, and every folder that is written to below this one."""
        for name in ("home", "cache", "tmp"):
            (self.place / name).mkdir()
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self.checkout),
            "HOME": str(self.place / "home"),
            "TMPDIR": str(self.place / "tmp"),
            "AUDIOLM_CACHE_DIR": str(self.place / "cache"),
            "AUDIOLM_OFFLINE": "1",
            "NO_COLOR": "1",
            "OMP_NUM_THREADS": "1",
        }


def _kill_at(process: subprocess.Popen[bytes], state: Path) -> None:
    """Kill a training once it has saved this state, and remove later ones, so that all go on from the same step."""
    while process.poll() is None and not state.exists():
        time.sleep(0.002)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for later in state.parent.glob("step-*"):
        if later.name > state.name:
            shutil.rmtree(later)


def _by_name(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def chosen(part: str) -> list[Case]:
    """The cases whose names contain `part`, and those that they need, in order."""
    names = {case.name for case in CASES if part in case.name}
    for case in reversed(CASES):  # a case needs only earlier ones
        if case.name in names:
            names |= {needed for needed, _ in case.needs}
    return [case for case in CASES if case.name in names]


def row(result: Result, ignored: bool) -> str:
    """A line of the table."""
    case, notes = result.case, [difference for difference in result.differences if difference.note]
    if case.stop_at and not result.differences:
        verdict = "prepared"
    elif not result.differences:
        verdict = "same"
    else:
        places = ", ".join(dict.fromkeys(difference.place for difference in result.differences))
        verdict = f"{'only notes differ' if len(notes) == len(result.differences) else 'DIFFERS'}: {places}"
        verdict += " (not counted)" if ignored and len(notes) == len(result.differences) else ""
    seconds = " / ".join(f"{value:.1f}" for value in result.seconds.values())
    return f"| {case.name} | {result.files or ''} | {verdict} | {seconds} |"


def main() -> int:
    """Run, compare, print; 1 when something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="only cases whose names contain this")
    parser.add_argument("--notes-may-differ", action="store_true", help="show differing notes, but do not count them")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this new folder, and leave it")
    given = parser.parse_args()

    place = given.keep or Path(tempfile.mkdtemp(prefix="same-bytes-"))
    place.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    print("| command | files compared | result | seconds before / after |\n|---|---|---|---|")
    try:
        bench = Bench(place.resolve(), given.before, given.after)
        for case in chosen(given.only):
            results.append(bench.compare(case))
            print(row(results[-1], given.notes_may_differ), flush=True)
    finally:
        if not given.keep:
            shutil.rmtree(place, ignore_errors=True)

    differences = [(result.case.name, found) for result in results for found in result.differences]
    counted = [found for _, found in differences if not (found.note and given.notes_may_differ)]
    files, cases = sum(result.files for result in results), sum(not result.case.stop_at for result in results)
    print(f"\n{cases} commands, {files} files compared: {len(counted)} differences.")
    for name, found in differences:
        print(f"\n- {name}, {found.place}: {found.what}")
    return 1 if counted else 0


if __name__ == "__main__":
    sys.exit(main())
