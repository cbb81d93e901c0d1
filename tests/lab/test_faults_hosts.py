# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that fail while a guest is made: another host serves, unless the guest may be on the one that failed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from berth.ledger.model import BootStep, DeleteStep, Outcome
from berth.ledger.owner import Owner, proof_of_death
from berth.ledger.store import Ledger
from lab.cloud import LabCloud
from lab.held import Held
from lab.host import Host
from lab.shell import wait_for

pytestmark = pytest.mark.lab

IDLE = ("--flavor", "m1.tiny", "--image", "idle", "--network", "lan")
BOOT = ("boot", "fault", *IDLE)
LIBVIRTD = "libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd-tls.socket"
# ssh's own limits come to 30 seconds; the rest is for machines that are busy.
BOUND_S = 120
SENT = (BootStep.GUEST, DeleteStep.REMOVE)
IMAGES, INSTANCES = "/var/lib/berth/images", "/var/lib/berth/instances"


@pytest.fixture(autouse=True)
def nothing_is_left(cloud: LabCloud) -> Iterator[None]:
    """After each fault no guest is left, on the hosts and in the ledger."""
    cloud.delete_all()
    yield
    cloud.delete_all()
    assert {host.name: domains(host) for host in cloud.lab.hosts} == {host.name: [] for host in cloud.lab.hosts}
    assert not any(cloud.taken().values())


def domains(host: Host) -> list[str]:
    """The domains of a host, and the folders of guests."""
    found = host.exec(f"virsh -q list --all --name; ls {INSTANCES}").stdout.split()
    return sorted(found)


def chosen(cloud: LabCloud) -> Host:
    """The host that the guest would be placed on first."""
    placed = cloud.json("place", *BOOT[1:])["placements"]
    return cloud.lab.host(placed[0]["host"])


def tries(cloud: LabCloud, name: str = "fault") -> dict[str, str]:
    """Host to why it failed, from the guest's events."""
    with Ledger.open(f"sqlite:///{cloud.folder}/ledger.sqlite") as ledger:
        steps = ledger.steps_on([ledger.guest("default", name).uuid])
    failed = (Outcome.FAILED, Outcome.INTERRUPTED)
    return {str(step.host): str(step.error) for step in steps if step.host and step.outcome in failed}


@contextmanager
def busy(host: Host) -> Iterator[None]:
    """Holds the lock under which a host checks and defines guests: a call waits there with its work half done."""
    host.exec(
        "mkdir -p /run/lock/berth; systemd-run --quiet --unit hold-guests "
        "flock /run/lock/berth/guests.lock sleep 120; "
        "while flock -n /run/lock/berth/guests.lock true; do sleep 0.05; done"
    )
    try:
        yield
    finally:
        if host.leader():
            host.exec("systemctl stop hold-guests", check=False)  # a host that booted again has it no more


def is_at_work(host: Host) -> bool:
    """Does the host work on a guest? The guest's own lock is taken first."""
    return host.exec("ls /run/lock/berth/guest-*.lock", check=False).returncode == 0


def is_handed_over(cloud: LabCloud, attempts: int) -> bool:
    """Has the only run that is alive, its action begun that often, sent the guest to its host?"""
    with Ledger.open(f"sqlite:///{cloud.folder}/ledger.sqlite") as ledger:
        alive = [row for row in ledger.open_actions() if proof_of_death(Owner(**row.owner)) is None]
        sent = [step for row in alive for step in ledger.steps_of(row.id) if step.step in SENT and not step.ended_at]
    return bool(sent) and [row.attempts for row in alive] == [attempts]


def test_a_host_without_power_is_passed_over(cloud: LabCloud) -> None:
    host = chosen(cloud)
    with cloud.without_power(host):
        begin = time.monotonic()
        (guest,) = cloud.json(*BOOT)
        assert time.monotonic() - begin < BOUND_S
    assert guest["state"] == "active" and guest["host"] != host.name and guest["fault"] is None
    assert list(tries(cloud)) == [host.name] and "unreachable" in tries(cloud)[host.name]


def test_a_host_whose_libvirtd_is_down_is_passed_over(cloud: LabCloud) -> None:
    host = chosen(cloud)
    was_active = host.exec(f"systemctl is-active {LIBVIRTD}", check=False).stdout.split()
    host.exec(f"systemctl stop {LIBVIRTD}")
    try:
        (guest,) = cloud.json(*BOOT)
    finally:
        units = [unit for unit, state in zip(LIBVIRTD.split(), was_active, strict=True) if state == "active"]
        host.exec(f"systemctl start {' '.join(unit for unit in units if unit.endswith('.socket'))}")
    assert guest["state"] == "active" and guest["host"] != host.name
    assert list(tries(cloud)) == [host.name] and "libvirt" in tries(cloud)[host.name]


