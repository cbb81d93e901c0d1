# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from berth.errors import Conflict
from berth.ledger.model import (
    RULES,
    STEPS,
    PowerState,
    TaskState,
    Verb,
    VmState,
    allowed_next,
    check_action,
    check_transition,
    observed_state,
)

S, T = VmState, TaskState

# verb, vm_state, task_state -> allowed? Lines of the compute API's table.
CASES = [
    (Verb.START, S.STOPPED, None, True),
    (Verb.START, S.ACTIVE, None, False),
    (Verb.START, S.STOPPED, T.POWERING_ON, True),
    (Verb.START, S.STOPPED, T.DELETING, False),
    (Verb.STOP, S.ACTIVE, None, True),
    (Verb.STOP, S.ERROR, None, True),
    (Verb.STOP, S.PAUSED, None, False),
    (Verb.REBOOT, S.ACTIVE, None, True),
    (Verb.REBOOT, S.STOPPED, None, False),
    (Verb.REBOOT_HARD, S.STOPPED, None, True),
    (Verb.REBOOT_HARD, S.ACTIVE, T.REBOOTING, True),
    (Verb.REBOOT_HARD, S.ACTIVE, T.MIGRATING, False),
    (Verb.BOOT, S.BUILDING, T.SPAWNING, True),
    (Verb.BOOT, S.ACTIVE, None, False),
    (Verb.LIVE_MIGRATE, S.PAUSED, None, True),
    (Verb.LIVE_MIGRATE, S.STOPPED, None, False),
    (Verb.EVACUATE, S.ERROR, T.MIGRATING, True),
    (Verb.REVERT_RESIZE, S.RESIZED, None, True),
    (Verb.CONFIRM_RESIZE, S.ACTIVE, None, False),
    (Verb.UNSHELVE, S.SHELVED_OFFLOADED, None, True),
    (Verb.DELETE, S.BUILDING, T.SPAWNING, True),
    (Verb.DELETE, S.ERROR, T.DELETING, True),
    (Verb.DELETE, S.DELETED, None, False),
]


@pytest.mark.parametrize(("verb", "vm_state", "task_state", "allowed"), CASES)
def test_verbs_are_allowed_by_state(verb: Verb, vm_state: S, task_state: T | None, allowed: bool) -> None:
    if allowed:
        assert check_action(verb, vm_state, task_state) is RULES[verb].task
        return
    with pytest.raises(Conflict) as caught:
        check_action(verb, vm_state, task_state, name="web-1")
    assert caught.value.message.startswith(f"guest web-1: cannot {verb} while it is ")
    assert "allowed" in caught.value.message
    assert caught.value.hint


def test_a_refusal_says_the_state_what_is_allowed_and_what_to_do() -> None:
    with pytest.raises(Conflict) as caught:
        check_action(Verb.PAUSE, S.STOPPED, None, name="web-1")
    assert caught.value.message == "guest web-1: cannot pause while it is stopped; allowed: active"
    assert caught.value.hint == "start it: `berth start web-1`"


def test_every_verb_has_a_rule_and_ends_where_a_guest_may_go() -> None:
    assert set(RULES) == set(Verb) - {Verb.SYNC}  # nobody does that to a guest
    for rule in RULES.values():
        for state in rule.states:
            assert rule.results <= allowed_next(state)


def test_anything_may_fail_or_be_deleted_and_nothing_follows_deletion() -> None:
    for state in set(S) - {S.DELETED}:
        assert {S.ERROR, S.DELETED, state} <= allowed_next(state)
    assert allowed_next(S.DELETED) == {S.DELETED}


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (S.BUILDING, S.ACTIVE, True),
        (S.ACTIVE, S.STOPPED, True),
        (S.STOPPED, S.ACTIVE, True),
        (S.ACTIVE, S.BUILDING, False),
        (S.BUILDING, S.STOPPED, False),
        (S.DELETED, S.ACTIVE, False),
        (S.SHELVED_OFFLOADED, S.STOPPED, False),
    ],
)
def test_transitions(before: S, after: S, allowed: bool) -> None:
    if allowed:
        check_transition(before, after)
        return
    with pytest.raises(Conflict, match=f"no way from {before} to {after}"):
        check_transition(before, after)


@pytest.mark.parametrize(
    ("vm_state", "task_state", "power_state", "expected"),
    [
        (S.ACTIVE, None, PowerState.RUNNING, S.ACTIVE),
        (S.ACTIVE, None, PowerState.SHUTDOWN, S.STOPPED),
        (S.ACTIVE, None, PowerState.CRASHED, S.STOPPED),
        (S.ACTIVE, None, PowerState.PAUSED, S.ACTIVE),
        (S.ACTIVE, None, PowerState.NOSTATE, S.ACTIVE),
        (S.ACTIVE, T.POWERING_OFF, PowerState.SHUTDOWN, S.ACTIVE),
        (S.STOPPED, None, PowerState.RUNNING, S.ACTIVE),
        (S.PAUSED, None, PowerState.PAUSED, S.PAUSED),
        (S.PAUSED, None, PowerState.SHUTDOWN, S.STOPPED),
        (S.BUILDING, None, PowerState.SHUTDOWN, S.BUILDING),
        (S.ERROR, None, PowerState.RUNNING, S.ERROR),
        (S.RESIZED, None, PowerState.SHUTDOWN, S.RESIZED),
    ],
)
def test_what_a_host_shows_becomes_the_state(
    vm_state: S, task_state: T | None, power_state: PowerState, expected: S
) -> None:
    assert observed_state(vm_state, task_state, power_state) is expected
    check_transition(vm_state, expected)


def test_steps_have_names_that_failpoints_can_use() -> None:
    for steps in STEPS.values():
        assert all(step.value.isidentifier() for step in steps)
