# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own check, under its lock, before anything is made: what is really there has the last word."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree

from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import REQUEST, GuestFailure
from ansible_collections.berth.kvm.plugins.module_utils.guest_files import GIB, MIB, free_mib
from ansible_collections.berth.kvm.plugins.module_utils.host_domains import domains

# Left free on the instances' file system whatever the guests' disks may still grow.
DISK_MARGIN_MIB = 256
AMOUNTS = (("vcpus", ""), ("memory_mib", " MiB"), ("disk_mib", " MiB"))


class Present:
    """The domains that are defined on this host, and what they use. Guests that pass the check are added."""

    def __init__(self, connection) -> None:
        self.domains = domains(connection)
        self.used = {"vcpus": 0, "memory_mib": 0, "disk_mib": 0}
        for domain in self.domains:
            self._add(domain)

    def _add(self, domain) -> None:
        self.used["vcpus"] += domain["vcpus"] or 0
        self.used["memory_mib"] += domain["memory_mib"] or 0
        self.used["disk_mib"] += sum(disk["capacity_mib"] or 0 for disk in domain["disks"])

    def find(self, uuid):
        """Returns the domain with that UUID, or None."""
        return next((domain for domain in self.domains if domain["uuid"] == uuid), None)

    def check(self, guest, instances_path) -> None:
        """Raises GuestFailure when the guest cannot be defined here; otherwise counts it as present."""
        if self.find(guest["uuid"]) is not None:
            self._check_ours(guest)
            return  # it is counted already
        root = ElementTree.fromstring(guest["xml"])
        self._check_name(guest)
        self._check_macs(guest, root)
        disk_mib = sum(int(disk["size_gib"]) * GIB // MIB for disk in guest["disks"])
        wanted = {"vcpus": guest["vcpus"], "memory_mib": guest["memory_mib"], "disk_mib": disk_mib}
        self._check_room(guest, wanted, instances_path)
        macs = [mac.get("address") for mac in root.iterfind("devices/interface/mac")]
        disks = [{"capacity_mib": disk_mib}]
        added = {"uuid": guest["uuid"], "name": guest["name"], "macs": macs, "disks": disks, "record": {}}
        added.update(vcpus=guest["vcpus"], memory_mib=guest["memory_mib"])
        self.domains.append(added)
        self._add(added)

    def _check_ours(self, guest) -> None:
        domain = self.find(guest["uuid"])
        if domain["record"] is None:
            raise GuestFailure(
                "foreign",
                "guest %s: domain %s of this host has its UUID and is not Berth's; nothing was changed"
                % (guest["name"], domain["name"]),
                REQUEST,
            )

    def _check_name(self, guest) -> None:
        for domain in self.domains:
            if domain["name"] == guest["name"]:
                owner = "Berth's" if domain["record"] is not None else "not Berth's"
                raise GuestFailure(
                    "name_taken",
                    "guest %s: this host has a domain of that name, uuid %s, %s; rename or remove it"
                    % (guest["name"], domain["uuid"], owner),
                )

    def _check_macs(self, guest, root) -> None:
        mine = {mac.get("address", "").lower() for mac in root.iterfind("devices/interface/mac")}
        for domain in self.domains:
            both = mine & {mac.lower() for mac in domain["macs"] if mac}
            if both:
                raise GuestFailure(
                    "mac_taken",
                    "guest %s: MAC %s is used by domain %s of this host" % (guest["name"], min(both), domain["name"]),
                    REQUEST,
                )

    def _check_room(self, guest, wanted, instances_path) -> None:
        limits = guest.get("limits") or {}
        for amount, unit in AMOUNTS:
            limit = limits.get(amount)
            if limit is not None and self.used[amount] + wanted[amount] > limit:
                raise GuestFailure(
                    amount,
                    "guest %s: %s %d%s does not fit: domains of this host use %d%s of %d%s"
                    % (guest["name"], amount, wanted[amount], unit, self.used[amount], unit, limit, unit),
                )
        free = free_mib(instances_path)
        if free < DISK_MARGIN_MIB:
            raise GuestFailure(
                "disk_full",
                "guest %s: %s has %d MiB free, %d MiB are needed at least"
                % (guest["name"], instances_path, free, DISK_MARGIN_MIB),
            )


def missing_folder(instances_path):
    """Returns why the instances folder cannot be used, or an empty text."""
    if not os.path.isdir(instances_path):
        return "%s is no folder on this host; `berth host prepare` makes it" % instances_path
    return ""
