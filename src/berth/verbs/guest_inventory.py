# SPDX-License-Identifier: GPL-3.0-or-later
"""Running guests as hosts of an inventory: their variables and the groups they are in. Pure but for the key files."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth.access import Route, guest_route, ssh_options
from berth.errors import BerthError
from berth.ledger.model import PowerState, VmState
from berth.ledger.rows import GuestRow, HostRow

ALL_GUESTS = "guests"
_OFF = (PowerState.SHUTDOWN, PowerState.CRASHED)


@dataclass(frozen=True)
class GuestHost:
    """One guest as an inventory host. `groups` still need to be made safe as group names."""

    name: str
    variables: Mapping[str, Any]
    groups: tuple[str, ...]


@dataclass(frozen=True)
class GuestInventory:
    """The running guests that can be reached, and why the other running ones cannot."""

    hosts: tuple[GuestHost, ...]
    left_out: tuple[str, ...]


def guest_inventory(
    guests: Iterable[GuestRow],
    hosts: Iterable[HostRow],
    known_hosts: Callable[[Route], Path],
    launcher: Sequence[str] = (),
) -> GuestInventory:
    """Returns the active guests that are on, by name. `known_hosts` gives the file with a guest's host key.

    `launcher` are words that start a jump (see ssh_options).
    """
    by_name = {host.name: host for host in hosts}
    found, left_out = [], []
    for guest in guests:
        if guest.vm_state is not VmState.ACTIVE or guest.power_state in _OFF or guest.host not in by_name:
            continue
        host = by_name[guest.host]
        try:
            route = guest_route(guest, host)
        except BerthError as error:
            left_out.append(error.message)
            continue
        options = ssh_options(route, known_hosts(route), launcher=launcher)
        found.append(GuestHost(_name(guest), _variables(guest, host, route, options), _groups(guest, host)))
    return GuestInventory(tuple(sorted(found, key=lambda each: each.name)), tuple(left_out))


def _name(guest: GuestRow) -> str:
    """Returns the libvirt name: unique over all projects, as inventory names must be."""
    return str(guest.plan.get("domain_name") or guest.name)


def _variables(guest: GuestRow, host: HostRow, route: Route, options: Sequence[str]) -> dict[str, Any]:
    interfaces = guest.plan.get("networks") or []
    return {
        "ansible_host": route.host,
        "ansible_port": route.port,
        "ansible_user": route.user,
        "ansible_ssh_common_args": shlex.join(options),
        # By default connections are shared by address, port and user: on another host the same are another guest.
        "ansible_control_path": f"%(directory)s/berth-{guest.uuid.replace('-', '')[:12]}-%%r",
        "berth_uuid": guest.uuid,
        "berth_name": guest.name,
        "berth_project": guest.project,
        "berth_host": guest.host,
        "berth_flavor": guest.flavor,
        "berth_image": guest.image,
        "berth_zone": _zone(host),
        "berth_metadata": dict(guest.metadata),
        "berth_addresses": [interface["address"] for interface in interfaces if interface.get("address")],
        "berth_vcpus": guest.vcpus,
        "berth_memory_mib": guest.memory_mib,
    }


def _groups(guest: GuestRow, host: HostRow) -> tuple[str, ...]:
    named = {"project": guest.project, "host": guest.host, "flavor": guest.flavor, "zone": _zone(host)}
    groups = [f"{kind}_{value}" for kind, value in named.items() if value]
    return (ALL_GUESTS, *groups, *(f"meta_{key}_{value}" for key, value in sorted(guest.metadata.items())))


def _zone(host: HostRow) -> str | None:
    zone = host.variables.get("berth_availability_zone")
    return str(zone) if zone else None
