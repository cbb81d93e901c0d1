# SPDX-License-Identifier: GPL-3.0-or-later
"""The room on a host as the host counts it, and as placement does: the two must not differ."""

import pytest
from ansible_collections.berth.kvm.plugins.module_utils import guest_check
from ansible_collections.berth.kvm.plugins.module_utils.guest_check import check_pins, check_room
from ansible_collections.berth.kvm.plugins.module_utils.guest_definition import Definition, Disk
from ansible_collections.berth.kvm.plugins.module_utils.guest_failure import GuestFailure

from berth.cloud import find_cloud
from berth.ledger import Ledger
from berth.ledger.rows import HostUpdate
from berth.ledger.store_hosts import Refresh
from berth.verbs.placing import read_fleet

INSTANCES = "/srv/guests"
FACTS = {
    "version": 1,
    "collected_at": 1.0,
    "cpu": {"total": 8},
    "memory_mib": 16384,
    "storage": {"instances_path": INSTANCES, "disk_total_mib": 100_000, "disk_free_mib": 90_000},
    "numa_cells": [{"id": 0, "memory_mib": 16384, "cpus": [{"id": number} for number in range(8)]}],
    "pci_devices": [
        {"address": address, "vendor_id": "10de", "product_id": "1eb8", "driver": "vfio-pci"}
        for address in ("0000:3b:00.0", "0000:3c:00.0")
    ],
}
VARIABLES = {"berth_cpu_dedicated_set": "4-7"}


def disk(path, capacity_mib=5000):
    return {"target": "vda", "path": path, "format": "qcow2", "capacity_mib": capacity_mib}


def domain(state, record=None, disks=()):
    return {"uuid": "u", "name": "other", "state": state, "persistent": True, "autostart": False, "vcpus": 2,
            "memory_mib": 3000, "disks": list(disks), "macs": [], "pci_addresses": [], "pinned_cpus": [],
            "record": record}  # fmt: skip


OTHER_CLOUD = {"version": 1, "cloud": "elsewhere", "networks": []}
INSIDE, OUTSIDE, BESIDE = disk(f"{INSTANCES}/u/disk.qcow2"), disk("/images/a.img"), disk(f"{INSTANCES}-old/a.img")
CASES = {
    "somebody's, off": (domain("shutdown", disks=[OUTSIDE]), (0, 0, 0)),
    "somebody's, on": (domain("running", disks=[OUTSIDE]), (2, 3000, 0)),
    "somebody's, paused": (domain("paused"), (2, 3000, 0)),
    "somebody's, asleep": (domain("suspended"), (2, 3000, 0)),
    "somebody's, kept after its crash": (domain("crashed"), (2, 3000, 0)),
    "somebody's, in a state that nobody knows": (domain("nostate"), (2, 3000, 0)),
    "somebody's, off, with a disk among ours": (domain("shutdown", disks=[INSIDE, OUTSIDE, BESIDE]), (0, 0, 5000)),
    "another cloud's, on": (domain("running", OTHER_CLOUD, [INSIDE]), (2, 3000, 5000)),
    "another cloud's, off": (domain("shutdown", OTHER_CLOUD, [INSIDE]), (2, 3000, 5000)),
    "another cloud's, with a disk of its own": (domain("shutdown", OTHER_CLOUD, [INSIDE, OUTSIDE]), (2, 3000, 5000)),
    "without sizes": (domain("shutdown", OTHER_CLOUD, [disk(None, None), disk(f"{INSTANCES}/x", None)]), (2, 3000, 0)),
}


def placed(folder, found):
    """Returns the host with that domain as placement sees it."""
    (folder / "berth.yml").write_text("name: test\n")
    cloud = find_cloud(folder)
    with Ledger.open(cloud.ledger_url) as ledger:
        update = HostUpdate("h1", facts={**FACTS, "domains": [found]}, variables=VARIABLES, groups=("compute",))
        ledger.store_hosts(Refresh([update], {}, "sha256:0", 1.0))
        (host,) = read_fleet(ledger, cloud).hosts
    return host


def used_in_placement(folder, found):
    host = placed(folder, found)
    return host.vcpus_used, host.memory_mib_used, host.disk_mib_used


