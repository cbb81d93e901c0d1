# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from berth.errors import Conflict
from berth.ledger import Ledger
from berth.ledger.model import PowerState, VmState
from berth.ledger.rebuilding import rebuilt
from berth.ledger.rows import AddressRow, ClaimRow, HostRow, HostUpdate, Usage
from berth.ledger.store_hosts import Refresh, learnt


def record(uuid: str, name: str, **more: Any) -> dict[str, Any]:
    interface = {
        "network": "lan",
        "mac": f"52:54:00:00:00:0{uuid[-1]}",
        "address": f"10.0.0.{uuid[-1]}",
        "ssh_port": None,
    }
    return {
        "version": 1,
        "uuid": uuid,
        "name": name,
        "project": "default",
        "flavor": "m1.small",
        "image": "tiny",
        "image_digest": "sha256:1",
        "vcpus": 1,
        "memory_mib": 512,
        "disk_gib": 2,
        "networks": [interface],
        "metadata": {"role": "web"},
        "created_at": 5.0,
        "request_id": "req-1",
        "cloud": "mine",
    } | more


def domain(uuid: str, name: str, state: str = "running", **more: Any) -> dict[str, Any]:
    disks = [{"target": "vda", "capacity_mib": 3000}]
    return {"uuid": uuid, "name": name, "state": state, "disks": disks, "record": record(uuid, name, **more)}


def host(name: str, *domains: dict[str, Any]) -> HostRow:
    facts = {"machine_id": name, "domains": list(domains)}
    return learnt(None, HostUpdate(name, facts), 1.0)


def test_a_domain_becomes_its_guest() -> None:
    found = rebuilt([host("h1", domain("u1", "web-1"))], "mine", 9.0)
    (guest,) = found.guests
    assert (guest.uuid, guest.name, guest.host) == ("u1", "web-1", "h1")
    assert (guest.vm_state, guest.power_state) == (VmState.ACTIVE, PowerState.RUNNING)
    assert (guest.image_digest, guest.metadata, guest.created_at) == ("sha256:1", {"role": "web"}, 5.0)
    assert found.claims == [ClaimRow("u1", "h1", 1, 512, 2048, 5.0)]
    assert found.addresses == [AddressRow("u1", 0, "lan", "52:54:00:00:00:01", "10.0.0.1")]
    assert found.problems == []


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("running", VmState.ACTIVE),
        ("paused", VmState.PAUSED),
        ("suspended", VmState.ACTIVE),
        ("shutdown", VmState.STOPPED),
        ("crashed", VmState.STOPPED),
        ("nostate", VmState.STOPPED),
        ("something new", VmState.STOPPED),
    ],
)
def test_the_state_is_what_the_host_shows(state: str, expected: VmState) -> None:
    found = rebuilt([host("h1", domain("u1", "web-1", state))], "mine", 9.0)
    assert [guest.vm_state for guest in found.guests] == [expected]


def test_the_images_own_size_is_the_disks() -> None:
    found = rebuilt([host("h1", domain("u1", "web-1", disk_gib=0))], "mine", 9.0)
    assert found.guests[0].disk_mib == found.claims[0].disk_mib == 3000


def test_domains_of_others_are_left_alone() -> None:
    stranger = {"uuid": "s", "name": "vm", "state": "running", "record": None}
    found = rebuilt([host("h1", stranger, domain("u1", "web-1", cloud="theirs"))], "mine", 9.0)
    assert (found.guests, found.problems) == ([], [])


def test_ports_come_back() -> None:
    interface = {"network": "user", "mac": "52:54:00:00:00:01", "address": None, "ssh_port": 22005}
    found = rebuilt([host("h1", domain("u1", "web-1", networks=[interface]))], "mine", 9.0)
    assert found.ports == [("h1", 22005, "u1")]


