"""Decoding in a process of its own: a decoder that crashes over a file fails that file, not the program.

Knows nothing about formats: the other process imports functions by name, from modules that are light to import, and
calls them. It ends with the process that started it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

import numpy as np

from audiolm_cli.audio.reading import read_audio
from audiolm_cli.audio.recording import Recording
from audiolm_cli.audio.scanning import Scan, scan
from audiolm_cli.audio.sndfile import BLOCK_SAMPLES
from audiolm_cli.audio.streaming import AudioStream, open_stream
from audiolm_cli.errors import AudioInputError, MemoryLimitError, UsageError
from audiolm_cli.packages import explain_import
from audiolm_cli.stopping import starting_apart

P = ParamSpec("P")
R = TypeVar("R")
CALL, BEGIN, NEXT = "call", "begin", "next"
"""Kinds of requests: call a function; call one that makes an iterator; what comes next of that one, or None."""
READY, VALUE, ERROR = "ready", "value", "error"
"""Kinds of answers."""


class DecoderProcess:
    """A process that decodes. It starts when it is first needed, and again after it died; it ends with the context.

    It takes one call at a time.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Callable[[], object] = lambda: None
        self._ready, self._calls = False, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the process, unless it runs, without waiting until it is ready.

        Raises:
            UsageError: the system starts no more processes.
        """
        if self._process is not None and self._process.poll() is None:
            return

        self.close()
        places = f"sys.path[:] = {sys.path!r}; tempfile.tempdir = {tempfile.tempdir!r}"
        code = f"import sys, tempfile; {places}; from {__name__} import serve; serve()"
        pipe = subprocess.PIPE
        try:
            # In a group of its own, which is ended as one: a file may be read by a program that this process started.
            with starting_apart():
                self._process = subprocess.Popen(
                    [sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, process_group=0
                )
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(f"a process to decode in cannot be started ({reason}); end other programs") from error

        self._end = weakref.finalize(self, _kill, self._process)
        self._ready = False

    def close(self) -> None:
        """End the process."""
        self._end()
        self._process = None

    def call(self, path: Path, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What a function of a module returns, or raises, when it is called in the other process.

        Args:
            path: the file that it decodes, for messages.
            function: it, its arguments and its result can be pickled.

        Raises:
            AudioInputError: the process died over it.
            UsageError: there can be no process.
        """
        return self._ask(path, CALL, (function, args, kwargs))

    def scan(self, path: Path, channels: int) -> Scan:
        """`scan` in the other process.

        Raises:
            AudioInputError: the file is damaged, or the decoder crashed over it.
        """
        return self.call(path, scan, path, channels)

    def read_audio(self, path: str | Path, *, max_duration_s: float | None = None) -> Recording:
        """`read_audio` in the other process.

        Raises:
            AudioInputError: as `read_audio` does, or the decoder crashed over the file.
            MemoryLimitError: it does not fit into memory.
        """
        self._ask(path, BEGIN, (_iter_recording, (path, max_duration_s), {}))
        like, shape = self._ask(path, NEXT)
        try:
            samples, count = np.empty(shape, like.samples.dtype), 0
        except MemoryError as error:
            raise MemoryLimitError(f"{path}: does not fit into memory; split it into shorter files") from error

        for block in self._iter_rest(path):
            samples[count : count + len(block)] = block
            count += len(block)

        return dataclasses.replace(like, samples=samples)

    @contextlib.contextmanager
    def open_stream(self, path: Path, *, through_ffmpeg: bool = False) -> Iterator[AudioStream]:
        """`open_stream` in the other process, one stream at a time.

        Raises:
            AudioInputError: as `open_stream` does, or from the blocks, because the decoder crashed over the file.
        """
        self._ask(path, BEGIN, (_iter_stream, (path, through_ffmpeg), {}))
        sample_rate_hz, channels = self._ask(path, NEXT)
        yield AudioStream(sample_rate_hz=sample_rate_hz, channels=channels, blocks=self._iter_rest(path))

    def _iter_rest(self, path: str | Path) -> Iterator[Any]:
        """What is still to come of an iterator that was begun in the other process."""
        begun = self._calls
        while (following := self._ask(path, NEXT)) is not None:
            yield following
            assert begun == self._calls, "another call ended the stream"

    def _ask(self, path: str | Path, kind: str, content: Any = None) -> Any:
        """The answer to a request; an error that is answered is raised."""
        request = pickle.dumps((kind, content))
        if kind != NEXT:  # another process would know nothing of what the last one had begun
            self.start()
            self._calls += 1

        try:
            answer, value = self._exchange(request)
        except (EOFError, OSError, pickle.UnpicklingError):
            ready, cause = self._ready, self._describe_end()
            if not ready:
                raise UsageError(f"a process to decode in {cause} as it began; run: audiolm doctor") from None
            raise AudioInputError(
                f"{path}: the process that decoded it {cause}; remove the file, or convert it to WAV or FLAC"
            ) from None
        except BaseException:  # an interrupt, after which the next answer would be that to this request
            self.close()
            raise

        if answer == ERROR:
            raise value
        return value

    def _exchange(self, request: bytes) -> tuple[str, Any]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise EOFError

        if not self._ready:
            pickle.load(process.stdout)
            self._ready = True

        process.stdin.write(request)
        process.stdin.flush()
        return pickle.load(process.stdout)

    def _describe_end(self) -> str:
        """What became of the process, in words; ends it where it has not ended."""
        process, code = self._process, None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout=1)
        self.close()

        name = signal.Signals(-code).name if code and -code in set(signal.Signals) else f"exit code {code}"
        return "was killed, perhaps for want of memory" if name == "SIGKILL" else f"crashed ({name})"


def serve() -> None:
    """The life of the process: answers requests until there are no more."""
    # Only answers may go to standard output, not what a library prints.
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)

    begun: Iterator[Any] = iter(())
    answer: tuple[str, Any] = READY, None
    with contextlib.suppress(EOFError, BrokenPipeError):  # the other side is done, or dead
        while True:
            pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
            kind, content = pickle.load(requests)

            try:
                if kind == NEXT:
                    answer = VALUE, next(begun, None)
                    continue

                function, args, kwargs = content
                begun = iter(())  # ends what may have been left in the middle
                value = function(*args, **kwargs)

                if kind == BEGIN:
                    begun, value = value, None
                answer = VALUE, value
            except Exception as error:  # its traceback does not travel, and with it goes what an import failed over
                answer = ERROR, explain_import(error) or error


def _iter_stream(path: Path, through_ffmpeg: bool) -> Iterator[Any]:
    """The rate and the channels of a file, and then its blocks."""
    with open_stream(path, through_ffmpeg=through_ffmpeg) as stream:
        yield stream.sample_rate_hz, stream.channels
        yield from stream.blocks


def _iter_recording(path: str | Path, max_duration_s: float | None) -> Iterator[Any]:
    """A recording without its samples and their shape [N, C], and then these in blocks."""
    recording = read_audio(path, max_duration_s=max_duration_s)
    samples = recording.samples
    yield dataclasses.replace(recording, samples=samples[:0]), samples.shape
    for start in range(0, len(samples), BLOCK_SAMPLES):
        yield samples[start : start + BLOCK_SAMPLES]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started, whatever they do: nothing is lost, since they write nothing."""
    if process.poll() is None and hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # what could not be sent
            if pipe is not None:
                pipe.close()

    process.wait()
