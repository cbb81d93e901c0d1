# SPDX-License-Identifier: GPL-3.0-or-later
"""Who works on an action, and when that process is proved gone. Linux: /proc."""

from __future__ import annotations

import getpass
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Owner:
    """One process of one machine.

    A pid alone is used again, so its start (clock ticks since boot: proc_pid_stat(5), field 22) goes with it. A host
    name alone may be shared, so the machine id does; a pid means something only in its namespace (`pid_namespace`).
    What this machine does not tell is "": containers often have no machine id.
    """

    host: str
    machine_id: str
    boot_id: str
    pid_namespace: str
    pid: int
    started_ticks: int
    user: str

    @classmethod
    def of_process(cls, pid: int | None = None) -> Owner:
        """Returns the owner record of a live process of this machine: `pid`, or this one."""
        pid = os.getpid() if pid is None else pid
        started_ticks = 0
        with suppress(ProcessLookupError):
            started_ticks = _started_ticks(pid) or 0
        return cls(
            host=socket.gethostname(),
            machine_id=_read("/etc/machine-id"),
            boot_id=_read("/proc/sys/kernel/random/boot_id"),
            pid_namespace=_pid_namespace(),
            pid=pid,
            started_ticks=started_ticks,
            user=os.environ.get("SUDO_USER") or _user(),
        )

    @property
    def who(self) -> str:
        """Returns user@host."""
        return f"{self.user}@{self.host}"

    def __str__(self) -> str:
        return f"{self.who} pid {self.pid}"


def proof_of_death(owner: Owner) -> str | None:
    """Returns why `owner` is certainly gone, or None: it lives, or this machine cannot know.

    Nothing is ever proved about a process of another machine or of another pid namespace of this boot.
    """
    here = Owner.of_process()
    if (owner.host, owner.machine_id) != (here.host, here.machine_id) or not (owner.boot_id and here.boot_id):
        return None
    if owner.boot_id != here.boot_id:
        # Without a machine id it may be another machine: two containers may have one host name.
        return f"{owner.host} was booted again since" if owner.machine_id else None
    if owner.pid_namespace != here.pid_namespace or not owner.pid_namespace:
        return None
    try:
        ticks = _started_ticks(owner.pid)
    except ProcessLookupError:
        return f"no process {owner.pid} on {owner.host}"
    if ticks is None or not owner.started_ticks or ticks == owner.started_ticks:
        return None
    return f"process {owner.pid} on {owner.host} is another one now"


def proof_of_life(owner: Owner) -> str | None:
    """Returns why `owner` certainly works now, or None: it is dead, or this machine cannot know."""
    here = Owner.of_process()
    places = [(one.host, one.machine_id, one.boot_id, one.pid_namespace) for one in (owner, here)]
    if places[0] != places[1] or not (owner.boot_id and owner.pid_namespace and owner.started_ticks):
        return None
    try:
        alive = _started_ticks(owner.pid) == owner.started_ticks
    except ProcessLookupError:
        return None
    return f"process {owner.pid} works on this machine" if alive else None


def _started_ticks(pid: int) -> int | None:
    """Returns when a process started, None when that is hidden. Raises ProcessLookupError for none, or its zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, PermissionError):
        # proc(5), hidepid: what others run may look as if it were not there. The kernel tells by kill(2): ESRCH.
        with suppress(PermissionError):
            os.kill(pid, 0)
        return None
    # The name before the last bracket may itself hold spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX":
        raise ProcessLookupError(pid)
    return int(fields[19])


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - the link's text is wanted, it names no path
    except OSError:
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
