# SPDX-License-Identifier: GPL-3.0-or-later
"""The domains of a host with their resources and the record that Berth left in them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from typing import Any, Dict, List, Optional, Set

from ansible_collections.berth.kvm.plugins.module_utils.host_libvirt import cpu_list, each, parse, pci_address
from ansible_collections.berth.kvm.plugins.module_utils.host_storage import disk_capacity_mib

try:
    import libvirt
except ImportError:
    libvirt = None

Element = ElementTree.Element
RECORD = "{urn:berth:guest:1}guest"
# virDomainState of libvirt-domain.h, in the words of the facts. A guest that shuts down still uses its memory.
STATES = dict(enumerate("nostate running running paused running shutdown crashed suspended".split()))
# "Domain XML format", Memory Allocation: units of 1000 and of 1024.
UNITS = {"b": 1, "bytes": 1}
for _power, _letter in enumerate("kmgt", start=1):
    UNITS.update({_letter: 1024**_power, _letter + "ib": 1024**_power, _letter + "b": 1000**_power})
MIB = 1024 * 1024


def domains(connection: Any) -> List[Dict[str, Any]]:
    """Returns the part `domains` of the facts: what each domain has when it starts next time, by name.

    From the inactive XML, so that a pending change counts. Not from getAllDomainStats: that takes milliseconds for
    each running domain, this takes one tenth of one.
    """
    found = each(connection.listAllDomains(0), _domain)
    return sorted(found, key=lambda domain: domain["name"])


def _domain(domain: Any) -> Dict[str, Any]:
    persistent = bool(domain.isPersistent())
    found = {
        "uuid": domain.UUIDString(),
        "name": domain.name(),
        "state": STATES.get(domain.state(0)[0], "nostate"),
        "persistent": persistent,
        "autostart": bool(domain.autostart()) if persistent else False,
        **described(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)),
    }
    if found["record"] is None and domain.isActive():
        # Others attach devices and pin CPUs for now only, and take network cards from a pool of functions.
        now = exclusive(parse(domain.XMLDesc(0)))
        found.update({key: sorted({*found[key], *now[key]}) for key in now})
    return found


def described(xml: str) -> Dict[str, Any]:
    """Returns what a domain's XML says: vcpus and memory_mib at their most, disks, macs, what it pins, record."""
    root = parse(xml)
    return {
        "vcpus": int(root.findtext("vcpu") or 1),
        "memory_mib": _memory_mib(root.find("memory")),
        "disks": [_disk(disk) for disk in root.iterfind("devices/disk") if disk.get("device", "disk") == "disk"],
        "macs": [mac.get("address") for mac in root.iterfind("devices/interface/mac")],
        **exclusive(root),
        "record": _record(root),
    }


def exclusive(root: Element) -> Dict[str, Any]:
    """Returns what of its host a domain has for itself alone: PCI devices and CPUs."""
    return {
        "pci_addresses": sorted(_pci_addresses(root)),
        "pinned_cpus": sorted(_pinned_cpus(root, _record(root))),
    }


def _pci_addresses(root: Element) -> Set[str]:
    """Returns the host's devices that the domain gets: as they are, as its network cards, or as its NVMe disks."""
    paths = ("hostdev[@type='pci']", "interface", "disk[@type='nvme']")
    found = [address for path in paths for address in root.iterfind("devices/" + path + "/source/address")]
    return {pci_address(address.get) for address in found if address.get("type", "pci") == "pci"}


def _pinned_cpus(root: Element, record: Optional[Dict[str, Any]]) -> Set[int]:
    """Returns the host's CPUs that are the domain's alone.

    A guest's record says which those are; with no record it is each CPU that is all a vCPU may run on. Source: "Domain
    XML format", CPU Allocation: where a vCPU has no vcpupin, the cpuset of `vcpu` counts.
    """
    try:
        pins = (record or {}).get("pins") or {}
        cells = pins.get("cells") or []
        held = [cpu for cell in cells for cpu in [*(cell.get("cpus") or {}).values(), *(cell.get("blocked") or [])]]
        if record is not None:
            return {int(cpu) for cpu in [*held, *(pins.get("emulator_cpus") or [])]}
    except (AttributeError, OverflowError, TypeError, ValueError):
        pass  # edited by hand
    lists = [cpu_list(pin.get("cpuset", "")) for pin in root.iterfind("cputune/vcpupin")]
    vcpu = root.find("vcpu")
    if vcpu is not None and len(lists) < int(vcpu.text or 1):
        lists.append(cpu_list(vcpu.get("cpuset", "")))
    return {cpus[0] for cpus in lists if len(cpus) == 1}


def _memory_mib(memory: Optional[Element]) -> Optional[int]:
    if memory is None or not memory.text:
        return None
    return -(-int(memory.text) * UNITS[memory.get("unit", "KiB").lower()] // MIB)


def _disk(disk: Element) -> Dict[str, Any]:
    source, driver, target = disk.find("source"), disk.find("driver"), disk.find("target")
    path = None if source is None else source.get("file") or source.get("dev")
    # An undeclared format is raw: libvirt has not probed content since CVE-2010-2237.
    disk_format = "raw" if driver is None else driver.get("type", "raw")
    return {
        "target": None if target is None else target.get("dev"),
        "path": path,
        "format": disk_format,
        "capacity_mib": disk_capacity_mib(path, disk_format),
    }


def _record(root: Element) -> Optional[Dict[str, Any]]:
    element = root.find("metadata/" + RECORD)
    if element is None:
        return None
    try:
        record = json.loads(element.text or "")
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
