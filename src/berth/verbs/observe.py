# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts' facts show of our guests: power states, recorded without touching what a verb works on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from berth.errors import Conflict
from berth.ledger.looks import collected_s
from berth.ledger.model import PowerState, VmState, observed_state
from berth.ledger.rows import GuestRow, HostRow, StateChange
from berth.ledger.store import Ledger

# A host's clock may be that far off the controller's without anybody noticing (host_refresh.clock_offset_s).
MARGIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Observed:
    """A guest as it was recorded, and what was recorded instead."""

    before: GuestRow
    change: StateChange


def record_power(ledger: Ledger, hosts: Iterable[HostRow], *, booted: Collection[str] = ()) -> list[Observed]:
    """Records the power states that hosts with fresh facts show; returns what was new. `booted` names the hosts that
    booted since their last facts.

    A guest that another run has changed meanwhile is left alone: that run knows better.
    """
    found = []
    hosts = list(hosts)
    # What this look records must not seem newer than the look at another host.
    fresh = [host.facts for host in hosts if host.facts and not host.unreachable_message]
    looks = [at for facts in fresh if (at := collected_s(facts)) is not None]
    first = min(looks, default=None)
    for host in hosts:
        if host.facts is None or host.unreachable_message or host.quarantine:
            continue
        rows = {row.uuid: row for row in ledger.guests(host=host.name)}
        for uuid, change in observations(rows.values(), host.facts, booted=host.name in booted, first_look=first):
            try:
                ledger.set_states([uuid], change)
            except Conflict:
                continue
            found.append(Observed(rows[uuid], change))
    return found


def observations(
    guests: Iterable[GuestRow], facts: Mapping[str, Any], *, booted: bool = False, first_look: float | None = None
) -> list[tuple[str, StateChange]]:
    """Returns the changes that a host's facts ask for. Pure. A guest whose domain is gone has power state nostate.

    An active guest that went off while its host stayed on was stopped, from inside or by hand. One that is off because
    its host booted is still meant to be on: it stays active, with power off, and `berth host start-guests` starts it.
    A guest that a verb has changed since the facts were collected is left alone: they are older than what is known.
    """
    collected = collected_s(facts)
    shown = {domain["uuid"]: PowerState(domain["state"]) for domain in facts["domains"]}
    changes = []
    for guest in guests:
        power = shown.get(guest.uuid, PowerState.NOSTATE)
        state = observed_state(guest.vm_state, guest.task_state, power)
        went_off = guest.power_state is PowerState.RUNNING and not booted
        if guest.vm_state is VmState.ACTIVE and not went_off:
            state = VmState.ACTIVE
        if collected is not None and guest.updated_at > collected - MARGIN_S:
            continue
        if guest.task_state is not None or (power, state) == (guest.power_state, guest.vm_state):
            continue
        change = StateChange(
            expect_vm=frozenset({guest.vm_state}),
            expect_task=frozenset({None}),
            vm_state=state,
            task_state=None,
            power_state=power,
            seen_on=guest.host,
            at=None if collected is None else max(guest.updated_at, min(collected, first_look or collected) - MARGIN_S),
        )
        changes.append((guest.uuid, change))
    return changes
