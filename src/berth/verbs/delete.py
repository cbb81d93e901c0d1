# SPDX-License-Identifier: GPL-3.0-or-later
"""Delete: begin (mark), the hosts remove, finish (release). A guest is forgotten once its host has let go of it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Any

from berth.errors import BerthError, HostFailed
from berth.ledger.model import DeleteStep, TaskState, Verb, VmState
from berth.ledger.model import Outcome as StepOutcome
from berth.ledger.owner import Owner
from berth.ledger.rows import ActionRequest, GuestRow, StateChange
from berth.ledger.store import Ledger
from berth.verbs.call import Call, Outcome
from berth.verbs.guest_names import find_guests
from berth.verbs.guest_view import guest_view
from berth.verbs.host_answers import guest_answer, guest_targets, share_for

_ANY = frozenset(set(VmState) - {VmState.DELETED})


def begin(call: Call) -> Outcome:
    """Marks the guests as being deleted. Returns the action and what each of their hosts has to remove.

    Raises NotFound for every unknown name, Busy when another run works on one of them.
    """
    with Ledger.open(call.cloud.ledger_url) as ledger:
        project = str(call.request.get("project") or call.cloud.settings.default_project)
        rows = find_guests(ledger, call.request["names"], project)
        if call.check_mode:
            return {"action": "", "uuids": [row.uuid for row in rows], "hosts": [], "work": {}, "changed": True}
        names = tuple(row.name for row in rows)
        request = ActionRequest(Verb.DELETE, rows[0].project, names, f"req-{uuid.uuid4()}", digest="delete")
        begun = ledger.begin_action(request, Owner.of_process(os.getppid()))
        uuids = [row.uuid for row in rows]
        try:
            ledger.begin_step(begun.id, DeleteStep.MARK, uuids)
            for state in {row.vm_state for row in rows}:
                change = StateChange(_ANY, frozenset(), state, TaskState.DELETING)
                ledger.set_states([row.uuid for row in rows if row.vm_state is state], change)
            ledger.end_step(begun.id, DeleteStep.MARK, uuids)
        except BerthError as error:
            ledger.end_action(begun.id, error.message)
            raise
        work = _work(ledger, call, begun.id, rows)
        return {"action": begun.id, "uuids": uuids, "hosts": sorted(work), "work": work, "changed": True}


def _work(ledger: Ledger, call: Call, action_id: str, rows: list[GuestRow]) -> dict[str, dict[str, Any]]:
    hosts = {row.name: row for row in ledger.hosts()}
    work: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.host in hosts:
            share = work.setdefault(row.host, share_for(call.cloud, action_id))
            share["guests"].append(guest_targets(row, hosts[row.host]))
            share["journal"]["guests"].append(row.uuid)
    return work


def finish(call: Call) -> Outcome:
    """Forgets the guests that their hosts removed. Raises HostFailed with every guest that is still there."""
    uuids = list(call.request["uuids"])
    if not call.action_id:
        return {"guests": [], "changed": bool(uuids)}
    with Ledger.open(call.cloud.ledger_url) as ledger:
        rows = [ledger.guest_by_uuid(uuid) for uuid in uuids]
        kept = {row.uuid: why for row in rows if (why := _why_kept(row, call.results))}
        gone = [row.uuid for row in rows if row.uuid not in kept]
        _settle(ledger, call.action_id, gone, kept)
        lines = tuple(f"guest {row.name}: {kept[row.uuid]}" for row in rows if row.uuid in kept)
        ledger.end_action(call.action_id, "; ".join(lines) or None)
        guests = [guest_view(ledger.guest_by_uuid(uuid)) for uuid in uuids]
    if lines:
        raise HostFailed(
            f"{len(lines)} of {len(rows)} guests could not be deleted",
            details=lines,
            hint="mend the host and run the same again: nothing is forgotten before its host let go of it",
            data={"guests": guests},
        )
    return {"guests": guests, "changed": True}


def _why_kept(row: GuestRow, results: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns why a guest may still be on its host, or nothing: it is gone, or never was on one."""
    if row.host is None:
        return ""
    if row.host not in results:
        return f"its host {row.host} is not in the ledger's fleet"
    answer = guest_answer(results[row.host], row.uuid)
    return "" if answer.ok else f"{row.host}: {answer.message}"


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
