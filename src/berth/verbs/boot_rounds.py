# SPDX-License-Identifier: GPL-3.0-or-later
"""The rounds of a boot: what each chosen host is given to do, what its answer means, and who tries next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from berth.cloud import Cloud
from berth.errors import BerthError, NotFound
from berth.ledger.model import BootStep, PowerState, VmState
from berth.ledger.model import Outcome as StepOutcome
from berth.ledger.rows import AddressRow, GuestResult, GuestRow, ImageRow, Json, StateChange, StepRow
from berth.ledger.store import Ledger
from berth.spec.catalog import Catalog
from berth.spec.load import load_catalog
from berth.verbs import placing
from berth.verbs.booking import claim_host
from berth.verbs.boot_request import resolve_request
from berth.verbs.boot_verdict import IMAGE_RESULT, Fate, Verdict, judge
from berth.verbs.call import Call
from berth.verbs.group_rules import group_rules
from berth.verbs.guest_plan import HostPaths, plan_on_host
from berth.verbs.placement_profiles import MAX_ATTEMPTS

# Host -> what it has to do.
Work = dict[str, dict[str, Any]]


def work_for(ledger: Ledger, cloud: Cloud, action_id: str, rows: Sequence[GuestRow]) -> Work:
    """Returns host -> what it has to do for these guests: images, guest plans, and whose journal it is."""
    if not rows:
        return {}
    catalog, fleet = load_catalog(cloud.catalog_path), placing.read_fleet(ledger, cloud)
    digests = {row.name: row.digest for row in ledger.images()}
    plans, rules = _plans_on_hosts(ledger, fleet, rows), group_rules(ledger, rows)
    begun = _begun_with(ledger, rows)
    made_of: dict[str, str] = {}
    work: Work = {}
    for row in rows:
        # Another machine under a host's name knows nothing of what was made on the one before it.
        if row.host is None or fleet.rows[row.host].quarantine:
            continue
        paths = HostPaths.of(fleet.rows[row.host])
        share = work.setdefault(row.host, _empty_share(paths, cloud, action_id))
        shown = {key: value for key, value in plans[row.uuid].items() if key != "user_data"}  # see with_user_data()
        share["plans"].append({**shown, "limits": fleet.host_limits(row.host), **rules.get(row.uuid, {})})
        share["journal"]["guests"].append(row.uuid)
        image = _image_item(catalog, row.image, cloud, digests)
        image["digest"] = begun.get(row.host, {}).get(row.image) or image["digest"]
        if image["digest"]:
            made_of[row.uuid] = image["digest"]
        if image not in share["images"]:
            share["images"].append(image)
    ledger.record_image_digests(made_of)
    return work


def _begun_with(ledger: Ledger, rows: Sequence[GuestRow]) -> dict[str, dict[str, str]]:
    """Returns host -> image -> digest, of guests that an earlier run handed to their host.

    They may be there, on disks that are based on that very image; the name may stand for another one since.
    """
    steps = ledger.steps_on([row.uuid for row in rows])
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        if row.host and row.image_digest and _sent_before(steps, row):
            found.setdefault(row.host, {})[row.image] = row.image_digest
    return found


def _plans_on_hosts(ledger: Ledger, fleet: placing.FleetNow, rows: Sequence[GuestRow]) -> dict[str, Json]:
    """Returns guest uuid -> its plan made sure for the host it is claimed on."""
    uuids = [row.uuid for row in rows]
    ports, addresses = ledger.ports_of(uuids), _by_guest(ledger.addresses_of(uuids))
    return {
        row.uuid: plan_on_host(row.plan, fleet.rows[row.host], addresses.get(row.uuid, ()), ports.get(row.uuid, ()))
        for row in rows
        if row.host is not None
    }


def _by_guest(addresses: Iterable[AddressRow]) -> dict[str, list[AddressRow]]:
    found: dict[str, list[AddressRow]] = {}
    for row in addresses:
        found.setdefault(row.guest_uuid, []).append(row)
    return found


def _empty_share(paths: HostPaths, cloud: Cloud, action_id: str) -> dict[str, Any]:
    return {
        "images": [],
        "plans": [],
        "uri": paths.uri,
        "instances_path": paths.instances,
        "images_path": paths.images,
        "journal": {"cloud": str(cloud.path), "action": action_id, "guests": []},
    }


def _image_item(catalog: Catalog, name: str, cloud: Cloud, digests: Mapping[str, str]) -> dict[str, Any]:
    """Returns an image as the host's module takes it. A digest that a pull resolved stays the one that boots.

    Raises NotFound when the image left the catalog since the guest was asked for.
    """
    image = catalog.images.get(name)
    if image is None:
        raise NotFound(f"image {name!r} is not in the catalog any more", hint="put it back, or delete the guest")
    item = image.pull_item(cloud.path)
    if item["sums"] and not item["digest"] and name in digests:
        item["digest"] = digests[name]
    return item


def record_round(ledger: Ledger, call: Call) -> Work:
    """Writes what the hosts answered; returns the next round's work for guests that go elsewhere."""
    everyone = [ledger.guest_by_uuid(uuid) for uuid in call.request["uuids"]]
    rows = [row for row in everyone if row.vm_state is VmState.BUILDING and row.host in call.results]
    _record_images(ledger, call)
    steps = ledger.steps_on([row.uuid for row in rows])
    verdicts = {
        row.uuid: judge(row.uuid, row.image, call.results[str(row.host)], sent_before=_sent_before(steps, row))
        for row in rows
    }
    fates = {fate: [row for row in rows if verdicts[row.uuid].fate is fate] for fate in Fate}
    _activate(ledger, call, fates[Fate.MADE], verdicts)
    _count_builds(ledger, fates, verdicts)
    for row in fates[Fate.LOST]:
        _close_steps(ledger, call, row, StepOutcome.INTERRUPTED, verdicts[row.uuid].message)
        _keep(ledger, row, verdicts[row.uuid])
    for row in fates[Fate.REFUSED]:
        _close_steps(ledger, call, row, StepOutcome.FAILED, verdicts[row.uuid].message)
        _give_up(ledger, row, f"{row.host}: {verdicts[row.uuid].message}")
    for row in fates[Fate.ELSEWHERE]:
        _close_steps(ledger, call, row, StepOutcome.FAILED, verdicts[row.uuid].message)
    moved = [row.uuid for row in fates[Fate.ELSEWHERE] if _move(ledger, call, row)]
    return work_for(ledger, call.cloud, call.action_id, [ledger.guest_by_uuid(uuid) for uuid in moved])


