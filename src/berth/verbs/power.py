# SPDX-License-Identifier: GPL-3.0-or-later
"""Power: start, stop and reboot of guests where the ledger has them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from berth.errors import BerthError, Conflict, HostFailed, InvalidInput
from berth.ledger.model import Outcome as StepOutcome
from berth.ledger.model import PowerState, PowerStep, TaskState, Verb, VmState, check_action
from berth.ledger.owner import Owner
from berth.ledger.rows import ActionRequest, GuestResult, GuestRow, HostRow, StateChange
from berth.ledger.store import Ledger
from berth.verbs.call import Call, Outcome
from berth.verbs.copies import refuse_copies
from berth.verbs.guest_names import find_guests, project_of
from berth.verbs.guest_view import guest_view
from berth.verbs.host_answers import Answer, guest_answer, work_on_hosts
from berth.verbs.reality import answers


@dataclass(frozen=True)
class _Change:
    """One change of power: its verb, what the module is told, and how the guest is afterwards."""

    verb: Verb
    state: str
    vm_state: VmState
    power: PowerState


_CHANGES = {
    ("start", False): _Change(Verb.START, "running", VmState.ACTIVE, PowerState.RUNNING),
    ("start", True): _Change(Verb.START, "running", VmState.ACTIVE, PowerState.RUNNING),
    ("stop", False): _Change(Verb.STOP, "stopped", VmState.STOPPED, PowerState.SHUTDOWN),
    ("stop", True): _Change(Verb.STOP, "stopped", VmState.STOPPED, PowerState.SHUTDOWN),
    ("reboot", False): _Change(Verb.REBOOT, "rebooted", VmState.ACTIVE, PowerState.RUNNING),
    ("reboot", True): _Change(Verb.REBOOT_HARD, "rebooted", VmState.ACTIVE, PowerState.RUNNING),
}
# What a guest is before the verb. One that is recorded as started or stopped already is asked for again: its host
# knows better, for it may have gone off or on by itself since.
_BEFORE = {Verb.START: VmState.STOPPED, Verb.STOP: VmState.ACTIVE}


def begin(call: Call) -> Outcome:
    """Checks the guests' states and marks them. Returns the action and each host's work.

    Raises NotFound, Busy, Conflict with every guest that is in the wrong state, or runs on another host already. What
    the host `host_is_gone` of the request last showed does not count; Conflict when it does answer.
    """
    action, hard = str(call.request.get("action")), bool(call.request.get("hard"))
    change = _CHANGES.get((action, hard))
    if change is None:
        raise InvalidInput(f"power: unknown action {action!r}", hint="allowed: start, stop, reboot")
    with Ledger.open(call.cloud.ledger_url) as ledger:
        project = str(call.request.get("project") or call.cloud.settings.default_project)
        rows = find_guests(ledger, call.request["names"], project)
        uuids = [row.uuid for row in rows]
        _checked(rows, change)
        lost = _lost_host(ledger, call.request.get("host_is_gone"))
        if call.check_mode:
            _check_hosts(ledger.hosts(), lost, rows, change)
            would_change = not all(_is_done(row, change) for row in rows)
            return {"action": "", "uuids": uuids, "hosts": [], "work": {}, "changed": would_change}
        names = tuple(row.name for row in rows)
        request = ActionRequest(change.verb, project_of(rows), names, f"req-{uuid.uuid4()}", digest=change.verb.value)
        begun = ledger.begin_action(request, Owner.of_process(os.getppid()))
        hosts = ledger.hosts()
        try:
            rows = find_guests(ledger, uuids, project)  # they may have changed before they were held
            tasks = _checked(rows, change)
            _check_hosts(hosts, lost, rows, change)
            _mark(ledger, begun.id, rows, tasks)
        except BerthError as error:
            ledger.end_action(begun.id, error.message)
            raise
        work = work_on_hosts(hosts, call.cloud, begun.id, rows)
        for share in work.values():
            share |= {"state": change.state, "hard": hard, "timeout_s": int(call.request.get("timeout_s") or 60)}
        return {"action": begun.id, "uuids": uuids, "hosts": sorted(work), "work": work, "changed": False}


def _is_done(row: GuestRow, change: _Change) -> bool:
    wanted = change.state != "rebooted" and row.vm_state is change.vm_state
    return wanted and row.power_state is change.power and row.task_state is None


def _checked(rows: list[GuestRow], change: _Change) -> dict[str, TaskState]:
    """Returns guest uuid -> the task it gets. Raises one Conflict for all guests in a wrong state."""
    tasks, refused = {}, []
    for row in rows:
        state = _BEFORE.get(change.verb, row.vm_state) if row.vm_state is change.vm_state else row.vm_state
        try:
            if row.host is None and row.vm_state is VmState.ERROR:
                raise _on_no_host(row)
            tasks[row.uuid] = check_action(change.verb, state, row.task_state, name=row.name)
        except Conflict as error:
            refused.append(error)
    if len(refused) == 1:
        raise refused[0]
    if refused:
        raise Conflict(
            f"{len(refused)} guests are in the wrong state",
            details=tuple(error.message for error in refused),
            hint=refused[0].hint,
        )
    return tasks


def _on_no_host(row: GuestRow) -> Conflict:
    return Conflict(
        f"guest {row.name} is {row.vm_state} and on no host; allowed: a guest that was made",
        hint=f"see why it was not: `berth events {row.name}`; then `berth delete {row.name}` and boot it again",
    )


def _lost_host(ledger: Ledger, name: str | None) -> str | None:
    """Returns the host that an operator says is gone. Raises NotFound, Conflict when it answered at the last look."""
    if name is not None and answers(ledger.host(name)):
        raise Conflict(
            f"host {name} answered when it was last asked; allowed: one that does not",
            hint="`berth sync` looks again: what it shows then counts",
        )
    return name


def _check_hosts(hosts: Iterable[HostRow], lost: str | None, rows: Sequence[GuestRow], change: _Change) -> None:
    """Raises Conflict for guests of a host in quarantine, and for those that another host shows on: promise P1."""
    hosts = list(hosts)
    fenced = {host.name: host.quarantine for host in hosts if host.quarantine}
    lines = [f"guest {row.name} is on host {row.host}, {fenced[row.host]}" for row in rows if row.host in fenced]
    if lines:
        raise Conflict(
            lines[0] if len(lines) == 1 else f"{len(lines)} guests are on hosts in quarantine",
            details=() if len(lines) == 1 else tuple(lines),
            hint="is it the same host, installed anew? `berth host refresh --accept HOST`; see `berth host show HOST`",
        )
    if change.power is PowerState.RUNNING:
        refuse_copies([host for host in hosts if host.name != lost], rows)


def _mark(ledger: Ledger, action_id: str, rows: list[GuestRow], tasks: dict[str, TaskState]) -> None:
    uuids = [row.uuid for row in rows]
    ledger.begin_step(action_id, PowerStep.MARK, uuids)
    for row in rows:
        change = StateChange(frozenset({row.vm_state}), frozenset({row.task_state}), row.vm_state, tasks[row.uuid])
        ledger.set_states([row.uuid], change)
    ledger.end_step(action_id, PowerStep.MARK, uuids)


def finish(call: Call) -> Outcome:
    """Records how the guests are now. Raises HostFailed with every guest that did not change."""
    uuids = list(call.request["uuids"])
    with Ledger.open(call.cloud.ledger_url) as ledger:
        lines = _settle(ledger, call) if call.action_id else ()
        changed = any(_answer(call, ledger.guest_by_uuid(uuid)).result.get("changed") for uuid in uuids)
        guests = [guest_view(ledger.guest_by_uuid(uuid)) for uuid in uuids]
    if lines:
        raise HostFailed(
            f"{len(lines)} of {len(uuids)} guests did not change",
            details=lines,
            hint="a guest that ignores a shutdown needs --hard; `berth doctor` tells about the host",
            data={"guests": guests},
        )
    return {"guests": guests, "changed": changed}


def _answer(call: Call, row: GuestRow) -> Answer:
    return guest_answer(call.results.get(str(row.host), {}), row.uuid)


def _settle(ledger: Ledger, call: Call) -> tuple[str, ...]:
    change = next(c for c in _CHANGES.values() if c.verb is ledger.action(call.action_id).verb)
    rows = [ledger.guest_by_uuid(uuid) for uuid in call.request["uuids"]]
    lines = []
    for row in (row for row in rows if row.task_state is not None):
        answer = _answer(call, row)
        outcome = StepOutcome.OK if answer.ok else StepOutcome.FAILED
        ledger.end_step(
            call.action_id, PowerStep.POWER, [row.uuid], outcome=outcome, error=None if answer.ok else answer.message
        )
        ledger.begin_step(call.action_id, PowerStep.SETTLE, [row.uuid], host=row.host)
        vm_state, power = (change.vm_state, change.power) if answer.ok else (row.vm_state, row.power_state)
        ledger.finish_guests([GuestResult(row.uuid, vm_state, power, fault="" if answer.ok else answer.message)])
        ledger.end_step(call.action_id, PowerStep.SETTLE, [row.uuid])
        if not answer.ok:
            lines.append(f"guest {row.name} on {row.host}: {answer.message}")
    ledger.end_action(call.action_id, "; ".join(lines) or None)
    return tuple(lines)
