# SPDX-License-Identifier: GPL-3.0-or-later
"""The room on a host as the host counts it, and as placement does: the two must not differ."""

import pytest
from ansible_collections.berth.kvm.plugins.module_utils.guest_check import check_room
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
}


def disk(path, capacity_mib=5000):
    return {"target": "vda", "path": path, "format": "qcow2", "capacity_mib": capacity_mib}


def domain(state, record=None, disks=()):
    return {"uuid": "u", "name": "other", "state": state, "persistent": True, "autostart": False, "vcpus": 2,
            "memory_mib": 3000, "disks": list(disks), "macs": [], "record": record}  # fmt: skip


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


def used_in_placement(folder, found):
    (folder / "berth.yml").write_text("name: test\n")
    cloud = find_cloud(folder)
    with Ledger.open(cloud.ledger_url) as ledger:
        update = HostUpdate("h1", facts={**FACTS, "domains": [found]}, groups=("compute",))
        ledger.store_hosts(Refresh([update], {}, "sha256:0", 1.0))
        (host,) = read_fleet(ledger, cloud).hosts
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