def _count_builds(ledger: Ledger, fates: Mapping[Fate, Sequence[GuestRow]], verdicts: Mapping[str, Verdict]) -> None:
    """Counts builds against their hosts: a success forgives, each failure of the host's own adds to its score.

    What no host could have made says nothing of this one; neither does a server group that has no place for it.
    """
    forgiven = {str(row.host) for row in fates[Fate.MADE]} & ledger.failing_hosts()
    for host in sorted(forgiven):
        ledger.count_build(host, ok=True)
    for row in (*fates[Fate.ELSEWHERE], *fates[Fate.LOST]):
        if verdicts[row.uuid].result.get("reason") != "group":
            ledger.count_build(str(row.host), ok=False)


def _sent_before(steps: Sequence[StepRow], row: GuestRow) -> bool:
    """Returns whether an earlier run handed this guest to its host, which may have it: all but a failure may mean that.

    One that died after its host had answered, and before the guest was active, has left the step's good outcome. This
    run's own intents are still open.
    """
    known = [
        step.outcome
        for step in steps
        if (step.guest_uuid, step.host, step.step) == (row.uuid, row.host, BootStep.GUEST) and step.outcome
    ]
    return bool(known) and known[-1] != StepOutcome.FAILED


def _activate(ledger: Ledger, call: Call, rows: Sequence[GuestRow], verdicts: Mapping[str, Verdict]) -> None:
    """Records guests that run, all in one go."""
    if not rows:
        return
    uuids = [row.uuid for row in rows]
    for step in (BootStep.IMAGE, BootStep.GUEST):
        ledger.end_step(call.action_id, step, uuids)
    ledger.begin_step(call.action_id, BootStep.ACTIVATE, uuids)
    plans = _plans_on_hosts(ledger, placing.read_fleet(ledger, call.cloud), rows)
    results = [
        GuestResult(
            row.uuid,
            VmState.ACTIVE,
            PowerState.RUNNING,
            host=row.host,
            ssh_host_key=verdicts[row.uuid].result.get("ssh_host_key"),
            image_digest=_image_result(call, row).get("digest"),
            launched_at=call.now_s,
            fault="",
            plan=plans[row.uuid],
        )
        for row in rows
    ]
    ledger.finish_guests(results)
    ledger.end_step(call.action_id, BootStep.ACTIVATE, uuids)


