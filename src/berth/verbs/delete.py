# SPDX-License-Identifier: GPL-3.0-or-later
"""Delete: begin (mark), the hosts remove, finish (release). A guest is forgotten once its host has let go of it.

Or once an operator has said of a host that never returns that it is gone: then it is not asked.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from berth.errors import BerthError, Conflict, HostFailed, InvalidInput, Problem
from berth.ledger.model import DeleteStep, TaskState, Verb, VmState
from berth.ledger.model import Outcome as StepOutcome
from berth.ledger.owner import Owner
from berth.ledger.rows import ActionRequest, GuestRow, HostRow, StateChange
from berth.ledger.store import Ledger
from berth.verbs.call import Call, Outcome
from berth.verbs.copies import domain_states, refuse_copies
from berth.verbs.guest_names import find_guests, project_of
from berth.verbs.guest_view import guest_view
from berth.verbs.host_answers import guest_answer, work_on_hosts

_ANY = frozenset(set(VmState) - {VmState.DELETED})


def begin(call: Call) -> Outcome:
    """Marks the guests as being deleted. Returns the action and what each of their hosts has to remove.

    Guests that a run of the same had forgotten before it was cut off count as deleted now. Raises NotFound for every
    other unknown name, Busy when another run works on one of the guests, Conflict when one is locked or changes now.

    With `host_is_gone` (a host's name) in the request that one has nothing to do, and what it showed last counts for
    nothing. Raises InvalidInput for guests that it neither has nor showed, Conflict when it does answer, and for guests
    that another host than their own shows running: it would keep them.
    """
    with Ledger.open(call.cloud.ledger_url) as ledger:
        project = str(call.request.get("project") or call.cloud.settings.default_project)
        asked = list(call.request["names"])
        gone = [] if call.check_mode else _end_cut_off(ledger, project, asked)
        forgotten = {key for row in gone for key in (row.uuid, row.name.casefold())}
        rows = find_guests(ledger, [name for name in asked if name.casefold() not in forgotten], project)
        lost = call.request.get("host_is_gone")
        _check(ledger, lost, rows)
        uuids = [row.uuid for row in (*rows, *gone)]
        if call.check_mode or not rows:
            return {"action": "", "uuids": uuids, "hosts": [], "work": {}, "changed": True}
        begun = ledger.begin_action(_request(rows, lost), Owner.of_process(os.getppid()))
        try:
            # They may have changed before they were held.
            rows = find_guests(ledger, [row.uuid for row in rows], project)
            _check(ledger, lost, rows)
            _mark(ledger, begun.id, rows)
        except BerthError as error:
            ledger.end_action(begun.id, error.message)
            raise
        asked_of = [row for row in rows if lost is None or row.host != lost]
        work = work_on_hosts(ledger.hosts(), call.cloud, begun.id, asked_of)
        return {"action": begun.id, "uuids": uuids, "hosts": sorted(work), "work": work, "changed": True}


def _request(rows: Sequence[GuestRow], lost: str | None) -> ActionRequest:
    """Returns what the action is begun with. It remembers the host that is gone: `finish` must not wait for it."""
    names, request_id = tuple(row.name for row in rows), f"req-{uuid.uuid4()}"
    if lost is None:
        return ActionRequest(Verb.DELETE, project_of(rows), names, request_id, "delete")
    request = {"host_is_gone": lost}
    return ActionRequest(Verb.DELETE, project_of(rows), names, request_id, f"delete without {lost}", request)


def _check(ledger: Ledger, lost: str | None, rows: Sequence[GuestRow]) -> None:
    """Checks that these guests are gone once their hosts let go of them. Raises InvalidInput, Conflict."""
    hosts = {host.name: host for host in ledger.hosts()}
    if lost is not None and rows:
        _check_lost(lost, hosts.pop(lost, None), rows)
    refuse_copies(hosts.values(), rows)


def _check_lost(lost: str, host: HostRow | None, rows: Sequence[GuestRow]) -> None:
    """Checks that these guests may be forgotten because host `lost` is gone. Raises InvalidInput, Conflict."""
    shown = domain_states((host and host.facts) or {})
    elsewhere = [row for row in rows if row.host != lost and row.uuid not in shown]
    if elsewhere:
        problems = [
            Problem("", f"guest {row.name} is on {row.host or 'no host'}, not on {lost!r}") for row in elsewhere
        ]
        hint = "name the host that `berth show NAME` tells; a guest on no host is deleted without"
        raise InvalidInput.from_problems("--host-is-gone", problems, hint=hint)
    if host and host.in_inventory and host.enabled and host.unreachable_message is None:
        raise Conflict(
            f"host {lost} is enabled and answered when it was last asked; allowed: one that is silent, disabled or "
            "out of the inventory",
            hint=f"without --host-is-gone it is asked to remove them; if it is gone: `berth host disable {lost}`",
        )


def _end_cut_off(ledger: Ledger, project: str, asked: list[str]) -> list[GuestRow]:
    """Ends what dead runs left open on names that no guest has; returns the guests that a delete had forgotten.

    A boot that died before it recorded its guests, or a delete that died after it forgot them, left only its action.
    """
    there = {row.name.casefold() for row in ledger.guests(project=project, names=asked)}
    unknown = {name.casefold() for name in asked} - there
    if not unknown:
        return []
    deletes = [action for action in ledger.open_actions() if action.verb == Verb.DELETE]
    steps = [step for action in deletes for step in ledger.steps_of(action.id) if step.step == DeleteStep.RELEASE]
    rows = ledger.guests_by_uuid([step.guest_uuid for step in steps if step.guest_uuid])
    gone = [row for row in rows if row.deleted_at is not None and {row.uuid, row.name.casefold()} & unknown]
    ledger.end_abandoned(Verb.DELETE, project, [row.name for row in gone])
    ledger.end_abandoned(Verb.BOOT, project, unknown)
    return gone


def _mark(ledger: Ledger, action_id: str, rows: list[GuestRow]) -> None:
    uuids = [row.uuid for row in rows]
    ledger.begin_step(action_id, DeleteStep.MARK, uuids)
    for state, task in {(row.vm_state, row.task_state) for row in rows}:
        change = StateChange(frozenset({state}), frozenset({task}), state, TaskState.DELETING)
        ledger.set_states([row.uuid for row in rows if (row.vm_state, row.task_state) == (state, task)], change)
    ledger.end_step(action_id, DeleteStep.MARK, uuids)


def finish(call: Call) -> Outcome:
    """Forgets the guests that their hosts removed. Raises HostFailed with every guest that is still there."""
    uuids = list(call.request["uuids"])
    with Ledger.open(call.cloud.ledger_url) as ledger:
        if not call.action_id:
            return {"guests": [guest_view(row) for row in ledger.guests_by_uuid(uuids)], "changed": bool(uuids)}
        rows = [row for row in ledger.guests_by_uuid(uuids) if row.deleted_at is None]
        action = ledger.open_action(call.action_id)
        lost = action.request.get("host_is_gone")
        of_lost = [row.uuid for row in rows if lost is not None and row.host == lost]
        kept = {row.uuid: why for row in rows if row.uuid not in of_lost and (why := _why_kept(row, call.results))}
        gone = [row.uuid for row in rows if row.uuid not in kept]
        if of_lost:
            _note_lost(ledger, call.action_id, of_lost, str(lost))
        _settle(ledger, call.action_id, gone, kept)
        lines = tuple(f"guest {row.name}: {kept[row.uuid]}" for row in rows if row.uuid in kept)
        ledger.end_action(call.action_id, "; ".join(lines) or None)
        guests = [guest_view(ledger.guest_by_uuid(uuid)) for uuid in uuids]
    if lines:
        hosts = sorted({str(row.host) for row in rows if row.uuid in kept})
        raise HostFailed(
            f"{len(lines)} of {len(rows)} guests could not be deleted",
            details=lines,
            hint="mend the host and run the same again: nothing is forgotten before its host let go of it; "
            f"if {', '.join(hosts)} never returns: `berth delete NAME --host-is-gone HOST`",
            data={"guests": guests},
        )
    return {"guests": guests, "changed": True}


def _why_kept(row: GuestRow, results: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns why a guest may still be on its host, or nothing: it is gone, or never was on one."""
    if row.host is None:
        return ""
    if row.host not in results:
        return f"its host {row.host} was not asked: it is in quarantine (`berth host show {row.host}`), or not known"
    answer = guest_answer(results[row.host], row.uuid)
    return "" if answer.ok else f"{row.host}: {answer.message}"


def _note_lost(ledger: Ledger, action_id: str, gone: list[str], lost: str) -> None:
    """Writes into the guests' events that their host was not asked, and why."""
    ledger.begin_step(action_id, DeleteStep.REMOVE, gone, host=lost)
    why = f"host {lost} was not asked: it was said to be gone"
    ledger.end_step(action_id, DeleteStep.REMOVE, gone, outcome=StepOutcome.FAILED, error=why)


def _settle(ledger: Ledger, action_id: str, gone: list[str], kept: Mapping[str, str]) -> None:
    for one, why in kept.items():
        ledger.end_step(action_id, DeleteStep.REMOVE, [one], outcome=StepOutcome.FAILED, error=why)
        state = ledger.guest_by_uuid(one).vm_state
        ledger.set_states([one], StateChange(_ANY, frozenset(), state, None, fault=f"delete: {why}"))
    if gone:
        ledger.end_step(action_id, DeleteStep.REMOVE, gone)
        ledger.begin_step(action_id, DeleteStep.RELEASE, gone)
        ledger.delete_guests(gone)
        ledger.end_step(action_id, DeleteStep.RELEASE, gone)
