# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor's findings: a table of what is changed in a healthy host and what must be found."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from berth.ledger.rows import HostRow
from berth.verbs.doctor import CHECKS, Finding, Status, Terms, findings, fleet_findings

NOW = 1_800_000_000.0
DAY_S = 86400
HEALTHY: dict[str, Any] = {
    "machine_id": "m1",
    "host_uuid": "u1",
    "libvirt_version": 9000000,
    "qemu_version": 7002022,
    "virtualization": {"domain_type": "kvm", "kvm_works": True, "reason": "a guest ran on KVM in 0.3 s"},
    "storage": {"instances_path": "/i", "disk_total_mib": 100_000, "disk_free_mib": 50_000, "writable": True},
    "images": {"path": "/m", "disk_free_mib": 50_000, "writable": True},
    "clock_offset_s": 0.0,
    "firmware": {"bios": True, "efi": True, "secure_boot": False},
    "tools": {"qemu-img": "/usr/bin/qemu-img", "ssh-keygen": "/usr/bin/ssh-keygen"},
    "networks": [{"name": "lan", "active": True}, {"name": "off", "active": False}],
    "bridges": ["br0"],
    "daemon": {"flavor": "monolithic", "listen": "socket", "ports": [16514], "uri": "qemu:///system"},
    "migration": {"transport": "tls", "certificate_not_after": NOW + 365 * DAY_S},
}
# With ssh QEMU encrypts migrations by default, with tcp it does not.
SSH: dict[str, Any] = {"migration__transport": "ssh", "daemon__ports": []}
TCP: dict[str, Any] = SSH | {"migration__transport": "tcp", "migration__certificate_not_after": None}
TCP["daemon__ports"] = [16509]
TERMS = Terms(now_s=NOW, facts_max_age_s=DAY_S)


def host(**changes: Any) -> HostRow:
    """Returns a healthy host with parts of its facts or of its row changed; `a__b` reaches into a part."""
    facts = copy.deepcopy(HEALTHY)
    row = HostRow("h1", True, "", True, "", None, None, "m1", facts, NOW - 60, ("compute",), {}, {})
    for name, value in changes.items():
        if hasattr(row, name):
            row = replace(row, **{name: value})
        elif "__" in name:
            part, key = name.split("__")
            facts[part][key] = value
        else:
            facts[name] = value
    return row


def by_check(found: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in found}


def test_a_healthy_host_has_nothing_to_mend() -> None:
    found = findings(host(), TERMS)
    assert [finding.check for finding in found] == list(CHECKS)
    assert {finding.status for finding in found} == {Status.OK}
    assert all(finding.found and not finding.fix for finding in found)


@pytest.mark.parametrize(
    ("check", "changes", "status", "part"),
    [
        ("state", {"enabled": False, "disabled_reason": "new disk"}, "warn", "new disk"),
        ("state", {"quarantine": "machine id changed from a to b"}, "fail", "machine id changed"),
        (
            "variables",
            {"variables": {"berth_cpu_allocation_ratio": "many"}},
            "fail",
            "found 'many', allowed: a number above 0",
        ),
        ("facts", {"facts_at": NOW - 2 * DAY_S}, "fail", "172800 s old"),
        ("kvm", {"virtualization": {"domain_type": "qemu", "kvm_works": False, "reason": "off"}}, "warn", "EMULATED"),
        ("kvm", {"virtualization__kvm_works": None, "virtualization__reason": "not probed"}, "warn", "not probed"),
        ("instances", {"storage__writable": False}, "fail", "/i is not there"),
        ("instances", {"storage__disk_free_mib": 100}, "fail", "100 MiB free"),
        ("instances", {"storage__disk_free_mib": 9_000}, "warn", "of 100000"),
        ("images", {"images__writable": False, "images__disk_free_mib": None}, "fail", "/m is not there"),
        ("images", {"images__disk_free_mib": 2047}, "fail", "2047 MiB free"),
        ("tools", {"tools__qemu-img": None}, "fail", "missing: qemu-img"),
        ("firmware", {"firmware__efi": False}, "warn", "bios"),
        ("firmware", {"firmware": {"bios": False, "efi": None, "secure_boot": None}}, "fail", "none"),
        ("clock", {"clock_offset_s": 5.1}, "warn", "5.1 s ahead"),
        ("clock", {"clock_offset_s": -90.0}, "warn", "90.0 s behind"),
        ("clock", {"clock_offset_s": None}, "warn", "not measured"),
        ("listening", {"daemon__ports": [16509]}, "warn", "port 16514"),
        ("certificate", {"migration__certificate_not_after": None}, "warn", "none"),
        ("certificate", {"migration__certificate_not_after": NOW + 10 * DAY_S}, "warn", "valid until"),
        ("certificate", {"migration__certificate_not_after": NOW - 1}, "fail", "valid until"),
        ("certificate", SSH | {"migration__certificate_not_after": NOW + 10 * DAY_S}, "warn", "valid until"),
        ("certificate", SSH | {"migration__certificate_not_after": NOW - 1}, "fail", "valid until"),
        ("certificate", SSH | {"migration__certificate_not_after": None}, "warn", "none"),
        ("certificate", TCP | {"migration__certificate_not_after": NOW - 1}, "fail", "valid until"),
        ("certificate", TCP | {"variables": {"berth_host_migrate_tls": "yes"}}, "warn", "none"),
    ],
)
def test_what_is_wrong_is_found_and_has_a_fix(check: str, changes: dict[str, Any], status: str, part: str) -> None:
    found = by_check(findings(host(**changes), TERMS))
    assert found[check].status == status and part in found[check].found
    assert found[check].fix and "{" not in found[check].fix
    assert {name for name, finding in found.items() if finding.status is not Status.OK} == {check}


