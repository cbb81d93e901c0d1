# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays requests on a fleet that is only a document: no cloud, no clock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from berth.placement.documents import Reading, Where, dotted
from berth.placement.engine import Decision, Placement, place
from berth.placement.fleet import build_fleet
from berth.placement.fleet_document import FLEET, FleetDocument, write_fleet
from berth.placement.hints import check_hints
from berth.placement.model import Host, ServerGroup
from berth.placement.report import Report
from berth.placement.request_document import REQUESTS, RequestItem
from berth.placement.request_names import with_guests_found, without_moved
from berth.placement.view import View


@dataclass(frozen=True)
class Outcome:
    """What became of one request: its guests' hosts, and one report per guest that was decided."""

    name: str
    placements: tuple[Placement, ...]
    reports: tuple[Report, ...]

    @property
    def ok(self) -> bool:
        """Returns whether every guest has a host."""
        return bool(self.placements)

    def to_dict(self) -> dict[str, Any]:
        """Returns the outcome as JSON-ready data."""
        return {
            "request": self.name,
            "ok": self.ok,
            "placements": [placement.to_dict() for placement in self.placements],
            "reports": [report.to_dict() for report in self.reports],
        }


@dataclass(frozen=True)
class Simulation:
    """What became of each request, in order, and the fleet after the last."""

    outcomes: tuple[Outcome, ...]
    after: FleetDocument

    @property
    def ok(self) -> bool:
        """Returns whether every request was served."""
        return all(outcome.ok for outcome in self.outcomes)

    def to_dict(self) -> dict[str, Any]:
        """Returns the simulation as JSON-ready data; `after` is a fleet document again."""
        return {"outcomes": [outcome.to_dict() for outcome in self.outcomes], "after": write_fleet(self.after)}

    def lines(self, *, explain: bool = False) -> list[str]:
        """Returns the simulation for a person: each request's stages and choice, then the fleet after."""
        lines = []
        for outcome in self.outcomes:
            for report in outcome.reports:
                left = " > ".join(f"{stage.filter} {stage.after}" for stage in report.stages)
                lines.append(f"{report.guest}: {report.hosts} hosts > {left}")
                lines.extend(f"  {line}" for line in (report.lines() if explain else (report.summary, *report.hints)))
        lines.append("")
        for host in self.after.hosts:
            limits = host.limits
            vcpus = f"vCPUs {host.vcpus_used}/{limits.vcpus}"
            memory = f"memory {host.memory_mib_used}/{limits.memory_mib} MiB"
            disk = f"disk {host.disk_mib_used}/{limits.disk_mib} MiB"
            lines.append(f"{host.name}: {len(host.guests)} guests, {vcpus}, {memory}, {disk}")
        return lines


def simulate(
    document: FleetDocument, items: Iterable[RequestItem], *, seed: int | None = None, where: Where = dotted
) -> Simulation:
    """Returns what becomes of the requests, one after the other, each on what those before it left.

    A request that cannot be served changes nothing, and the next one is tried. `where` turns a path in the requests'
    document into file, line and path. Raises InvalidInput for mistakes in a request: guests that are in the fleet
    already, or named in a hint and nowhere; NotFound for a profile that is none.
    """
    reading = Reading("requests", where)
    items = with_guests_found(document.hosts, items, reading)
    reading.finish("`berth simulate --schema` prints what is allowed")
    outcomes = []
    for number, item in enumerate(items):
        decision = _decide(document, item, None if seed is None else _seed_of(seed, number))
        reports = tuple(decision.explain(index) for index in range(len(item.guests)) if index <= _last(decision, item))
        outcomes.append(Outcome(item.name, decision.placements, reports))
        document = _after(document, decision)
    return Simulation(tuple(outcomes), document)


def _decide(document: FleetDocument, item: RequestItem, seed: int | None) -> Decision:
    project = item.guests[0].project
    profile = document.profiles.choose(name=item.profile, project=project)
    guests = [
        guest if guest.group is None else replace(guest, group=document.groups[guest.group.name])
        for guest in item.guests
    ]
    check_hints(guests, profile)
    return place(document.fleet, guests, profile, now_s=document.now_s, seed=seed)


def _seed_of(seed: int, number: int) -> int:
    """Returns the seed of one request: with the same one for each, all would draw the same host."""
    return int.from_bytes(hashlib.sha256(f"{seed},{number}".encode()).digest()[:8], "big")


def _last(decision: Decision, item: RequestItem) -> int:
    return len(item.guests) if decision.failed_index is None else decision.failed_index


def _after(document: FleetDocument, decision: Decision) -> FleetDocument:
    left = without_moved(document.hosts, (placement.request for placement in decision.placements))
    hosts = hosts_after(left, decision.placements)
    groups = dict(document.groups)
    for placement in decision.placements:
        group = placement.request.group
        if group is not None:
            now = groups[group.name]
            members = {**now.members, placement.request.uuid: placement.host}
            groups[group.name] = ServerGroup(now.name, now.policy, members, now.max_server_per_host)
    return replace(document, hosts=hosts, groups=groups)


def hosts_after(hosts: Iterable[Host], placements: Iterable[Placement]) -> tuple[Host, ...]:
    """Returns the hosts, by name, with the placements booked on them."""
    fleet = build_fleet(hosts)
    view = View(fleet, 0.0)
    for placement in placements:
        view.book(fleet.row_of[placement.host], placement.request, placement.pins)
    return tuple(view.host(row) for row in range(fleet.size))


def schema() -> dict[str, Any]:
    """Returns the JSON schema of the two documents."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "berth simulate FLEET.yml REQUESTS.yml",
        "$defs": {"fleet": dict(FLEET.schema), "requests": dict(REQUESTS.schema)},
        "anyOf": [{"$ref": "#/$defs/fleet"}, {"$ref": "#/$defs/requests"}],
    }
