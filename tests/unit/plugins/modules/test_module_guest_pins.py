# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own look at what only one domain can have, with real domains."""

CPU = 0  # every machine that runs these tests has it


def pinned(host, name, cpu=CPU):
    cell = {"guest_cell": 0, "host_cell": 0, "memory_mib": 32, "guest_cpus": [0], "cpus": {"0": cpu}, "cpuset": [],
            "page_size_kib": None, "blocked": []}  # fmt: skip
    return host.definition(name, pins={"cells": [cell], "pci_addresses": [], "emulator_cpus": []})


def outcome(answer):
    return [(item["name"], item["ok"], item["reason"], item["kind"]) for item in answer["guests"]]


def test_one_cpu_is_given_to_one_guest_alone(guest_host):
    first, second = (pinned(guest_host, name) for name in ("web-1", "web-2"))
    assert outcome(guest_host.run("present", first, second)) == [
        ("web-1", True, None, None),
        ("web-2", False, "cpus", "host"),
    ]
    guest_host.run("stopped", first, hard=True)  # it keeps what it has
    refused = guest_host.run("present", second)
    assert outcome(refused) == [("web-2", False, "cpus", "host")]
    assert f"pinned CPU {CPU} of this host is domain web-1's" in refused["guests"][0]["message"]
    assert list(guest_host.domains()) == ["web-1"]
    assert outcome(guest_host.run("present", first, guest_host.definition("web-3"))) == [
        ("web-1", True, None, None),
        ("web-3", True, None, None),
    ]


def test_a_domain_that_is_not_ours_keeps_its_cpu_while_it_runs(guest_host):
    connection = guest_host.connection()
    theirs = connection.defineXML(
        "<domain type='qemu'><name>theirs</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>"
        f"<cputune><vcpupin vcpu='0' cpuset='{CPU}'/></cputune><os><type arch='x86_64'>hvm</type></os></domain>"
    )
    assert outcome(guest_host.run("present", pinned(guest_host, "web-1"))) == [("web-1", True, None, None)]
    guest_host.run("absent", pinned(guest_host, "web-1"))
    theirs.create()
    refused = guest_host.run("present", pinned(guest_host, "web-1"))
    assert outcome(refused) == [("web-1", False, "cpus", "host")]
    assert "domain theirs's" in refused["guests"][0]["message"]
    connection.close()


def test_what_others_pin_for_now_only_counts_as_well_and_a_guest_that_is_there_stays(guest_host):
    assert outcome(guest_host.run("present", pinned(guest_host, "web-1"))) == [("web-1", True, None, None)]
    connection = guest_host.connection()
    theirs = connection.createXML(
        "<domain type='qemu'><name>theirs</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>"
        "<os><type arch='x86_64'>hvm</type></os></domain>"
    )
    cpus = len(connection.getCPUMap()[1])
    theirs.pinVcpu(0, tuple(cpu == CPU for cpu in range(cpus)))
    # It has had its CPU all along: sent again, it is as it must be.
    assert outcome(guest_host.run("present", pinned(guest_host, "web-1"))) == [("web-1", True, None, None)]
    guest_host.run("absent", pinned(guest_host, "web-1"))
    assert outcome(guest_host.run("present", pinned(guest_host, "web-1"))) == [("web-1", False, "cpus", "host")]
    theirs.destroy()
    connection.close()