def refusal(found, vcpus, memory_mib, disk_mib):
    """Returns why the host refuses a guest of 1 vCPU, 1 MiB and 1 GiB by these limits, None when it takes it."""
    limits = {"vcpus": vcpus, "memory_mib": memory_mib, "disk_mib": disk_mib}
    folder = f"{INSTANCES}/g"
    disks = (Disk(f"{folder}/disk.qcow2", 1, "/images/a.qcow2", "qcow2"),)
    guest = Definition("g", "web", folder, f"{folder}.log", "<domain/>", 1, 1, limits, disks, {})
    try:
        check_room(guest, [found])
    except GuestFailure as failure:
        return failure.reason
    return None


@pytest.mark.parametrize(("found", "used"), CASES.values(), ids=CASES)
def test_host_and_placement_count_a_domain_the_same(tmp_path, found, used):
    assert used_in_placement(tmp_path, found) == used
    vcpus, memory_mib, disk_mib = used[0] + 1, used[1] + 1, used[2] + 1024
    assert refusal(found, vcpus, memory_mib, disk_mib) is None
    assert refusal(found, vcpus - 1, memory_mib, disk_mib) == "vcpus"
    assert refusal(found, vcpus, memory_mib - 1, disk_mib) == "memory"
    assert refusal(found, vcpus, memory_mib, disk_mib - 1) == "disk"


DEVICE, OTHER_DEVICE = "0000:3b:00.0", "0000:3c:00.0"
HELD = {"pci_addresses": [DEVICE], "pinned_cpus": [4, 5]}
PINS = {
    "its device": ({"pci_addresses": [DEVICE], "pinned_cpus": []}, "pci"),
    "one of its CPUs": ({"pci_addresses": [], "pinned_cpus": [3, 5]}, "cpus"),
    "others": ({"pci_addresses": ["0000:3b:00.1"], "pinned_cpus": [3]}, None),
    "nothing": ({"pci_addresses": [], "pinned_cpus": []}, None),
}


@pytest.mark.parametrize(("state", "record", "counts"), [
    ("running", None, True), ("shutdown", None, False), ("shutdown", OTHER_CLOUD, True), ("running", OTHER_CLOUD, True),
])  # fmt: skip
@pytest.mark.parametrize(("pins", "reason"), PINS.values(), ids=PINS)
def test_host_and_placement_keep_what_a_domain_has_for_itself(tmp_path, state, record, counts, pins, reason):
    found = {**domain(state, record), **HELD}
    guest = Definition("g", "web", f"{INSTANCES}/g", "log", "<domain/>", 1, 1, {}, (), {})
    try:
        check_pins(guest, pins, [found])
        refused = None
    except GuestFailure as failure:
        refused = failure.reason
        assert "domain other's" in failure.message
    assert refused == (reason if counts else None)
    host = placed(tmp_path, found)
    free = {device.address for device in host.pci_devices}, host.numa_cells[0].dedicated_cpus
    assert free == (({OTHER_DEVICE}, {6, 7}) if counts else ({DEVICE, OTHER_DEVICE}, {4, 5, 6, 7}))


PF, VF, SIBLING = "0000:03:00.0", "0000:03:10.0", "0000:03:10.2"


@pytest.mark.parametrize(("wanted", "taken", "refused"), [
    (PF, VF, True), (VF, PF, True), (VF, SIBLING, False), (VF, VF, True), (PF, "0000:04:00.0", False),
])  # fmt: skip
def test_a_device_and_its_functions_go_together(tmp_path, monkeypatch, wanted, taken, refused):
    for function in (VF, SIBLING):
        (tmp_path / function).mkdir()
        (tmp_path / function / "physfn").symlink_to(f"../{PF}")
    monkeypatch.setattr(guest_check, "PCI_DEVICES", str(tmp_path))
    guest = Definition("g", "web", f"{INSTANCES}/g", "log", "<domain/>", 1, 1, {}, (), {})
    found = {**domain("running"), "pci_addresses": [taken]}
    try:
        check_pins(guest, {"pci_addresses": [wanted], "pinned_cpus": []}, [found])
    except GuestFailure as failure:
        assert refused and f"PCI device {wanted} of this host is domain other's" in failure.message
    else:
        assert not refused


@pytest.mark.parametrize(("record", "cure"), [(None, "tells placement"), (OTHER_CLOUD, "`berth doctor`")])
def test_the_refusal_tells_what_helps(record, cure):
    guest = Definition("g", "web", f"{INSTANCES}/g", "log", "<domain/>", 1, 1, {}, (), {})
    with pytest.raises(GuestFailure, match=cure):
        check_pins(guest, HELD, [{**domain("running", record), **HELD}])