def _image_result(call: Call, row: GuestRow) -> Mapping[str, Any]:
    answer = call.results[str(row.host)].get(IMAGE_RESULT) or {}
    return next((item for item in answer.get("images") or () if item.get("name") == row.image), {})


def _record_images(ledger: Ledger, call: Call) -> None:
    for host, answer in call.results.items():
        items = (answer.get(IMAGE_RESULT) or {}).get("images") or ()
        rows = image_rows(items, call.now_s)
        if rows:
            ledger.record_images(rows, host=host)


def image_rows(items: Iterable[Mapping[str, Any]], at: float) -> list[ImageRow]:
    """Returns what a host's image task says about the images that it has now."""
    return [
        ImageRow(
            name=item["name"],
            digest=item["digest"],
            format=item["format"],
            virtual_size_bytes=int(item["virtual_size_bytes"]),
            size_bytes=int(item["size_bytes"]),
            source=str(item.get("source") or ""),
            recorded_at=at,
        )
        for item in items
        if item.get("ok")
    ]


def _close_steps(ledger: Ledger, call: Call, row: GuestRow, outcome: StepOutcome, error: str) -> None:
    """Writes how the host's steps ended for a guest. What was tried is read from these outcomes."""
    mine = [
        BootStep(step.step)
        for step in ledger.steps_of(call.action_id)
        if step.guest_uuid == row.uuid and step.ended_at is None and step.step in (BootStep.IMAGE, BootStep.GUEST)
    ]
    if not mine:  # the host was unreachable before its first step
        mine = [BootStep.IMAGE]
        ledger.begin_step(call.action_id, BootStep.IMAGE, [row.uuid], host=row.host)
    for step in mine[:-1]:
        ledger.end_step(call.action_id, step, [row.uuid])
    ledger.end_step(call.action_id, mine[-1], [row.uuid], outcome=outcome, error=error)


def _keep(ledger: Ledger, row: GuestRow, verdict: Verdict) -> None:
    """Leaves a guest whose fate is unknown where it may be; the same boot finishes it once the host answers."""
    fault = f"{row.host}: {verdict.message}; it may exist there, so it was not made elsewhere"
    unchanged = StateChange(frozenset({VmState.BUILDING}), frozenset(), VmState.BUILDING, row.task_state, fault=fault)
    ledger.set_states([row.uuid], unchanged)


def _give_up(ledger: Ledger, row: GuestRow, fault: str) -> None:
    """Ends a guest in ERROR, its claim given back: no host has anything of it."""
    # In this order: a run that dies in between leaves a guest without a host, which the next run goes on with.
    ledger.release_claims([row.uuid])
    ledger.finish_guests([GuestResult(row.uuid, VmState.ERROR, PowerState.NOSTATE, fault=fault)])


def _move(ledger: Ledger, call: Call, row: GuestRow) -> bool:
    """Returns whether the guest has a claim on another host now. If not it is in ERROR with all its tries."""
    tries = {
        step.host: step.error or "no reason given"
        for step in ledger.steps_of(call.action_id)
        if step.guest_uuid == row.uuid and step.host and step.outcome is StepOutcome.FAILED
    }
    told = "; ".join(f"{host}: {error}" for host, error in tries.items())
    try:
        if len(tries) < _most_tries(ledger, call):
            ledger.release_claims([row.uuid])
            claim_host(ledger, call, call.action_id, row, tuple(tries))
            return True
        fault = f"{len(tries)} hosts were tried: {told}"
    except BerthError as error:
        fault = f"{told}; no other host: {'; '.join((error.message, *error.details))}"
    _give_up(ledger, row, fault)
    return False


def _most_tries(ledger: Ledger, call: Call) -> int:
    """Returns how many hosts a guest of this boot may try, as its placement profile says."""
    request = resolve_request(call.cloud, ledger.action(call.action_id).request).request
    profile = placing.choose_profile(call.cloud, request.profile, request.project)
    return min(profile.max_attempts, MAX_ATTEMPTS)
