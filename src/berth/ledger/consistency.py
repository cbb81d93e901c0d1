# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold in every ledger, and what is said when it does not. Pure.

This looks at the ledger alone. What the hosts say about it is another question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from berth.ledger.model import TaskState, VmState
from berth.ledger.rows import ActionRow, AddressRow, ClaimRow, GuestRow, HostRow
from berth.units import iso_time


class Kind(StrEnum):
    """What is wrong."""

    DAMAGED = "damaged"
    WRONG_VALUE = "wrong_value"
    LEFT_BEHIND = "left_behind"
    NO_CLAIM = "no_claim"
    CLAIM_ELSEWHERE = "claim_elsewhere"
    CLAIM_DIFFERS = "claim_differs"
    STUCK = "stuck"
    DEAD_ACTION = "dead_action"
    HELD_BY_ENDED = "held_by_ended"
    STEP_LEFT_OPEN = "step_left_open"
    UNKNOWN_GROUP = "unknown_group"
    TWIN_MACHINE = "twin_machine"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not hold. `safe`: Ledger.repair() mends it and loses nothing. `key` is what it is about."""

    kind: Kind
    key: str
    message: str
    hint: str = ""

    @property
    def safe(self) -> bool:
        """Returns whether it is mended without asking."""
        return self.kind in (Kind.LEFT_BEHIND, Kind.DEAD_ACTION, Kind.HELD_BY_ENDED, Kind.STEP_LEFT_OPEN)


@dataclass(frozen=True)
class Snapshot:
    """The ledger at one moment.

    `ports` are (host, port, guest uuid); `holds` are those not released, (action, project, name); `open_steps` are
    (action, step); `groups` are (project, name); `dead` maps an action to the proof that its run died.
    """

    hosts: Sequence[HostRow]
    guests: Sequence[GuestRow]
    claims: Sequence[ClaimRow]
    addresses: Sequence[AddressRow]
    ports: Sequence[tuple[str, int, str]]
    actions: Mapping[str, ActionRow]
    holds: Sequence[tuple[str, str, str]]
    open_steps: Sequence[tuple[str, str]]
    groups: frozenset[tuple[str, str]]
    dead: Mapping[str, str]


# While these last a guest may have claims on two hosts.
_MOVING = {TaskState.MIGRATING, TaskState.RESIZING, TaskState.RESIZE_REVERTING, TaskState.REBUILDING}


def findings(snapshot: Snapshot) -> list[Finding]:
    """Returns everything that does not hold."""
    return [finding for rule in RULES for finding in rule(snapshot)]


def _left_behind(snapshot: Snapshot) -> Iterator[Finding]:
    """A guest that is gone has nothing."""
    gone = {row.uuid: row.name for row in snapshot.guests if row.deleted_at is not None}
    held = [(row.guest_uuid, f"a claim on {row.host}") for row in snapshot.claims]
    held += [(row.guest_uuid, f"MAC {row.mac}") for row in snapshot.addresses]
    held += [(uuid, f"port {port} of {host}") for host, port, uuid in snapshot.ports]
    for uuid, what in held:
        if uuid in gone:
            yield Finding(Kind.LEFT_BEHIND, uuid, f"guest {gone[uuid]} is deleted and still has {what}")


def _claims(snapshot: Snapshot) -> Iterator[Finding]:
    """A guest on a host has one claim there, of its own size unless its flavor or image says what it needs instead."""
    claims: dict[str, list[ClaimRow]] = {}
    for claim in snapshot.claims:
        claims.setdefault(claim.guest_uuid, []).append(claim)
    for row in snapshot.guests:
        if row.deleted_at is not None:
            continue
        mine = claims.get(row.uuid, [])
        if row.host is not None and row.host not in {claim.host for claim in mine}:
            yield Finding(
                Kind.NO_CLAIM, row.uuid, f"guest {row.name} is on {row.host} without a claim there", "`berth doctor`"
            )
        moving = row.task_state in _MOVING or row.vm_state is VmState.RESIZED
        special = bool(row.plan.get("extra_specs") or row.plan.get("properties"))
        for claim in mine:
            if claim.host != row.host and not moving:
                where = f"guest {row.name} is on {row.host or 'no host'} and has a claim on {claim.host}"
                yield Finding(Kind.CLAIM_ELSEWHERE, row.uuid, where, f"see where it runs: `berth show {row.name}`")
            booked = (claim.vcpus, claim.memory_mib, claim.disk_mib)
            if booked != (row.vcpus, row.memory_mib, row.disk_mib) and not moving and not special:
                sizes = f"{booked}, the guest is {(row.vcpus, row.memory_mib, row.disk_mib)}"
                yield Finding(Kind.CLAIM_DIFFERS, row.uuid, f"guest {row.name}: its claim on {claim.host} is {sizes}")


def _stuck(snapshot: Snapshot) -> Iterator[Finding]:
    """A guest with a task is held by an action that has not ended."""
    held = {(project, name) for action, project, name in snapshot.holds if snapshot.actions[action].ended_at is None}
    for row in snapshot.guests:
        resting = row.task_state is None and row.vm_state is not VmState.BUILDING
        if row.deleted_at is None and not resting and (row.project, row.name.casefold()) not in held:
            what = row.task_state or row.vm_state
            yield Finding(
                Kind.STUCK,
                row.uuid,
                f"guest {row.name} is {what} since {iso_time(row.updated_at)} and nobody works on it",
                f"run its last verb again, or `berth delete {row.name}`",
            )


def _actions(snapshot: Snapshot) -> Iterator[Finding]:
    """An action has a run that may live; one that has ended holds nothing and has no step open."""
    for row in snapshot.actions.values():
        if row.ended_at is None and row.id in snapshot.dead:
            message = f"action {row.id} ({row.verb}) was interrupted: {snapshot.dead[row.id]}"
            yield Finding(Kind.DEAD_ACTION, row.id, message, "run the verb again to finish it")
    for action, _project, name in snapshot.holds:
        if snapshot.actions[action].ended_at is not None:
            yield Finding(Kind.HELD_BY_ENDED, action, f"action {action} has ended and still holds {name}")
    for action, step in snapshot.open_steps:
        if snapshot.actions[action].ended_at is not None:
            yield Finding(Kind.STEP_LEFT_OPEN, action, f"action {action} has ended and its step {step} has not")


def _groups(snapshot: Snapshot) -> Iterator[Finding]:
    """A guest's server group is there."""
    for row in snapshot.guests:
        if row.deleted_at is None and row.server_group and (row.project, row.server_group) not in snapshot.groups:
            yield Finding(Kind.UNKNOWN_GROUP, row.uuid, f"guest {row.name}: no server group {row.server_group}")


def _machines(snapshot: Snapshot) -> Iterator[Finding]:
    """A machine is one host."""
    names: dict[str, list[str]] = {}
    for row in snapshot.hosts:
        if row.machine_id and row.in_inventory:
            names.setdefault(row.machine_id, []).append(row.name)
    for machine_id, twins in names.items():
        if len(twins) > 1:
            yield Finding(
                Kind.TWIN_MACHINE,
                machine_id,
                f"hosts {', '.join(twins)} have one machine id, {machine_id}",
                "is it one host under two names? Otherwise run `systemd-machine-id-setup` on the copy",
            )


RULES: tuple[Callable[[Snapshot], Iterator[Finding]], ...] = (
    _left_behind,
    _claims,
    _stuck,
    _actions,
    _groups,
    _machines,
)
