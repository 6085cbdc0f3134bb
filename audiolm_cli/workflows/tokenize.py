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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from audiolm_cli.audio import DecoderProcess
from audiolm_cli.data.files import READABLE_SUFFIXES, find_audio
from audiolm_cli.data.manifest import is_store
from audiolm_cli.data.parts import VERSION, Input, Parts, load_inputs
from audiolm_cli.devices import available_cores, give_back_freed_memory, pick_device
from audiolm_cli.distributed import ALONE, Ranks
from audiolm_cli.errors import (
    AudioInputError,
    DataError,
    MemoryLimitError,
    OutputError,
    UsageError,
)
from audiolm_cli.events import Note, OnEvent, Progress, ignore
from audiolm_cli.files import hash_file
from audiolm_cli.library.loading import codec_facts, codes_hash, load_codec
from audiolm_cli.tokenizing.assembly import Tokenized, assemble, discard, revive, summarise, tidy
from audiolm_cli.tokenizing.encoding import encode_recording
from audiolm_cli.tokenizing.workers import Do, run_workers

BYTES_PER_WORKER = 8_000_000
"""Starting a worker takes some seconds, so that less work than this is not given to another one."""
CHANGED = "was changed while it was read; run the command again"
POLL_S = 0.2
"""How often processes look for what the others have done."""


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
    ranks: Ranks = ALONE,
    on_event: OnEvent = ignore,
) -> Tokenized:
    """Encode every recording under `inputs` into a token store at `output`, which appears when it is whole.

    Exact duplicates and silences are dropped and counted; files that cannot be read are listed and the others done.
    Killed and called again with the same arguments, it does what is missing; after the end it does nothing. The codes
    depend on the recordings, the codec, `device` and `threads` alone.

    Args:
        inputs: audio files, and folders of them.
        output: the folder of the store.
        codec: a codec's name or path.
        device: where to encode: "auto", "cpu", "cuda" or "cuda:N".
        threads: of each worker; None is one.
        workers: processes that encode; None is one per core where there is work for them. Above one, a program that
            calls this has to do so below `if __name__ == "__main__":`.
        cache: the checkpoint cache; None is the user's.
        force: replace a store that is there, and try again what could not be read. Codes that are in it already are
            not made again.
        ranks: this process among those that share the work; all return when the store is there.
        on_event: gets the progress.

    Raises:
        DataError: there is no usable recording.
        ModelError: there is no such codec.
        OutputError: another store is there already, or it cannot be written.
        UsageError: `force` with several ranks.
    """
    paths = list(dict.fromkeys(path for source in inputs for path in find_audio(source, READABLE_SUFFIXES)))
    sha256 = codes_hash(codec, cache)
    if force and ranks.size > 1:
        raise UsageError(
            "-f under torchrun: the processes cannot tell the old store from the new one; remove the old store first"
        )
    if not force and (done := _finished(output, paths, sha256)) is not None:
        if ranks.rank == 0:
            discard(output)
            on_event(Note(message=f"{output}: already holds the codes of these recordings; there is nothing to do"))
            for line in done.failed:
                on_event(Note(message=line, warning=True))
        return done
    work = _Work(
        paths=paths,
        output=output,
        parts=Parts(output, sha256),
        codec=codec,
        sha256=sha256,
        device=device,
        threads=threads or 1,
        workers=workers,
        cache=cache,
        force=force,
        ranks=ranks,
        on_event=on_event,
    )
    made = not output.exists()
    with _told(output):
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


