# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts, after a host's boot, the guests that the ledger records as active there and that run nowhere else."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from berth.errors import BerthError, Conflict, HostFailed
from berth.ledger.model import Outcome as StepOutcome
from berth.ledger.model import PowerState, PowerStep, Verb, VmState
from berth.ledger.owner import Owner
from berth.ledger.rows import ActionRequest, GuestResult, GuestRow
from berth.ledger.store import Ledger
from berth.verbs.call import Call, Outcome
from berth.verbs.copies import copies_elsewhere, domain_states
from berth.verbs.guest_view import guest_view, lock_view
from berth.verbs.host_answers import guest_answer, guest_targets, share_for

FACTS_RESULT = "berth_facts_result"


def begin(call: Call) -> Outcome:
    """Returns the host's active guests, those of them that are locked, and all hosts to look at.

    Active is what is meant to be on, also what the host has shown off since it booted (berth.verbs.observe). The locked
    ones are left as they are, and so are those that another verb had begun with: that one ends it. Raises NotFound for
    an unknown host, Busy, Conflict for one in quarantine.
    """
    name = str(call.request.get("host") or "")
    with Ledger.open(call.cloud.ledger_url) as ledger:
        quarantine = ledger.host(name).quarantine
        if quarantine:
            raise Conflict(
                f"host {name} is in quarantine: {quarantine}",
                hint=f"is it the same host, installed anew? `berth host refresh --accept {name}`",
            )
        active = ledger.guests(host=name, states=[VmState.ACTIVE])
        rows = [row for row in active if row.lock_reason is None and row.task_state is None]
        look = sorted(host.name for host in ledger.hosts() if host.in_inventory)
        uuids, locked = [row.uuid for row in rows], [row.uuid for row in active if row.lock_reason is not None]
        nothing: Outcome = {"action": "", "uuids": uuids, "locked": locked, "look": [], "hosts": [], "work": {}}
        if not rows or call.check_mode:
            return {**nothing, "changed": bool(rows)}
        actions = _begin_actions(ledger, rows)
    return {**nothing, "action": " ".join(actions), "look": look, "changed": False}


def _begin_actions(ledger: Ledger, rows: Sequence[GuestRow]) -> list[str]:
    """Returns one action per project: an action holds guests of one. Raises Busy, and then holds none."""
    actions: list[str] = []
    for project in sorted({row.project for row in rows}):
        names = tuple(row.name for row in rows if row.project == project)
        request = ActionRequest(Verb.START, project, names, f"req-{uuid.uuid4()}", digest="start-guests")
        try:
            actions.append(ledger.begin_action(request, Owner.of_process(os.getppid())).id)
        except BerthError as error:
            _end_actions(ledger, actions, error.message)
            raise
    return actions


def _end_actions(ledger: Ledger, actions: Iterable[str], error: str = "") -> None:
    for action in actions:
        ledger.end_action(action, error or None)


def compare(call: Call) -> Outcome:
    """Returns the work for the host: its guests that are meant to be on, off there and on no other host.

    A host that does not answer may run any of them, so without `accept_silent_hosts` in the request that ends the verb.
    Raises HostFailed naming the silent hosts and every twin.
    """
    name = str(call.request["host"])
    uuids, locked = list(call.request["uuids"]), list(call.request["locked"])
    if not call.action_id:
        return {"action": "", "uuids": uuids, "locked": locked, "hosts": [], "work": {}, "changed": False}
    domains = {host: _domains(answer) for host, answer in call.results.items()}
    with Ledger.open(call.cloud.ledger_url) as ledger:
        # One that was moved or stopped before it was held is not to be started here any more.
        idle = [row for row in ledger.guests_by_uuid(uuids) if row.task_state is None]
        rows = [row for row in idle if (row.host, row.vm_state) == (name, VmState.ACTIVE)]
        last = {host.name: domain_states(host.facts or {}) for host in ledger.hosts()}
        problems = _problems(name, rows, domains, last, accept=bool(call.request.get("accept_silent_hosts")))
        if problems:
            _end_actions(ledger, call.action_id.split(), "; ".join(problems))
            raise HostFailed(
                f"guests of {name} were not started",
                details=tuple(problems),
                hint="mend those hosts first; --accept-silent-hosts starts what a silent host may run; one that it "
                "showed last, if it never returns: `berth start NAME --host-is-gone HOST`",
            )
        here = domains[name] or {}
        off = [row for row in rows if here.get(row.uuid) != PowerState.RUNNING]
        share = share_for(call.cloud, call.action_id)
        share["guests"] = [guest_targets(row, ledger.host(name)) for row in off]
        share["journal"]["guests"] = [row.uuid for row in off]
    work = {name: share} if off else {}
    given = {"action": call.action_id, "uuids": [row.uuid for row in off], "locked": locked}
    return {**given, "hosts": sorted(work), "work": work, "changed": False}


