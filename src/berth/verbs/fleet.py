# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet as every host must know it: names, addresses to migrate over, and certificate names. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from berth.errors import InvalidInput, Problem


def fleet_members(
    names: Sequence[str],
    hostvars: Mapping[str, Mapping[str, Any]],
    asked: Sequence[str],
    resolve: Callable[[str], str | None],
) -> list[dict[str, Any]]:
    """Returns the hosts in order, each as `name`, `address`, `certificate_name`, and the `names` and `addresses` that
    its certificates carry: all from the inventory, but for the address where only the host itself could tell it.

    The address is `berth_migration_address`, else `ansible_host` if that is an address, else what the host said of its
    default route, else, of a host that said nothing, what `resolve` makes of its name. One of the `asked` hosts without
    any has None: it is down or has no network, and the others must not wait for it. Raises InvalidInput naming every
    host without one that was not asked.
    """
    members, problems = [], []
    for name in names:
        variables = hostvars[name]
        address = migration_address(variables)
        if address is None and not variables.get("ansible_facts"):
            address = resolve(str(variables.get("ansible_host") or name))
        if address is None and name not in asked:
            problems.append(Problem(f"host {name}", "no migration address is known"))
            continue
        members.append(_member(name, address, variables))
    if problems:
        raise InvalidInput.from_problems(
            "the fleet", problems, hint="set berth_migration_address for them in the inventory, or run without --limit"
        )
    return members


def _member(name: str, address: str | None, variables: Mapping[str, Any]) -> dict[str, Any]:
    certificate_name = str(variables.get("berth_host_certificate_name") or name)
    extra = [str(each) for each in variables.get("berth_host_certificate_names") or []]
    said = [certificate_name, name, str(variables.get("ansible_host") or name), *([address] if address else []), *extra]
    addresses = [each for each in said if _is_address(each)]
    return {
        "name": name,
        "address": address,
        "certificate_name": certificate_name,
        "names": list(dict.fromkeys(each for each in said if not _is_address(each))),
        # Hosts behind forwarded ports share a loopback address: it names none of them.
        "addresses": [
            each for each in dict.fromkeys(addresses) if each == address or not ipaddress.ip_address(each).is_loopback
        ],
    }


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


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
