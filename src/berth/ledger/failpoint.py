# SPDX-License-Identifier: GPL-3.0-or-later
"""Points where a crash test stops a run (docs/data.md, section 6). Without BERTH_FAILPOINT nothing happens."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

WAIT_S = 60.0


def reach(name: str) -> None:
    """Returns at once unless BERTH_FAILPOINT is `name`: then tells BERTH_FAILPOINT_FILE and waits to be killed.

    After WAIT_S it kills its own process, so that a test that went wrong leaves nothing behind.
    """
    if os.environ.get("BERTH_FAILPOINT") != name:
        return
    report = os.environ.get("BERTH_FAILPOINT_FILE")
    if report:
        Path(report).write_text(name, encoding="utf-8")
    time.sleep(WAIT_S)
    os.kill(os.getpid(), signal.SIGKILL)
