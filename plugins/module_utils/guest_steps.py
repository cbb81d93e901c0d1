# SPDX-License-Identifier: GPL-3.0-or-later
"""The named steps of the guest module on a host, and the points where crash tests stop it (docs/data.md, section 6)."""

from __future__ import annotations

import os
import signal
import time

CHECK, DISK, SEED, DEFINE, START = "check", "disk", "seed", "define", "start"
STOP, UNDEFINE, FILES = "stop", "undefine", "files"
STEPS = {
    "guest-present": (CHECK, DISK, SEED, DEFINE, START),
    "guest-absent": (STOP, UNDEFINE, FILES),
}
WAIT_S = 60.0


class Steps:
    """The steps done for one guest, in order. `verb` is a key of STEPS."""

    def __init__(self, verb: str) -> None:
        self.verb = verb
        self.done = []

    def run(self, step, work):
        """Returns work() and notes the step; the failpoints before and after it are reached."""
        reach("%s.%s.before" % (self.verb, step))
        result = work()
        self.done.append(step)
        reach("%s.%s.after" % (self.verb, step))
        return result


def reach(name: str) -> None:
    """Returns at once unless BERTH_FAILPOINT is `name`: then writes BERTH_FAILPOINT_FILE and waits to be killed."""
    if os.environ.get("BERTH_FAILPOINT") != name:
        return
    report = os.environ.get("BERTH_FAILPOINT_FILE")
    if report:
        with open(report, "w", encoding="utf-8") as file:
            file.write(name)
    time.sleep(WAIT_S)
    os.kill(os.getpid(), signal.SIGKILL)
