# SPDX-License-Identifier: GPL-3.0-or-later
"""`kill -9` before and after every step of every verb, on real hosts: the same command again, or a delete, ends well.

The cases are made from the enums of the steps. Each verb's steps are reached on the controller; what a host does within
its step has tests of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from berth.ledger.model import STEPS, BootStep, DeleteStep, PowerStep, Verb
from lab.cloud import LabCloud
from lab.held import Held
from lab.pair import BOOT, DELETE, NAMES, assert_nothing_is_left, assert_two_guests, on_hosts, points

pytestmark = pytest.mark.lab

# A guest that idles in the firmware hears no shutdown.
POWER = {
    Verb.STOP: ("stop", "--hard", "--timeout", "1", *NAMES),
    Verb.START: ("start", *NAMES),
    Verb.REBOOT_HARD: ("reboot", "--hard", *NAMES),
}
POWER_STATES = {Verb.STOP: "stopped", Verb.START: "active", Verb.REBOOT_HARD: "active"}


CASES = {
    Verb.BOOT: points(Verb.BOOT, BootStep),
    Verb.DELETE: points(Verb.DELETE, DeleteStep),
    # In this order each case begins where the one before it ended.
    **{verb: points(verb, PowerStep) for verb in POWER},
}
# From here on a host may have the guest of a boot.
SENT = CASES[Verb.BOOT][CASES[Verb.BOOT].index("boot.guest.before") :]


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


@pytest.mark.parametrize("point", SENT)
def test_a_killed_boot_whose_host_falls_silent_makes_no_second_guest(fresh: LabCloud, point: str) -> None:
    """Promise P1: the host, cut off from the controller only, may run the guest that the killed run has sent it."""
    kill(fresh, point, *BOOT)
    host = fresh.host_of(NAMES[0])
    with fresh.silent(host):
        answer = fresh.berth(*BOOT, status=None)
        assert answer.status in (0, 6), answer
    uuids = [uuid for _host, uuid, _state in on_hosts(fresh)]
    assert len(uuids) == len(set(uuids))
    assert_two_guests(fresh, fresh.json(*BOOT))
    fresh.berth(*DELETE)
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
