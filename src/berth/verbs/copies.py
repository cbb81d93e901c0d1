# SPDX-License-Identifier: GPL-3.0-or-later
"""Where else a guest runs: to be known before it is started, as it runs on one host at most, or forgotten. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from berth.errors import Conflict
from berth.ledger.model import PowerState
from berth.ledger.rows import GuestRow, HostRow

ON = (PowerState.RUNNING, PowerState.PAUSED)


def domain_states(facts: Mapping[str, Any]) -> dict[str, str]:
    """Returns uuid -> state of the domains that a host's facts show."""
    return {str(domain["uuid"]): str(domain["state"]) for domain in facts.get("domains") or ()}


def copies_elsewhere(uuid: str, home: str | None, domains: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    """Returns (host, state) for every host but `home` that shows the guest running or paused, by host.

    `domains` maps a host to its domains, uuid -> state.
    """
    found = {host: states.get(uuid) for host, states in domains.items() if host != home}
    return [(host, str(state)) for host, state in sorted(found.items()) if state in ON]


def refuse_copies(hosts: Iterable[HostRow], rows: Iterable[GuestRow]) -> None:
    """Raises Conflict for every guest that another host than its own showed running or paused when it last answered."""
    domains = {host.name: domain_states(host.facts or {}) for host in hosts}
    lines = [
        f"guest {row.name} is {state} on host {host} and recorded on {row.host or 'none'}; allowed: one host"
        for row in rows
        for host, state in copies_elsewhere(row.uuid, row.host, domains)
    ]
    if lines:
        raise Conflict(
            lines[0] if len(lines) == 1 else f"{len(lines)} copies of guests are on other hosts than recorded",
            details=() if len(lines) == 1 else tuple(lines),
            hint="`berth sync` looks again. Was it moved there? `virsh undefine` it on the recorded host, then "
            "`berth doctor --fix`. Is it not wanted there? `virsh destroy` it there, then `berth sync`. "
            "If that host never returns: --host-is-gone HOST",
            data={"copies": lines},
        )
