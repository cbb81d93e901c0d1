# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that differ from the ledger: what `berth sync` records and tells, and what `berth doctor --fix` mends."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from lab.cloud import BIN, LabCloud
from lab.held import Held
from lab.shell import wait_for

pytestmark = pytest.mark.lab

IDLE = ("--flavor", "m1.tiny", "--image", "idle", "--network", "lan")
INSTANCES, CONSOLES = "/var/lib/berth/instances", "/var/lib/berth/consoles"
PARTIAL_EXIT = 7


@pytest.fixture(autouse=True)
def nothing_is_left(cloud: LabCloud) -> Iterator[None]:
    """After each of these tests hosts, ledger and this machine are as they were before."""
    with cloud.unchanged():
        yield


def kinds(rows: list[dict[str, Any]]) -> set[tuple[str, str | None, str]]:
    return {(row["kind"], row["guest"], row["host"]) for row in rows}


def found(cloud: LabCloud, *words: str, status: int | None = 0) -> dict[str, dict[str, Any]]:
    """Check to finding, of what the doctor has to say besides that all is well."""
    rows = cloud.json("doctor", *words, status=status)
    return {row["check"]: row for row in rows if row["status"] != "ok"}


def test_power_that_changed_by_itself_is_recorded(cloud: LabCloud) -> None:
    cloud.berth("boot", "moody", *IDLE, "--host", "h2")
    host = cloud.lab.host("h2")
    assert cloud.json("sync") == []
    host.exec("virsh -q destroy moody")
    assert kinds(cloud.json("sync")) == {("state", "moody", "h2")}
    assert (cloud.guest("moody")["state"], cloud.guest("moody")["power"]) == ("stopped", "shutdown")
    host.exec("virsh -q start moody")
    assert kinds(cloud.json("sync", "h2")) == {("state", "moody", "h2")}
    assert (cloud.guest("moody")["state"], cloud.guest("moody")["power"]) == ("active", "running")
    assert cloud.json("sync") == []


def test_a_silent_host_makes_its_guests_stale_and_the_rest_right(cloud: LabCloud) -> None:
    cloud.berth("boot", "there", *IDLE, "--host", "h1")
    cloud.berth("boot", "here", *IDLE, "--host", "h2")
    cloud.lab.host("h2").exec("virsh -q destroy here")
    # Another project of this user has a connection to the host open, by Ansible's own settings: without a keepalive.
    others = [str(BIN / "ansible"), "-i", "inventory", "h1", "-m", "ansible.builtin.ping"]
    none = cloud.scratch / "none.cfg"
    none.touch()
    cloud.run(others, environment={"ANSIBLE_CONFIG": str(none)})
    none.unlink()
    cloud.lab.host("h1").power_cut()
    try:
        answer = cloud.berth("sync", "--format", "json", status=PARTIAL_EXIT)
        rows = kinds(answer.data)
        assert rows == {("stale", "there", "h1"), ("state", "here", "h2")}
        listed = {each["name"]: each for each in cloud.json("list")}
        assert listed["there"]["state"] == "active" and listed["here"]["state"] == "stopped"
    finally:
        cloud.lab.power_on("h1")
    # It is still meant to be on: its host booted, nobody stopped it.
    assert kinds(cloud.json("sync")) == {("state", "there", "h1")}
    assert (cloud.guest("there")["state"], cloud.guest("there")["power"]) == ("active", "shutdown")


def test_a_guest_that_was_carried_away_is_told_and_followed_only_when_asked(cloud: LabCloud) -> None:
    cloud.berth("boot", "mover", *IDLE, "--host", "h1")
    cloud.berth("stop", "mover", "--hard", "--timeout", "1")
    one, other = cloud.lab.host("h1"), cloud.lab.host("h2")
    guest = cloud.guest("mover")["uuid"]
    xml = one.exec("virsh dumpxml --security-info mover").stdout
    other.exec(f"cat >/run/mover.xml <<'END'\n{xml}\nEND\nvirsh -q define /run/mover.xml && rm /run/mover.xml")
    rows = cloud.json("sync")
    assert kinds(rows) == {("drift", "mover", "h2")}
    assert "h1 (shutdown)" in rows[0]["found"] and "h2 (shutdown)" in rows[0]["found"]
    twin = found(cloud, status=None)["twin"]
    assert (twin["host"], twin["mend"]) == ("h2", "ask")
    # Nobody can be asked here, so nothing happens to it.
    assert "twin" in found(cloud, "--fix", status=None)
    assert other.exec("virsh -q domstate mover").stdout.strip() == "shut off"
    assert cloud.guest("mover")["host"] == "h1"
    other.exec(f"virsh -q undefine {guest}")


