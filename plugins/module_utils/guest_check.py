# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own check, under its lock, before anything is made: what is really there has the last word."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
from typing import Any, Dict, Iterable, List, Mapping, Optional, Set, Tuple

from ansible_collections.berth.kvm.plugins.module_utils.guest_definition import (
    AFFINITY,
    ANTI_AFFINITY,
    MIB_PER_GIB,
    Definition,
)
from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import HOST, REQUEST, GuestFailure
from ansible_collections.berth.kvm.plugins.module_utils.guest_files import (
    check_disk_size,
    free_mib,
    image_size_bytes,
)
from ansible_collections.berth.kvm.plugins.module_utils.host_domains import domains, exclusive

# Stays free on the instances' file system: a new overlay takes some 200 KiB, a seed 400 KiB.
DISK_MARGIN_MIB = 256
# What only one domain of a host can have: the key of a domain's facts, the reason, and the word for it.
_EXCLUSIVE = (("pci_addresses", "pci", "PCI device"), ("pinned_cpus", "cpus", "pinned CPU"))
PCI_DEVICES = "/sys/bus/pci/devices"
_UNITS = {"vcpus": "", "memory_mib": " MiB", "disk_mib": " MiB"}
_REASONS = {"vcpus": "vcpus", "memory_mib": "memory", "disk_mib": "disk"}
# The network cards of user-mode networks that are forwarded are given to QEMU as arguments.
_MAC_ARGUMENT = re.compile(r"(?:^|,)mac=([0-9A-Fa-f:]{17})(?:,|$)")
_QEMU_ARGUMENT = (
    "{http://libvirt.org/schemas/domain/qemu/1.0}commandline/{http://libvirt.org/schemas/domain/qemu/1.0}arg"
)

Domain = Dict[str, Any]


class Presence:
    """The domains that are defined on this host. Guests that pass the check are counted too."""

    def __init__(self, found: List[Domain]) -> None:
        self.domains = found
        self._image_sizes: Dict[str, int] = {}

    @classmethod
    def read(cls, connection: Any) -> Presence:
        """Returns what is there now."""
        return cls(domains(connection))

    def find(self, uuid: str) -> Optional[Domain]:
        """Returns the domain of that UUID, None without one."""
        return next((domain for domain in self.domains if domain["uuid"] == uuid), None)

    def check(self, guest: Definition) -> None:
        """Returns when the guest can be defined here, and counts it from then on. Raises GuestFailure."""
        mine = self.find(guest.uuid)
        others = [domain for domain in self.domains if domain["uuid"] != guest.uuid]
        macs = macs_of(guest.xml)
        if mine is not None:
            _check_mine(guest, mine)
        _check_name(guest, others)
        _check_macs(guest, macs, others)
        check_room(guest, others)
        pins = exclusive(ElementTree.fromstring(guest.xml))  # noqa: S314  what we rendered
        has = mine or {}
        check_pins(guest, {key: [one for one in pins[key] if one not in has.get(key, ())] for key in pins}, others)
        if guest.group is not None:
            _check_group(guest, guest.group, others)
        if mine is None:
            self._check_images(guest)
            _check_free_space(guest)
        self.domains = [*others, {**_counted(guest, macs), **pins}]

    def _check_images(self, guest: Definition) -> None:
        for disk in guest.disks:
            if disk.backing_path not in self._image_sizes:
                self._image_sizes[disk.backing_path] = image_size_bytes(guest, disk)
            check_disk_size(guest, disk, self._image_sizes[disk.backing_path])


def check_room(guest: Definition, others: List[Domain]) -> None:
    """Returns when what the other domains take leaves room for the guest. Raises GuestFailure."""
    asked = {"vcpus": guest.vcpus, "memory_mib": guest.memory_mib, "disk_mib": guest.disk_mib}
    taken = [_taken(domain, os.path.dirname(guest.folder)) for domain in others]
    for amount, wanted in asked.items():
        limit = guest.limits.get(amount)
        used = sum(amounts[amount] for amounts in taken)
        if limit is not None and used + wanted > limit:
            unit = _UNITS[amount]
            raise GuestFailure(
                _REASONS[amount],
                f"guest {guest.name}: {_REASONS[amount]} {wanted}{unit} does not fit: the other domains of this host "
                f"take {used}{unit} of {limit}{unit}",
            )


def check_pins(guest: Definition, pins: Mapping[str, List[Any]], others: List[Domain]) -> None:
    """Returns when no other domain has what the guest is to have for itself. Raises GuestFailure.

    Of a PCI device with SR-IOV other domains must have no function, and of a function not the device.
    """
    for domain in filter(_counts, others):
        for key, reason, word in _EXCLUSIVE:
            wanted, taken = set(pins[key]), set(domain[key])
            both = wanted & taken
            if key == "pci_addresses" and wanted and taken:
                functions = physical_functions(wanted), physical_functions(taken)
                both |= {one for one in wanted if functions[0].get(one) in taken or one in functions[1].values()}
            if both:
                theirs = domain["record"] is None
                cure = (
                    "tells placement what others pin" if theirs else "and `berth doctor` tell whether it is left over"
                )
                raise GuestFailure(
                    reason,
                    f"guest {guest.name}: {word} {min(both)} of this host is domain {domain['name']}'s; "
                    f"`berth host refresh` {cure}",
                )


def physical_functions(addresses: Iterable[str]) -> Dict[str, str]:
    """Returns which of these PCI devices are virtual functions, each with the device it belongs to."""
    found = {}
    for address in addresses:
        try:
            found[address] = os.path.basename(os.readlink(os.path.join(PCI_DEVICES, address, "physfn")))
        except OSError:
            continue  # it is none, or not there
    return found


