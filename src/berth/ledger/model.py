# SPDX-License-Identifier: GPL-3.0-or-later
"""States, verbs and steps, and which verb is allowed in which state. Pure: no I/O.

The states and the table are OpenStack Nova's (compute API guide, "Server concepts"; nova/compute/api.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from berth.errors import Conflict


class VmState(StrEnum):
    """What a guest is, while nothing works on it."""

    BUILDING = "building"
    ACTIVE = "active"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    STOPPED = "stopped"
    RESCUED = "rescued"
    RESIZED = "resized"
    SHELVED = "shelved"
    SHELVED_OFFLOADED = "shelved_offloaded"
    ERROR = "error"
    DELETED = "deleted"


class TaskState(StrEnum):
    """What is being done to a guest. A guest at rest has none (None)."""

    SCHEDULING = "scheduling"
    NETWORKING = "networking"
    BLOCK_DEVICE_MAPPING = "block_device_mapping"
    SPAWNING = "spawning"
    POWERING_ON = "powering_on"
    POWERING_OFF = "powering_off"
    REBOOTING = "rebooting"
    REBOOTING_HARD = "rebooting_hard"
    PAUSING = "pausing"
    UNPAUSING = "unpausing"
    SUSPENDING = "suspending"
    RESUMING = "resuming"
    RESCUING = "rescuing"
    UNRESCUING = "unrescuing"
    REBUILDING = "rebuilding"
    RESIZING = "resizing"
    RESIZE_REVERTING = "resize_reverting"
    MIGRATING = "migrating"
    SHELVING = "shelving"
    SHELVING_OFFLOADING = "shelving_offloading"
    UNSHELVING = "unshelving"
    SNAPSHOTTING = "snapshotting"
    DELETING = "deleting"


class PowerState(StrEnum):
    """What libvirt says about the domain; the words of the facts (docs/data.md, section 1)."""

    NOSTATE = "nostate"
    RUNNING = "running"
    PAUSED = "paused"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"
    SUSPENDED = "suspended"


class Verb(StrEnum):
    """What an operator can do to guests. The value is the verb's name in actions, failpoints and messages.

    SYNC is not done to a guest: something was recorded of it because its host shows it.
    """

    BOOT = "boot"
    START = "start"
    STOP = "stop"
    REBOOT = "reboot"
    REBOOT_HARD = "reboot_hard"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    SUSPEND = "suspend"
    RESUME = "resume"
    RESCUE = "rescue"
    UNRESCUE = "unrescue"
    REBUILD = "rebuild"
    RESIZE = "resize"
    MIGRATE = "migrate"
    CONFIRM_RESIZE = "confirm_resize"
    REVERT_RESIZE = "revert_resize"
    LIVE_MIGRATE = "live_migrate"
    EVACUATE = "evacuate"
    SHELVE = "shelve"
    SHELVE_OFFLOAD = "shelve_offload"
    UNSHELVE = "unshelve"
    SNAPSHOT = "snapshot"
    DELETE = "delete"
    SYNC = "sync"


class BootStep(StrEnum):
    """The steps of a boot, in order."""

    RECORD = "record"
    CLAIM = "claim"
    IMAGE = "image"
    GUEST = "guest"
    ACTIVATE = "activate"


class DeleteStep(StrEnum):
    """The steps of a delete, in order."""

    MARK = "mark"
    REMOVE = "remove"
    RELEASE = "release"


class PowerStep(StrEnum):
    """The steps of start, stop and reboot, in order."""

    MARK = "mark"
    POWER = "power"
    SETTLE = "settle"


class Outcome(StrEnum):
    """How a step ended. Interrupted: its run died, what it did is not known."""

    OK = "ok"
    FAILED = "failed"
    UNDONE = "undone"
    INTERRUPTED = "interrupted"


class GroupPolicy(StrEnum):
    """Policies of a server group; the soft ones are wishes (weighers), the others rules."""

    AFFINITY = "affinity"
    ANTI_AFFINITY = "anti-affinity"
    SOFT_AFFINITY = "soft-affinity"
    SOFT_ANTI_AFFINITY = "soft-anti-affinity"


Step = BootStep | DeleteStep | PowerStep
STEPS: dict[Verb, type[BootStep] | type[DeleteStep] | type[PowerStep]] = {
    Verb.BOOT: BootStep,
    Verb.DELETE: DeleteStep,
    Verb.START: PowerStep,
    Verb.STOP: PowerStep,
    Verb.REBOOT: PowerStep,
    Verb.REBOOT_HARD: PowerStep,
}


@dataclass(frozen=True)
class Rule:
    """When a verb is allowed and where it leads.

    `states` are the vm_states it starts from. `tasks` are the task_states it interrupts besides None; `any_task` means
    all of them. `task` is what the guest is given while the verb works; `results` is where it may end (besides ERROR).
    """

    states: frozenset[VmState]
    task: TaskState
    results: frozenset[VmState]
    tasks: frozenset[TaskState] = frozenset()
    any_task: bool = False


S, T = VmState, TaskState
_REBOOTABLE = frozenset({T.REBOOTING, T.REBOOTING_HARD, T.PAUSING, T.UNPAUSING, T.SUSPENDING, T.RESUMING})
_BUILD_TASKS = frozenset({T.SCHEDULING, T.NETWORKING, T.BLOCK_DEVICE_MAPPING, T.SPAWNING})


def _rule(states: set[VmState], task: TaskState, results: set[VmState]) -> Rule:
    return Rule(frozenset(states), task, frozenset(results))


RULES: dict[Verb, Rule] = {
    # A boot that was interrupted is run again on what it left behind.
    Verb.BOOT: Rule(frozenset({S.BUILDING}), T.SCHEDULING, frozenset({S.ACTIVE}), tasks=_BUILD_TASKS),
    Verb.START: Rule(frozenset({S.STOPPED}), T.POWERING_ON, frozenset({S.ACTIVE}), tasks=frozenset({T.POWERING_ON})),
    Verb.STOP: Rule(
        frozenset({S.ACTIVE, S.ERROR}), T.POWERING_OFF, frozenset({S.STOPPED}), tasks=frozenset({T.POWERING_OFF})
    ),
    Verb.REBOOT: Rule(frozenset({S.ACTIVE}), T.REBOOTING, frozenset({S.ACTIVE}), tasks=frozenset({T.REBOOTING})),
    Verb.REBOOT_HARD: Rule(
        frozenset({S.ACTIVE, S.STOPPED, S.PAUSED, S.SUSPENDED, S.ERROR}),
        T.REBOOTING_HARD,
        frozenset({S.ACTIVE}),
        tasks=_REBOOTABLE,
    ),
    Verb.PAUSE: _rule({S.ACTIVE}, T.PAUSING, {S.PAUSED}),
    Verb.UNPAUSE: _rule({S.PAUSED}, T.UNPAUSING, {S.ACTIVE}),
    Verb.SUSPEND: _rule({S.ACTIVE}, T.SUSPENDING, {S.SUSPENDED}),
    Verb.RESUME: _rule({S.SUSPENDED}, T.RESUMING, {S.ACTIVE}),
    Verb.RESCUE: _rule({S.ACTIVE, S.STOPPED, S.ERROR}, T.RESCUING, {S.RESCUED}),
    Verb.UNRESCUE: _rule({S.RESCUED}, T.UNRESCUING, {S.ACTIVE}),
    Verb.REBUILD: _rule({S.ACTIVE, S.STOPPED, S.ERROR}, T.REBUILDING, {S.ACTIVE, S.STOPPED}),
    Verb.RESIZE: _rule({S.ACTIVE, S.STOPPED}, T.RESIZING, {S.RESIZED}),
    Verb.MIGRATE: _rule({S.ACTIVE, S.STOPPED}, T.RESIZING, {S.RESIZED}),
    Verb.CONFIRM_RESIZE: _rule({S.RESIZED}, T.RESIZING, {S.ACTIVE, S.STOPPED}),
    Verb.REVERT_RESIZE: _rule({S.RESIZED}, T.RESIZE_REVERTING, {S.ACTIVE, S.STOPPED}),
    Verb.LIVE_MIGRATE: _rule({S.ACTIVE, S.PAUSED}, T.MIGRATING, {S.ACTIVE, S.PAUSED}),
    Verb.EVACUATE: Rule(
        frozenset({S.ACTIVE, S.STOPPED, S.ERROR}), T.REBUILDING, frozenset({S.ACTIVE, S.STOPPED}), any_task=True
    ),
    Verb.SHELVE: _rule({S.ACTIVE, S.STOPPED, S.PAUSED, S.SUSPENDED}, T.SHELVING, {S.SHELVED, S.SHELVED_OFFLOADED}),
    Verb.SHELVE_OFFLOAD: _rule({S.SHELVED}, T.SHELVING_OFFLOADING, {S.SHELVED_OFFLOADED}),
    Verb.UNSHELVE: _rule({S.SHELVED, S.SHELVED_OFFLOADED}, T.UNSHELVING, {S.ACTIVE}),
    Verb.SNAPSHOT: _rule(
        {S.ACTIVE, S.STOPPED, S.PAUSED, S.SUSPENDED},
        T.SNAPSHOTTING,
        {S.ACTIVE, S.STOPPED, S.PAUSED, S.SUSPENDED},
    ),
    Verb.DELETE: Rule(frozenset(set(S) - {S.DELETED}), T.DELETING, frozenset({S.DELETED}), any_task=True),
}

# What a host may show on its own: a guest that was stopped from inside, or started or resumed by hand.
_OBSERVED = {S.ACTIVE: {S.STOPPED}, S.STOPPED: {S.ACTIVE}, S.PAUSED: {S.ACTIVE, S.STOPPED}}

_ADVICE: dict[VmState, str] = {
    S.BUILDING: "wait for its boot, run the boot again, or delete it: `berth delete {name}`",
    S.ACTIVE: "stop it first if that is what is needed: `berth stop {name}`",
    S.STOPPED: "start it: `berth start {name}`",
    S.ERROR: "see what failed: `berth events {name}`; then `berth reboot --hard {name}` or `berth delete {name}`",
    S.DELETED: "it is gone; boot a new one",
}


def allowed_next(state: VmState) -> frozenset[VmState]:
    """Returns the vm_states that may follow `state`: by some verb, by a failure, or by what a host shows."""
    if state is VmState.DELETED:
        return frozenset({VmState.DELETED})
    reached = {result for rule in RULES.values() if state in rule.states for result in rule.results}
    return frozenset(reached | {state, VmState.ERROR} | _OBSERVED.get(state, set()))


def check_action(verb: Verb, vm_state: VmState, task_state: TaskState | None, *, name: str = "GUEST") -> TaskState:
    """Returns the task_state that `verb` gives a guest. Raises Conflict: the state, what is allowed, a way out."""
    rule = RULES[verb]
    if vm_state not in rule.states:
        allowed = ", ".join(sorted(rule.states))
        raise Conflict(
            f"guest {name}: cannot {verb} while it is {vm_state}; allowed: {allowed}",
            hint=_ADVICE.get(vm_state, f"see `berth show {name}`").format(name=name),
            data={"guest": name, "verb": verb.value, "vm_state": vm_state.value, "allowed": sorted(rule.states)},
        )
    if task_state is not None and not rule.any_task and task_state not in rule.tasks:
        allowed = ", ".join(["none", *sorted(rule.tasks)])
        raise Conflict(
            f"guest {name}: cannot {verb} while it is {task_state}; allowed task: {allowed}",
            hint=f"wait until it is done, or see who works on it: `berth events {name}`",
            data={"guest": name, "verb": verb.value, "task_state": task_state.value, "allowed": sorted(rule.tasks)},
        )
    return rule.task


def check_transition(before: VmState, after: VmState, *, name: str = "GUEST") -> None:
    """Raises Conflict unless a guest may go from `before` to `after`."""
    allowed = allowed_next(before)
    if after not in allowed:
        raise Conflict(
            f"guest {name}: no way from {before} to {after}; allowed: {', '.join(sorted(allowed))}",
            hint=f"see `berth events {name}`",
        )


def observed_state(vm_state: VmState, task_state: TaskState | None, power_state: PowerState) -> VmState:
    """Returns the vm_state that a guest has once its host has shown `power_state`.

    Nothing changes while a task works on it, nor in states that power says nothing about (Nova's power sync,
    nova/compute/manager.py _sync_instance_power_state). Unlike Nova's, it stops no guest: one that was
    started by hand is simply active.
    """
    if task_state is not None or vm_state not in _OBSERVED:
        return vm_state
    shown = {
        PowerState.RUNNING: VmState.ACTIVE,
        PowerState.SHUTDOWN: VmState.STOPPED,
        PowerState.CRASHED: VmState.STOPPED,
    }
    return shown.get(power_state, vm_state)
