# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from berth.errors import Conflict, NotFound
from berth.ledger import Ledger
from berth.ledger.model import PowerState, TaskState, Verb, VmState
from berth.ledger.rows import AddressWish, BootRecord, GuestResult, StateChange


@pytest.fixture
def booted(ledger: Ledger, kit: Any) -> Ledger:
    """A ledger with the active guests a and b on h1 and c on h2."""
    action = kit.begin(ledger, "a", "b", "c")
    new = tuple(kit.guest(name) for name in ("a", "b", "c"))
    claims = tuple(kit.claim(guest, host, ports=1) for guest, host in zip(new, ("h1", "h1", "h2"), strict=True))
    wishes = tuple(AddressWish(guest.uuid, 0, "lan", "10.0.0.1", "10.0.0.9") for guest in new)
    ledger.record_boot(action.id, BootRecord(new, claims, wishes))
    ledger.finish_guests(
        [
            GuestResult(guest.uuid, VmState.ACTIVE, PowerState.RUNNING, ssh_host_key="ssh-ed25519 A", launched_at=5.0)
            for guest in new
        ]
    )
    ledger.end_action(action.id)
    return ledger


STOPPING = StateChange(frozenset({VmState.ACTIVE}), frozenset({None}), VmState.ACTIVE, TaskState.POWERING_OFF)


def test_a_finished_guest_has_all_that_was_found_out(booted: Ledger) -> None:
    result = GuestResult(
        "a", VmState.ACTIVE, PowerState.RUNNING, "h1", "ssh-ed25519 B", "sha256:1", 7.0, "slow", {"machine": "q35"}
    )
    booted.finish_guests([result])
    row = booted.guest_by_uuid("a")
    assert (row.vm_state, row.task_state, row.power_state) == (VmState.ACTIVE, None, PowerState.RUNNING)
    assert (row.host, row.ssh_host_key, row.image_digest) == ("h1", "ssh-ed25519 B", "sha256:1")
    assert (row.launched_at, row.fault, row.plan) == (7.0, "slow", {"machine": "q35"})
    booted.finish_guests([GuestResult("a", VmState.STOPPED, PowerState.SHUTDOWN, fault="")])
    row = booted.guest_by_uuid("a")
    assert (row.fault, row.ssh_host_key, row.plan) == ("", "ssh-ed25519 B", {"machine": "q35"})


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["a", "b", "c"]),
        ({"host": "h1"}, ["a", "b"]),
        ({"names": ["A", "c"]}, ["a", "c"]),
        ({"states": [VmState.ACTIVE], "host": "h2"}, ["c"]),
        ({"states": [VmState.ERROR]}, []),
        ({"project": "other"}, []),
    ],
)
def test_guests_are_found(booted: Ledger, query: dict[str, Any], names: list[str]) -> None:
    assert [row.name for row in booted.guests(**query)] == names


def test_a_name_that_nothing_has_gets_a_neighbour(booted: Ledger, kit: Any) -> None:
    with pytest.raises(NotFound, match="no guest 'aa'") as caught:
        booted.guest("default", "aa")
    assert caught.value.hint == "did you mean 'a'?"
    with pytest.raises(NotFound, match="UUID"):
        booted.guest_by_uuid("none")


def test_states_change_for_all_or_none(booted: Ledger) -> None:
    booted.set_states(["a"], STOPPING)
    with pytest.raises(Conflict, match=r"guest a: found active, task powering_off; allowed: active; task: none"):
        booted.set_states(["a", "b"], STOPPING)
    assert [row.task_state for row in booted.guests()] == [TaskState.POWERING_OFF, None, None]
    done = StateChange(
        frozenset({VmState.ACTIVE}), frozenset(), VmState.STOPPED, None, PowerState.SHUTDOWN, fault="by hand"
    )
    booted.set_states(["a", "b"], done)
    found = [(row.vm_state, row.task_state, row.power_state, row.fault) for row in booted.guests(host="h1")]
    assert found == [(VmState.STOPPED, None, PowerState.SHUTDOWN, "by hand")] * 2


