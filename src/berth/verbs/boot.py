# SPDX-License-Identifier: GPL-3.0-or-later
"""Boot: begin (validate, place, claim), record (results, alternates), finish. Hosts work between these phases."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping

from berth.errors import BerthError, HostFailed, Partial
from berth.ledger.model import BootStep, Verb, VmState
from berth.ledger.owner import Owner
from berth.ledger.rows import ActionRequest, GuestRow
from berth.ledger.store import Ledger
from berth.verbs import boot_rounds, boot_undo
from berth.verbs.booking import book, choose, claim_host
from berth.verbs.boot_request import Wanted, look_up
from berth.verbs.call import Call, Outcome
from berth.verbs.guest_view import guest_view


def begin(call: Call) -> Outcome:
    """Validates, places and claims. Returns the action and each chosen host's work.

    Guests of the same name and the same request are left as they are, or finished if an earlier run was cut off.
    Raises InvalidInput, NotFound, Conflict, NoValidHost, Busy.
    """
    with Ledger.open(call.cloud.ledger_url) as ledger:
        wanted = look_up(call.cloud, ledger, call.request)
        if call.check_mode:
            return _would_boot(call, ledger, wanted)
        # A run that was cut off after its last step left only its action open.
        ledger.end_abandoned(Verb.BOOT, wanted.project, [row.name for row in wanted.finished])
        names = (*wanted.new_names, *(row.name for row in wanted.unfinished))
        if not names:
            return _outcome("", list(wanted.there), {})
        request = ActionRequest(
            Verb.BOOT, wanted.project, names, f"req-{uuid.uuid4()}", wanted.digest, wanted.to_store()
        )
        # The action belongs to ansible-playbook: this worker is its child and ends with the task.
        begun = ledger.begin_action(request, Owner.of_process(os.getppid()))
        try:
            rows = _record_and_claim(call, ledger, begun.id)
        except BerthError as error:
            ledger.end_action(begun.id, error.message)
            raise
        building = [row for row in rows if row.vm_state is VmState.BUILDING]
        made = {row.name.casefold() for row in rows}
        left_out = [name for name in wanted.names if name.casefold() not in made]
        outcome = _outcome(begun.id, rows, boot_rounds.work_for(ledger, call.cloud, begun.id, building))
        # They run since an earlier run of the same request, perhaps for days: they stay whatever becomes of the others.
        kept = [row.uuid for row in rows if row.vm_state is not VmState.BUILDING]
        return {**outcome, "left_out": left_out, "kept": kept}


def record(call: Call) -> Outcome:
    """Records a round's results; returns the next round's work: guests whose host failed, on their next alternate.

    After the last round that has work, `undo` is what all or nothing asks for (boot_undo).
    """
    uuids, undo = call.request["uuids"], call.request.get("undo") or boot_undo.NOTHING
    if not call.results:  # nobody had work in this round
        return {"action": call.action_id, "uuids": uuids, "hosts": [], "work": {}, "undo": undo, "changed": False}
    kept = list(call.request.get("kept") or ())
    with Ledger.open(call.cloud.ledger_url) as ledger:
        work = boot_rounds.record_round(ledger, call)
        rows = ledger.guests_by_uuid(uuids)
        if not work:
            undo = boot_undo.begin(ledger, call, [row for row in rows if row.uuid not in kept])
    return {**_outcome(call.action_id, rows, work), "undo": undo, "kept": kept}


def _why(row: GuestRow, fenced: Mapping[str, str]) -> str:
    """Returns why a guest did not become active. `fenced`: hosts in quarantine, each with the reason."""
    quarantine = fenced.get(row.host or "")
    if quarantine:
        return f"its host {row.host} is in quarantine and was not asked: {quarantine}"
    return row.fault or "it was not finished"


def finish(call: Call) -> Outcome:
    """Ends the action and returns the guests.

    Raises HostFailed with every guest that did not become active, and those that were removed again for that; Partial
    when the request is content with the others.
    """
    undone = boot_undo.finish(call, call.request.get("undo") or {})
    with Ledger.open(call.cloud.ledger_url) as ledger:
        rows = ledger.guests_by_uuid(call.request["uuids"])
        failed = [row for row in rows if row.vm_state in (VmState.BUILDING, VmState.ERROR)]
        fenced = {host.name: host.quarantine for host in ledger.hosts() if host.quarantine} if failed else {}
        lines = tuple(f"guest {row.name}: {_why(row, fenced)}" for row in failed)
        partial = bool(call.action_id) and bool(ledger.action(call.action_id).request.get("partial"))
        if call.action_id:
            ledger.end_action(call.action_id, "; ".join(lines) or None)
    if failed:
        kind = Partial if partial and len(failed) < len(rows) else HostFailed
        raise kind(
            f"{len(failed)} of {len(rows)} guests did not boot",
            details=(*lines, *undone),
            hint=_advice(failed, undone=bool(undone)),
            data={"guests": [guest_view(row) for row in rows]},
        )
    return {"guests": [guest_view(row) for row in rows], "changed": bool(call.action_id)}


def _advice(failed: list[GuestRow], *, undone: bool) -> str:
    if any(row.vm_state is VmState.BUILDING for row in failed):
        return "run the same again when the host is back"
    names = " ".join(row.name for row in failed)
    keep = "; --partial keeps the guests that can be made" if undone else ""
    return f"mend it, then `berth delete {names}`{keep}"


def _record_and_claim(call: Call, ledger: Ledger, action_id: str) -> list[GuestRow]:
    """Returns the guests of the request, the new ones booked with all they need."""
    ledger.begin_step(action_id, BootStep.RECORD)
    # Again, now that the names are held: a run that just ended may have made some of them.
    wanted = look_up(call.cloud, ledger, call.request)
    ledger.end_step(action_id, BootStep.RECORD)
    ledger.begin_step(action_id, BootStep.CLAIM)
    if wanted.new_names:
        book(call, ledger, wanted, action_id)
    for row in wanted.unfinished:
        if row.host is None:  # its run died between two hosts
            claim_host(ledger, call, action_id, row)
    ledger.end_step(action_id, BootStep.CLAIM)
    return ledger.guests(project=wanted.project, names=wanted.names)


def _would_boot(call: Call, ledger: Ledger, wanted: Wanted) -> Outcome:
    """Returns what a boot would do; books and changes nothing."""
    identified = [(str(uuid.uuid4()), name) for name in wanted.new_names]
    outcome = _outcome("", list(wanted.there), {})
    if not identified:
        return outcome
    decision = choose(call, ledger, wanted, identified).decision
    placements = [placement.to_dict() for placement in decision.placements] if decision else []
    return {**outcome, "changed": bool(placements), "placements": placements}


def _outcome(action_id: str, rows: list[GuestRow], work: boot_rounds.Work) -> Outcome:
    uuids = [row.uuid for row in rows]
    sent = {"hosts": sorted(work), "work": work, "undo": boot_undo.NOTHING, "kept": []}
    return {"action": action_id, "uuids": uuids, **sent, "changed": bool(work)}
