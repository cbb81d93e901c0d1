# SPDX-License-Identifier: GPL-3.0-or-later
"""Pinned guests from facts to domain XML: what placement finds is in the plan, is held, and moves with the guest."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from berth.cloud import Cloud
from berth.domain import ImageOnHost, render_domain
from berth.errors import NoValidHost
from berth.ledger import Ledger
from berth.ledger.rows import HostUpdate
from berth.ledger.store_hosts import Refresh
from berth.verbs import boot, placing
from berth.verbs.boot_request import look_up, placement_requests
from berth.verbs.fleet_questions import capacity_now

_FLOW = runpy.run_path(str(Path(__file__).with_name("test_boot_flow.py")))
cloud = _FLOW["cloud"]
call = _FLOW["call"]
facts = _FLOW["facts"]
answers = _FLOW["answers"]
booted = _FLOW["booted"]

IMAGE = ImageOnHost("/var/lib/berth/images/a.qcow2", "qcow2", "sha256:" + "0" * 64, 1 << 30)
PINNED = {"hw:cpu_policy": "dedicated", "hw:mem_page_size": "2048"}
FLAVORS = [
    {"name": "small", "vcpus": 1, "memory_mib": 512, "disk_gib": 2},
    {"name": "pinned", "vcpus": 2, "memory_mib": 512, "disk_gib": 2, "extra_specs": PINNED},
    {
        "name": "gpu",
        "vcpus": 1,
        "memory_mib": 512,
        "disk_gib": 2,
        "extra_specs": {"pci_passthrough:alias": "gpu:1"},
    },
]
PROFILE = """
profiles:
  default: {options: {pci_aliases: {gpu: {vendor_id: "10de", product_id: "1eb8"}}}}
