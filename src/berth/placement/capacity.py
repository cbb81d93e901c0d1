# SPDX-License-Identifier: GPL-3.0-or-later
"""How many more guests fit, what is stranded, and whether the guests of a dead host could start elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from berth.errors import InvalidInput
from berth.placement.checks import check_requests
from berth.placement.engine import place_what_fits
from berth.placement.filters.availability_zone import zones_of
from berth.placement.filters.base import Filter, Reads
from berth.placement.filters.io_ops import IoOpsFilter
from berth.placement.filters.resources import Resources
from berth.placement.fleet import ALL, Fleet, Integers, Mask, Rows, build_fleet
from berth.placement.model import GuestRequest, ServerGroup
from berth.placement.movable import request_for
from berth.placement.outcome import pins_on
from berth.placement.profile import Pipeline, Profile
from berth.placement.shapes import Shape
from berth.placement.stranding import Stranded, serves_when_empty, stranded, what_stops
from berth.placement.view import View, one_row

_BAR = 40
_MOST_PER_HOST = 10_000


@dataclass(frozen=True)
class FlavorCapacity:
    """How many more of one flavor fit if nothing else is placed."""

    flavor: str
    total: int
    by_host: Mapping[str, int]
    by_zone: Mapping[str, int]
    by_aggregate: Mapping[str, int]
    stranded: tuple[Stranded, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures as JSON-ready data."""
        return {
            "flavor": self.flavor,
            "total": self.total,
            "by_host": dict(self.by_host),
            "by_zone": dict(self.by_zone),
            "by_aggregate": dict(self.by_aggregate),
            "stranded": [vars(stranded) for stranded in self.stranded],
        }

    def counts(self, *, hosts: bool = True) -> dict[str, Mapping[str, int]]:
        """Returns the counts to draw, by what they are of; those of single hosts only if asked for."""
        found = {"host": self.by_host if hosts else {}, "zone": self.by_zone, "aggregate": self.by_aggregate}
        return {title: counts for title, counts in found.items() if any(counts.values())}

    def stranded_lines(self) -> list[str]:
        """Returns a sentence per resource that runs out first."""
        return [
            f"{left.resource} runs out first on {left.hosts} hosts; then idle there: "
            f"{left.vcpus} vCPUs, {left.memory_mib} MiB memory, {left.disk_mib} MiB disk"
            for left in self.stranded
        ]

    def lines(self, *, hosts: bool = True) -> list[str]:
        """Returns a bar per host, zone and aggregate, and what is stranded."""
        lines = [f"{self.flavor}: {self.total} more"]
        for title, counts in self.counts(hosts=hosts).items():
            lines.extend(_bars(title, counts))
        return [*lines, *(f"  {line}" for line in self.stranded_lines())]


