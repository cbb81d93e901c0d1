# SPDX-License-Identifier: GPL-3.0-or-later
"""Points where a crash test stops a run (docs/data.md, section 6). Without BERTH_FAILPOINT nothing happens."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

WAIT_S = 60.0
POLL_S = 0.02
# Beside BERTH_FAILPOINT_FILE: when it is there, runs that wait at the point go on, and later ones do not wait.
GO_ON = ".go-on"


def reach(name: str) -> None:
    """Returns at once unless BERTH_FAILPOINT is `name`: then tells BERTH_FAILPOINT_FILE and waits to be killed.

    It returns when the file with GO_ON appended to its name is there. After WAIT_S it kills its own process, so that a
    test that went wrong leaves nothing behind.
    """
    if os.environ.get("BERTH_FAILPOINT") != name:
        return
    report = os.environ.get("BERTH_FAILPOINT_FILE")
    if report:
        Path(report).write_text(name, encoding="utf-8")
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if report and Path(report + GO_ON).exists():
            return
        time.sleep(POLL_S)
    os.kill(os.getpid(), signal.SIGKILL)
