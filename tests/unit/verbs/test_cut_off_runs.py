# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that die at any point of the journal, on hosts that are told how to fail: the next run ends it well.

The ledger and the phases are real; the hosts are sets of guests. tests/lab/test_crash_matrix.py kills real runs.
"""

from __future__ import annotations

import random
import runpy
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from berth.cloud import Cloud
from berth.errors import BerthError, Conflict, HostFailed, NotFound
from berth.ledger import Ledger
from berth.ledger.model import BootStep, DeleteStep, PowerStep, VmState
from berth.verbs import boot, boot_rounds, delete, power
from berth.verbs.boot_verdict import GUEST_RESULT, IMAGE_RESULT
from berth.verbs.journal import with_user_data, write_intent

_FLOW = runpy.run_path(str(Path(__file__).with_name("test_boot_flow.py")))
cloud = _FLOW["cloud"]
call = _FLOW["call"]

SECRET = "a text of the user"
REQUEST = {"name": "web", "count": 2, "flavor": "small", "image": "tiny", "networks": ["lan"], "user_data": SECRET}
NAMES = ["web-1", "web-2"]
# Above the kernel's largest process id: every run counts as dead as soon as it is over.
NO_PROCESS = 2**22 + 1
UNREACHABLE = {"unreachable": True, "msg": "no route to host"}


class Killed(BaseException):
    """Stands for SIGKILL: nobody catches it."""


@dataclass
class World:
    """A cloud and its hosts. `off` have no power, `cut` lose it while they work, `refusing` make nothing."""

    cloud: Cloud
    guests: dict[str, dict[str, str]] = field(default_factory=lambda: {"h1": {}, "h2": {}, "h3": {}})
    off: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    refusing: set[str] = field(default_factory=set)
    kill_at: str | None = None

    def reach(self, point: str) -> None:
        if point == self.kill_at:
            raise Killed

    def boot(self) -> list[dict[str, Any]]:
        begun = boot.begin(call(self.cloud, request=REQUEST))
        passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
        work = begun["work"]
        for _round in range(boot_rounds.MAX_ATTEMPTS):
            results = {host: self._make(host, share) for host, share in work.items()}
            outcome = boot.record(call(self.cloud, results=results, **passed))
            work, passed["request"] = outcome["work"], {**passed["request"], "undo": outcome["undo"]}
        undo = passed["request"]["undo"]["work"]
        removed = {host: self._change(host, share, "remove", None) for host, share in undo.items()}
        return list(boot.finish(call(self.cloud, results=removed, **passed))["guests"])

    def delete(self) -> list[dict[str, Any]]:
        begun = delete.begin(call(self.cloud, request={"names": NAMES}))
        passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
        results = {host: self._change(host, share, "remove", None) for host, share in begun["work"].items()}
        return list(delete.finish(call(self.cloud, results=results, **passed))["guests"])

    def stop(self) -> list[dict[str, Any]]:
        begun = power.begin(call(self.cloud, request={"names": NAMES, "action": "stop"}))
        passed = {"action_id": begun["action"], "request": {"uuids": begun["uuids"]}}
        results = {host: self._change(host, share, "power", "shutdown") for host, share in begun["work"].items()}
        return list(power.finish(call(self.cloud, results=results, **passed))["guests"])

    def _make(self, host: str, share: Mapping[str, Any]) -> dict[str, Any]:
        write_intent(share["journal"], "image", host)
        if host in self.off:
            return {IMAGE_RESULT: UNREACHABLE, GUEST_RESULT: {"skipped": True}}
        said = _FLOW["answers"]({host: share}, {host: "host"} if host in self.refusing else None)[host]
        plans = with_user_data(share["journal"], share["plans"])
        assert [plan["user_data"] for plan in plans] == [SECRET] * len(plans)
        assert SECRET not in str(share)
        write_intent(share["journal"], "guest", host)
        if host not in self.refusing:
            self.guests[host] |= {plan["uuid"]: "running" for plan in plans}
        return {**said, GUEST_RESULT: UNREACHABLE} if self._loses_power(host) else dict(said)

    def _change(self, host: str, share: Mapping[str, Any], step: str, state: str | None) -> dict[str, Any]:
        write_intent(share["journal"], step, host)
        if host in self.off:
            return {GUEST_RESULT: UNREACHABLE}
        for guest in share["guests"]:
            self.guests[host].pop(guest["uuid"], None)
            self.guests[host] |= {guest["uuid"]: state} if state else {}
        done = [{"uuid": guest["uuid"], "ok": True, "state": state or "absent"} for guest in share["guests"]]
        return {GUEST_RESULT: UNREACHABLE if self._loses_power(host) else {"guests": done}}

    def _loses_power(self, host: str) -> bool:
        if host in self.cut:
            self.off.add(host)
        return host in self.cut

    def ledger(self) -> Ledger:
        return Ledger.open(self.cloud.ledger_url)

    def assert_at_rest(self, states: Mapping[str, str]) -> None:
        """Ledger and hosts agree, the guests are as given, and nothing is open."""
        with self.ledger() as ledger:
            rows = ledger.guests()
            assert {row.name: (str(row.vm_state), row.task_state) for row in rows} == {
                name: (state, None) for name, state in states.items()
            }
            placed = {row.uuid: row.host for row in rows}
            assert {row.guest_uuid: row.host for row in ledger.claims_of(list(placed))} == placed
            assert sum(usage.guests for usage in ledger.usage().values()) == len(rows)
            assert len({row.address for row in ledger.addresses_of()}) == len(rows)
            assert ledger.open_actions() == []
            assert all(step.ended_at for step in ledger.steps_on(list(ledger.guest_uuids())))
        assert {uuid: host for host, there in self.guests.items() for uuid in there} == placed
        assert sum(map(len, self.guests.values())) == len(placed)


@pytest.fixture
def world(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(cloud)
    monkeypatch.setattr("os.getppid", lambda: NO_PROCESS)
    monkeypatch.setattr("berth.ledger.journal.reach", made.reach)
    yield made


def points(verb: str, steps: type[BootStep] | type[DeleteStep] | type[PowerStep]) -> list[str]:
    return [f"{verb}.{step}.{when}" for step in steps for when in ("before", "after")]


def kill(world: World, point: str, verb: str) -> None:
    world.kill_at = point
    with pytest.raises(Killed):
        getattr(world, verb)()
    world.kill_at = None


@pytest.mark.parametrize("point", points("boot", BootStep))
def test_a_boot_is_finished_by_the_next(world: World, point: str) -> None:
    kill(world, point, "boot")
    assert [guest["state"] for guest in world.boot()] == ["active", "active"]
    world.assert_at_rest(dict.fromkeys(NAMES, "active"))


@pytest.mark.parametrize("point", points("boot", BootStep))
def test_a_boot_is_undone_by_delete(world: World, point: str) -> None:
    kill(world, point, "boot")
    if world.ledger().guests():
        world.delete()
    else:
        with pytest.raises(NotFound):
            world.delete()
    world.assert_at_rest({})


@pytest.mark.parametrize("point", points("delete", DeleteStep))
def test_a_delete_is_finished_by_the_next(world: World, point: str) -> None:
    world.boot()
    kill(world, point, "delete")
    if any(row.task_state for row in world.ledger().guests()):
        with pytest.raises(Conflict) as raised:
            world.boot()
        assert all("it is being deleted" in line for line in raised.value.details)
    assert [guest["state"] for guest in world.delete()] == ["deleted", "deleted"]
    world.assert_at_rest({})
    with pytest.raises(NotFound):
        world.delete()


@pytest.mark.parametrize("point", points("stop", PowerStep))
def test_a_stop_is_finished_by_the_next(world: World, point: str) -> None:
    world.boot()
    kill(world, point, "stop")
    assert [guest["state"] for guest in world.stop()] == ["stopped", "stopped"]
    world.assert_at_rest(dict.fromkeys(NAMES, "stopped"))


def test_a_run_that_dies_between_two_hosts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first host's claim is given back, the next one's not yet taken."""
    world.refusing = {"h1", "h2", "h3"}

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(boot_rounds, "claim_host", die)
        with pytest.raises(Killed):
            world.boot()
    assert None in [row.host for row in world.ledger().guests()]
    world.refusing = set()
    world.boot()
    world.assert_at_rest(dict.fromkeys(NAMES, "active"))


