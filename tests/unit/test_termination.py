"""SIGTERM ends a run as Ctrl-C does, once, and only where nobody else listens."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from pytest_gpuperf.termination import Termination


@pytest.fixture(autouse=True)
def own_signal() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_first_signal_interrupts_and_the_second_changes_nothing() -> None:
    termination = Termination()
    termination.listen()
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    termination.restore()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_run_that_is_ending_is_not_disturbed() -> None:
    termination = Termination()
    termination.listen()
    termination.ignore()
    signal.raise_signal(signal.SIGTERM)
    termination.restore()


def test_somebody_elses_handler_stays() -> None:
    caught: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: caught.append(number))
    theirs = signal.getsignal(signal.SIGTERM)
    termination = Termination()
    termination.listen()
    assert signal.getsignal(signal.SIGTERM) is theirs
    termination.restore()
    assert signal.getsignal(signal.SIGTERM) is theirs


def test_only_the_main_thread_listens() -> None:
    termination = Termination()
    thread = threading.Thread(target=termination.listen)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_restoring_twice_is_harmless() -> None:
    termination = Termination()
    termination.listen()
    termination.restore()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    termination.restore()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
