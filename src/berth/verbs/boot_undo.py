# SPDX-License-Identifier: GPL-3.0-or-later
"""All or nothing: what becomes of the guests that run when others of their boot could not be made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from berth.errors import BerthError
from berth.ledger.model import VmState
from berth.ledger.rows import GuestRow
from berth.ledger.store import Ledger
from berth.verbs import delete
from berth.verbs.call import Call

# action and uuids of the deletion, hosts and work for its play; without an action nothing is undone.
Undo = dict[str, Any]
NOTHING: Undo = {"action": "", "uuids": [], "hosts": [], "work": {}, "why": ""}


def begin(ledger: Ledger, call: Call, rows: Sequence[GuestRow]) -> Undo:
    """Returns the deletion of the guests of `rows` that this run made, begun, when it gave up others of them.

    Not with `partial`. `why` says why it could not begin. A guest whose fate is unknown has not failed: running the
    same again finishes it. The deletion is an action of its own: `berth delete` finishes it if this run dies.
    """
    made = [row for row in rows if row.action_id == call.action_id]
    failed = [row for row in made if row.vm_state is VmState.ERROR]
    undone = [row.uuid for row in made if row.vm_state is VmState.ACTIVE and row.task_state is None]
    action = ledger.action(call.action_id)
    if not failed or not undone or action.request.get("partial"):
        return NOTHING
    why = f"{len(failed)} of {len(made)} guests could not be made, so none is to be kept"
    ledger.end_action(call.action_id, why)
    try:
        begun = delete.begin(replace(call, request={"names": undone, "project": action.project}))
    except BerthError as error:  # somebody locked them, or works on them already: then they stay
        return {**NOTHING, "why": "; ".join((error.message, *error.details))}
    return {**NOTHING, **{key: begun[key] for key in ("action", "uuids", "hosts", "work")}}


def finish(call: Call, undo: Mapping[str, Any]) -> tuple[str, ...]:
    """Ends the deletion; returns a line per guest: removed again, or why it is still there."""
    if not undo.get("action"):
        return (f"the others were not removed: {undo['why']}",) if undo.get("why") else ()
    passed = replace(call, action_id=str(undo["action"]), request={"uuids": list(undo["uuids"])})
    try:
        guests = delete.finish(passed)["guests"]
    except BerthError as error:
        return tuple(f"not removed: {line}" for line in error.details)
    return tuple(f"guest {guest['name']}: removed again from {guest['host']}" for guest in guests)
