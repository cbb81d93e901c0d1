# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host is shown: the stable JSON of `berth host list` and `berth host show` (docs/cli.md)."""

from __future__ import annotations

import time
from typing import Any

from berth.ledger.rows import HostRow, Usage
from berth.ledger.store import Ledger
from berth.verbs.guest_view import timestamp

NO_USAGE = Usage()


def host_views(ledger: Ledger) -> list[dict[str, Any]]:
    """Returns all hosts as `berth host list` shows them."""
    usage = ledger.usage()
    return [host_view(row, usage.get(row.name, NO_USAGE)) for row in ledger.hosts()]


def host_state(row: HostRow) -> str:
    """Returns the host's state in one word: the first thing that keeps guests away, else `enabled`."""
    if not row.in_inventory:
        return "gone"
    if row.quarantine:
        return "quarantined"
    if row.unreachable_message is not None:
        return "unreachable"
    if row.facts is None:
        return "unknown"
    return "enabled" if row.enabled else "disabled"


def host_view(row: HostRow, usage: Usage) -> dict[str, Any]:
    """Returns a host as `berth host list` shows it: claimed of total for each resource."""
    facts = row.facts or {}
    total = {
        "vcpus": (facts.get("cpu") or {}).get("total"),
        "memory_mib": facts.get("memory_mib"),
        "disk_mib": (facts.get("storage") or {}).get("disk_total_mib"),
    }
    return {
        "name": row.name,
        "state": host_state(row),
        "zone": row.variables.get("berth_availability_zone"),
        "domain_type": (facts.get("virtualization") or {}).get("domain_type"),
        "guests": usage.guests,
        **{key: f"{getattr(usage, key)}/{'?' if most is None else most}" for key, most in total.items()},
        "facts_age": None if row.facts_at is None else _age(time.time() - row.facts_at),
    }


def host_details(ledger: Ledger, name: str) -> dict[str, Any]:
    """Returns a host as `berth host show` shows it. Raises NotFound."""
    row = ledger.host(name)
    aggregates = ledger.aggregates()
    facts = {key: value for key, value in (row.facts or {}).items() if key not in ("domains", "pci_devices")}
    return {
        **host_view(row, ledger.usage().get(name, NO_USAGE)),
        "enabled": row.enabled,
        "disabled_reason": row.disabled_reason or None,
        "quarantine": row.quarantine or None,
        "unreachable": row.unreachable_message,
        "facts_at": timestamp(row.facts_at),
        "groups": list(row.groups),
        "aggregates": {group: aggregates[group] for group in row.groups if group in aggregates},
        "variables": row.variables,
        "guest_names": [guest.name for guest in ledger.guests(host=name)],
        "facts": facts,
    }


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
