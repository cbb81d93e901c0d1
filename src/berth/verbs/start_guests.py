# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts, after a host's boot, the guests that the ledger records as active there and that run nowhere else."""

from __future__ import annotations

import os
import uuid
from typing import Any

from berth.errors import HostFailed
from berth.ledger.model import PowerState, Verb, VmState
from berth.ledger.owner import Owner
from berth.ledger.rows import ActionRequest, GuestResult, GuestRow
from berth.ledger.store import Ledger
from berth.verbs.call import Call, Outcome
from berth.verbs.guest_view import guest_view
from berth.verbs.host_answers import guest_answer, guest_targets, share_for

FACTS_RESULT = "berth_facts_result"


def begin(call: Call) -> Outcome:
    """Returns the host's active guests and all hosts to look at. Raises NotFound for an unknown host, Busy."""
    name = str(call.request.get("host") or "")
    with Ledger.open(call.cloud.ledger_url) as ledger:
        ledger.host(name)
        rows = ledger.guests(host=name, states=[VmState.ACTIVE])
        look = sorted(host.name for host in ledger.hosts() if host.in_inventory)
        uuids = [row.uuid for row in rows]
        if not rows or call.check_mode:
            return {"action": "", "uuids": uuids, "look": [], "hosts": [], "work": {}, "changed": bool(rows)}
        names = tuple(row.name for row in rows)
        request = ActionRequest(Verb.REBOOT_HARD, rows[0].project, names, f"req-{uuid.uuid4()}", digest="start-guests")
        begun = ledger.begin_action(request, Owner.of_process(os.getppid()))
    return {"action": begun.id, "uuids": uuids, "look": look, "hosts": [], "work": {}, "changed": False}


def compare(call: Call) -> Outcome:
    """Returns the work for the host: its guests that are seen on no other host.

    A host that does not answer may run any of them, so without `accept_silent_hosts` in the request that ends the verb.
    Raises HostFailed naming the silent hosts and every twin.
    """
    name = str(call.request["host"])
    uuids = list(call.request["uuids"])
    if not call.action_id:
        return {"action": "", "uuids": uuids, "hosts": [], "work": {}, "changed": False}
    domains = {host: _domains(answer) for host, answer in call.results.items()}
    with Ledger.open(call.cloud.ledger_url) as ledger:
        rows = [ledger.guest_by_uuid(uuid) for uuid in uuids]
        problems = _problems(name, rows, domains, accept=bool(call.request.get("accept_silent_hosts")))
        if problems:
            ledger.end_action(call.action_id, "; ".join(problems))
            raise HostFailed(
                f"guests of {name} were not started",
                details=tuple(problems),
                hint="mend those hosts first; --accept-silent-hosts starts them all the same",
            )
        here = domains[name] or {}
        share = share_for(call.cloud, call.action_id)
        share["guests"] = [
            guest_targets(row, ledger.host(name)) for row in rows if here.get(row.uuid) != PowerState.RUNNING
        ]
    work = {name: share} if share["guests"] else {}
    return {"action": call.action_id, "uuids": uuids, "hosts": sorted(work), "work": work, "changed": bool(work)}


def _domains(answer: Any) -> dict[str, str] | None:
    """Returns uuid -> state of a host's domains; None when it did not answer."""
    facts = (answer.get(FACTS_RESULT) or {}).get("host")
    if not facts:
        return None
    return {str(domain["uuid"]): str(domain["state"]) for domain in facts.get("domains") or ()}


def _problems(name: str, rows: list[GuestRow], domains: dict[str, dict[str, str] | None], *, accept: bool) -> list[str]:
    problems = []
    if domains.get(name) is None:
        problems.append(f"host {name} does not answer")
    silent = sorted(host for host, found in domains.items() if found is None and host != name)
    if silent and not accept:
        problems.append(f"these hosts do not answer and may run them: {', '.join(silent)}")
    for row in rows:
        for host, found in sorted(domains.items()):
            if host != name and found and found.get(row.uuid) in (PowerState.RUNNING, PowerState.PAUSED):
                problems.append(f"guest {row.name} is {found[row.uuid]} on host {host}")
    return problems


def finish(call: Call) -> Outcome:
    """Records the guests as they are now. Raises HostFailed with every guest that did not start."""
    if not call.action_id:
        return {"guests": [], "changed": False}
    with Ledger.open(call.cloud.ledger_url) as ledger:
        lines = []
        for row in (ledger.guest_by_uuid(uuid) for uuid in call.request["uuids"]):
            if row.host is None or row.host not in call.results:
                continue  # it ran already
            answer = guest_answer(call.results[row.host], row.uuid)
            power = PowerState.RUNNING if answer.ok else PowerState.SHUTDOWN
            state = VmState.ACTIVE if answer.ok else VmState.STOPPED
            ledger.finish_guests([GuestResult(row.uuid, state, power, fault="" if answer.ok else answer.message)])
            if not answer.ok:
                lines.append(f"guest {row.name}: {answer.message}")
        ledger.end_action(call.action_id, "; ".join(lines) or None)
        guests = [guest_view(ledger.guest_by_uuid(uuid)) for uuid in call.request["uuids"]]
    if lines:
        raise HostFailed(f"{len(lines)} guests did not start", details=tuple(lines), data={"guests": guests})
    return {"guests": guests, "changed": bool(call.results)}