def test_a_guest_that_may_be_on_a_silent_host_stays_there_in_every_later_run(world: World) -> None:
    world.cut = {"h1", "h2", "h3"}
    for _run in range(3):
        with pytest.raises(HostFailed) as raised:
            world.boot()
        assert all("it may exist there" in line for line in raised.value.details)
    placed = {row.uuid: row.host for row in world.ledger().guests(states=[VmState.BUILDING])}
    with pytest.raises(HostFailed):
        world.delete()
    world.off, world.cut = set(), set()
    world.boot()
    assert {row.uuid: row.host for row in world.ledger().guests()} == placed
    world.assert_at_rest(dict.fromkeys(NAMES, "active"))


@pytest.mark.parametrize("point", points("boot", BootStep))
def test_a_guest_whose_host_falls_silent_after_the_kill_is_made_nowhere_else(world: World, point: str) -> None:
    kill(world, point, "boot")
    there = {uuid: host for host, guests in world.guests.items() for uuid in guests}
    world.off = set(there.values())
    with suppress(HostFailed):
        world.boot()
    assert all(
        list(guests).count(uuid) == (host == there[uuid]) for uuid in there for host, guests in world.guests.items()
    )
    world.off = set()
    world.boot()
    world.assert_at_rest(dict.fromkeys(NAMES, "active"))


@pytest.mark.parametrize("seed", range(12))
def test_no_guest_is_ever_on_two_hosts(world: World, seed: int) -> None:
    """Runs that die anywhere, on hosts that lose power or refuse, boots and deletes mixed; then all is mended."""
    chance = random.Random(seed)
    every = [None, *points("boot", BootStep), *points("delete", DeleteStep)]
    for _run in range(5):
        hosts = sorted(world.guests)
        world.off, world.cut, world.refusing = (set(chance.sample(hosts, chance.choice((0, 0, 1, 2)))) for _ in "abc")
        world.kill_at = chance.choice(every)
        with suppress(Killed, BerthError):
            chance.choice((world.boot, world.boot, world.boot, world.delete))()
        found = [uuid for there in world.guests.values() for uuid in there]
        assert len(found) == len(set(found)), f"seed {seed}"
    world.off, world.cut, world.refusing, world.kill_at = set(), set(), set(), None
    with suppress(Conflict):  # a guest failed everywhere, or is half deleted
        assert [guest["state"] for guest in world.boot()] == ["active", "active"]
    with suppress(NotFound):
        world.delete()
    world.assert_at_rest({})
