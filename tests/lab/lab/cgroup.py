# SPDX-License-Identifier: GPL-3.0-or-later
"""One cgroup of its own per host, on machines with cgroup v1, v2 or both.

Containers that shared one would see each other's processes in their units and wait forever for them to end.
"""

import os
from functools import partial
from pathlib import Path

from lab.shell import wait_for

ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd")


def groups(machine: str) -> list[Path]:
    """The machine's cgroup in each hierarchy that systemd uses here."""
    return [Path(root) / machine for root in ROOTS if (Path(root) / "cgroup.procs").exists()]


def entered(machine: str) -> list[str]:
    """A command prefix that runs what follows in the machine's cgroups, which are made now."""
    files = []
    for group in groups(machine):
        group.mkdir(exist_ok=True)
        files.append(f"echo $$ >{group}/cgroup.procs;")
    return ["sh", "-ec", "".join(files) + ' exec "$@"', "sh"]


def remove(machine: str) -> None:
    """Delete the machine's cgroups; waits for the last processes to die."""
    for group in groups(machine):
        wait_for(partial(_removed, group), 10)


def _removed(group: Path) -> bool:
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError:
            return False
    return not group.exists()
