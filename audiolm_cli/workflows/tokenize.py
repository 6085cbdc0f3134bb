"""`audiolm tokenize`: recordings to a token store. Knows nothing about commands or terminals.

Every input leaves its own files in a folder inside the store (`data/parts.py`) as soon as it is done, by any of several
processes. When all are there, one process makes the store of them. Whoever is killed loses what was in progress.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from audiolm_cli.audio import DecoderProcess
from audiolm_cli.codec.base import Codec
from audiolm_cli.data.files import split_hashes
from audiolm_cli.data.folders import FoundAudio, find_audio
from audiolm_cli.data.manifest import is_store
from audiolm_cli.data.parts import MOST_SEMITONES, VERSION, Input, Parts, load_inputs
from audiolm_cli.devices import available_cores, give_back_freed_memory, pick_device
from audiolm_cli.distributed import ALONE, Ranks
from audiolm_cli.errors import (
    AudioInputError,
    DataError,
    MemoryLimitError,
    OutputError,
    UsageError,
)
from audiolm_cli.events import Activity, Note, OnEvent, Progress, ignore
from audiolm_cli.files import FULL, hash_file
from audiolm_cli.library.loading import codec_facts, codes_hash, load_codec, pick_codec_device
from audiolm_cli.tokenizing.assembly import (
    UNREACHED,
    Tokenized,
    assemble,
    check_free,
    check_whole,
    choose_recordings,
    discard,
    revive,
    steps_of,
    summarise,
    tidy,
)
from audiolm_cli.tokenizing.encoding import encode_recording
from audiolm_cli.tokenizing.workers import Do, run_workers
from audiolm_cli.wording import counted, printable

Transpose = Callable[[float], int]
"""From minutes of audio to how many semitones up and down transposed copies reach."""
Task = tuple[Path, int]
"""A file, and how many semitones higher it is to be heard than it was made."""
BYTES_PER_WORKER = 8_000_000
"""Starting a worker takes some seconds, so that less work than this is not given to another one."""
CHANGED = "was changed while it was read; run the command again"
POLL_S = 0.2
"""How often processes look for what the others have done."""


def leave_as_made(minutes: float) -> int:
    """No transposed copies, however many minutes there are."""
    return 0


def tokenize(
    inputs: list[Path],
    output: Path,
    codec: str,
    *,
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    cache: Path | None = None,
    force: bool = False,
    transpose: Transpose = leave_as_made,
    ranks: Ranks = ALONE,
    on_event: OnEvent = ignore,
) -> Tokenized:
    """Encode every recording under `inputs` into a token store at `output`, which appears when it is whole.

    Exact duplicates and silences are dropped and counted; files and folders that cannot be read are listed, and the
    others done. Hidden files, and files that links lead to twice, are left out and named.
    Killed and called again with the same arguments, it does what is missing; after the end it does nothing. The codes
    depend on the recordings, the codec, `device` and `threads` alone.

    Args:
        inputs: audio files, and folders of them.
        output: the folder of the store.
        codec: a codec's name or path.
        device: where to encode: "auto", "cpu", "cuda" or "cuda:N"; with "mps" it is the CPU.
        threads: of each worker; None is one.
        workers: processes that encode; None is one per core where there is work for them. A program that asks for
            more than one has to call this below `if __name__ == "__main__":`.
        cache: the checkpoint cache; None is the user's.
        force: replace a store that is there, and try again what could not be read. Codes that are in it already are
            not made again.
        transpose: given the minutes of audio, up to how many semitones up and down there are to be transposed copies
            of the recordings to train on. The first of `ranks` makes them.
        ranks: this process among those that share the work; all return when the store is there.
        on_event: gets the progress.

    Raises:
        DataError: there is no usable recording, or a store of them is there and is damaged.
        ModelError: there is no such codec.
        OutputError: another store is there already, or it cannot be written.
        UsageError: an input is a token store, `force` with several ranks, or `transpose` gives what is no number of
            semitones.
    """
    for path in inputs:
        if is_store(path):
            raise UsageError(
                f"{path}: is a token store, whose recordings have codes already; give the recordings themselves"
            )
    found, sha256 = find_audio(inputs), codes_hash(codec, cache)
    if force and ranks.size > 1:
        raise UsageError(
            "-f under torchrun: the processes cannot tell the old store from the new one; remove the old store first"
        )
    if ranks.rank == 0:
        found.announce(on_event, problems=False)
    if not force and (done := _find_finished_store(output, found, sha256, transpose)) is not None:
        if ranks.rank == 0:
            on_event(Activity(stage="read the store"))
            check_whole(done)
            _report_finished_store(done, on_event)
        return done

    if not force:
        check_free(output)

    work = _Work(
        found=found,
        output=output,
        parts=Parts(output, sha256),
        codec=codec,
        sha256=sha256,
        device=device,
        threads=threads or 1,
        workers=workers,
        cache=cache,
        force=force,
        transpose=transpose,
        ranks=ranks,
        on_event=on_event,
    )
    made = not output.exists()
    with _as_output_error(output):
        try:
            work.parts.create()
            if force:
                revive(output, work.parts, sha256)
            return work.run()
        except DataError:
            discard(output)
            raise
        finally:
            tidy(work.parts, output, made)


def _report_finished_store(done: Tokenized, on_event: OnEvent) -> None:
    """Say that there is nothing to do, and what could not be read when the store was made."""
    discard(done.path)
    on_event(Note(message=f"{done.path}: holds the codes of these recordings already; nothing to do"))
    for line in done.failed:
        on_event(Note(message=line, warning=True))


def prepare_worker(
    store: str, codec: str, device: str, threads: int, cache: Path | None, sha256: str, loaded: Codec | None = None
) -> Do:
    """What does one file after the other in a worker process: from its path, and semitones, to an `Input`.

    Args:
        store: the folder of the store.
        codec: a codec's name or path.
        device: where to encode.
        threads: of this worker.
        cache: the checkpoint cache; None is the user's.
        sha256: the hash that identifies the codec's codes.
        loaded: the codec, where the worker is the process that has loaded it already.
    """
    torch.set_num_threads(threads)
    if multiprocessing.parent_process() is not None:  # the caller's own process is the caller's
        give_back_freed_memory()
    decoder = DecoderProcess()
    decoder.start()  # while the codec is loaded
    module = load_codec(codec, pick_device(device), cache) if loaded is None else loaded
    parts = Parts(Path(store), sha256)

    def encode_file(task: Task, on_share: Any) -> Input:
        path, semitones = task
        known = _hash_input(path)
        if not known.problem and parts.find(known.sha256, semitones) is None:
            try:
                part = encode_recording(path, module, decoder, on_share, semitones)
            except AudioInputError as error:
                known = _with_problem(known, str(error))
            except MemoryError as error:
                raise MemoryLimitError(f"{path}: out of memory; use fewer --workers") from error
            else:  # what was read is what was hashed, or the codes are of something else
                if known.is_current():
                    parts.save(known.sha256, part, semitones)
                else:
                    known = _with_problem(known, f"{path}: {CHANGED}")
        if not semitones:
            parts.save_input(known)
        return known

    return encode_file


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One call of `tokenize` after its arguments have been looked at."""

    found: FoundAudio
    output: Path
    parts: Parts
    codec: str
    sha256: str
    device: str
    threads: int
    workers: int | None
    cache: Path | None
    force: bool
    transpose: Transpose
    ranks: Ranks
    on_event: OnEvent

    @property
    def paths(self) -> list[Path]:
        """The files to encode."""
        return self.found.files

    def run(self) -> Tokenized:
        """All of it, in a folder that is there."""
        sizes = {path: _file_size(path) for path in self.paths}
        own = [path for path in self.paths[self.ranks.rank :: self.ranks.size] if not self._is_done(path)]
        own.sort(key=lambda path: (-sizes[path], path))  # the largest first, so that all workers end at about one time
        workers = min(self._count_workers(sum(sizes[path] for path in own)), len(own))

        # A single worker is this process: the codec that says what its codes mean is the one that encodes.
        device = pick_codec_device(self.device, self.on_event)
        codec = load_codec(self.codec, device if workers == 1 else None, self.cache)
        facts = codec_facts(self.codec, codec, self.cache)
        tasks = {(path, 0): sizes[path] for path in own}
        lost = self._encode("tokenize", tasks, workers, codec if workers == 1 else None)
        if self.ranks.rank:
            for path, reason in lost.items():  # rank 0 waits for news of every file
                self.parts.save_input(_with_problem(_hash_input(path), reason))
            return self._await_store()
        inputs, unreached = self._await_inputs(lost), self.found.problems
        chosen = choose_recordings(inputs, self.parts, facts)
        semitones = self._transpose(*chosen, sizes)
        return assemble(
            inputs,
            chosen,
            self.parts,
            self.output,
            facts,
            self.on_event,
            unreached=unreached,
            force=self.force,
            semitones=semitones,
        )

    def _transpose(self, kept: dict[str, Path], amounts: dict[str, Any], sizes: Mapping[Path, int]) -> int:
        """Make the transposed copies of the recordings to train on; returns how many semitones they reach."""
        semitones = self.transpose(60 * amounts["hours"])
        if not 0 <= semitones <= MOST_SEMITONES:
            raise UsageError(f"transpose is {semitones}, expected 0 to {MOST_SEMITONES} semitones")
        homes = split_hashes(kept)
        wanted = [
            (path, step)
            for sha256, path in kept.items()
            for step in steps_of(semitones)
            if homes[sha256] == "train" and self.parts.find(sha256, step) is None
        ]

        if not wanted:
            return semitones

        by_place = {os.path.abspath(path): path for path in self.paths}
        tasks = {(by_place[str(path)], step): sizes[by_place[str(path)]] for path, step in wanted}
        workers = min(self._count_workers(sum(tasks.values())), len(tasks))
        for path, reason in self._encode("transpose", tasks, workers, None).items():
            self.on_event(Note(message=f"no transposed copy of {path}: {reason}", warning=True))
        return semitones

    def _encode(self, stage: str, files: Mapping[Task, int], workers: int, codec: Codec | None) -> dict[Path, str]:
        """Encode files, each given with its bytes; returns those of which no news was left, and the reason."""
        own = list(files)
        report_share = self._progress(stage, list(files.items()))
        setup = (str(self.output), self.codec, self.device, self.threads, self.cache, self.sha256, codec)
        lost: dict[Path, str] = {}
        with (
            contextlib.closing(run_workers(prepare_worker, setup, own, workers, report_share)) as reports,
            _same_threads(),
        ):
            for ended in reports:
                path, _ = own[ended.task]
                if ended.died is not None:
                    reason = f"a worker died over it (exit code {ended.died}), perhaps for want of memory"
                    lost[path] = f"{path}: {reason}; try fewer --workers"
                elif not ended.result.is_current():
                    lost[path] = f"{path}: {CHANGED}"
                report_share(ended.task, 1.0)
        return lost

    def _count_workers(self, work_bytes: int) -> int:
        """How many processes encode files of so many bytes."""
        most = self.workers or max(1, available_cores() // self.ranks.local_size)
        if self.workers is None:
            most = min(most, 1 + work_bytes // BYTES_PER_WORKER)
        return most

    def _progress(self, stage: str, files: list[tuple[Task, int]]) -> Callable[[int, float], None]:
        """What reports the megabytes done; called with the place of a file of this size and the share of it done."""
        total_mb, done_mb, shares = sum(size for _, size in files) / 1e6, 0.0, [0.0] * len(files)

        def report_share(task: int, share: float) -> None:
            nonlocal done_mb
            (path, _), size = files[task]
            done_mb += (share - shares[task]) * size / 1e6
            shares[task] = share
            name = printable(path.name)
            done, total = round(done_mb, 1), round(total_mb, 1)
            self.on_event(Progress(stage=stage, done=done, total=total, unit="MB", detail=name))

        return report_share

    def _is_done(self, path: Path) -> bool:
        known = self.parts.find_input(path)
        if known is None or (known.problem and self.force):
            return False
        return bool(known.problem) or self.parts.find(known.sha256) is not None

    def _await_inputs(self, lost: dict[Path, str]) -> list[Input]:
        """What all ranks have found out about the files."""
        inputs = {path: _with_problem(_hash_input(path), reason) for path, reason in lost.items()}
        while True:
            for path in self.paths:
                known = None if path in inputs else self.parts.find_input(path)
                if known is not None:
                    inputs[path] = known

            missing = [path for path in self.paths if path not in inputs]
            if missing and self.ranks.size == 1:  # they were read, but are not as they were then
                inputs |= {path: _with_problem(_hash_input(path), f"{path}: {CHANGED}") for path in missing}
            elif missing:
                done, total = len(inputs), len(self.paths)
                self.on_event(Progress(stage="wait for the other ranks", done=done, total=total, unit="files"))
                time.sleep(POLL_S)
                continue
            return [inputs[path] for path in self.paths]

    def _await_store(self) -> Tokenized:
        """What rank 0 has made."""
        while (done := _find_finished_store(self.output, self.found, self.sha256, self.transpose)) is None:
            self.on_event(Progress(stage="wait for rank 0", done=0, total=None))
            time.sleep(POLL_S)
        return done


def _find_finished_store(output: Path, found: FoundAudio, sha256: str, transpose: Transpose) -> Tokenized | None:
    """What a finished store at `output` holds; None when there is none.

    Raises:
        OutputError: it is that of other recordings, of another codec, or of some other program.
    """
    loaded = load_inputs(output)
    if loaded is None and is_store(output) and (loaded := load_inputs(output)) is None:  # which may have come meanwhile
        raise OutputError(
            f"{output}: already holds a token store; choose another folder, or overwrite this one with -f"
        )
    if loaded is None:
        return None

    summary, known = loaded
    if (summary.get("codec_sha256"), summary.get("version")) != (sha256, VERSION):
        raise OutputError(
            f"{output}: already holds a token store of another codec or version; choose another folder, or overwrite "
            "this one with -f"
        )

    # A file may have been touched: what counts is its content.
    wanted, had = {os.path.abspath(path) for path in found.files}, {one.path: one for one in known}
    changed = [path for path in wanted & set(had) if not had[path].is_current() and not _same_content(had[path])]
    counts = {"new": len(wanted - set(had)), "changed": len(changed), "gone": len(set(had) - wanted)}
    if any(counts.values()):
        differ = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        raise OutputError(
            f"{output}: already holds a token store of other recordings ({differ}); bring it up to date with -f, "
            "which encodes only what is new, or choose another folder"
        )
    done = summarise(output, summary | {UNREACHED: found.problems}, known)
    wanted_semitones = transpose(60 * done.hours)
    if done.semitones != wanted_semitones:
        there = f"reach {counted(done.semitones, 'semitone')} up and down" if done.semitones else "are missing"
        raise OutputError(
            f"{output}: its transposed copies {there}, expected {wanted_semitones or 'none'}; bring it up to date with "
            "-f, which encodes only what is new, or choose another folder"
        )
    return done


def _same_content(known: Input) -> bool:
    return bool(known.sha256) and _hash_input(Path(known.path)).sha256 == known.sha256


def _hash_input(path: Path) -> Input:
    """The facts and the hash of a file."""
    absolute = os.path.abspath(path)
    try:
        facts = os.stat(absolute)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError("not a file")
        digest, problem = hash_file(Path(absolute)), ""
    except OSError as error:
        digest, problem = "", f"{path}: cannot be read ({error.strerror or error})"

    size, changed = (facts.st_size, facts.st_mtime_ns) if os.path.exists(absolute) else (-1, 0)
    return Input(path=absolute, bytes=size, mtime_ns=changed, sha256=digest, problem=problem)


def _with_problem(known: Input, reason: str) -> Input:
    return dataclasses.replace(known, problem=reason)


def _file_size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


@contextlib.contextmanager
def _same_threads() -> Iterator[None]:
    """Give torch back the number of threads that it has now."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _as_output_error(output: Path) -> Iterator[None]:
    """Turns what the system says about writing the store into an OutputError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        remedy = "make room" if error.errno in FULL else "mend that"
        raise OutputError(
            f"{output}: the store cannot be written ({reason}); {remedy} and run the same command, which goes on "
            "from here, or choose another folder with -o"
        ) from error