@pytest.mark.parametrize(
    ("vm_state", "power", "step"),
    [
        (VmState.STOPPED, PowerState.SHUTDOWN, "stopped"),
        (VmState.ACTIVE, PowerState.NOSTATE, "nostate"),
    ],
)
def test_what_a_host_showed_is_in_the_events(booted: Ledger, vm_state: VmState, power: PowerState, step: str) -> None:
    known = {*(event.action.id for event in booted.events("a"))}
    change = StateChange(frozenset({VmState.ACTIVE}), frozenset({None}), vm_state, None, power, seen_on="h1")
    booted.set_states(["a", "b"], change)
    for uuid in ("a", "b"):
        (event,) = [event for event in booted.events(uuid) if event.action.id not in known]
        assert (event.action.verb, event.action.error, event.action.owner["pid"]) == (Verb.SYNC, None, os.getpid())
        assert [(one.step, one.host, one.outcome) for one in event.steps] == [(step, "h1", "ok")]
        assert event.action.ended_at == event.action.started_at == event.steps[0].ended_at
    with pytest.raises(Conflict):
        booted.set_states(["a", "c"], replace(change, expect_vm=frozenset({VmState.PAUSED})))
    assert len(booted.events("a")) == 2 and booted.open_actions() == [] and booted.check() == []


def test_every_guest_that_is_not_as_expected_is_told(booted: Ledger) -> None:
    booted.set_states(["a", "b"], STOPPING)
    with pytest.raises(Conflict) as caught:
        booted.set_states(["a", "b", "c"], STOPPING)
    assert [line.split(":")[0] for line in caught.value.details] == ["guest a", "guest b"]


def test_a_state_that_cannot_follow_is_refused_and_nothing_is_recorded(booted: Ledger) -> None:
    with pytest.raises(Conflict, match="guest b: no way from active to building"):
        booted.finish_guests(
            [
                GuestResult("a", VmState.STOPPED, PowerState.SHUTDOWN),
                GuestResult("b", VmState.BUILDING, PowerState.NOSTATE),
            ]
        )
    assert booted.guest_by_uuid("a").vm_state is VmState.ACTIVE


def test_a_deleted_guest_gives_everything_back_and_stays_as_history(booted: Ledger) -> None:
    booted.delete_guests(["a", "b"])
    assert [row.name for row in booted.guests()] == ["c"]
    assert sorted(booted.usage()) == ["h2"]
    assert [row.guest_uuid for row in booted.addresses_of()] == ["c"]
    assert booted.ports_of(["a", "b"]) == {}
    row = booted.guest_by_uuid("a")
    assert (row.vm_state, row.task_state) == (VmState.DELETED, None)
    assert row.deleted_at is not None
    booted.delete_guests(["a"])
    assert booted.guest_by_uuid("a").deleted_at == row.deleted_at
    with pytest.raises(Conflict, match="no way from deleted"):
        booted.finish_guests([GuestResult("a", VmState.ACTIVE, PowerState.RUNNING)])


def test_plans_are_replaced(booted: Ledger) -> None:
    booted.store_plans({"a": {"name": "a", "networks": [{"mac": "x"}]}, "b": {}})
    assert booted.guest_by_uuid("a").plan == {"name": "a", "networks": [{"mac": "x"}]}
    with pytest.raises(NotFound):
        booted.store_plans({"nobody": {}})


def test_a_locked_guest_is_left_alone_until_it_is_unlocked(booted: Ledger, kit: Any) -> None:
    booted.lock_guests(["a", "b"], by="me@here", reason="holds the keys")
    row = booted.guest_by_uuid("a")
    assert (row.lock_reason, row.locked_by) == ("holds the keys", "me@here")
    assert row.locked_at is not None
    with pytest.raises(Conflict, match=r"guest a is locked by me@here since 2023-11-14T\S+: holds the keys") as caught:
        kit.begin(booted, "A", verb=Verb.DELETE)
    assert caught.value.hint == "if that is over: `berth unlock a`"
    with pytest.raises(Conflict, match="2 guests are locked"):
        kit.begin(booted, "a", "b", "c", verb=Verb.STOP)
    kit.begin(booted, "c", verb=Verb.STOP)
    booted.unlock_guests(["a"])
    assert booted.guest_by_uuid("a").locked_by is None
    kit.begin(booted, "a", verb=Verb.DELETE)


def test_guests_are_looked_up_in_the_order_asked_for(booted: Ledger) -> None:
    booted.delete_guests(["b"])
    assert [row.name for row in booted.guests_by_uuid(["c", "b", "a"])] == ["c", "b", "a"]
    known = booted.guest_uuids()
    assert set(known) == {"a", "b", "c"} and [uuid for uuid, deleted_at in known.items() if deleted_at] == ["b"]
    with pytest.raises(NotFound):
        booted.guests_by_uuid(["a", "nobody"])
