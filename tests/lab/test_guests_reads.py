# SPDX-License-Identifier: GPL-3.0-or-later
"""What the read verbs say of prepared hosts, and what the doctor says of broken ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.cloud import LabCloud

pytestmark = pytest.mark.lab

IDLE = ("--flavor", "m1.tiny", "--image", "idle", "--network", "lan")
HOSTS = ["h1", "h2", "h3"]
SOCKETS = "libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd-tls.socket"


def findings(cloud: LabCloud, *hosts: str, status: int = 0) -> dict[tuple[str, str], dict[str, Any]]:
    found = json.loads(cloud.berth("doctor", *hosts, "--format", "json", status=status).out)
    return {(each["host"], each["check"]): each for each in found}


def test_place_shows_where_and_why(cloud: LabCloud) -> None:
    found = cloud.json("place", "spread", "--count", "3", *IDLE, "--group", "new", "--policy", "anti-affinity")
    assert sorted(one["host"] for one in found["placements"]) == HOSTS and "reports" not in found
    explained = cloud.json("place", "one", *IDLE, "--ignore-host", "h3", "--explain")
    (report,) = explained["reports"]
    assert [refused["host"] for refused in report["refused"]] == ["h3"]
    assert {weighed["host"] for weighed in report["weighed"]} == {"h1", "h2"}
    assert explained["placements"][0]["host"] in ("h1", "h2")
    text = cloud.berth("place", "one", *IDLE, "--ignore-host", "h3", "--explain").out
    assert all(host in text for host in HOSTS) and "GUEST" in text
    assert cloud.json("list") == []  # nothing was booked


def test_host_list_and_show(cloud: LabCloud) -> None:
    listed = {host["name"]: host for host in cloud.json("host", "list")}
    assert list(listed) == HOSTS
    keys = {"name", "state", "zone", "domain_type", "guests", "vcpus", "memory_mib", "disk_mib", "facts_age"}
    assert all(set(host) == keys and host["state"] == "enabled" for host in listed.values())
    shown = cloud.json("host", "show", "h3")
    assert {key: shown[key] for key in ("name", "state", "enabled", "groups")} == {
        "name": "h3", "state": "enabled", "enabled": True, "groups": ["compute"],
    }  # fmt: skip
    assert shown["facts"]["libvirt_version"] > 11_000_000
    assert {network["name"] for network in shown["facts"]["networks"]} >= {"lan", "leased"}
    error = cloud.refused("host", "show", "h33", status=3)
    assert "h33" in error["message"] and "h3" in error["message"] + error["hint"]


def test_disable_and_enable_say_so(cloud: LabCloud) -> None:
    assert cloud.berth("host", "disable", "h2", "--reason", "dust").out == "host h2: disabled\n"
    try:
        shown = cloud.json("host", "show", "h2")
        assert (shown["state"], shown["disabled_reason"]) == ("disabled", "dust")
        assert findings(cloud, "h2")["h2", "state"]["status"] == "warn"
    finally:
        assert cloud.berth("host", "enable", "h2").out == "host h2: enabled\n"
    assert cloud.json("host", "show", "h2")["state"] == "enabled"


def test_the_doctor_finds_prepared_hosts_well(cloud: LabCloud) -> None:
    found = findings(cloud)
    assert {host for host, _check in found} == {"controller", *HOSTS}
    assert [each for each in found.values() if each["status"] == "fail"] == []
    # Emulation is the only thing to say of them.
    assert {check for (_host, check), each in found.items() if each["status"] == "warn"} == {"kvm"}
    assert all(each["fix"] for each in found.values() if each["status"] != "ok")


def test_the_doctors_fix_mends_a_host(cloud: LabCloud) -> None:
    host = cloud.lab.host("h2")
    host.ssh(f"systemctl stop libvirtd.service {SOCKETS}; chmod 0000 /etc/pki/libvirt/servercert.pem")
    try:
        found = findings(cloud, "h2", status=6)
        assert found["h2", "libvirt"]["status"] == "fail"
        assert "`berth host prepare h2`" in found["h2", "libvirt"]["fix"]
        error = cloud.refused("boot", "poor", *IDLE, "--host", "h2", status=5)
        assert "libvirt" in " ".join([error["message"], *error["details"]])
        cloud.berth("host", "prepare", "h2", timeout_s=600)
    finally:
        host.ssh(f"chmod 0644 /etc/pki/libvirt/servercert.pem; systemctl start {SOCKETS}")
    assert [each for each in findings(cloud, "h2").values() if each["status"] == "fail"] == []
    (booted,) = cloud.json("boot", "poor", *IDLE, "--host", "h2")
    assert booted["state"] == "active"
    cloud.berth("delete", "--yes", "poor")
