# SPDX-License-Identifier: GPL-3.0-or-later
"""Which PCI devices a guest asks for (`pci_passthrough:alias` = "gpu:2,nic:1") and which of a host's it gets."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from typing import Any

from berth.placement.devices import DEVICE_KINDS, PciDevice
from berth.placement.model import Host
from berth.placement.reasons import Code, Reason

ALIAS_SPEC = "pci_passthrough:alias"
NUMA_POLICIES = ("legacy", "required", "preferred", "socket")


@dataclass(frozen=True, slots=True)
class PciAlias:
    """A name for a kind of device. `numa_policy` says how near to the guest's cells it must be.

    required: in one of the guest's cells. legacy: there, or where the host does not know. preferred: there if
    possible. socket: in a cell of the same socket. Only guests with a NUMA topology care.
    """

    name: str
    vendor_id: str
    product_id: str
    kind: str = DEVICE_KINDS[0]
    numa_policy: str = "legacy"

    def matches(self, device: PciDevice) -> bool:
        """Returns whether the device is one of these."""
        return (device.vendor_id, device.product_id, device.kind) == (self.vendor_id, self.product_id, self.kind)


@dataclass(frozen=True, slots=True)
class PciRequest:
    """How many devices of one alias."""

    alias: PciAlias
    count: int
    numa_policy: str


def pci_requests(
    specs: Mapping[str, Any], properties: Mapping[str, Any], aliases: Mapping[str, PciAlias]
) -> tuple[PciRequest, ...]:
    """Returns the devices asked for, in order.

    Raises ValueError for a policy or an alias that is unknown, or a count that is none.
    """
    text = specs.get(ALIAS_SPEC)
    policy = specs.get("hw:pci_numa_affinity_policy") or properties.get("hw_pci_numa_affinity_policy")
    if policy and policy not in NUMA_POLICIES:
        raise ValueError(f"hw:pci_numa_affinity_policy: found {policy!r}, allowed: {', '.join(NUMA_POLICIES)}")
    if text is None:
        return ()
    found = []
    for part in str(text).split(","):
        name, _, count = part.strip().partition(":")
        alias = aliases.get(name.strip())
        if alias is None:
            known = ", ".join(sorted(aliases)) or "none: the profile's pci_aliases is empty"
            raise ValueError(f"{ALIAS_SPEC}: unknown alias {name.strip()!r}; known: {known}")
        if not count.strip().isdecimal() or int(count) < 1:
            raise ValueError(f"{ALIAS_SPEC}: found {part.strip()!r}, allowed: NAME:COUNT with a count of 1 or more")
        found.append(PciRequest(alias, int(count), str(policy or alias.numa_policy)))
    return tuple(found)


def free_devices(devices: Collection[PciDevice], taken: Set[str]) -> list[PciDevice]:
    """Returns the devices that a guest may get while others have those at the addresses `taken`.

    Who has a physical function has its virtual functions with it, and who has one of those keeps the whole from others:
    nova/objects/pci_device.py, where a claim makes them unclaimable.
    """
    broken = {device.physical_function for device in devices if device.address in taken}
    gone = taken | broken
    return [each for each in devices if each.address not in gone and each.physical_function not in taken]


def choose_devices(
    host: Host, taken: Set[str], requests: tuple[PciRequest, ...], cells: Set[int] | None
) -> tuple[str, ...] | Reason:
    """Returns the addresses of the devices, in the order asked for, or what is short.

    `cells` are the host cells that the guest's cells lie on, None for a guest without a topology.
    """
    gone = set(taken)
    chosen: list[str] = []
    for request in requests:
        free = sorted(
            (device for device in free_devices(host.pci_devices, gone) if request.alias.matches(device)),
            key=lambda device: device.address,
        )
        near = _near(host, free, request, cells)
        if len(near) < request.count:
            where = "" if len(near) == len(free) else f" near enough ({request.numa_policy}) of {len(free)}"
            text = f"PCI {request.alias.name}: need {request.count}, have {len(near)}{where}"
            return Reason(Code.PCI, text, len(near), request.count, "devices")
        addresses = [device.address for device in near[: request.count]]
        gone.update(addresses)
        chosen.extend(addresses)
    return tuple(chosen)


def _near(host: Host, free: list[PciDevice], request: PciRequest, cells: Set[int] | None) -> list[PciDevice]:
    if not cells:
        return free
    inside = [device for device in free if device.numa_node in cells]
    if request.numa_policy == "required" or len(inside) >= request.count:
        return inside
    if request.numa_policy == "socket":
        sockets = {cell.socket for cell in host.numa_cells if cell.id in cells}
        if any(cell.socket is None for cell in host.numa_cells):
            return []
        allowed = {cell.id for cell in host.numa_cells if cell.socket in sockets}
        return [device for device in free if device.numa_node in allowed]
    unknown = [device for device in free if device.numa_node is None]
    if request.numa_policy == "legacy" or len(inside) + len(unknown) >= request.count:
        return [*inside, *unknown]
    rest = [device for device in free if device.numa_node is not None and device.numa_node not in cells]
    return [*inside, *unknown, *rest]
