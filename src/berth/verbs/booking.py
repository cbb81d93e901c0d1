# SPDX-License-Identifier: GPL-3.0-or-later
"""Books new guests: as many as quota and hosts allow, in one transaction, again while other runs are faster."""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import dataclass, replace

from berth.ledger import quota
from berth.ledger.claiming import ClaimRefused
from berth.ledger.model import GroupPolicy
from berth.ledger.rows import BootRecord, GroupRow, GuestRow, NewGuest
from berth.ledger.store import Ledger
from berth.placement import Decision
from berth.verbs import placing
from berth.verbs.boot_request import Identity, Wanted, address_wishes, choosing, placement_requests, resolve_request
from berth.verbs.call import Call
from berth.verbs.guest_plan import BootContext, forwarded_ports, new_guest
from berth.verbs.quota_view import ledger_quota

# How often guests are placed again because another run was faster with its claims. Each time somebody was booked, so
# that this many in a row means a fleet under siege.
CLAIM_ATTEMPTS = 30
LONGEST_PAUSE_S = 0.2


@dataclass(frozen=True)
class Choice:
    """The guests that are booked, fewer than asked for when the request allows it, and where they go."""

    guests: tuple[NewGuest, ...]
    decision: Decision | None
    fleet: placing.FleetNow | None


def book(call: Call, ledger: Ledger, wanted: Wanted, action_id: str) -> None:
    """Places the new guests and books them in one transaction; again when another run took the room meanwhile.

    Raises QuotaExceeded, NoValidHost, Conflict; then nothing is booked.
    """
    identified = [(str(uuid.uuid4()), name) for name in wanted.new_names]
    request_id = ledger.action(action_id).request_id
    for attempt in range(1, CLAIM_ATTEMPTS + 1):
        choice = choose(call, ledger, wanted, identified, request_id)
        if choice.decision is None or choice.fleet is None:
            return
        made = {guest.uuid for guest in choice.guests}
        record = BootRecord(
            guests=choice.guests,
            claims=placing.claims_of(choice.decision, choice.fleet, forwarded_ports(wanted.resolved.networks)),
            addresses=address_wishes(wanted.resolved, [one for one in identified if one[0] in made]),
            reserved_macs=placing.foreign_macs(choice.fleet),
            quota=ledger_quota(wanted.resolved.project.quota),
            group=_group(wanted, call.now_s),
        )
        try:
            ledger.record_boot(action_id, record)
            return
        except (ClaimRefused, quota.QuotaExceeded):  # choose() says whether fewer will do
            if attempt == CLAIM_ATTEMPTS:
                raise
            pause(attempt)


def choose(call: Call, ledger: Ledger, wanted: Wanted, identified: list[Identity], request_id: str = "") -> Choice:
    """Returns the guests to book and where they go, as things stand now. Books nothing.

    As many as the quota and the hosts allow, when that is not less than the request's least; else all or nothing.
    Raises QuotaExceeded, NoValidHost.
    """
    requests = placement_requests(ledger, wanted.resolved, identified)
    context = BootContext(call.cloud.name, request_id, wanted.digest, call.now_s, requests[0].disk_gib)
    guests = tuple(new_guest(wanted.resolved, one, name, context) for one, name in identified)
    least = wanted.least_new
    limits, used = ledger_quota(wanted.resolved.project.quota), ledger.project_usage(wanted.project)
    count = max(least, quota.room(limits, used, guests[0].resources, len(guests)))
    quota.check(limits, wanted.project, used, guests[:count])
    if not count:
        return Choice((), None, None)
    how = choosing(wanted.resolved.request)
    decision, fleet = placing.decide(ledger, call.cloud, requests[:count], now_s=call.now_s, how=how)
    if decision.failure is not None:
        # The guests of one request are alike: those before the first that found no host fit together.
        count = decision.failure.index
        if count < least:
            raise decision.error()
        if not count:
            return Choice((), None, None)
        decision, fleet = placing.decide(ledger, call.cloud, requests[:count], now_s=call.now_s, how=how, fleet=fleet)
    if not decision.ok:
        raise decision.error()
    return Choice(placing.pinned(guests[:count], decision.placements, fleet), decision, fleet)


def claim_host(ledger: Ledger, call: Call, action_id: str, row: GuestRow, tried: tuple[str, ...] = ()) -> None:
    """Claims the best host that was not tried, as things stand now. Raises NoValidHost, ClaimRefused, InvalidInput."""
    wanted = resolve_request(call.cloud, ledger.action(action_id).request)
    for attempt in range(1, CLAIM_ATTEMPTS + 1):
        first = placement_requests(ledger, wanted, [(row.uuid, row.name)])[0]
        request = replace(first, tried_hosts=tried)
        decision, fleet = placing.decide(ledger, call.cloud, [request], now_s=call.now_s, how=choosing(wanted.request))
        if not decision.ok:
            raise decision.error()
        placement = decision.placements[0]
        # Before the claim: until then the guest has no host, and its pins count nowhere.
        ledger.store_plans({row.uuid: placing.with_pins(row.plan, placement, fleet)})
        try:
            ledger.move_claim(action_id, placing.claim_on(placement, fleet, ports=forwarded_ports(wanted.networks)))
            return
        except ClaimRefused:
            if attempt == CLAIM_ATTEMPTS:
                raise
            pause(attempt)


def pause(attempt: int) -> None:
    """Waits a little, longer after each attempt, so that runs that want the same host do not stay in step."""
    time.sleep(random.uniform(0, min(LONGEST_PAUSE_S, 0.01 * attempt)))  # noqa: S311  no secret


def _group(wanted: Wanted, now_s: float) -> GroupRow | None:
    """Returns the server group that the request describes; None when it names one that is there, or none."""
    group = wanted.resolved.request.group
    if group is None or group.policy is None:
        return None
    policy = GroupPolicy(group.policy.value)
    return GroupRow(wanted.project, group.name, policy, group.max_server_per_host or 1, now_s)