@pytest.mark.parametrize(
    "changes",
    [
        {"clock_offset_s": 5.0},
        SSH,
        SSH | {"migration__certificate_not_after": None, "variables": {"berth_host_migrate_tls": False}},
        TCP,
        {"daemon__flavor": "session", "daemon__ports": [], "migration__certificate_not_after": None},
        {"daemon__flavor": "private", "daemon__ports": [], "migration__certificate_not_after": None},
    ],
)
def test_what_is_as_it_should_be(changes: dict[str, Any]) -> None:
    assert {finding.status for finding in findings(host(**changes), TERMS)} == {Status.OK}


@pytest.mark.parametrize(
    ("network", "part"),
    [
        ({"name": "lan", "kind": "nat", "bridge": None}, None),
        ({"name": "off", "kind": "nat", "bridge": None}, "off is not active"),
        ({"name": "new", "kind": "routed", "bridge": None}, "new is not active"),
        ({"name": "office", "kind": "bridge", "bridge": "br0"}, None),
        ({"name": "office", "kind": "bridge", "bridge": "br1"}, "no bridge br1"),
        ({"name": "anywhere", "kind": "user", "bridge": None}, None),
    ],
)
def test_networks_of_the_catalog(network: dict[str, Any], part: str | None) -> None:
    found = by_check(findings(host(), replace(TERMS, networks=[network])))["networks"]
    assert (found.status is Status.OK) == (part is None)
    assert (part or network["name"]) in found.found


@pytest.mark.parametrize(("status", "check"), [("unreachable", "ssh"), ("failed", "libvirt")])
def test_a_silent_host_has_one_finding(status: str, check: str) -> None:
    (found,) = findings(host(), replace(TERMS, silent={"h1": (status, "No route to host")}))
    assert (found.check, found.status, found.found) == (check, Status.FAIL, "No route to host") and "h1" in found.fix


def test_a_host_reached_as_an_ordinary_user_is_not_prepared_once_more() -> None:
    said = "Permission denied (libvirt error 38): set ansible_become: true for this host in the inventory"
    (found,) = findings(host(), replace(TERMS, silent={"h1": ("failed", said)}))
    assert "ansible_become: true" in found.fix and "host prepare" not in found.fix


def test_a_folder_that_cannot_be_written_may_be_a_matter_of_the_user() -> None:
    fix = by_check(findings(host(storage__writable=False), TERMS))["instances"].fix
    assert "`berth host prepare h1`" in fix and "ansible_become: true" in fix


def test_a_host_without_facts_has_one_finding() -> None:
    (found,) = findings(host(facts=None), TERMS)
    assert found.status is Status.FAIL and found.fix == "run `berth host refresh h1`"


def test_clones_are_found_on_both() -> None:
    one, two, three = host(), replace(host(host_uuid="u2"), name="h2"), replace(host(machine_id="m3"), name="h3")
    three = replace(three, facts={**(three.facts or {}), "host_uuid": "u3", "machine_id": "m3"})
    found = fleet_findings([one, two, three, host(facts=None)])
    assert [(finding.host, finding.check) for finding in found] == [("h1", "machine_id"), ("h2", "machine_id")]
    assert "as h2" in found[0].found and found[0].status is Status.FAIL
