# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has that is counted one by one, read from its facts (docs/data.md, section 1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from berth.placement.devices import DEVICE_KINDS, NumaCell, PagePool, PciDevice

_HANDED_OVER = "vfio-pci"


def numa_cells(facts: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[NumaCell, ...]:
    """Returns the host's NUMA cells, in the order of their ids.

    `shared_cpus` and `dedicated_cpus` of the settings say which CPUs floating and pinned guests get. Only
    dedicated given: the others are shared. Neither: all are shared and none is dedicated.
    """
    dedicated = settings.get("dedicated_cpus", frozenset())
    shared = settings.get("shared_cpus")
    reserved = settings.get("reserved_pages", {})
    found = []
    for cell in facts.get("numa_cells") or ():
        cpus = frozenset(cpu["id"] for cpu in cell.get("cpus") or ())
        sockets = {cpu.get("socket_id") for cpu in cell.get("cpus") or ()}
        siblings = {frozenset(cpu.get("siblings") or (cpu["id"],)) & cpus for cpu in cell.get("cpus") or ()}
        pools = (
            PagePool(pool["size_kib"], pool["total"], reserved.get((cell["id"], pool["size_kib"]), 0))
            for pool in cell.get("pages") or ()
        )
        found.append(
            NumaCell(
                id=cell["id"],
                memory_mib=cell.get("memory_mib") or 0,
                shared_cpus=(cpus & shared if shared is not None else cpus - dedicated),
                dedicated_cpus=cpus & dedicated,
                siblings=tuple(sorted(siblings, key=min)),
                pages=tuple(sorted((pool for pool in pools if pool.total), key=lambda pool: pool.size_kib)),
                socket=sockets.pop() if len(sockets) == 1 else None,
            )
        )
    return tuple(sorted(found, key=lambda cell: cell.id))


def pci_devices(facts: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[PciDevice, ...]:
    """Returns the devices that guests may have: those bound to vfio-pci, and those that the settings name.

    Raises ValueError for an address that two of them have.
    """
    named = settings.get("pci_passthrough", ())
    found = []
    for device in facts.get("pci_devices") or ():
        listed = any(all(_plain(device.get(key)) == _plain(word) for key, word in entry.items()) for entry in named)
        if listed or device.get("driver") == _HANDED_OVER:
            found.append(
                PciDevice(
                    address=str(device["address"]),
                    vendor_id=_plain(device.get("vendor_id")),
                    product_id=_plain(device.get("product_id")),
                    numa_node=_node(device.get("numa_node")),
                    kind=str(device.get("kind") or DEVICE_KINDS[0]),
                    physical_function=str(device.get("physical_function") or "") or None,
                )
            )
    addresses = Counter(device.address for device in found)
    for address, count in addresses.items():
        if count > 1:
            raise ValueError(f"address {address} is there twice")
    return tuple(sorted(found, key=lambda device: device.address))


def _node(value: Any) -> int | None:
    if value is not None and type(value) is not int:
        raise ValueError(f"numa_node is {value!r}")
    return value


def _plain(word: Any) -> str:
    return str(word or "").lower().removeprefix("0x")


def supported_instances(facts: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """Returns what the host can run: triples of architecture, hypervisor type and mode."""
    architecture = facts.get("architecture")
    if not architecture:
        return ()
    kinds = ["qemu"]
    if (facts.get("virtualization") or {}).get("kvm_works"):
        kinds.insert(0, "kvm")
    architectures = [str(architecture), *(["i686"] if architecture == "x86_64" else [])]
    return tuple((name, kind, "hvm") for name in architectures for kind in kinds)


def traits(facts: Mapping[str, Any], settings: Mapping[str, Any]) -> frozenset[str]:
    """Returns the host's traits: its variable's, and those of its CPU under the names of os-traits."""
    cpu = facts.get("cpu") or {}
    found = set(settings.get("traits", ()))
    if facts.get("architecture") == "x86_64":
        found.update(f"HW_CPU_X86_{_trait_word(feature)}" for feature in cpu.get("features") or ())
    if (cpu.get("threads") or 1) > 1:
        found.add("HW_CPU_HYPERTHREADING")
    return frozenset(found)


def _trait_word(feature: Any) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in str(feature).upper())
