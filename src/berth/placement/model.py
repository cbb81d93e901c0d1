# SPDX-License-Identifier: GPL-3.0-or-later
"""What placement is told: hosts with their guests and aggregates, and the guests to place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from berth.placement.devices import NumaCell, PciDevice
from berth.placement.numa_request import dedicated_count
from berth.placement.pinning import NO_PINS, Pins
from berth.units import MIB_PER_GIB

DEFAULT_PROJECT = "default"
LARGEST = 2**53  # of every amount and ratio: above it a float no longer counts every whole number


class Policy(StrEnum):
    """What a server group asks of its members' hosts."""

    AFFINITY = "affinity"
    ANTI_AFFINITY = "anti-affinity"
    SOFT_AFFINITY = "soft-affinity"
    SOFT_ANTI_AFFINITY = "soft-anti-affinity"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An inventory group that sets `berth_aggregate`; `metadata` is that map, values as text."""

    name: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GuestOnHost:
    """One guest that already has its place. `pins` is what it holds of CPUs, pages and devices."""

    uuid: str
    name: str = ""
    project: str = DEFAULT_PROJECT
    flavor: str = ""
    image: str = ""
    group: str | None = None
    state: str = "running"
    vcpus: int = 0
    memory_mib: int = 0
    disk_mib: int = 0
    image_properties: Mapping[str, Any] = field(default_factory=dict)
    pins: Pins = NO_PINS


@dataclass(frozen=True, slots=True)
class Host:
    """One compute host: what it has, what is booked on it, and what is said about it.

    `*_used` is the sum of what is booked, without the reserve. `facts_at` is the controller's time of the
    facts, None when there never were any. `facts_problem` says why its facts or its variables cannot be used.
    `quarantined` is the reason for which nothing may be placed, even by force. `facts` is the JSON of
    docs/data.md, section 1. `supported_instances` are triples of architecture, hypervisor type and mode.
    `numa_cells` and `pci_devices` are what guests may have of the host's. Ratios are 4.0, 1.0 and 1.0 unless
    set, as Nova starts with.
    """

    name: str
    enabled: bool = True
    disabled_reason: str = ""
    reachable: bool = True
    unreachable_reason: str = ""
    quarantined: str = ""
    facts_at: float | None = None
    facts_problem: str = ""
    vcpus_total: int = 0
    memory_mib_total: int = 0
    disk_mib_total: int = 0
    vcpus_used: int = 0
    memory_mib_used: int = 0
    disk_mib_used: int = 0
    disk_free_mib_measured: int | None = None
    cpu_allocation_ratio: float = 4.0
    ram_allocation_ratio: float = 1.0
    disk_allocation_ratio: float = 1.0
    reserved_host_cpus: int = 0
    reserved_host_memory_mib: int = 512
    reserved_host_disk_mib: int = 0
    availability_zone: str | None = None
    aggregates: tuple[Aggregate, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    address: str = ""
    guests: tuple[GuestOnHost, ...] = ()
    num_io_ops: int = 0
    failed_builds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    hypervisor_version: int | None = None
    supported_instances: tuple[tuple[str, str, str], ...] = ()
    traits: frozenset[str] = frozenset()
    numa_cells: tuple[NumaCell, ...] = ()
    pci_devices: tuple[PciDevice, ...] = ()

    @property
    def limits(self) -> Needs:
        """Returns what guests may use in all: floor((total - reserved) * ratio) of each resource, LARGEST at most."""
        return Needs(
            vcpus=_limit(self.vcpus_total - self.reserved_host_cpus, self.cpu_allocation_ratio),
            memory_mib=_limit(self.memory_mib_total - self.reserved_host_memory_mib, self.ram_allocation_ratio),
            disk_mib=_limit(self.disk_mib_total - self.reserved_host_disk_mib, self.disk_allocation_ratio),
        )


def _limit(free: int, ratio: float) -> int:
    return math.floor(max(-LARGEST, min(free * ratio, LARGEST)))


@dataclass(frozen=True, slots=True)
class ServerGroup:
    """A server group. `members` maps the UUID of each member that has a place to its host's name."""

    name: str
    policy: Policy
    members: Mapping[str, str] = field(default_factory=dict)
    max_server_per_host: int = 1


@dataclass(frozen=True, slots=True)
class Needs:
    """Amounts of the three resources that are booked."""

    vcpus: int
    memory_mib: int
    disk_mib: int


@dataclass(frozen=True, slots=True)
class GuestRequest:
    """One guest to place.

    `disk_gib` is the root disk's real size (the image's own size where the flavor says 0). `force_host` is
    the `HOST` of `AZ:HOST`: it skips the profile's filters. `destination` names a host and skips nothing.
    `current_host` is where a guest that moves lives now. `hints` are Nova's scheduler hints.
    """

    uuid: str
    name: str
    vcpus: int
    memory_mib: int
    disk_gib: int = 0
    ephemeral_gib: int = 0
    swap_mib: int = 0
    project: str = DEFAULT_PROJECT
    flavor: str = ""
    image: str = ""
    image_properties: Mapping[str, Any] = field(default_factory=dict)
    extra_specs: Mapping[str, str] = field(default_factory=dict)
    availability_zone: str | None = None
    group: ServerGroup | None = None
    force_host: str | None = None
    ignore_hosts: tuple[str, ...] = ()
    tried_hosts: tuple[str, ...] = ()
    destination: str | None = None
    current_host: str | None = None
    hints: Mapping[str, Any] = field(default_factory=dict)

    @property
    def disk_mib(self) -> int:
        """Returns the flavor's disk to the MiB: root, ephemeral and swap."""
        return (self.disk_gib + self.ephemeral_gib) * MIB_PER_GIB + self.swap_mib

    @property
    def needs(self) -> Needs:
        """Returns what is booked: the flavor's amounts, or the extra specs' `resources:CLASS=n` where given.

        Swap counts in whole GiB, as in Nova's DISK_GB. Dedicated CPUs are pinned, not booked as vCPUs.
        The specs were checked by `check_requests`.
        """
        disk_gib = self.disk_gib + self.ephemeral_gib + -(-self.swap_mib // MIB_PER_GIB)
        specs = self.extra_specs
        if not specs and not self.image_properties:
            return Needs(self.vcpus, self.memory_mib, disk_gib * MIB_PER_GIB)
        return Needs(
            vcpus=int(
                specs.get("resources:VCPU", self.vcpus - dedicated_count(self.vcpus, specs, self.image_properties))
            ),
            memory_mib=int(specs.get("resources:MEMORY_MB", self.memory_mib)),
            disk_mib=int(specs.get("resources:DISK_GB", disk_gib)) * MIB_PER_GIB,
        )
