# SPDX-License-Identifier: GPL-3.0-or-later
"""The hints of a boot request with what the ledger knows: guests as UUIDs, hosts that there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from berth.errors import InvalidInput, NotFound, Problem
from berth.ledger.store import Ledger
from berth.placement.hints import GUEST_HINTS, KnownGuests
from berth.placement.query import problems_in
from berth.spec.request import BootRequest
from berth.spec.suggest import did_you_mean

HINT = "`berth host list` and `berth list` show the hosts and guests there are"


def placement_hints(ledger: Ledger, request: BootRequest) -> dict[str, Any]:
    """Returns the hints as placement takes them.

    Raises NotFound for every guest and host that the request names and nothing has; InvalidInput for other mistakes.
    """
    hints = request.hints
    guests = _guests(ledger, request.project) if hints.different_host or hints.same_host else None
    problems, found = list(_unknown_hosts(ledger, request)), {}
    for key in GUEST_HINTS:
        names = getattr(hints, key)
        uuids = {name: guests.uuid_of(name) for name in names} if guests else {}
        problems += [Problem(f"hints.{key}", guests.unknown(name)) for name in names if guests and not uuids[name]]
        found[key] = [uuid for uuid in uuids.values() if uuid]
    unknown = len(problems)
    problems += [Problem("hints.query", text) for text in problems_in(hints.query)]
    if problems:
        kind = InvalidInput if len(problems) > unknown else NotFound
        raise kind.from_problems(f"boot {request.name}", problems, hint=HINT)
    given = {**found, "build_near_host_ip": hints.build_near_host_ip, "cidr": hints.cidr, "query": hints.query}
    return {key: value for key, value in given.items() if value}


def _guests(ledger: Ledger, project: str) -> KnownGuests:
    return KnownGuests(project, ((row.uuid, row.name, row.project) for row in ledger.guests()))


def _unknown_hosts(ledger: Ledger, request: BootRequest) -> Iterator[Problem]:
    """Yields hosts that are asked for and not there; one that is to be ignored may be gone already."""
    asked = {"forced host": request.forced_host, "destination": request.hints.destination}
    if not any(asked.values()):
        return
    known = [row.name for row in ledger.hosts()]
    for what, name in asked.items():
        if name and name.casefold() not in {host.casefold() for host in known}:
            yield Problem(what, f"no host {name!r}; {did_you_mean(name, known)}")