CELL = {"guest_cell": 0, "host_cell": 0, "memory_mib": 512, "guest_cpus": [0, 1], "cpus": {"0": 2, "1": 3}}
BROKEN: dict[str, tuple[Callable[[], list[HostRow]], int, str]] = {
    "an unknown version": (lambda: [host("h1", domain("u1", "a", version=2))], 0, "version 2, allowed: 1"),
    "a missing name": (lambda: [host("h1", domain("u1", "a", project=None))], 0, "missing or wrong: project"),
    "an odd size": (lambda: [host("h1", domain("u1", "a", vcpus="two", memory_mib=-1))], 0, "wrong: vcpus, memory_mib"),
    "odd networks": (lambda: [host("h1", domain("u1", "a", networks="lan"))], 0, "wrong: networks"),
    "metadata is no map": (lambda: [host("h1", domain("u1", "a", metadata="x"))], 0, "wrong: metadata"),
    "cells are no list": (lambda: [host("h1", domain("u1", "a", pins={"cells": 5}))], 0, "wrong: pins.cells"),
    "half a cell": (
        lambda: [host("h1", domain("u1", "a", pins={"cells": [CELL, {"cpus": {"x": 1}}]}))],
        0,
        "wrong: pins.cells[1].guest_cell, pins.cells[1].host_cell, pins.cells[1].memory_mib, "
        "pins.cells[1].guest_cpus, pins.cells[1].cpus",
    ),
    "more CPUs pinned than there are": (
        lambda: [host("h1", domain("u1", "a", pins={"cells": [CELL]}))],
        0,
        "pins has 2 CPUs, the guest 1",
    ),
    "an address is a list": (
        lambda: [host("h1", domain("u1", "a", networks=[{"mac": "52:54:00:00:00:01", "address": ["10.0.0.1"]}]))],
        0,
        "wrong: networks[0].address",
    ),
    "an interface is no map": (lambda: [host("h1", domain("u1", "a", networks=["lan"]))], 0, "wrong: networks[0]"),
    "no such port": (
        lambda: [host("h1", domain("u1", "a", networks=[{"ssh_port": 70000}]))],
        0,
        "networks[0].ssh_port",
    ),
    "a policy is a list": (
        lambda: [host("h1", domain("u1", "a", group_policy={"policy": ["affinity"], "max_server_per_host": True}))],
        0,
        "wrong: group_policy.policy, group_policy.max_server_per_host",
    ),
    "after the last year": (lambda: [host("h1", domain("u1", "a", created_at=10**400))], 0, "wrong: created_at"),
    "no time at all": (lambda: [host("h1", domain("u1", "a", created_at=float("nan")))], 0, "wrong: created_at"),
    "a group is a map": (lambda: [host("h1", domain("u1", "a", server_group={"a": 1}))], 0, "wrong: server_group"),
    "a digest is a map": (lambda: [host("h1", domain("u1", "a", image_digest={"a": 1}))], 0, "wrong: image_digest"),
    "too large to be stored": (
        lambda: [host("h1", domain("u1", "a", vcpus=2**31, disk_gib=2**21))],
        0,
        "wrong: vcpus, disk_gib",
    ),
    "a disk too large to be stored": (
        lambda: [host("h1", domain("u1", "a", disk_gib=0) | {"disks": [{"capacity_mib": 2**31}]})],
        0,
        "its disks have 2147483648 MiB",
    ),
    "text that no database holds": (
        lambda: [host("h1", domain("u1", "a", flavor="x\0", image="\ud800"))],
        0,
        "wrong: flavor, image",
    ),
    "a number that is none": (
        lambda: [host("h1", domain("u1", "a", metadata={"x": float("nan")}))],
        0,
        "a number that is none",
    ),
    "a copied record": (lambda: [host("h1", domain("u1", "a") | {"uuid": "u2"})], 0, "it is of guest u1"),
    "one name twice": (
        lambda: [host("h1", domain("u1", "a"), domain("u2", "A", created_at=6.0))],
        1,
        "guest A of project default: u1 and u2 on h1 have this name",
    ),
    "one MAC twice": (
        lambda: [host("h1", domain("u1", "a"), domain("u2", "b", networks=record("u1", "a")["networks"]))],
        2,
        "guest b: interface 0 has MAC 52:54:00:00:00:01, address 10.0.0.1: missing or of another guest",
    ),
    "a stopped copy": (
        lambda: [host("h1", domain("u1", "a", "shutdown")), host("h2", domain("u1", "a"))],
        1,
        "guest a (u1) is on several hosts: h2 (running), h1 (shutdown)",
    ),
    "a host without facts": (
        lambda: [learnt(None, HostUpdate("h1", None, "timed out"), 1.0), host("h2", domain("u1", "a"))],
        1,
        "host h1: it did not answer",
    ),
}
# PostgreSQL takes no such facts.
IN_NO_POSTGRESQL = ("no time at all", "a number that is none")


