# SPDX-License-Identifier: GPL-3.0-or-later
"""Boot: begin (validate, place, claim), record (results, alternates), finish. Hosts work between these phases."""

from __future__ import annotations

import os
import uuid

from berth.errors import BerthError, HostFailed
from berth.ledger.claiming import ClaimRefused
from berth.ledger.model import BootStep, Verb, VmState
from berth.ledger.owner import Owner
from berth.ledger.rows import ActionRequest, BootRecord, GuestRow
from berth.ledger.store import Ledger
from berth.verbs import boot_rounds, placing
from berth.verbs.boot_request import Wanted, address_wishes, ensure_group, look_up, placement_requests
from berth.verbs.call import Call, Outcome
from berth.verbs.guest_plan import BootContext, forwarded_ports, new_guest
from berth.verbs.guest_view import guest_view

# How often a batch is placed again because another run was faster with its claims.
CLAIM_ATTEMPTS = 5


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
        return _outcome(begun.id, rows, boot_rounds.work_for(ledger, call.cloud, begun.id, building))


def record(call: Call) -> Outcome:
    """Records a round's results; returns the next round's work: guests whose host failed, on their next alternate."""
    if not call.results:  # nobody had work in this round
        return {"action": call.action_id, "uuids": call.request["uuids"], "hosts": [], "work": {}, "changed": False}
    with Ledger.open(call.cloud.ledger_url) as ledger:
        work = boot_rounds.record_round(ledger, call)
        rows = [ledger.guest_by_uuid(uuid) for uuid in call.request["uuids"]]
    return _outcome(call.action_id, rows, work)


def finish(call: Call) -> Outcome:
    """Ends the action and returns the guests. Raises HostFailed with every guest that did not become active."""
    with Ledger.open(call.cloud.ledger_url) as ledger:
        rows = [ledger.guest_by_uuid(uuid) for uuid in call.request["uuids"]]
        failed = [row for row in rows if row.vm_state in (VmState.BUILDING, VmState.ERROR)]
        lines = tuple(f"guest {row.name}: {row.fault or 'it was not finished'}" for row in failed)
        if call.action_id:
            ledger.end_action(call.action_id, "; ".join(lines) or None)
    guests = [guest_view(row) for row in rows]
    if failed:
        again = any(row.vm_state is VmState.BUILDING for row in failed)
        names = " ".join(row.name for row in failed)
        raise HostFailed(
            f"{len(failed)} of {len(rows)} guests did not boot",
            details=lines,
            hint="run the same again when the host is back" if again else f"mend it, then `berth delete {names}`",
            data={"guests": guests},
        )
    return {"guests": guests, "changed": bool(call.action_id)}


def _record_and_claim(call: Call, ledger: Ledger, action_id: str) -> list[GuestRow]:
    """Returns the guests of the request, the new ones booked with all they need."""
    ledger.begin_step(action_id, BootStep.RECORD)
    # Again, now that the names are held: a run that just ended may have made some of them.
    wanted = look_up(call.cloud, ledger, call.request)
    ledger.end_step(action_id, BootStep.RECORD)
    ledger.begin_step(action_id, BootStep.CLAIM)
    if wanted.new_names:
        _book(call, ledger, wanted, action_id)
    for row in wanted.unfinished:
        if row.host is None:  # its run died between two hosts
            boot_rounds.claim_host(ledger, call, action_id, row)
    ledger.end_step(action_id, BootStep.CLAIM)
    return ledger.guests(project=wanted.project, names=wanted.names)


def _book(call: Call, ledger: Ledger, wanted: Wanted, action_id: str) -> None:
    """Places the new guests and books them in one transaction; again when another run took the room meanwhile."""
    identified = [(str(uuid.uuid4()), name) for name in wanted.new_names]
    ensure_group(ledger, wanted.resolved)
    requests = placement_requests(ledger, wanted.resolved, identified)
    request_id = ledger.action(action_id).request_id
    context = BootContext(call.cloud.name, request_id, wanted.digest, call.now_s, requests[0].disk_gib)
    guests = tuple(new_guest(wanted.resolved, one, name, context) for one, name in identified)
    wishes = address_wishes(wanted.resolved, identified)
    for attempt in range(1, CLAIM_ATTEMPTS + 1):
        decision, fleet = placing.decide(ledger, call.cloud, requests, now_s=call.now_s)
        if not decision.ok:
            raise decision.error()
        claims = placing.claims_of(decision, fleet, forwarded_ports(wanted.resolved.networks))
        try:
            ledger.record_boot(action_id, BootRecord(guests, claims, wishes, placing.foreign_macs(fleet)))
            return
        except ClaimRefused:
            if attempt == CLAIM_ATTEMPTS:
                raise


def _would_boot(call: Call, ledger: Ledger, wanted: Wanted) -> Outcome:
    """Returns what a boot would do; books and changes nothing."""
    identified = [(str(uuid.uuid4()), name) for name in wanted.new_names]
    outcome = _outcome("", list(wanted.there), {})
    if not identified:
        return outcome
    requests = placement_requests(ledger, wanted.resolved, identified)
    decision, _fleet = placing.decide(ledger, call.cloud, requests, now_s=call.now_s)
    if not decision.ok:
        raise decision.error()
    return {**outcome, "changed": True, "placements": [placement.to_dict() for placement in decision.placements]}


def _outcome(action_id: str, rows: list[GuestRow], work: boot_rounds.Work) -> Outcome:
    uuids = [row.uuid for row in rows]
    return {"action": action_id, "uuids": uuids, "hosts": sorted(work), "work": work, "changed": bool(work)}
