# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts, variables and bookings -> Host."""

import copy

import pytest

from berth.placement import (
    Code,
    GuestOnHost,
    GuestRequest,
    HostStatus,
    HostUsage,
    Profile,
    build_fleet,
    host_from_facts,
    place,
)
from berth.placement.devices import PagePool

FACTS = {
    "version": 1,
    "collected_at": 1000.0,
    "clock_offset_s": 2.0,
    "architecture": "x86_64",
    "cpu": {"model": "Skylake", "sockets": 1, "cores": 2, "threads": 2, "total": 4, "features": ["aes", "sse4.1"]},
    "memory_mib": 8192,
    "numa_cells": [
        {
            "id": 0,
            "memory_mib": 8192,
            "cpus": [
                {"id": n, "socket_id": 0, "core_id": n // 2, "siblings": [n - n % 2, n - n % 2 + 1]} for n in range(4)
            ],
            "pages": [
                {"size_kib": 4, "total": 2097152},
                {"size_kib": 2048, "total": 8},
                {"size_kib": 1048576, "total": 0},
            ],
        }
    ],
    "pci_devices": [
        {
            "address": "0000:02:00.0",
            "vendor_id": "0x10de",
            "product_id": "0x1EB8",
            "numa_node": 0,
            "driver": "vfio-pci",
        },
        {"address": "0000:01:00.0", "vendor_id": "8086", "product_id": "1520", "driver": "igbvf", "kind": "type-VF"},
    ],
    "storage": {"disk_total_mib": 100000, "disk_free_mib": 60000},
    "qemu_version": 7002022,
    "virtualization": {"domain_type": "kvm", "kvm_works": True},
    "domains": [
        {"uuid": "ours", "state": "running", "vcpus": 2, "memory_mib": 1024, "record": {"version": 1}},
        {"uuid": "booked", "state": "running", "vcpus": 2, "memory_mib": 1024, "record": None},
        {"uuid": "stranger", "state": "running", "vcpus": 1, "memory_mib": 300, "record": None},
        {"uuid": "asleep", "state": "shutdown", "vcpus": 1, "memory_mib": 300, "record": None},
    ],
    "migration": {"address": "10.77.0.11"},
}
WANTED = [GuestRequest(uuid="u", name="web", vcpus=1, memory_mib=64, disk_gib=1)]


def test_facts_become_a_host():
    usage = HostUsage(guests=(GuestOnHost("booked", vcpus=2, memory_mib=1024, disk_mib=4096),), num_io_ops=1)
    host = host_from_facts("h1", FACTS, usage=usage)
    assert (host.vcpus_total, host.memory_mib_total, host.disk_mib_total) == (4, 8192, 100000)
    assert (host.vcpus_used, host.memory_mib_used, host.disk_mib_used) == (3, 1324, 4096)
    assert (host.facts_at, host.disk_free_mib_measured, host.address) == (998.0, 60000, "10.77.0.11")
    assert host.supported_instances == tuple((a, k, "hvm") for a in ("x86_64", "i686") for k in ("kvm", "qemu"))
    assert host.hypervisor_version == 7002022 and host.num_io_ops == 1
    assert host.traits == {"HW_CPU_X86_AES", "HW_CPU_X86_SSE4_1", "HW_CPU_HYPERTHREADING"}
    (cell,) = host.numa_cells
    assert cell.shared_cpus == {0, 1, 2, 3} and not cell.dedicated_cpus and cell.socket == 0
    assert cell.siblings == (frozenset({0, 1}), frozenset({2, 3}))
    assert cell.pages == (PagePool(4, 2097152), PagePool(2048, 8))
    assert [(d.address, d.vendor_id, d.product_id) for d in host.pci_devices] == [("0000:02:00.0", "10de", "1eb8")]
    assert (host.limits.vcpus, host.limits.memory_mib, host.limits.disk_mib) == (16, 7680, 100000)


def test_a_device_twice_is_a_problem_of_that_host_alone():
    facts = copy.deepcopy(FACTS)
    facts["pci_devices"] *= 2
    assert "address 0000:02:00.0 is there twice" in host_from_facts("h1", facts).facts_problem


def test_variables_become_settings():
    variables = {
        "berth_availability_zone": "a",
        "berth_cpu_allocation_ratio": "2.5",
        "berth_reserved_host_memory_mib": 1024,
        "berth_cpu_dedicated_set": "2-3",
        "berth_reserved_huge_pages": [{"node": 0, "size_kib": 2048, "count": 3}],
        "berth_pci_passthrough": [{"vendor_id": "8086"}],
        "berth_traits": ["CUSTOM_QUIET"],
        "berth_metrics": {"heat": 3},
        "berth_something_else": object(),
    }
    host = host_from_facts("h1", FACTS, variables=variables)
    assert (host.availability_zone, host.cpu_allocation_ratio, host.reserved_host_memory_mib) == ("a", 2.5, 1024)
    assert host.numa_cells[0].dedicated_cpus == {2, 3} and host.numa_cells[0].shared_cpus == {0, 1}
    assert host.vcpus_total == 2, "only shared CPUs are vCPUs"
    assert PagePool(2048, 8, 3) in host.numa_cells[0].pages
    assert {device.address: device.kind for device in host.pci_devices} == {
        "0000:01:00.0": "type-VF",
        "0000:02:00.0": "type-PCI",  # facts of before the kind was collected
    }
    assert "CUSTOM_QUIET" in host.traits and host.metrics == {"heat": 3.0}


BAD = {
    "berth_cpu_allocation_ratio": (0, -1, "many", float("nan"), float("inf"), True, []),
    "berth_reserved_host_cpus": (-1, 1.5, "x", None.__class__, False),
    "berth_availability_zone": ("", 5, []),
    "berth_cpu_shared_set": ("3-1", "a", -4),
    "berth_reserved_huge_pages": ("2", [{"node": 0}], [{"node": 0, "size_kib": 4, "count": -1}]),
    "berth_pci_passthrough": ("all", [{}], [{"driver": "igb"}]),
    "berth_traits": ("X", [4]),
    "berth_metrics": ([1], {"heat": "hot"}),
}


@pytest.mark.parametrize(("variable", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_bad_variables_refuse_their_host_alone(variable, value):
    bad = host_from_facts("bad", FACTS, variables={variable: value})
    assert f"{variable}: found {value!r}, allowed: " in bad.facts_problem
    decision = place(build_fleet([bad, host_from_facts("good", FACTS)]), WANTED, Profile(), now_s=1000.0)
    assert decision.placements[0].host == "good"
    (refusal,) = decision.explain().refused
    assert refusal.host == "bad" and f"{variable}: found" in refusal.text and "mend host_vars" in refusal.text


def test_all_bad_variables_are_told_and_the_others_hold():
    variables = {
        "berth_cpu_allocation_ratio": 0,
        "berth_cpu_shared_set": "0-2",
        "berth_cpu_dedicated_set": "2-3",
        "berth_ram_allocation_ratio": 2,
    }
    host = host_from_facts("h1", FACTS, variables=variables)
    assert "berth_cpu_allocation_ratio: found 0" in host.facts_problem and "share CPUs [2]" in host.facts_problem
    assert (host.cpu_allocation_ratio, host.ram_allocation_ratio) == (4.0, 2.0)


def broken(path, value):
    facts = copy.deepcopy(FACTS)
    place_of = facts
    for key in path[:-1]:
        place_of = place_of[key]
    place_of[path[-1]] = value
    return facts


DEVICE = {"address": "0000:01:00.0", "vendor_id": "8086", "product_id": "1520", "driver": "vfio-pci"}
BROKEN = {
    "nothing": (None, Code.NO_FACTS),
    "empty": ({}, Code.NO_FACTS),
    "memory missing": (broken(["memory_mib"], None), Code.BAD_FACTS),
    "memory negative": (broken(["memory_mib"], -1), Code.BAD_FACTS),
    "memory text": (broken(["memory_mib"], "8192"), Code.BAD_FACTS),
    "memory nan": (broken(["memory_mib"], float("nan")), Code.BAD_FACTS),
    "memory zero": (broken(["memory_mib"], 0), Code.NO_FACTS),
    "cpus zero": (broken(["cpu", "total"], 0), Code.NO_FACTS),
    "cpu no map": (broken(["cpu"], "four"), Code.BAD_FACTS),
    "storage null": (broken(["storage"], None), Code.BAD_FACTS),
    "time missing": (broken(["collected_at"], None), Code.BAD_FACTS),
    "time nan": (broken(["collected_at"], float("nan")), Code.BAD_FACTS),
    "clock": (broken(["clock_offset_s"], "late"), Code.BAD_FACTS),
    "cells": (broken(["numa_cells"], [{"memory_mib": 4}]), Code.BAD_FACTS),
    "cells no list": (broken(["numa_cells"], 4), Code.BAD_FACTS),
    "devices": (broken(["pci_devices"], [{"driver": "vfio-pci"}]), Code.BAD_FACTS),
    "a device's node": (broken(["pci_devices"], [{**DEVICE, "numa_node": [1]}]), Code.BAD_FACTS),
    "stale": (FACTS, Code.STALE_FACTS),
}


@pytest.mark.parametrize(("facts", "code"), BROKEN.values(), ids=BROKEN)
def test_a_host_with_bad_facts_is_refused_and_the_others_serve(facts, code):
    now = 1e9 if code is Code.STALE_FACTS else 1000.0
    good = {**FACTS, "collected_at": now, "clock_offset_s": 0}
    fleet = build_fleet([host_from_facts("bad", facts), host_from_facts("good", good)])
    decision = place(fleet, WANTED, Profile(), now_s=now)
    assert decision.placements[0].host == "good"
    (refusal,) = decision.explain().refused
    assert code in [reason.code for reason in refusal.reasons], refusal.text


@pytest.mark.parametrize(
    "domains",
    [
        None,
        7,
        ["x"],
        [{}],
        [{"state": "running", "vcpus": "2", "memory_mib": None}],
        [{"state": "running", "pci_addresses": 7, "pinned_cpus": ["x", None]}],
    ],
)
def test_strange_domains_never_stop_placement(domains):
    host = host_from_facts("h1", broken(["domains"], domains))
    assert (host.vcpus_used, host.memory_mib_used) == (0, 0)


def test_a_strange_device_never_stops_placement():
    odd = [{**DEVICE, "physical_function": {"a": 1}}, {**DEVICE, "address": "0000:01:00.1", "physical_function": [2]}]
    hosts = [host_from_facts("odd", broken(["pci_devices"], odd)), host_from_facts("good", FACTS)]
    decision = place(build_fleet(hosts), WANTED, Profile(), now_s=FACTS["collected_at"])
    assert decision.placements


def test_status_is_kept():
    status = HostStatus(False, "new disk", False, "no route", "fenced")
    host = host_from_facts("h1", FACTS, status=status)
    assert (host.enabled, host.reachable, host.quarantined) == (False, False, "fenced")