def macs_of(xml: str) -> Set[str]:
    """Returns the MAC addresses of a domain, in lower case, those in QEMU's arguments included."""
    root = ElementTree.fromstring(xml)  # noqa: S314  libvirt's own words, or what we rendered
    found = {mac.get("address", "") for mac in root.iterfind("devices/interface/mac")}
    for argument in root.iterfind(_QEMU_ARGUMENT):
        found.update(_MAC_ARGUMENT.findall(argument.get("value", "")))
    return {mac.lower() for mac in found if mac}


def _counted(guest: Definition, macs: Set[str]) -> Domain:
    return {
        "uuid": guest.uuid,
        "name": guest.name,
        "persistent": True,
        "vcpus": guest.vcpus,
        "memory_mib": guest.memory_mib,
        "disks": [{"path": disk.path, "capacity_mib": disk.size_gib * MIB_PER_GIB} for disk in guest.disks],
        "macs": sorted(macs),
        "record": _record_of(guest),
    }


def _record_of(guest: Definition) -> Dict[str, Any]:
    """Returns as much of the record of a guest that is about to be defined as later guests of the call look at."""
    group = guest.group or {}
    return {"cloud": group.get("cloud"), "project": group.get("project"), "server_group": group.get("name")}


def _counts(domain: Domain) -> bool:
    """Returns whether what a domain is given is taken: guests keep it while they are off, other domains do not."""
    return domain["record"] is not None or domain["state"] != "shutdown"


def _taken(domain: Domain, instances_path: str) -> Dict[str, int]:
    """Returns what a domain takes of its host, by the rule of docs/placement.md that placement counts by as well."""
    counts = _counts(domain)
    inside = os.path.join(instances_path, "")
    here = [disk for disk in domain["disks"] if str(disk["path"]).startswith(inside)]
    return {
        "vcpus": int(domain["vcpus"] or 0) if counts else 0,
        "memory_mib": int(domain["memory_mib"] or 0) if counts else 0,
        "disk_mib": sum(int(disk["capacity_mib"] or 0) for disk in here),
    }


def _macs(domain: Domain) -> Set[str]:
    """Returns the MACs of a domain as the facts have it, with those that only its record knows."""
    recorded = [network.get("mac") for network in (domain["record"] or {}).get("networks") or []]
    return {str(mac).lower() for mac in [*domain["macs"], *recorded] if mac}


def _check_mine(guest: Definition, mine: Domain) -> None:
    if mine["record"] is None:
        raise GuestFailure(
            "uuid",
            f"guest {guest.name}: its UUID {guest.uuid} is that of domain {mine['name']} of this host, which "
            "has no record of Berth; nothing was changed",
            REQUEST,
        )
    if mine["name"] != guest.name:
        raise GuestFailure(
            "uuid",
            f"guest {guest.name}: its UUID {guest.uuid} is that of guest {mine['name']} of this host; "
            "nothing was changed",
            REQUEST,
        )
    missing = {disk.path for disk in guest.disks} - {disk["path"] for disk in mine["disks"]}
    if missing:
        raise GuestFailure(
            "disk",
            f"guest {guest.name}: it is here with other disks than {', '.join(sorted(missing))}; does "
            "berth_instances_path say another folder than when it was made? Nothing was changed",
            REQUEST,
        )
    if not mine["persistent"]:
        raise GuestFailure(
            "uuid",
            f"guest {guest.name}: it runs here without a definition, so something else started it; stop it first",
            REQUEST,
        )


def _check_name(guest: Definition, others: List[Domain]) -> None:
    for domain in others:
        if domain["name"] == guest.name:
            whose = "not Berth's" if domain["record"] is None else "a guest"
            raise GuestFailure(
                "name",
                f"guest {guest.name}: this host has a domain of that name, {whose}, UUID {domain['uuid']}; "
                "take another name, or remove that domain",
                REQUEST,
            )


def _check_macs(guest: Definition, macs: Set[str], others: List[Domain]) -> None:
    for domain in others:
        both = macs & _macs(domain)
        if both:
            raise GuestFailure(
                "mac",
                f"guest {guest.name}: domain {domain['name']} of this host has the MAC address {min(both)}; "
                "two guests cannot share one",
                REQUEST,
            )


def _check_group(guest: Definition, group: Mapping[str, Any], others: List[Domain]) -> None:
    """The ledger keeps groups' policies; this is for what it cannot know, such as guests that were moved by hand."""
    key = (group["cloud"], group["project"], group["name"])
    here = [domain for domain in others if _group_of(domain) == key]
    name = f"server group {group['name']}"
    if group["policy"] == ANTI_AFFINITY and len(here) >= group["max_server_per_host"]:
        names = ", ".join(domain["name"] for domain in here)
        raise GuestFailure(
            "group",
            f"guest {guest.name}: this host has {len(here)} of {name} already ({names}), "
            f"allowed: {group['max_server_per_host']}; `berth sync` tells who is not where the ledger has it",
        )
    members = set(group.get("members") or [])
    if group["policy"] == AFFINITY and members and not here:
        raise GuestFailure(
            "group",
            f"guest {guest.name}: {name} wants its {len(members)} guests on one host, and none of them is here; "
            "`berth sync` tells where they are",
        )


def _group_of(domain: Domain) -> Tuple[Any, Any, Any]:
    record = domain["record"] or {}
    return record.get("cloud"), record.get("project"), record.get("server_group")


def _check_free_space(guest: Definition) -> None:
    free = free_mib(guest.folder)
    if free < DISK_MARGIN_MIB:
        raise GuestFailure(
            "disk_free",
            f"guest {guest.name}: {guest.folder} would be on a file system with {free} MiB free, "
            f"needed are {DISK_MARGIN_MIB} MiB; make room on the host",
            HOST,
        )