@pytest.mark.parametrize("name", BROKEN)
def test_what_does_not_hold_is_told(name: str) -> None:
    make, count, problem = BROKEN[name]
    found = rebuilt(make(), "mine", 9.0)
    assert len(found.guests) == count
    assert len(found.problems) == 1
    assert problem in found.problems[0]


def test_a_guest_that_runs_twice_is_in_error() -> None:
    found = rebuilt([host("h1", domain("u1", "a")), host("h2", domain("u1", "a", "paused"))], "mine", 9.0)
    (guest,) = found.guests
    assert guest.vm_state is VmState.ERROR
    assert "h1 (running), h2 (paused)" in str(guest.fault)
    assert len(found.claims) == 1


def test_the_copy_that_runs_is_the_guest() -> None:
    found = rebuilt([host("h1", domain("u1", "a", "shutdown")), host("h2", domain("u1", "a"))], "mine", 9.0)
    assert (found.guests[0].host, found.guests[0].vm_state) == ("h2", VmState.ACTIVE)


def test_a_lost_ledger_is_made_again(ledger: Ledger, kit: Any) -> None:
    def update(name: str, *domains: dict[str, Any]) -> HostUpdate:
        return HostUpdate(name, {"machine_id": f"machine-{name}", "domains": list(domains)})

    updates = [update("h1", domain("u1", "a"), domain("u2", "b", "shutdown")), update("h2", domain("u3", "c"))]
    ledger.store_hosts(Refresh(updates, {}, "d", 2.0))
    result = ledger.rebuild("mine")
    assert result.problems == []
    assert ledger.guests() == sorted(result.guests, key=lambda row: row.name)
    assert ledger.usage() == {"h1": Usage(2, 1024, 4096, 2), "h2": Usage(1, 512, 2048, 1)}
    assert ledger.check() == []
    with pytest.raises(Conflict, match="has 3 guests"):
        ledger.rebuild("mine")
    # The ledger works again: a taken name is taken, a verb may work on a guest.
    action = kit.begin(ledger, "a")
    ledger.delete_guests(["u1"])
    ledger.end_action(action.id)
    assert [row.name for row in ledger.guests()] == ["b", "c"]


@pytest.mark.parametrize("name", [name for name in BROKEN if name not in IN_NO_POSTGRESQL])
def test_one_odd_domain_keeps_no_other_from_being_recorded(name: str, ledger: Ledger) -> None:
    make, _count, problem = BROKEN[name]
    facts = [(row.facts or {}).get("domains") or [] for row in make()]
    facts[0].append(domain("u9", "good"))
    updates = [HostUpdate(f"h{at}", {"machine_id": str(at), "domains": each}) for at, each in enumerate(facts, start=1)]
    ledger.store_hosts(Refresh(updates, {}, "d", 2.0))
    result = ledger.rebuild("mine")
    assert "u9" in {row.uuid for row in ledger.guests()}
    assert name == "a host without facts" or problem in "".join(result.problems)


def test_pins_come_back_and_are_not_booked_as_vcpus(ledger: Ledger) -> None:
    pinned = domain("u1", "a", vcpus=3, pins={"cells": [CELL], "pci_addresses": [], "emulator_cpus": []})
    ledger.store_hosts(Refresh([HostUpdate("h1", {"machine_id": "machine-h1", "domains": [pinned]})], {}, "d", 1.0))
    assert ledger.rebuild("mine").problems == []
    assert ledger.usage()["h1"].vcpus == 1


def test_nothing_to_rebuild_is_no_error(ledger: Ledger) -> None:
    assert ledger.rebuild("mine").guests == []


def test_the_rule_of_a_server_group_comes_back_with_its_guests(ledger: Ledger) -> None:
    rule = {"server_group": "g", "group_policy": {"policy": "anti-affinity", "max_server_per_host": 2}}
    odd = {"server_group": "o", "group_policy": {"policy": "whatever", "max_server_per_host": 2}}
    facts = {"machine_id": "machine-h1", "domains": [domain("u1", "a", **rule), domain("u2", "b", **rule)]}
    facts["domains"] += [domain("u3", "c", **odd)]
    ledger.store_hosts(Refresh([HostUpdate("h1", facts)], {}, "d", 1.0))
    ledger.rebuild("mine")
    (group,) = ledger.groups()
    assert (group.project, group.name, group.policy.value, group.max_server_per_host) == (
        "default", "g", "anti-affinity", 2,
    )  # fmt: skip
