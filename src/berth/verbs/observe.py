# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts' facts show of our guests: power states, recorded without touching what a verb works on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from berth.errors import Conflict
from berth.ledger.model import PowerState, VmState, observed_state
from berth.ledger.rows import GuestRow, HostRow, StateChange
from berth.ledger.store import Ledger

_OFF = (PowerState.SHUTDOWN, PowerState.CRASHED)


def record_power(ledger: Ledger, hosts: Iterable[HostRow], *, booted: Collection[str] = ()) -> None:
    """Records the power states that hosts with fresh facts show. `booted` names those that booted since the last ones.

    A guest that another run has changed meanwhile is left alone: that run knows better.
    """
    for host in hosts:
        if host.facts is None or host.unreachable_message or host.quarantine:
            continue
        for uuid, change in observations(ledger.guests(host=host.name), host.facts, booted=host.name in booted):
            try:
                ledger.set_states([uuid], change)
            except Conflict:
                continue


def observations(
    guests: Iterable[GuestRow], facts: Mapping[str, Any], *, booted: bool = False
) -> list[tuple[str, StateChange]]:
    """Returns the changes that a host's facts ask for. Pure. A guest whose domain is gone has power state nostate.

    An active guest that went off while its host stayed on was stopped, from inside or by hand. One that is off because
    its host booted is still meant to be on: it stays active, with power off, and `berth host start-guests` starts it.
    """
    shown = {domain["uuid"]: PowerState(domain["state"]) for domain in facts["domains"]}
    changes = []
    for guest in guests:
        power = shown.get(guest.uuid, PowerState.NOSTATE)
        state = observed_state(guest.vm_state, guest.task_state, power)
        went_off = guest.power_state is PowerState.RUNNING and not booted
        if guest.vm_state is VmState.ACTIVE and not went_off:
            state = VmState.ACTIVE
        if guest.task_state is not None or (power, state) == (guest.power_state, guest.vm_state):
            continue
        change = StateChange(
            expect_vm=frozenset({guest.vm_state}),
            expect_task=frozenset({None}),
            vm_state=state,
            task_state=None,
            power_state=power,
        )
        changes.append((guest.uuid, change))
    return changes