def _domains(answer: Any) -> dict[str, str] | None:
    """Returns uuid -> state of a host's domains; None when it did not answer."""
    facts = (answer.get(FACTS_RESULT) or {}).get("host")
    return domain_states(facts) if facts else None


def _problems(
    name: str,
    rows: list[GuestRow],
    domains: Mapping[str, Mapping[str, str] | None],
    last: Mapping[str, Mapping[str, str]],
    *,
    accept: bool,
) -> list[str]:
    """Returns why the guests are not to be started. What a host showed `last` counts when it is not heard now."""
    problems = []
    if domains.get(name) is None:
        problems.append(f"host {name} does not answer")
    silent = sorted(host for host, found in domains.items() if found is None and host != name)
    if silent and not accept:
        problems.append(f"these hosts do not answer and may run them: {', '.join(silent)}")
    shown = {**last, **{host: found for host, found in domains.items() if found is not None}}
    for row in rows:
        copies = copies_elsewhere(row.uuid, name, shown)
        problems += [f"guest {row.name} is {state} on host {host}" for host, state in copies]
    return problems


def finish(call: Call) -> Outcome:
    """Records the guests as they are now and returns those that were started, then those that are locked.

    Raises HostFailed with every guest that did not start; it stays active, so that the next call tries again.
    """
    uuids = list(call.request["uuids"])
    with Ledger.open(call.cloud.ledger_url) as ledger:
        lines, changed = _settle(ledger, call)
        told = ledger.guests_by_uuid([*uuids, *call.request["locked"]])
        guests = [{**guest_view(row), "locked": lock_view(row)} for row in told]
    if lines:
        raise HostFailed(
            f"{len(lines)} of {len(uuids)} guests did not start",
            details=tuple(lines),
            hint="mend the host and run the same again",
            data={"guests": guests},
        )
    return {"guests": guests, "changed": changed}


def _settle(ledger: Ledger, call: Call) -> tuple[list[str], bool]:
    """Ends the actions; returns a line per guest that did not start, and whether any had to be started."""
    lines, changed = [], False
    for action in [ledger.open_action(action_id) for action_id in call.action_id.split()]:
        failed = []
        for row in ledger.guests_by_uuid(call.request["uuids"]):
            if row.project != action.project:
                continue
            answer = guest_answer(call.results.get(str(row.host), {}), row.uuid)
            now = (VmState.ACTIVE, PowerState.RUNNING) if answer.ok else (row.vm_state, row.power_state)
            ledger.finish_guests([GuestResult(row.uuid, *now, fault="" if answer.ok else answer.message)])
            outcome = (StepOutcome.OK, None) if answer.ok else (StepOutcome.FAILED, answer.message)
            ledger.end_step(action.id, PowerStep.POWER, [row.uuid], outcome=outcome[0], error=outcome[1])
            failed += [] if answer.ok else [f"guest {row.name}: {answer.message}"]
            changed |= bool(answer.result.get("changed"))
        ledger.end_action(action.id, "; ".join(failed) or None)
        lines += failed
    return lines, changed
