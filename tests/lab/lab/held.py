# SPDX-License-Identifier: GPL-3.0-or-later
"""A berth command that is held at a point of its work, and killed there with everything it started."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from berth.ledger.failpoint import GO_ON
from lab.cloud import BIN, Answer, LabCloud
from lab.shell import wait_for

# Reaching a point takes seconds; a failpoint gives up after 60.
REACH_S = 55.0


class Held:
    """A running `berth WORDS` that stops at a failpoint (docs/data.md, section 6), or just goes on without one."""

    def __init__(self, cloud: LabCloud, *words: str, at: str | None = None) -> None:
        self._cloud, self.point = cloud, at
        self._marker = cloud.scratch / f"reached-{at}"
        self._go_on = cloud.scratch / f"reached-{at}{GO_ON}"
        points = {"BERTH_FAILPOINT": at, "BERTH_FAILPOINT_FILE": str(self._marker)} if at else {}
        self.process = cloud.start([str(BIN / "berth"), *words], environment=points)

    def wait(self) -> "Held":
        """Return once the point is reached; fails when the command ends before."""
        reached = wait_for(lambda: self._marker.exists() or self.process.poll() is not None, REACH_S, 0.02)
        if not reached or not self._marker.exists():
            family = self.kill()
            raise AssertionError(f"{self.point} was not reached: {family.out}{family.err}")
        return self

    def go_on(self) -> Answer:
        """Let the command go on to its end."""
        self._go_on.touch()
        return self.answer()

    def kill(self) -> Answer:
        """Kill the command and all that it started, at one moment: nothing of it cleans up after the others."""
        for pid in stopped_family(self.process.pid):
            end(pid, signal.SIGKILL)
        return self.answer()

    def kill_only_the_command(self) -> Answer:
        """Kill the command itself; what it started is not told."""
        end(self.process.pid, signal.SIGKILL)
        return self.answer()

    def send(self, signum: int) -> None:
        """Send a signal to the command itself."""
        end(self.process.pid, signum)

    def answer(self, timeout_s: float = 120) -> Answer:
        """What the command left, once it has ended."""
        try:
            out, err = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        # Not before: the workers of several hosts reach one point, each at its time.
        self._marker.unlink(missing_ok=True)
        self._go_on.unlink(missing_ok=True)
        return Answer(self.process.returncode, out, err)


def stopped_family(pid: int) -> list[int]:
    """Stop a process and all below it, however they were set apart, so that none starts another; returns their ids."""
    stopped: list[int] = []
    while new := [each for each in descendants(pid) if each not in stopped]:
        for each in new:
            end(each, signal.SIGSTOP)
        stopped += new
    return stopped


def descendants(pid: int) -> list[int]:
    """The process and all below it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [pid] if pid in parents else []
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def end(pid: int, signum: int) -> None:
    """Send a signal to a process that may have gone meanwhile."""
    with suppress(ProcessLookupError):
        os.kill(pid, signum)
