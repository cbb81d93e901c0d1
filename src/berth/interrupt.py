# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals during a run: Ansible is ended in its own orderly way, then the caller hears of it."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from berth.errors import BerthError

# Long enough for Ansible to end its workers and their ssh clients.
PATIENCE_S = 5.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BerthError):
    """A signal ended the run. The exit code is a shell's: 128 and the signal's number."""

    def __init__(self, signum: int) -> None:
        name = signal.Signals(signum).name
        super().__init__(f"interrupted by {name}", hint="run the same again: it finishes what was begun")
        self.exit_code = 128 + signum


class Interruption:
    """Catches signals while a child process works. Only the main thread can; in others it does nothing."""

    def __init__(self) -> None:
        self.signum = 0
        self._at_s = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            # What is ignored stays ignored: nohup(1) does that to SIGHUP.
            caught = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
            self._before = {each: signal.signal(each, self._catch) for each in caught}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def is_overdue(self) -> bool:
        """Returns whether the children were told to end and have not, so that they have to be killed."""
        return bool(self.signum) and time.monotonic() - self._at_s > PATIENCE_S

    def raise_if_caught(self) -> None:
        """Raises Interrupted when a signal came."""
        if self.signum:
            raise Interrupted(self.signum)

    def _catch(self, signum: int, _frame: FrameType | None) -> None:
        if self.signum:
            return
        self.signum, self._at_s = signum, time.monotonic()
        for pid in _children(os.getpid()):
            os.kill(pid, signal.SIGTERM)


def _children(parent: int) -> list[int]:
    """Returns the process ids of a process's children; none where there is no /proc (proc_pid_stat(5), field 4)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name before the last bracket may itself hold spaces and brackets.
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found