def prepare_worker(store: str, codec: str, device: str, threads: int, cache: Path | None, sha256: str) -> Do:
    """What does one file after the other in a worker process: from its path to an `Input`."""
    torch.set_num_threads(threads)
    if multiprocessing.parent_process() is not None:  # the caller's own process is the caller's
        give_back_freed_memory()
    decoder = DecoderProcess()
    decoder.start()  # while the codec is loaded
    module, parts = load_codec(codec, pick_device(device), cache), Parts(Path(store), sha256)

    def do(path: Path, on_share: Any) -> Input:
        known = _look_at(path)
        if not known.problem and parts.find(known.sha256) is None:
            try:
                part = encode_recording(path, module, decoder, on_share)
            except AudioInputError as error:
                known = _problem(known, str(error))
            except MemoryError as error:
                raise MemoryLimitError(f"{path}: out of memory; use fewer --workers") from error
            else:
                if known.is_current():
                    parts.save(known.sha256, part)
                else:
                    known = _problem(known, f"{path}: {CHANGED}")
        parts.save_input(known)
        return known

    return do


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One call of `tokenize` after its arguments have been looked at."""

    paths: list[Path]
    output: Path
    parts: Parts
    codec: str
    sha256: str
    device: str
    threads: int
    workers: int | None
    cache: Path | None
    force: bool
    ranks: Ranks
    on_event: OnEvent

    def run(self) -> Tokenized:
        """All of it, in a folder that is there."""
        facts = codec_facts(self.codec, load_codec(self.codec, None, self.cache), self.cache)
        lost = self._encode()
        if self.ranks.rank:
            for path, reason in lost.items():  # rank 0 waits for news of every file
                self.parts.save_input(_problem(_look_at(path), reason))
            return self._await_store()
        return assemble(self._await_inputs(lost), self.parts, self.output, facts, self.on_event)

    def _encode(self) -> dict[Path, str]:
        """Encode this rank's share of what is missing; returns the files of which no news was left, and the reason."""
        sizes = {path: _size(path) for path in self.paths}
        own = [path for path in self.paths[self.ranks.rank :: self.ranks.size] if not self._is_done(path)]
        own.sort(key=lambda path: (-sizes[path], path))  # the largest first, so that all workers end at about one time
        total, done, shares = sum(sizes[path] for path in own) / 1e6, 0.0, [0.0] * len(own)

        def tell(task: int, share: float) -> None:
            nonlocal done
            done += (share - shares[task]) * sizes[own[task]] / 1e6
            shares[task] = share
            name = own[task].name.encode("utf-8", "replace").decode("utf-8")
            self.on_event(
                Progress(stage="tokenize", done=round(done, 1), total=round(total, 1), unit="MB", detail=name)
            )

        most = self.workers or max(1, available_cores() // self.ranks.local_size)
        if self.workers is None:
            most = min(most, 1 + round(1e6 * total) // BYTES_PER_WORKER)
        setup = (str(self.output), self.codec, self.device, self.threads, self.cache, self.sha256)
        lost: dict[Path, str] = {}
        with contextlib.closing(run_workers(prepare_worker, setup, own, most, tell)) as reports, _same_threads():
            for report in reports:
                if report.died is not None:
                    reason = f"a worker died over it (exit code {report.died}), perhaps for want of memory"
                    lost[own[report.task]] = f"{own[report.task]}: {reason}; try fewer --workers"
                elif not report.result.is_current():
                    lost[own[report.task]] = f"{own[report.task]}: {CHANGED}"
                tell(report.task, 1.0)
        return lost

    def _is_done(self, path: Path) -> bool:
        known = self.parts.find_input(path)
        if known is None or (known.problem and self.force):
            return False
        return bool(known.problem) or self.parts.find(known.sha256) is not None

    def _await_inputs(self, lost: dict[Path, str]) -> list[Input]:
        """What all ranks have found out about the files."""
        found: dict[Path, Input] = {path: _problem(_look_at(path), reason) for path, reason in lost.items()}
        while True:
            for path in self.paths:
                known = None if path in found else self.parts.find_input(path)
                if known is not None:
                    found[path] = known
            missing = [path for path in self.paths if path not in found]
            if missing and self.ranks.size == 1:  # they were read, but are not as they were then
                found |= {path: _problem(_look_at(path), f"{path}: {CHANGED}") for path in missing}
            elif missing:
                done, total = len(found), len(self.paths)
                self.on_event(Progress(stage="wait for the other ranks", done=done, total=total, unit="files"))
                time.sleep(POLL_S)
                continue
            return [found[path] for path in self.paths]

    def _await_store(self) -> Tokenized:
        """What rank 0 has made."""
        while (done := _finished(self.output, self.paths, self.sha256)) is None:
            self.on_event(Progress(stage="wait for rank 0", done=0, total=None))
            time.sleep(POLL_S)
        return done


def _finished(output: Path, paths: list[Path], sha256: str) -> Tokenized | None:
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
    wanted, had = {os.path.abspath(path) for path in paths}, {one.path: one for one in known}
    changed = [path for path in wanted & set(had) if not had[path].is_current() and not _same_content(had[path])]
    counts = {"new": len(wanted - set(had)), "changed": len(changed), "gone": len(set(had) - wanted)}
    if any(counts.values()):
        differ = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        raise OutputError(
            f"{output}: already holds a token store of other recordings ({differ}); bring it up to date with -f, "
            "which encodes only what is new, or choose another folder"
        )
    return summarise(output, summary, known)


def _same_content(known: Input) -> bool:
    return bool(known.sha256) and _look_at(Path(known.path)).sha256 == known.sha256


def _look_at(path: Path) -> Input:
    """The facts and the hash of a file."""
    place = os.path.abspath(path)
    try:
        found = os.stat(place)
        if not stat.S_ISREG(found.st_mode):
            raise OSError("not a file")
        digest, problem = hash_file(Path(place)), ""
    except OSError as error:
        digest, problem = "", f"{path}: cannot be read ({error.strerror or error})"
    size, changed = (found.st_size, found.st_mtime_ns) if os.path.exists(place) else (-1, 0)
    return Input(path=place, bytes=size, mtime_ns=changed, sha256=digest, problem=problem)


def _problem(known: Input, reason: str) -> Input:
    return dataclasses.replace(known, problem=reason)


def _size(path: Path) -> int:
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
def _told(output: Path) -> Iterator[None]:
    """Turns what the system says about writing the store into an OutputError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"{output}: the store cannot be written ({reason}); make room and run the same command, which goes on "
            "from here, or choose another folder with -o"
        ) from error
