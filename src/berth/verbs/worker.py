# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's worker processes, in which the phases of verbs run."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys

# prctl(2): PR_SET_PDEATHSIG.
_SET_PARENT_DEATH_SIGNAL = 1


def end_with_run() -> None:
    """Makes sure that this worker does not outlive its ansible-playbook.

    The journal takes a run for dead when that process is gone: nothing of it may write any more. Outside of a worker,
    and on systems other than Linux, nothing happens.
    """
    parent = multiprocessing.parent_process()
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent.pid:
        os.kill(os.getpid(), signal.SIGKILL)