@dataclass(frozen=True)
class Survival:
    """Whether the guests of one host could start elsewhere if it died: how many of how many, and which not."""

    host: str
    guests: int
    restarted: int
    lost: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures as JSON-ready data."""
        return {"host": self.host, "guests": self.guests, "restarted": self.restarted, "lost": list(self.lost)}


def capacity(fleet: Fleet, flavors: Sequence[GuestRequest], profile: Profile, *, now_s: float) -> list[FlavorCapacity]:
    """Returns how many more of each flavor fit now; a flavor is given as a request that has its name and amounts.

    Every filter counts but those on operations in progress, which pass. Each flavor is counted on its own.
    Raises InvalidInput with every mistake in the flavors.
    """
    check_requests(fleet, flavors, profile.pipeline.filters)
    return [_of_flavor(fleet, request, profile, now_s) for request in flavors]


def _of_flavor(fleet: Fleet, request: GuestRequest, profile: Profile, now_s: float) -> FlavorCapacity:
    view = View(fleet, now_s)
    pipeline = replace(
        profile.pipeline,
        filters=tuple(rule for rule in profile.pipeline.filters if not isinstance(rule, IoOpsFilter)),
        weighers=(),
    )
    usable, changing = _sorted_out(view, request, pipeline)
    counts, stops = np.zeros(fleet.size, dtype=np.int64), {}
    if all(isinstance(rule, Resources) for rule in changing):
        rows = Shape(view, request, pipeline).scores.rows
        counts[rows] = _by_arithmetic(fleet, request)[rows]
    else:
        for row in np.flatnonzero(usable).tolist():
            counts[row], stop = _by_booking(View(fleet, now_s), row, request, pipeline.filters)
            if stop:
                stops[row] = stop
    return _summed(fleet, request, counts, stranded(fleet, request, counts, usable, stops))


def _sorted_out(view: View, request: GuestRequest, pipeline: Pipeline) -> tuple[Mask, list[Filter]]:
    """Returns the hosts that the flavor could use if they had room, and the filters that say whether they have."""
    usable, changing = np.ones(view.fleet.size, dtype=bool), []
    for rule in pipeline.filters:
        mask = rule.passes(view, request, ALL)
        if mask is None:
            continue
        if rule.reads_for(request) == Reads.FACTS:
            usable &= mask
        else:
            changing.append(rule)
    return usable, changing


def _by_arithmetic(fleet: Fleet, request: GuestRequest) -> Integers:
    """Returns how often the three amounts fit into what is left of each host."""
    usage, needs = fleet.usage, request.needs
    counts = np.full(fleet.size, _MOST_PER_HOST, dtype=np.int64)
    for need, limit, booked in (
        (needs.vcpus, fleet.vcpus_limit, usage.vcpus_booked),
        (needs.memory_mib, fleet.memory_mib_limit, usage.memory_mib_booked),
        (needs.disk_mib, fleet.disk_mib_limit, usage.disk_mib_booked),
    ):
        if need:
            counts = np.minimum(counts, np.maximum(0, limit - booked) // need)
    return counts


def _by_booking(view: View, row: int, request: GuestRequest, rules: Sequence[Filter]) -> tuple[int, str]:
    """Returns how many guests one host takes, every filter asked each time, and what ends it; "" for nothing."""
    rows, count = one_row(row), 0
    while count < _MOST_PER_HOST:
        refusing = next((rule for rule in rules if not _lets_in(rule, view, request, rows)), None)
        if refusing is not None:
            runs_out = count or serves_when_empty(view, row, request, refusing)
            return count, what_stops(view, row, request, refusing) if runs_out else ""
        pins = pins_on(view, row, request, rules[0].options)
        view.book(row, replace(request, uuid=f"{request.uuid}-{count}"), pins)
        count += 1
    return count, ""


def _lets_in(rule: Filter, view: View, request: GuestRequest, rows: Rows) -> bool:
    mask = rule.passes(view, request, rows)
    return mask is None or bool(mask[0])


def _summed(fleet: Fleet, request: GuestRequest, counts: Integers, left: tuple[Stranded, ...]) -> FlavorCapacity:
    zones: Counter[str] = Counter()
    aggregates: Counter[str] = Counter()
    for host, count in zip(fleet.hosts, counts.tolist(), strict=True):
        for zone in zones_of(host) or ("-",):
            zones[zone] += count
        for aggregate in host.aggregates:
            aggregates[aggregate.name] += count
    return FlavorCapacity(
        flavor=request.flavor or request.name,
        total=int(counts.sum()),
        by_host=dict(zip(fleet.names, counts.tolist(), strict=True)),
        by_zone=dict(sorted(zones.items())),
        by_aggregate=dict(sorted(aggregates.items())),
        stranded=left,
    )


def survival(
    fleet: Fleet,
    groups: Mapping[str, ServerGroup],
    profile: Profile,
    *,
    now_s: float,
    requests: Mapping[str, GuestRequest] | None = None,
) -> list[Survival]:
    """Returns, for each host, how many of its guests would find another host if it died (N+1), largest guests first.

    `requests` has, by UUID, what guests ask for where more than their amounts is known.
    """
    found = []
    for host in fleet.hosts:
        others = build_fleet(other for other in fleet.hosts if other.name != host.name)
        guests = sorted(host.guests, key=lambda guest: (-guest.memory_mib, guest.uuid))
        gone = {guest.uuid for guest in guests}
        left = {name: _without_all(group, gone) for name, group in groups.items()}
        wanted = [request_for(guest, host, left, requests) for guest in guests]
        askable = [request for request in wanted if _can_be_asked(others, request, profile)]
        hosts = place_what_fits(others, askable, profile, now_s=now_s)
        safe = {request.uuid for request, name in zip(askable, hosts, strict=True) if name is not None}
        lost = tuple(request.name for request in wanted if request.uuid not in safe)
        found.append(Survival(host.name, len(wanted), len(wanted) - len(lost), lost))
    return found


def _can_be_asked(fleet: Fleet, request: GuestRequest, profile: Profile) -> bool:
    """Returns whether the profile knows what the guest asks for: one guest it does not know hides no other."""
    try:
        check_requests(fleet, [request], profile.pipeline.filters)
    except InvalidInput:
        return False
    return True


def _without_all(group: ServerGroup, gone: set[str]) -> ServerGroup:
    members = {member: host for member, host in group.members.items() if member not in gone}
    return ServerGroup(group.name, group.policy, members, group.max_server_per_host)


def _bars(title: str, counts: Mapping[str, int]) -> list[str]:
    most = max(counts.values())
    width = max(len(name) for name in counts)
    return [
        f"  {title} {name:<{width}} {'█' * round(_BAR * count / most):<{_BAR}} {count}"
        for name, count in counts.items()
    ]
