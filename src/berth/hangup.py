# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that end at SIGHUP where this process, and so all that it starts, ignores it (nohup(1), some CI runners)."""

from __future__ import annotations

import signal
import sys

_HEAR = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"


def launcher() -> tuple[str, ...]:
    """Returns the words to put before a command so that SIGHUP ends it; none where it does so by itself.

    A shell cannot: signals ignored when it starts stay so (POSIX, Shell Command Language, trap).
    """
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        return ()
    return (sys.executable, "-I", "-S", "-c", _HEAR)
