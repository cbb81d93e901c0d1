# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import threading

import pytest

from berth.interrupt import SIGNALS, Interrupted, Interruption


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_is_caught_and_raised_afterwards(signum: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with Interruption() as interruption:
        os.kill(os.getpid(), signum)
        os.kill(os.getpid(), signum)
    assert [signal.getsignal(each) for each in SIGNALS] == before
    with pytest.raises(Interrupted) as raised:
        interruption.raise_if_caught()
    assert raised.value.exit_code == 128 + signum
    assert raised.value.message == f"interrupted by {signum.name}"


def test_without_a_signal_nothing_is_raised() -> None:
    with Interruption() as interruption:
        assert not interruption.is_overdue()
    interruption.raise_if_caught()


def test_a_child_that_does_not_end_in_time_is_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("berth.interrupt.PATIENCE_S", 0.0)
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.is_overdue()


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
        interruption.raise_if_caught()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_catches_nothing() -> None:
    found = []

    def work() -> None:
        with Interruption():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]
