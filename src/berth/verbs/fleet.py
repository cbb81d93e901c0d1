# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet as every host must know it: names, addresses to migrate over, and certificate names. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from berth.errors import InvalidInput, Problem


def fleet_members(names: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Returns the hosts in order, each as name, address and certificate_name.

    The address is `berth_migration_address`, else `ansible_host` if that is an address, else what the host said of its
    default route (only known of hosts in this run). Raises InvalidInput naming every host without one.
    """
    members, problems = [], []
    for name in names:
        variables = hostvars[name]
        address = migration_address(variables)
        if address is None:
            problems.append(Problem(f"host {name}", "no migration address is known"))
            continue
        certificate_name = str(variables.get("berth_host_certificate_name") or name)
        members.append({"name": name, "address": address, "certificate_name": certificate_name})
    if problems:
        raise InvalidInput.from_problems(
            "the fleet", problems, hint="set berth_migration_address for them in the inventory, or run without --limit"
        )
    return members


def migration_address(variables: Mapping[str, Any]) -> str | None:
    """Returns a host's address for connections between hosts, from its variables, or None."""
    facts = variables.get("ansible_facts") or {}
    default = {**(facts.get("default_ipv6") or {}), **(facts.get("default_ipv4") or {})}
    for candidate in (variables.get("berth_migration_address"), variables.get("ansible_host"), default.get("address")):
        try:
            return str(ipaddress.ip_address(str(candidate)))
        except ValueError:
            continue
    return None


def uri_host(address: str) -> str:
    """Returns an address as it stands in a URI: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address
