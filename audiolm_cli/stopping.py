"""Signals that ask the program to end: noted when they come, acted on where that is safe. Knows nothing about the work.

Python calls a signal's handler between two lines, wherever the main thread is. An exception that the handler raises
inside a C library's callback is lost: the library hears of a write that failed, and takes it for a full disk. So the
handler here also keeps the signal, and what calls such a library does it inside `uninterrupted`.

A call of a C library may last for many seconds, and no handler runs before it has returned. What a person should hear
at once is said by another thread, which the system wakes when a signal comes (`finishing`).
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK")
SIGNALS = tuple(signal.Signals[name] for name in _NAMES if name in signal.Signals.__members__)
"""Ctrl-C, `kill`, a terminal that closes, Ctrl-\\, and on Windows Ctrl-Break and a console that closes."""
SAME_ORDER_S = 0.5
"""A signal this soon after the first is the same order: `timeout` sends SIGTERM twice, and systemd SIGHUP behind it."""

SayStopping = Callable[[bool], object]
"""Tells a person that a signal has come, from another thread; with True, that a second one has, which does not wait."""


class StopSignals:
    """The handler of all signals that ask the program to end; installed while the context lasts.

    The first signal is acted on at once, but inside `uninterrupted` or `finishing` at the end of the block. A second
    one waits for the end of `uninterrupted` alone, which is soon. Signals that were ignored before stay ignored, as
    `nohup` wants it. Outside the main thread, where Python allows no handlers, nothing is installed.
    """

    def __init__(self, act: Callable[[int], object]) -> None:
        """`act` is called with the number of the signal, and raises an exception or ends the process."""
        self.act = act
        self.came: int | None = None
        """The signal that came first."""

        self._came_s, self._impatient, self._pending = 0.0, False, False
        self._blocked = self._finishing = 0
        self._handlers: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}
        """The handlers from before, by signal."""

    def __enter__(self) -> Self:
        self.install()
        return self

    def install(self) -> None:
        """Take the signals over."""
        for number in SIGNALS:
            if signal.getsignal(number) in (signal.SIG_IGN, None):  # ignored, or another language's
                continue
            try:
                self._handlers[number] = signal.signal(number, self._handle)
            except ValueError:  # not the main thread
                break

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()

    def restore(self) -> None:
        """Put the handlers from before back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def note(self, number: int) -> None:
        """Act as if the signal had come, unless one has, and leave it to `check` to act on it."""
        if self.came is None:
            self.came, self._came_s, self._pending = number, time.monotonic(), True

    def check(self) -> None:
        """Act on the signal that came, unless it has to wait; also where it was acted on, and that was lost."""
        if self.came is not None and not self._blocked and (self._impatient or not self._finishing):
            self._pending = False
            self.act(self.came)

    @contextlib.contextmanager
    def blocking(self) -> Iterator[None]:
        """No signal is acted on in the block; one that came is when the block ends well."""
        self._blocked += 1
        try:
            yield
        finally:
            self._blocked -= 1
        self._check_pending()

    @contextlib.contextmanager
    def finishing(self) -> Iterator[None]:
        """The first signal is not acted on in the block, but when the block ends well; the second is."""
        self._finishing += 1
        try:
            yield
        finally:
            self._finishing -= 1
        self._check_pending()

    @contextlib.contextmanager
    def saying(self, say: SayStopping) -> Iterator[None]:
        """`say` is called as soon as a signal comes in the block, whatever the main thread is doing.

        The second signal counts even if both come during one call of a C library, after which Python's handler runs
        only once.
        """
        hears, told = socket.socketpair()  # Windows wakes nothing else
        told.setblocking(False)
        before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        listener = threading.Thread(target=self._listen, args=(hears, say), daemon=True)
        listener.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            told.close()
            listener.join()
            hears.close()

    def _listen(self, hears: socket.socket, say: SayStopping) -> None:
        """Call `say` for the first signal and for the second, until the other end is closed."""
        came_s: float | None = None
        impatient = False
        while numbers := hears.recv(1):
            number, now_s = numbers[0], time.monotonic()
            if number not in self._handlers or impatient:
                continue
            if came_s is None:
                came_s = now_s
            elif is_second_order(number, now_s - came_s):
                self._impatient = impatient = True
            else:
                continue
            say(impatient)

    def _check_pending(self) -> None:
        """Act on a signal that came and has waited: not again while what that led to is being cleaned up."""
        if self._pending:
            self.check()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.came is None:
            self.note(number)
        elif is_second_order(number, time.monotonic() - self._came_s):
            self._impatient = self._pending = True  # whoever sends a second one does not want to wait
        else:
            return
        self._check_pending()


def is_second_order(number: int, since_first_s: float) -> bool:
    """Whether a signal that follows another is a person's second one, and not part of the first order."""
    return number == signal.SIGINT or since_first_s > SAME_ORDER_S


def find_handler() -> StopSignals | None:
    """The handler that is installed; None where there is none, and in all threads but the main one."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            owner = getattr(signal.getsignal(number), "__self__", None)
            if isinstance(owner, StopSignals):
                return owner
    return None


def check_stopped() -> None:
    """Act on a signal that came and whose exception was lost; not while an exception is being handled."""
    handler = find_handler()
    if handler is not None and sys.exc_info()[1] is None:
        handler.check()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """For calls of C libraries that call back: a signal that comes in the block is acted on when it ends.

    Such a block must be short: no signal can end it.
    """
    with _any_handler() as handler, handler.blocking():
        yield


@contextlib.contextmanager
def finishing(say: SayStopping | None = None) -> Iterator[StopSignals]:
    """For work that ends early but well: it looks at `came` and returns, and then the signal is acted on.

    A second signal does not wait. `say` hears of both at once, in the main thread's work; in other threads, which no
    signal reaches, it is never called.
    """
    with _any_handler() as handler:
        says: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if say is not None and threading.current_thread() is threading.main_thread():
            says = handler.saying(say)
        with says, handler.finishing():
            yield handler


@contextlib.contextmanager
def starting_apart() -> Iterator[None]:
    """A process that is started in this block gets none of these signals: it ends when this one ends it.

    A closing terminal, `timeout` and a service manager send them to all processes at once, and a worker that dies of
    one would be taken for a crash. Where the system cannot do that, as on Windows, nothing is done.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return

    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def accept(number: int) -> None:
    """In a process that was started in `starting_apart`: let this one signal through."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


@contextlib.contextmanager
def _any_handler() -> Iterator[StopSignals]:
    """The handler that is installed, or one for this block, after which the handlers from before get what came."""
    found = find_handler()
    if found is not None:
        yield found
        return

    own = StopSignals(lambda number: _pass_on(own, number))
    with own:
        yield own


def _pass_on(handler: StopSignals, number: int) -> None:
    """Let the handlers from before act."""
    handler.restore()
    signal.raise_signal(number)
