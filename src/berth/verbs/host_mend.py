# SPDX-License-Identifier: GPL-3.0-or-later
"""Mends what the doctor found and an operator agreed to: in the ledger at once, on the hosts by their modules.

Everything is found anew first: what is not there any more is not mended. On hosts only what is off is removed.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from berth.errors import BerthError, Conflict
from berth.ledger.looks import collected_s
from berth.ledger.model import PowerState, PowerStep, Verb, VmState
from berth.ledger.owner import Owner
from berth.ledger.rows import ActionRequest, Claim, GuestRow, Resources, StateChange
from berth.ledger.store import Ledger
from berth.spec.load import load_catalog
from berth.verbs import care, placing
from berth.verbs.boot_verdict import GUEST_RESULT, IMAGE_RESULT
from berth.verbs.call import Call, Outcome
from berth.verbs.guest_plan import HostPaths
from berth.verbs.observe import MARGIN_S
from berth.verbs.reality import FILES, Difference, Kind, Mend, answers

Row = dict[str, Any]
_OFF = (PowerState.SHUTDOWN, PowerState.CRASHED)


def begin(call: Call) -> Outcome:
    """Mends the ledger and returns each host's work. The request's `keys` are those of the doctor's findings."""
    keys = set(call.request["keys"])
    catalog = load_catalog(call.cloud.catalog_path)
    with Ledger.open(call.cloud.ledger_url) as ledger:
        known = [one for one in care.all_differences(ledger, call.cloud.name, catalog) if one.mend]
        # One removal takes all that is left of a guest on a host, so all of it has to be agreed to.
        spared = {(one.host, one.subject) for one in known if one.kind in FILES and one.key not in keys}
        named = [one for one in known if one.key in keys]
        chosen = [one for one in named if one.kind not in FILES or (one.host, one.subject) not in spared]
        locked = {row.uuid: row.lock for row in ledger.guests() if row.lock is not None}
        found = [one for one in chosen if one.subject not in locked]
        mended = [
            _row(one.key, False, f"its guest is {locked[one.subject]}") for one in chosen if one.subject in locked
        ]
        mended += [_row(one.key, False, "other files of it are to stay") for one in named if one not in chosen]
        mended += [] if call.check_mode else _in_ledger(ledger, call, keys, found)
        work = _work(ledger, found)
    return {"hosts": sorted(work), "work": work, "mended": mended, "changed": bool(work or mended)}


def finish(call: Call) -> Outcome:
    """Returns `mended`: one row per thing, key, ok and message, those of `begin` (in the request) included."""
    rows: list[Row] = list(call.request["mended"])
    for host, share in call.request["work"].items():
        answer = call.results.get(host, {})
        for kind, result, field in (("guests", GUEST_RESULT, "uuid"), ("images", IMAGE_RESULT, "name")):
            for item in share[kind]:
                rows += [_row(key, *_said(answer.get(result) or {}, kind, field, item[field])) for key in item["keys"]]
    return {"mended": rows, "changed": any(row["ok"] for row in rows)}


def _said(task: Mapping[str, Any], kind: str, field: str, value: str) -> tuple[bool, str]:
    for item in task.get(kind) or ():
        if item.get(field) == value:
            return bool(item.get("ok")), str(item.get("message") or "")
    return False, str(task.get("msg") or "the host did not answer").splitlines()[0]


def _row(key: str, ok: bool, message: str) -> Row:
    return {"key": key, "ok": ok, "message": message}


def _in_ledger(ledger: Ledger, call: Call, keys: Collection[str], found: Iterable[Difference]) -> list[Row]:
    rows = []
    for guest in list(care.stuck_power(ledger)):
        if (key := f"{care.STUCK_POWER}:{guest.uuid}") in keys:
            rows.append(_try(key, _settle, ledger, guest))
    if any(key.startswith(care.REPAIR) for key in keys):
        rows += [_row(f"{care.REPAIR}:{one.key}", True, one.message) for one in ledger.repair()]
    return rows + [_try(one.key, _follow, ledger, call, one) for one in found if one.kind is Kind.MOVED]


def _try(key: str, mend: Callable[..., str], *given: Any) -> Row:
    try:
        return _row(key, True, mend(*given))
    except BerthError as error:
        return _row(key, False, "; ".join((error.message, *error.details)))


