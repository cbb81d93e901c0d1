# SPDX-License-Identifier: GPL-3.0-or-later
"""`kill -9` before and after every step of every verb, on real hosts: the same command again, or a delete, ends well.

The cases are made from the enums of the steps. Each verb's steps are reached on the controller; what a host does within
its step has tests of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import Any

import pytest

from berth.ledger.model import STEPS, BootStep, DeleteStep, PowerStep, Verb
from lab.cloud import LabCloud
from lab.held import Held

pytestmark = pytest.mark.lab

NAMES = ("crash-1", "crash-2")
BOOT = ("boot", "crash", "--count", "2", "--flavor", "m1.tiny", "--image", "idle", "--network", "lan")
DELETE = ("delete", "--yes", *NAMES)
# A guest that idles in the firmware hears no shutdown.
POWER = {
    Verb.STOP: ("stop", "--hard", "--timeout", "1", *NAMES),
    Verb.START: ("start", *NAMES),
    Verb.REBOOT_HARD: ("reboot", "--hard", *NAMES),
}
POWER_STATES = {Verb.STOP: "stopped", Verb.START: "active", Verb.REBOOT_HARD: "active"}


def points(verb: Verb, steps: type[StrEnum]) -> list[str]:
    return [f"{verb}.{step}.{when}" for step in steps for when in ("before", "after")]


CASES = {
    Verb.BOOT: points(Verb.BOOT, BootStep),
    Verb.DELETE: points(Verb.DELETE, DeleteStep),
    # In this order each case begins where the one before it ended.
    **{verb: points(verb, PowerStep) for verb in POWER},
}


def test_every_step_of_every_verb_is_a_case() -> None:
    for verb, steps in STEPS.items():
        if verb is Verb.REBOOT:  # it has the steps of the other changes of power, and these guests hear no shutdown
            continue
        assert {point.split(".")[1] for point in CASES[verb]} == set(steps)
        assert len(CASES[verb]) == 2 * len(steps)


@pytest.fixture(scope="module", autouse=True)
def empty(cloud: LabCloud) -> Iterator[None]:
    """After all cases there is nothing that was not there before: hosts, ledger and this machine."""
    before = cloud.inventory()
    yield
    assert before.lines(cloud.inventory()) == []


@pytest.fixture
def fresh(cloud: LabCloud) -> LabCloud:
    """The cloud without a guest, also when the case before failed half way."""
    if cloud.taken()["guests"]:
        cloud.delete_all()
    return cloud


@pytest.mark.parametrize("point", CASES[Verb.BOOT])
def test_a_boot_that_was_killed_is_finished_by_itself(fresh: LabCloud, point: str) -> None:
    kill(fresh, point, *BOOT)
    assert_two_guests(fresh, fresh.json(*BOOT))
    fresh.berth(*DELETE)
    assert_nothing_is_left(fresh)


@pytest.mark.parametrize("point", CASES[Verb.BOOT])
def test_a_boot_that_was_killed_is_undone_by_delete(fresh: LabCloud, point: str) -> None:
    known = kill(fresh, point, *BOOT)
    assert known in (set(), set(NAMES))
    fresh.berth(*DELETE, status=0 if known else 3)
    assert_nothing_is_left(fresh)


@pytest.mark.parametrize("point", CASES[Verb.DELETE])
def test_a_delete_that_was_killed_is_finished_by_itself(fresh: LabCloud, point: str) -> None:
    fresh.berth(*BOOT)
    kill(fresh, point, *DELETE)
    assert {guest["state"] for guest in fresh.json(*DELETE)} == {"deleted"}
    assert_nothing_is_left(fresh)


@pytest.fixture(scope="module")
def running(cloud: LabCloud) -> Iterator[LabCloud]:
    """The two guests, kept over all changes of power."""
    cloud.berth(*BOOT)
    yield cloud
    cloud.berth(*DELETE)


@pytest.mark.parametrize("point", [point for verb in POWER for point in CASES[verb]])
def test_a_change_of_power_that_was_killed_is_finished_by_itself(running: LabCloud, point: str) -> None:
    verb = Verb(point.split(".")[0])
    from_state = {Verb.STOP: Verb.START, Verb.START: Verb.STOP}.get(verb)
    if from_state and {guest["state"] for guest in running.guests().values()} != {POWER_STATES[from_state]}:
        running.berth(*POWER[from_state])
    kill(running, point, *POWER[verb])
    assert_two_guests(running, running.json(*POWER[verb]), POWER_STATES[verb])


def kill(cloud: LabCloud, point: str, *words: str) -> set[str]:
    """Kill a command at a point; what reads the ledger goes on working. Returns the names it knows."""
    Held(cloud, *words, at=point).wait().kill()
    return set(cloud.guests())


def assert_two_guests(cloud: LabCloud, guests: list[dict[str, Any]], state: str = "active") -> None:
    """Two whole guests, each on the one host that the ledger says, and nothing that is still being done."""
    power = "running" if state == "active" else "shutdown"
    assert {guest["name"]: (guest["state"], guest["power"], guest["task"]) for guest in guests} == {
        name: (state, power, None) for name in NAMES
    }
    placed = sorted((guest["host"], guest["uuid"], power) for guest in guests)
    assert on_hosts(cloud) == placed
    rows = cloud.taken()
    assert sorted((host, uuid) for uuid, host in rows["claims"]) == [row[:2] for row in placed]
    assert len(rows["guests"]) == len({address for _uuid, _network, address in rows["addresses"]}) == len(NAMES)
    assert [rows[table] for table in ("holds", "open actions", "open steps")] == [[], [], []]
    assert cloud.local() == []


def assert_nothing_is_left(cloud: LabCloud) -> None:
    """Nothing on the hosts, in the ledger and on this machine."""
    assert on_hosts(cloud) == []
    assert not any(cloud.taken().values())
    assert cloud.local() == []


def on_hosts(cloud: LabCloud) -> list[tuple[str, str, str]]:
    """Host, UUID and state of every guest: its domain, folder and console log, which go together."""
    command = (
        "for uuid in $(virsh -q list --all --uuid); do echo $uuid $(virsh domstate $uuid); done; "
        "for part in /var/lib/berth/instances /var/lib/berth/consoles /root/.ansible/tmp; do echo --; ls $part; done"
    )
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda host: host.exec(command, check=False).stdout, cloud.lab.hosts))
    found = []
    for host, answer in zip(cloud.lab.hosts, answers, strict=True):
        domains, folders, logs, temporary = answer.split("--\n")
        states = dict(line.split(" ", 1) for line in domains.splitlines())
        assert sorted(states) == sorted(folders.split()) == sorted(log.removesuffix(".log") for log in logs.split())
        assert temporary == ""
        found += [(host.name, uuid, state.replace("shut off", "shutdown")) for uuid, state in states.items()]
    return sorted(found)
