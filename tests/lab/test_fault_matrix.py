# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's connection, libvirtd or power fails before and after every step of boot and delete, on real hosts.

The run goes on meanwhile. A lost connection and a libvirtd that restarts are no reason to fail. A host without power
may be: then the same command again, once the host is back, ends well. Never is a guest on two hosts.
"""

from __future__ import annotations

import pytest

from berth.ledger.model import BootStep, DeleteStep, Verb
from lab.cloud import LabCloud
from lab.held import Held
from lab.pair import (
    BOOT,
    DELETE,
    NAMES,
    assert_nothing_is_left,
    assert_two_guests,
    assert_where_the_ledger_says,
    points,
)

pytestmark = pytest.mark.lab

BOOTS = points(Verb.BOOT, BootStep)
DELETES = points(Verb.DELETE, DeleteStep)


@pytest.fixture
def fresh(cloud: LabCloud) -> LabCloud:
    """The cloud without a guest, also when the case before failed half way."""
    if cloud.taken()["guests"]:
        cloud.delete_all()
    return cloud


def cut_connections(cloud: LabCloud) -> None:
    """End every ssh session on every host; the servers go on."""
    for host in cloud.lab.hosts:
        host.exec("pkill -KILL -f '^sshd: root'", check=False)


def restart_libvirtd(cloud: LabCloud) -> None:
    for host in cloud.lab.hosts:
        host.exec("systemctl restart libvirtd.service")


PASSING = {"connection": cut_connections, "libvirtd": restart_libvirtd}


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("point", BOOTS)
def test_a_boot_outlives_a_passing_fault(fresh: LabCloud, point: str, fault: str) -> None:
    run = Held(fresh, *BOOT, "--format", "json", at=point).wait()
    PASSING[fault](fresh)
    answer = run.go_on()
    assert answer.status == 0, answer
    assert_two_guests(fresh, answer.data)
    fresh.berth(*DELETE)
    assert_nothing_is_left(fresh)


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("point", DELETES)
def test_a_delete_outlives_a_passing_fault(fresh: LabCloud, point: str, fault: str) -> None:
    fresh.berth(*BOOT)
    run = Held(fresh, *DELETE, at=point).wait()
    PASSING[fault](fresh)
    answer = run.go_on()
    assert answer.status == 0, answer
    assert_nothing_is_left(fresh)


@pytest.mark.parametrize("point", BOOTS)
def test_a_boot_whose_host_loses_power(fresh: LabCloud, point: str) -> None:
    placed = fresh.json("place", *BOOT[1:])["placements"]
    run = Held(fresh, *BOOT, "--format", "json", at=point).wait()
    with fresh.without_power(fresh.lab.host(placed[0]["host"])):
        answer = run.go_on()
        assert answer.status in (0, 6), answer
        unfinished = [name for name, guest in fresh.guests().items() if guest["state"] != "active"]
        assert bool(unfinished) == (answer.status == 6)
    again = fresh.json(*BOOT)
    assert {(guest["name"], guest["state"]) for guest in again} == {(name, "active") for name in NAMES}
    assert_where_the_ledger_says(fresh)
    fresh.berth(*DELETE)
    assert_nothing_is_left(fresh)


@pytest.mark.parametrize("point", DELETES)
def test_a_delete_whose_host_loses_power(fresh: LabCloud, point: str) -> None:
    fresh.berth(*BOOT)
    host = fresh.host_of(NAMES[0])
    # Hosts where builds failed a moment ago are avoided, so both guests may be on one.
    there = {name for name, guest in fresh.guests().items() if guest["host"] == host.name}
    run = Held(fresh, *DELETE, at=point).wait()
    with fresh.without_power(host):
        answer = run.go_on()
        assert answer.status in (0, 6), answer
        kept = set(fresh.guests())
        assert kept == (there if answer.status == 6 else set())
    if kept:
        assert {guest["state"] for guest in fresh.json("delete", "--yes", *kept)} == {"deleted"}
    assert_nothing_is_left(fresh)