def _settle(ledger: Ledger, row: GuestRow) -> str:
    """Ends a change of power that nobody works on, with what the host shows. Raises Busy when somebody does."""
    power = _power(ledger, row)
    state = row.vm_state
    if state in (VmState.ACTIVE, VmState.STOPPED):
        state = VmState.STOPPED if power in _OFF else VmState.ACTIVE
    verb = care.POWER_TASKS[row.task_state] if row.task_state else Verb.START
    asked = ActionRequest(verb, row.project, (row.name,), f"req-{uuid.uuid4()}", digest="doctor")
    action = ledger.begin_action(asked, Owner.of_process(os.getppid()))
    try:
        ledger.begin_step(action.id, PowerStep.SETTLE, [row.uuid], host=row.host)
        expected = frozenset({row.vm_state}), frozenset({row.task_state})
        ledger.set_states([row.uuid], StateChange(*expected, state, None, power))
        ledger.end_step(action.id, PowerStep.SETTLE, [row.uuid])
    except BerthError as error:
        ledger.end_action(action.id, error.message)
        raise
    ledger.end_action(action.id)
    return f"guest {row.name} is {state} ({power})"


def _power(ledger: Ledger, row: GuestRow) -> PowerState:
    """Returns what the guest's host showed when it was last asked. Raises Conflict when it does not say."""
    host = ledger.host(row.host) if row.host else None
    facts = (host.facts or {}) if host and answers(host) else {}
    at = collected_s(facts)
    if at is not None and row.updated_at > at - MARGIN_S:
        raise Conflict(
            f"guest {row.name}: {row.host} was asked before its last change", hint="`berth sync`, then again"
        )
    domains = facts.get("domains") or ()
    states = [PowerState(domain["state"]) for domain in domains if domain["uuid"] == row.uuid]
    if not states:
        raise Conflict(f"guest {row.name}: its host {row.host} does not show it", hint="`berth sync` tells where it is")
    return states[0]


def _follow(ledger: Ledger, call: Call, one: Difference) -> str:
    """Records a guest where it was found, if it fits there by the ledger's own rule."""
    row = ledger.guest_by_uuid(one.subject)
    fleet = placing.read_fleet(ledger, call.cloud)
    claims = ledger.claims_of([row.uuid])
    booked = claims[0] if claims else row
    size = Resources(booked.vcpus, booked.memory_mib, booked.disk_mib)
    limits = fleet.limits(one.host)
    domain = _domain(ledger, one)
    record = domain.get("record") or {}
    places = {key: record[key] for key in ("instance_dir", "console_log") if record.get(key)}
    ledger.follow_guest(Claim(row.uuid, one.host, size, limits), expect_host=row.host, plan={**row.plan, **places})
    return f"guest {row.name} is recorded on {one.host}"


def _domain(ledger: Ledger, one: Difference) -> Mapping[str, Any]:
    domains = (ledger.host(one.host).facts or {}).get("domains") or ()
    return next((domain for domain in domains if domain["uuid"] == one.subject), {})


def _work(ledger: Ledger, found: Iterable[Difference]) -> dict[str, dict[str, Any]]:
    """Returns host -> guests and images to remove; all that is left of one guest is one removal."""
    work: dict[str, dict[str, Any]] = {}
    for one in found:
        if one.kind is Kind.MOVED or one.mend is Mend.NONE:
            continue
        paths = HostPaths.of(ledger.host(one.host))
        share = work.setdefault(
            one.host, {"guests": [], "images": [], "uri": paths.uri, "instances_path": paths.instances}
        )
        share["images_path"] = paths.images
        if one.kind is Kind.UNUSED_IMAGE:
            name, image_format = one.subject.rsplit(".", 1)
            digest = name.replace("-", ":", 1)
            share["images"].append({"name": one.subject, "digest": digest, "format": image_format, "keys": [one.key]})
            continue
        known = next((item for item in share["guests"] if item["uuid"] == one.subject), None)
        if known:
            known["keys"].append(one.key)
            continue
        target = {"uuid": one.subject, "name": str(_domain(ledger, one).get("name") or one.subject)}
        if one.kind is not Kind.TWIN:  # of a twin only the definition goes: hosts may share their folders
            target |= {"instance_dir": paths.instance_dir(one.subject), "console_log": paths.console_log(one.subject)}
        share["guests"].append({**target, "keys": [one.key]})
    return work
