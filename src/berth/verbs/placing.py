# SPDX-License-Identifier: GPL-3.0-or-later
"""From the ledger to placement and back: the fleet as the ledger knows it, requests, and claims for what was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from berth.cloud import Cloud
from berth.ledger.rows import Claim, GuestRow, HostRow, Resources
from berth.ledger.store import Ledger
from berth.placement import (
    Aggregate,
    Decision,
    GuestOnHost,
    GuestRequest,
    Host,
    HostStatus,
    HostUsage,
    Policy,
    Profile,
    ServerGroup,
    build_fleet,
    host_from_facts,
    place,
)


@dataclass(frozen=True)
class FleetNow:
    """The fleet as the ledger has it: hosts for placement, and the rows behind them, by name."""

    hosts: tuple[Host, ...]
    rows: Mapping[str, HostRow]

    def limits(self, name: str) -> Resources:
        """Returns what the ledger's guests may use on a host in all: its limits less what strangers use there."""
        host = next(host for host in self.hosts if host.name == name)
        ours = [sum(getattr(guest, key) for guest in host.guests) for key in ("vcpus", "memory_mib", "disk_mib")]
        used = (host.vcpus_used, host.memory_mib_used, host.disk_mib_used)
        strangers = [all_used - mine for all_used, mine in zip(used, ours, strict=True)]
        most = (host.limits.vcpus, host.limits.memory_mib, host.limits.disk_mib)
        return Resources(*(max(0, limit - theirs) for limit, theirs in zip(most, strangers, strict=True)))

    def host_limits(self, name: str) -> dict[str, int]:
        """Returns what all domains of a host may use, whoever made them: what the host itself checks."""
        host = next(host for host in self.hosts if host.name == name)
        limits = host.limits
        return {"vcpus": limits.vcpus, "memory_mib": limits.memory_mib, "disk_mib": limits.disk_mib}


def read_fleet(ledger: Ledger, cloud: Cloud) -> FleetNow:
    """Returns the fleet as the ledger has it now."""
    rows = {row.name: row for row in ledger.hosts()}
    aggregates = ledger.aggregates()
    ours = ledger.guest_uuids()
    by_host: dict[str, list[GuestRow]] = {}
    for guest in ledger.guests():
        if guest.host:
            by_host.setdefault(guest.host, []).append(guest)
    hosts = tuple(_host(row, by_host.get(row.name, []), aggregates, (cloud.name, ours)) for row in rows.values())
    return FleetNow(hosts, rows)


def _host(
    row: HostRow, guests: Sequence[GuestRow], aggregates: Mapping[str, dict[str, Any]], known: tuple[str, set[str]]
) -> Host:
    status = HostStatus(
        enabled=row.enabled and row.in_inventory,
        disabled_reason=row.disabled_reason if row.in_inventory else "it is not in the inventory any more",
        reachable=row.unreachable_message is None,
        unreachable_reason=row.unreachable_message or "",
        quarantined=row.quarantine,
    )
    usage = HostUsage(
        guests=tuple(_guest_on_host(guest) for guest in guests),
        num_io_ops=sum(guest.task_state is not None for guest in guests),
    )
    mine = [
        Aggregate(name, {str(key): str(value) for key, value in data.items()})
        for name, data in aggregates.items()
        if name in row.groups
    ]
    facts = _facts_with_strangers(row.facts, *known) if row.facts else None
    return host_from_facts(row.name, facts, variables=row.variables, aggregates=mine, usage=usage, status=status)


def _facts_with_strangers(facts: Mapping[str, Any], cloud: str, ours: set[str]) -> dict[str, Any]:
    """Returns the facts with exactly the domains marked as strangers that this ledger knows nothing of.

    A guest of ours that was deleted since the refresh uses nothing any more; one of another cloud does, record or not.
    """
    domains = []
    for domain in facts.get("domains") or ():
        uuid, record = domain.get("uuid"), domain.get("record")
        if uuid in ours:
            domains.append({**domain, "record": record or {"cloud": cloud}})
        else:
            domains.append({**domain, "record": None})
    return {**facts, "domains": domains}


def _guest_on_host(row: GuestRow) -> GuestOnHost:
    return GuestOnHost(
        uuid=row.uuid,
        name=row.name,
        project=row.project,
        flavor=row.flavor,
        image=row.image,
        group=row.server_group,
        state=row.vm_state.value,
        vcpus=row.vcpus,
        memory_mib=row.memory_mib,
        disk_mib=row.disk_mib,
        image_properties=row.plan.get("properties") or {},
    )


def decide(
    ledger: Ledger, cloud: Cloud, requests: Sequence[GuestRequest], *, now_s: float, fleet: FleetNow | None = None
) -> tuple[Decision, FleetNow]:
    """Returns where the guests go, and the fleet that was looked at."""
    fleet = fleet or read_fleet(ledger, cloud)
    profile = Profile().with_options(facts_max_age_s=float(cloud.settings.facts_max_age_s))
    return place(build_fleet(fleet.hosts), requests, profile, now_s=now_s), fleet


def claims_of(decision: Decision, fleet: FleetNow, ports: int) -> tuple[Claim, ...]:
    """Returns the claims to book for a decision that is ok."""
    return tuple(claim_on(placement.request, placement.host, fleet, ports=ports) for placement in decision.placements)


def claim_on(request: GuestRequest, host: str, fleet: FleetNow, *, ports: int) -> Claim:
    """Returns one guest's claim on one host."""
    needs = request.needs
    resources = Resources(needs.vcpus, needs.memory_mib, needs.disk_mib)
    generation = fleet.rows[host].generation
    return Claim(request.uuid, host, resources, fleet.limits(host), ports=ports, generation=generation)


def server_group(ledger: Ledger, project: str, name: str) -> ServerGroup:
    """Returns a group of the ledger as placement takes it."""
    row = ledger.group(project, name)
    members = {member.guest_uuid: member.host for member in ledger.group_members(project, name)}
    return ServerGroup(name, Policy(row.policy.value), members, row.max_server_per_host)


def foreign_macs(fleet: FleetNow) -> frozenset[str]:
    """Returns the MACs of domains that the ledger does not know: they are never given out."""
    return frozenset(
        str(mac)
        for host in fleet.hosts
        for domain in host.facts.get("domains") or ()
        if domain.get("record") is None
        for mac in domain.get("macs") or ()
    )