"""
VARIABLES = {"berth_cpu_dedicated_set": "2-7", "berth_cpu_shared_set": "0-1"}


def cells() -> list[dict[str, Any]]:
    """Returns two NUMA cells of four CPUs each, no threads, with huge pages for 512 MiB each."""
    return [
        {
            "id": node,
            "memory_mib": 2048,
            "cpus": [{"id": cpu, "socket_id": node, "siblings": [cpu]} for cpu in range(4 * node, 4 * node + 4)],
            "pages": [{"size_kib": 4, "total": 300_000}, {"size_kib": 2048, "total": 256}],
        }
        for node in (0, 1)
    ]


@pytest.fixture
def numa_cloud(cloud: Cloud) -> Cloud:
    """A cloud of two hosts with NUMA cells, CPUs 2 to 7 of each dedicated, and one device each."""
    device = {"address": "0000:3b:00.0", "vendor_id": "10de", "product_id": "1eb8", "driver": "vfio-pci"}
    device["numa_node"] = None
    known = facts("h1", cpu={"total": 8}, numa_cells=cells(), pci_devices=[device])
    updates = [
        HostUpdate(name, facts={**known, "machine_id": None}, groups=("compute",), variables=VARIABLES)
        for name in ("n1", "n2")
    ]
    with Ledger.open(cloud.ledger_url) as ledger:
        ledger.store_hosts(Refresh(updates, {}, "sha256:0", known["collected_at"]))
    (cloud.catalog_path / "flavors.yml").write_text(yaml.safe_dump({"flavors": FLAVORS}))
    (cloud.catalog_path / "placement.yml").write_text(PROFILE)
    return cloud


def request(name: str, flavor: str = "pinned", **more: Any) -> dict[str, Any]:
    return {"name": name, "flavor": flavor, "image": "tiny", "networks": ["lan"], **more}


def begun_plan(begun: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    ((host, share),) = begun["work"].items()
    (plan,) = share["plans"]
    return host, plan


def tree(plan: dict[str, Any]) -> ElementTree.Element:
    return ElementTree.fromstring(render_domain(plan, image=IMAGE, domain_type="qemu"))


def pinned_to(plan: dict[str, Any]) -> list[str | None]:
    return [pin.get("cpuset") for pin in tree(plan).iterfind("cputune/vcpupin")]


def test_pins_reach_the_domain_and_are_held(numa_cloud: Cloud) -> None:
    host, plan = begun_plan(boot.begin(call(numa_cloud, request=request("a"))))
    assert (host, pinned_to(plan)) == ("n1", ["4", "5"])
    xml = tree(plan)
    assert xml.find("numatune/memnode").get("nodeset") == "1"  # type: ignore[union-attr]
    assert xml.find("memoryBacking/hugepages/page").get("size") == "2048"  # type: ignore[union-attr]
    with Ledger.open(numa_cloud.ledger_url) as ledger:
        fleet = placing.read_fleet(ledger, numa_cloud)
        (claim,) = ledger.claims_of([plan["uuid"]])
    (guest,) = next(one for one in fleet.hosts if one.name == "n1").guests
    assert guest.pins.cells[0].cpus == {0: 4, 1: 5} and guest.vcpus == 0
    assert (claim.vcpus, claim.memory_mib) == (0, 512)
    assert plan["limits"]["vcpus"] == 2 * 4 + 2, "the host counts the CPUs of every domain, pinned ones too"
    assert begun_plan(boot.begin(call(numa_cloud, request=request("b"))))[0] == "n2"
    host, plan = begun_plan(boot.begin(call(numa_cloud, request=request("c"))))
    assert (host, pinned_to(plan)) == ("n1", ["2", "3"])
    boot.begin(call(numa_cloud, request=request("d")))
    with pytest.raises(NoValidHost) as caught:
        boot.begin(call(numa_cloud, request=request("e")))
    assert all("NUMATopologyFilter" in line for line in caught.value.details if line.startswith("n"))


def test_a_batch_is_pinned_side_by_side(numa_cloud: Cloud) -> None:
    begun = boot.begin(call(numa_cloud, request=request("a", count=4)))
    found = {host: [pinned_to(plan) for plan in share["plans"]] for host, share in begun["work"].items()}
    assert found == {"n1": [["4", "5"], ["2", "3"]], "n2": [["4", "5"], ["2", "3"]]}


def test_pins_move_with_the_guest(numa_cloud: Cloud) -> None:
    booted(numa_cloud, request("other", hints={"destination": "n2"}))
    begun = boot.begin(call(numa_cloud, request=request("a")))
    host, plan = begun_plan(begun)
    assert (host, pinned_to(plan)) == ("n1", ["4", "5"])
    passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
    moved = boot.record(call(numa_cloud, results=answers(begun["work"], {"n1": "host"}), **passed))
    host, plan = begun_plan(moved)
    assert (host, pinned_to(plan)) == ("n2", ["2", "3"])
    boot.record(call(numa_cloud, results=answers(moved["work"]), **passed))
    with Ledger.open(numa_cloud.ledger_url) as ledger:
        assert ledger.guest("default", "a").plan["pins"]["cells"][0]["host_cell"] == 0
        free = {host.name: host.guests for host in placing.read_fleet(ledger, numa_cloud).hosts}
    assert free["n1"] == () and len(free["n2"]) == 2


def test_devices_are_handed_over_once(numa_cloud: Cloud) -> None:
    for name in ("a", "b"):
        _host, plan = begun_plan(boot.begin(call(numa_cloud, request=request(name, "gpu"))))
        address = tree(plan).find("devices/hostdev/source/address")
        assert address is not None and address.get("bus") == "0x3b"
    with pytest.raises(NoValidHost, match="pci"):
        boot.begin(call(numa_cloud, request=request("c", "gpu")))


def test_pins_that_another_run_took_meanwhile_are_not_claimed(numa_cloud: Cloud, monkeypatch: Any) -> None:
    decide, raced = placing.decide, []

    def decide_and_lose(ledger: Ledger, *args: Any, **more: Any) -> Any:
        found = decide(ledger, *args, **more)
        if not raced:
            raced.append(found[0].placements[0].host)
            boot.begin(call(numa_cloud, request=request("faster")))
        return found

    monkeypatch.setattr(placing, "decide", decide_and_lose)
    host, _plan = begun_plan(boot.begin(call(numa_cloud, request=request("slower"))))
    assert raced == ["n1"] and host == "n2"


def test_a_claim_with_pins_is_for_the_generation_that_was_looked_at(numa_cloud: Cloud) -> None:
    with Ledger.open(numa_cloud.ledger_url) as ledger:
        wanted = look_up(numa_cloud, ledger, request("a"))
        asked = placement_requests(ledger, wanted.resolved, [("u", "a")])
        decision, fleet = placing.decide(ledger, numa_cloud, asked, now_s=call(numa_cloud).now_s)
        (claim,) = placing.claims_of(decision, fleet, 0)
        assert claim.generation == fleet.rows["n1"].generation
        booted(numa_cloud, request("plain", "small", hints={"destination": "n1"}))
        later = {row.name: row.generation for row in ledger.hosts()}
    assert later["n1"] > claim.generation


def test_guests_that_ask_for_no_pins_have_none(numa_cloud: Cloud) -> None:
    _host, plan = begun_plan(boot.begin(call(numa_cloud, request=request("a", "small"))))
    assert plan["pins"] is None and tree(plan).find("cputune") is None


def test_capacity_and_survival_count_pinned_cpus(numa_cloud: Cloud) -> None:
    now_s = call(numa_cloud).now_s
    with Ledger.open(numa_cloud.ledger_url) as ledger:
        (empty,) = capacity_now(ledger, numa_cloud, ["pinned"], now_s=now_s, project="default").flavors
        booted(numa_cloud, request("a", count=4))
        full = capacity_now(ledger, numa_cloud, ["pinned", "gpu"], now_s=now_s, project="default")
    assert [empty.total, *(flavor.total for flavor in full.flavors)] == [4, 0, 2]
    assert [(host.guests, host.restarted) for host in full.survival if host.guests] == [(2, 0), (2, 0)]


def test_a_guest_without_pins_keeps_off_the_cpus_of_those_that_have(numa_cloud: Cloud) -> None:
    _host, plan = begun_plan(boot.begin(call(numa_cloud, request=request("a", "small"))))
    assert tree(plan).find("vcpu").get("cpuset") == "0-1"  # type: ignore[union-attr]


def test_survival_of_a_guest_pinned_by_a_property(numa_cloud: Cloud) -> None:
    pinned = {"name": "p", "vcpus": 4, "memory_mib": 512, "disk_gib": 2}
    pinned["properties"] = {"hw_cpu_policy": "dedicated", "hw_numa_nodes": "2"}
    (numa_cloud.catalog_path / "flavors.yml").write_text(yaml.safe_dump({"flavors": [*FLAVORS, pinned]}))
    with Ledger.open(numa_cloud.ledger_url) as ledger:
        booted(numa_cloud, request("a", "p"))
        booted(numa_cloud, request("b", "p"))
        found = capacity_now(ledger, numa_cloud, ["small"], now_s=call(numa_cloud).now_s, project="default")
    assert [(host.guests, host.restarted) for host in found.survival if host.guests] == [(1, 0), (1, 0)]


def test_capacity_with_devices_that_only_another_profile_knows(numa_cloud: Cloud) -> None:
    (numa_cloud.catalog_path / "placement.yml").write_text(PROFILE.replace("  default:", "  default: {}\n  gpu:"))
    with Ledger.open(numa_cloud.ledger_url) as ledger:
        booted(numa_cloud, request("g", "gpu", profile="gpu"))
        found = capacity_now(ledger, numa_cloud, ["small"], now_s=call(numa_cloud).now_s, project="default")
    assert found.flavors[0].total