def test_what_is_left_of_a_deleted_guest_is_removed_without_asking(cloud: LabCloud) -> None:
    cloud.berth("boot", "gone", *IDLE, "--host", "h1")
    known, host, unknown = cloud.guest("gone")["uuid"], cloud.lab.host("h1"), str(uuid.uuid4())
    cloud.berth("delete", "--yes", "gone")
    for left in (known, unknown):
        host.exec(f"mkdir {INSTANCES}/{left}; touch {INSTANCES}/{left}/disk.qcow2 {CONSOLES}/{left}.log")
    # Facts from before the deletion say nothing of it.
    assert wait_for(lambda: "orphan_disk" in found(cloud, status=None), 30)
    rows = [row for row in cloud.json("doctor", status=None) if row["check"] == "orphan_disk"]
    assert {(row["found"].split(":")[0].split()[-1], row["mend"]) for row in rows} == {
        (known, "safe"),
        (unknown, "ask"),
    }
    cloud.berth("doctor", "--fix", status=None)
    listed = host.exec(f"ls {INSTANCES} {CONSOLES}").stdout
    assert known not in listed and unknown in listed
    host.exec(f"rm -r {INSTANCES}/{unknown} {CONSOLES}/{unknown}.log")


def test_a_claim_of_a_dead_run_is_let_go(cloud: LabCloud) -> None:
    Held(cloud, "boot", "dead", *IDLE, at="boot.claim.after").wait().kill()
    stuck = found(cloud, status=None)["stuck_action"]
    assert "dead" in stuck["found"] and stuck["mend"] == "safe"
    cloud.berth("doctor", "--fix", status=None)
    assert cloud.taken()["open actions"] == [] and cloud.taken()["holds"] == []
    cloud.berth("delete", "--yes", "dead")


def test_a_domain_of_a_deleted_guest_that_runs_is_left_alone(cloud: LabCloud) -> None:
    cloud.berth("boot", "ghost", *IDLE, "--host", "h3")
    host, guest = cloud.lab.host("h3"), cloud.guest("ghost")["uuid"]
    xml = host.exec("virsh dumpxml --security-info ghost").stdout
    cloud.berth("delete", "--yes", "ghost")
    disk = f"{INSTANCES}/{guest}/disk.qcow2"
    host.exec(
        f"mkdir -p {INSTANCES}/{guest}; qemu-img create -q -f qcow2 {disk} 1M; touch {INSTANCES}/{guest}/seed.iso; "
        f"cat >/run/ghost.xml <<'END'\n{xml}\nEND\nvirsh -q define /run/ghost.xml; rm /run/ghost.xml"
        "; virsh -q start ghost"
    )
    assert wait_for(lambda: "orphan_domain" in found(cloud, status=None), 30)
    cloud.berth("doctor", "--fix", status=None)
    assert host.exec("virsh -q domstate ghost").stdout.strip() == "running"
    assert host.exec(f"test -e {disk}", check=False).returncode == 0
    host.exec(f"virsh -q destroy ghost; virsh -q undefine ghost; rm -rf {INSTANCES}/{guest} {CONSOLES}/{guest}.log")


def test_one_of_three_cannot_be_made(cloud: LabCloud) -> None:
    """A group that lets one guest on a host, three hosts, one of them without power: all, some or as many as fit."""
    group = ("--group", "apart", "--policy", "anti-affinity")
    batch = ("boot", "batch", "--count", "3", *IDLE, *group)
    cloud.lab.host("h2").power_cut()
    try:
        error = cloud.refused(*batch, status=6)
        assert "removed again" in " ".join(error["details"])
        assert {name for name, guest in cloud.guests().items() if guest["state"] == "active"} == set()
        cloud.delete_all()
        some = cloud.json(*batch, "--partial", status=PARTIAL_EXIT)
        assert {guest["state"] for guest in some} == {"active", "error"}
        active = {guest["host"] for guest in cloud.guests().values() if guest["state"] == "active"}
        assert active == {"h1", "h3"}
        cloud.delete_all()
        cloud.berth("host", "disable", "h2", "--reason", "no power")
        fewer = cloud.json(*batch, "--min-count", "2")
        assert {guest["host"] for guest in fewer} == {"h1", "h3"}
    finally:
        cloud.lab.power_on("h2")
        cloud.berth("host", "enable", "h2")
        cloud.berth("host", "refresh", "h2")