@pytest.mark.parametrize(
    ("path", "size", "said"), [(IMAGES, "100k", "space"), (INSTANCES, "1m", "1 mib free")], ids=["images", "instances"]
)
def test_a_host_whose_disk_is_full_is_passed_over(cloud: LabCloud, path: str, size: str, said: str) -> None:
    host = chosen(cloud)
    host.exec(f"mount -t tmpfs -o size={size},mode=0711 tmpfs {path}")
    try:
        (guest,) = cloud.json(*BOOT)
        assert host.exec(f"ls -A {path}").stdout == ""
    finally:
        host.exec(f"umount {path}")
    assert guest["state"] == "active" and guest["host"] != host.name
    assert list(tries(cloud)) == [host.name] and said in tries(cloud)[host.name].lower()


def test_when_every_host_fails_each_says_why(cloud: LabCloud) -> None:
    for host in cloud.lab.hosts:
        host.exec(f"mount -t tmpfs -o size=1m,mode=0711 tmpfs {INSTANCES}")
    try:
        error = cloud.refused(*BOOT, status=6)
    finally:
        for host in cloud.lab.hosts:
            host.exec(f"umount {INSTANCES}")
    told = " ".join(error["details"])
    assert all(f"{host.name}: " in told for host in cloud.lab.hosts)
    assert cloud.guests()["fault"]["state"] == "error"
    assert cloud.refused(*BOOT, status=4)["hint"]


def test_a_guest_whose_host_fell_silent_is_made_nowhere_else(cloud: LabCloud) -> None:
    """Promise P1: until the host answers, nobody knows whether the guest is there."""
    host = chosen(cloud)
    Held(cloud, *BOOT, at="boot.guest.before").wait().kill()
    with cloud.without_power(host):
        for _attempt in range(2):  # the second is an action of its own
            error = cloud.refused(*BOOT, status=6)
            assert "it may exist there, so it was not made elsewhere" in " ".join(error["details"])
            assert "when the host is back" in error["hint"]
            assert (cloud.guests()["fault"]["state"], cloud.guests()["fault"]["host"]) == ("building", host.name)
        assert all(domains(other) == [] for other in cloud.lab.hosts if other.name != host.name)
        kept = cloud.refused("delete", "--yes", "fault", status=6)
        assert host.name in " ".join(kept["details"])
        assert "fault" in cloud.guests()
    (guest,) = cloud.json(*BOOT)
    assert (guest["state"], guest["host"]) == ("active", host.name)
    assert {each.name: len(domains(each)) for each in cloud.lab.hosts if domains(each)} == {host.name: 2}


def test_a_host_that_loses_power_in_the_middle(cloud: LabCloud) -> None:
    host = chosen(cloud)
    with busy(host):
        run = Held(cloud, *BOOT, "--format", "json")
        assert wait_for(lambda: is_at_work(host), 60), run.kill()
        begin = time.monotonic()
        with cloud.without_power(host):
            answer = run.answer()
            assert time.monotonic() - begin < BOUND_S
            assert answer.status == 6 and "not made elsewhere" in " ".join(answer.error["details"])
    (guest,) = cloud.json(*BOOT)
    assert (guest["state"], guest["host"]) == ("active", host.name)


def test_a_host_still_works_for_a_run_that_was_killed(cloud: LabCloud) -> None:
    """The module on the host outlives its controller: the next run waits for it, and so does a delete."""
    host = chosen(cloud)
    with busy(host):
        run = Held(cloud, *BOOT)
        assert wait_for(lambda: is_at_work(host), 60), run.kill()
        run.kill()
        again = Held(cloud, *BOOT, "--format", "json")
        assert wait_for(lambda: is_handed_over(cloud, attempts=2), 60), again.kill()
    answer = again.answer()
    assert answer.status == 0, answer
    assert [(guest["state"], guest["host"]) for guest in answer.data] == [("active", host.name)]
    cloud.berth("delete", "--yes", "fault")
    with busy(host):
        run = Held(cloud, *BOOT)
        assert wait_for(lambda: is_at_work(host), 60), run.kill()
        run.kill()
        delete = Held(cloud, "delete", "--yes", "fault")
        assert wait_for(lambda: is_handed_over(cloud, attempts=1), 60), delete.kill()
    assert delete.answer().status == 0
    assert wait_for(lambda: not is_at_work(host), 60)
    assert domains(host) == []


def test_a_host_that_was_installed_anew_is_kept_away(cloud: LabCloud) -> None:
    host = chosen(cloud)
    mine = host.exec("cat /etc/machine-id").stdout.strip()
    other = f"{mine[:-8]}{'0' * 8}"
    host.exec(f"echo {other} >/etc/machine-id")
    try:
        cloud.berth("host", "refresh", host.name, status=None)
        listed = {each["name"]: each for each in cloud.json("host", "list")}[host.name]
        assert listed["state"] == "quarantined"
        error = cloud.refused("place", "fault", *IDLE, "--host", host.name, status=5)
        assert mine in " ".join(error["details"]) and other in " ".join(error["details"])
        (guest,) = cloud.json(*BOOT)
        assert guest["host"] != host.name
    finally:
        host.exec(f"echo {mine} >/etc/machine-id")
        cloud.berth("host", "refresh", host.name)
    assert cloud.json("place", "x", *IDLE, "--host", host.name)["placements"]
