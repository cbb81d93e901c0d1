# SPDX-License-Identifier: GPL-3.0-or-later
"""A thousand guests whose place depends on where the others are, or on what a host has one by one.

Ten kinds in turn: the four group policies, `different_host` and `same_host` of the first two guests, two NUMA cells,
dedicated CPUs, a PCI device, and nothing at all. One rack of the fleet has the cells and devices; each of its hosts
costs a call per kind that asks for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from berth.placement import Fleet, GuestRequest, Host, Options, Policy, Profile, ServerGroup, build_fleet
from berth.placement.devices import NumaCell, PciDevice
from berth.placement.pci import PciAlias

PROFILE = Profile(options=Options(pci_aliases={"gpu": PciAlias("gpu", "10de", "1eb8")}))
CELLS = tuple(
    NumaCell(cell, 128 * 1024, frozenset(range(cell, 32, 2)), frozenset(range(32 + cell, 64, 2))) for cell in (0, 1)
)
GPUS = tuple(PciDevice(f"0000:0{cell}:00.0", "10de", "1eb8", cell) for cell in (0, 1))


def fleet(hosts: Sequence[Host], racks: int) -> Fleet:
    """Returns the hosts, those of one rack with two NUMA cells and two devices."""
    return build_fleet(
        host if number % racks else replace(host, numa_cells=CELLS, pci_devices=GPUS)
        for number, host in enumerate(hosts)
    )


def requests() -> list[GuestRequest]:
    """Returns the guests; those of one kind ask for the same."""
    groups = [ServerGroup(policy.value, policy) for policy in Policy]
    kinds: list[dict[str, Any]] = [
        *({"group": group} for group in groups),
        {"hints": {"different_host": ["u0", "u1"]}},
        {"hints": {"same_host": ["u0", "u1"]}},
        {"extra_specs": {"hw:numa_nodes": "2"}},
        {"extra_specs": {"hw:cpu_policy": "dedicated"}},
        {"extra_specs": {"pci_passthrough:alias": "gpu:1"}},
        {},
    ]
    return [
        GuestRequest(uuid=f"u{n}", name=f"u{n}", flavor="small", vcpus=2, memory_mib=1024, disk_gib=10, **kinds[n % 10])
        for n in range(1000)
    ]
