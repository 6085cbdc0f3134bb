"""Signals that wait: for the end of a call into a C library, or for the end of work that ends well."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

import pytest

from audiolm_cli.stopping import (
    SAME_ORDER_S,
    SIGNALS,
    StopSignals,
    check_stopped,
    find_handler,
    finishing,
    starting_apart,
    uninterrupted,
)


class CameError(Exception):
    """What the handler from before does."""


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    def came(number: int, frame: FrameType | None) -> None:
        raise CameError(number)

    before = {number: signal.signal(number, came) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, previous in before.items():
        signal.signal(number, previous)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_for_the_end(number: int) -> None:
    done = []
    with pytest.raises(CameError, match=str(int(number))), finishing() as signals:
        os.kill(os.getpid(), number)
        done.append(signals.came)
    assert done == [number]


def test_the_second_signal_does_not_wait() -> None:
    """The first one says how the program ends."""
    done = []
    with pytest.raises(CameError, match=str(int(signal.SIGINT))), finishing():
        os.kill(os.getpid(), signal.SIGINT)
        done.append(1)
        os.kill(os.getpid(), signal.SIGINT)
        done.append(2)
    assert done == [1]


def test_without_a_signal_nothing_happens_and_the_handlers_are_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with finishing() as signals:
        assert signal.getsignal(signal.SIGTERM) != before
    assert signals.came is None and signal.getsignal(signal.SIGTERM) == before


def test_an_error_in_the_block_is_what_comes_out() -> None:
    with pytest.raises(KeyError), finishing():
        os.kill(os.getpid(), signal.SIGINT)
        raise KeyError


def test_a_signal_of_another_process_is_adopted() -> None:
    with pytest.raises(CameError, match=str(int(signal.SIGTERM))), finishing() as signals:
        signals.note(signal.SIGTERM)


def test_ignored_signals_stay_ignored() -> None:
    """As of a program that was started with nohup, or behind an ampersand."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with finishing() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.came is None


def test_outside_the_main_thread_nothing_is_held() -> None:
    before, inside = signal.getsignal(signal.SIGTERM), []

    def run() -> None:
        with finishing():
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert inside == [before]


def stop(number: int) -> None:
    raise CameError(number)


def test_a_signal_in_a_callback_is_acted_on_after_the_call() -> None:
    """What a C library's callback raises is lost, and here a `__del__` stands for one."""
    lost: list[int] = []

    class Callback:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            lost.append(0)  # where the handler runs

    with StopSignals(stop) as handler:
        with pytest.raises(CameError, match=str(int(signal.SIGTERM))), uninterrupted():
            Callback()
            lost.append(1)
        assert lost == [0, 1] and handler.came == signal.SIGTERM


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_was_lost_all_the_same_is_acted_on_at_the_next_check() -> None:
    """But not by what is being cleaned up."""

    class Callback:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    with StopSignals(stop):
        Callback()
        with uninterrupted():
            pass
        try:
            raise KeyError
        except KeyError:
            check_stopped()
        with pytest.raises(CameError):
            check_stopped()


def test_no_second_signal_ends_a_call_of_a_library() -> None:
    done = []
    with StopSignals(stop), pytest.raises(CameError, match=str(int(signal.SIGTERM))), uninterrupted():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
            os.kill(os.getpid(), number)
            done.append(number)
    assert len(done) == 3


def test_a_signal_that_comes_with_the_first_is_the_same_order() -> None:
    """SIGTERM twice, as from `timeout`, does not end the cleaning up; a second later it does."""
    with StopSignals(stop) as handler, pytest.raises(CameError), finishing():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        assert handler.came == signal.SIGTERM

    late = []
    with StopSignals(stop), pytest.raises(CameError), finishing():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SAME_ORDER_S + 0.1)
        os.kill(os.getpid(), signal.SIGTERM)
        late.append(1)
    assert not late


def test_one_handler_serves_all_that_is_inside() -> None:
    with StopSignals(stop) as handler:
        with finishing() as inner, uninterrupted():
            assert inner is handler is find_handler()
        heard = [signal.getsignal(number) for number in SIGNALS]
        assert {own.__self__ for own in heard if own is not signal.SIG_IGN} == {handler}  # type: ignore[union-attr]


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals of Unix")
def test_a_process_that_is_started_apart_hears_no_signal_to_its_group() -> None:
    """It gets the one that it accepts."""
    code = (
        "import signal, time; from audiolm_cli.stopping import SIGNALS, accept\n"
        "print(set(SIGNALS) <= signal.pthread_sigmask(signal.SIG_BLOCK, ()), flush=True); input()\n"
        "accept(signal.SIGTERM); time.sleep(60)"
    )
    with starting_apart():
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    with process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "True\n"
        for number in SIGNALS:
            process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(20) == -signal.SIGTERM
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(SIGNALS)


LONG_CALL = (
    "import hashlib, os, sys, threading, time\n"
    "from audiolm_cli.stopping import StopSignals, finishing\n"
    "def stop(number): raise SystemExit(7)\n"
    "def say(second): print('second' if second else 'first', time.monotonic(), flush=True)\n"
    "with StopSignals(stop), finishing(say) as signals:\n"
    "    print('calls', flush=True)\n"
    "    hashlib.pbkdf2_hmac('sha256', b'', b'', 12_000_000)\n"
    "    print('returned', time.monotonic(), flush=True)\n"
)


def test_that_a_signal_came_is_said_while_a_library_computes() -> None:
    """No handler of Python's runs before the call returns; and of two signals in one call, it runs for one alone."""
    with subprocess.Popen([sys.executable, "-c", LONG_CALL], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "calls\n"
        said = []
        for _ in range(2):
            time.sleep(0.2)
            sent_s = time.monotonic()
            process.send_signal(signal.SIGINT)
            word = process.stdout.readline().split()[0]
            said.append((word, time.monotonic() - sent_s))
        rest = process.stdout.read()

    assert [word for word, _ in said] == ["first", "second"]
    assert all(waited_s < 1.0 for _, waited_s in said), said
    assert rest == "" and process.returncode == 7


def test_what_is_said_comes_once_for_each_order() -> None:
    """SIGTERM twice, as from `timeout`, is one; and whoever listened to signals before does so again."""
    said: list[bool] = []
    with StopSignals(stop), pytest.raises(CameError), finishing(said.append):
        for number in (signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
    assert said == [False] and signal.set_wakeup_fd(-1) == -1
