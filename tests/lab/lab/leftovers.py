# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has, before and after, so that a test can say that nothing was left.

before = snapshot(host)
...
assert difference(before, snapshot(host)) == ""
"""

import json
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lab.host import Host

PROBE = Path(__file__).with_name("probe.py")


@dataclass(frozen=True)
class Snapshot:
    """A host's domains, networks, pools, files, DHCP leases, processes, links, mounts and firewall rules.

    Each section is a list of lines in order. Two snapshots of an unchanged host are equal.
    """

    host: str
    sections: dict[str, list[str]]


def snapshot(host: Host) -> Snapshot:
    """Take the inventory of a running host, without ssh."""
    done = host.exec(f"python3 -c {shlex.quote(PROBE.read_text())}", timeout=120)
    sections: dict[str, list[str]] = json.loads(done.stdout)
    return Snapshot(host.name, {name: sorted(lines) for name, lines in sections.items()})


def difference(before: Snapshot, after: Snapshot) -> str:
    """What came (+) and what went (-), one line each with its section; empty when nothing changed."""
    lines = []
    for section in sorted({*before.sections, *after.sections}):
        old, new = Counter(before.sections.get(section, [])), Counter(after.sections.get(section, []))
        lines += [f"{after.host} {section}: + {line}" for line in sorted((new - old).elements())]
        lines += [f"{after.host} {section}: - {line}" for line in sorted((old - new).elements())]
    return "\n".join(lines)
