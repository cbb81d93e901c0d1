# SPDX-License-Identifier: GPL-3.0-or-later
"""The named steps of the guest module on a host, and the points where crash tests stop it (docs/data.md, section 6)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Dict, Iterator, List, Tuple

PRESENT, ABSENT = "guest-present", "guest-absent"
CHECK, DISK, SEED, DEFINE, START = "check", "disk", "seed", "define", "start"
STOP, UNDEFINE, FILES = "stop", "undefine", "files"
STEPS: Dict[str, Tuple[str, ...]] = {
    PRESENT: (CHECK, DISK, SEED, DEFINE, START),
    ABSENT: (STOP, UNDEFINE, FILES),
}
WAIT_S = 60.0


@contextlib.contextmanager
def step(verb: str, name: str, begun: List[str]) -> Iterator[None]:
    """Runs the body as one step of `verb`: noted in `begun` before it, with a failpoint on either side."""
    reach(f"{verb}.{name}.before")
    begun.append(name)
    yield
    reach(f"{verb}.{name}.after")


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
