"""Signals held back: the first waits for the end of the block, the second does not."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from audiolm_cli.training.stopping import HeldSignals


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
    with pytest.raises(CameError, match=str(int(number))), HeldSignals() as signals:
        os.kill(os.getpid(), number)
        done.append(signals.held)
    assert done == [number]


def test_the_second_signal_does_not_wait() -> None:
    done = []
    with pytest.raises(CameError, match=str(int(signal.SIGTERM))), HeldSignals():
        os.kill(os.getpid(), signal.SIGINT)
        done.append(1)
        os.kill(os.getpid(), signal.SIGTERM)
        done.append(2)
    assert done == [1]


def test_without_a_signal_nothing_happens_and_the_handlers_are_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with HeldSignals() as signals:
        assert signal.getsignal(signal.SIGTERM) != before
    assert signals.held is None and signal.getsignal(signal.SIGTERM) == before


def test_an_error_in_the_block_is_what_comes_out() -> None:
    with pytest.raises(KeyError), HeldSignals():
        os.kill(os.getpid(), signal.SIGINT)
        raise KeyError


def test_a_signal_of_another_process_is_adopted() -> None:
    with pytest.raises(CameError, match=str(int(signal.SIGTERM))), HeldSignals() as signals:
        signals.hold(signal.SIGTERM)


def test_ignored_signals_stay_ignored() -> None:
    """As of a program that was started with nohup, or behind an ampersand."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with HeldSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.held is None


def test_outside_the_main_thread_nothing_is_held() -> None:
    before, inside = signal.getsignal(signal.SIGTERM), []

    def run() -> None:
        with HeldSignals():
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert inside == [before]
