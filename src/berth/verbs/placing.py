# SPDX-License-Identifier: GPL-3.0-or-later
"""From the ledger to placement and back: the fleet as the ledger knows it, requests, and claims for what was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from berth.cloud import Cloud
from berth.ledger.build_failures import score_now
from berth.ledger.looks import collected_s
from berth.ledger.rows import Claim, ClaimRow, GuestRow, HostRow, NewGuest, Resources
from berth.ledger.store import Ledger
from berth.placement import (
    NO_PINS,
    OTHER_CLOUDS,
    Aggregate,
    Decision,
    GuestOnHost,
    GuestRequest,
    Host,
    HostStatus,
    HostUsage,
    Pins,
    Placement,
    Policy,
    Profile,
    ServerGroup,
    build_fleet,
    check_hints,
    host_from_facts,
    place,
)
from berth.spec.catalog import DEFAULT_PROJECT
from berth.verbs.flavor_check import check_extra_specs
from berth.verbs.placement_profiles import read_profiles


@dataclass(frozen=True)
class FleetNow:
    """The fleet as the ledger has it: hosts for placement, and the rows behind them, by name.

    `unbooked` is, by host, what its guests' domains have and their claims do not book: pinned CPUs, for one.
    """

    hosts: tuple[Host, ...]
    rows: Mapping[str, HostRow]
    unbooked: Mapping[str, Resources] = field(default_factory=dict)

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
        limits, more = host.limits, self.unbooked.get(name, Resources())
        return {
            "vcpus": limits.vcpus + more.vcpus,
            "memory_mib": limits.memory_mib + more.memory_mib,
            "disk_mib": limits.disk_mib + more.disk_mib,
        }


@dataclass(frozen=True)
class Choosing:
    """How hosts are chosen: the placement profile that the request names, and the seed where that draws by chance."""

    profile: str | None = None
    seed: int | None = None


AS_USUAL = Choosing()


@dataclass(frozen=True)
class _Known:
    """What the ledger says that is not a host's own."""

    cloud: str
    uuids: Mapping[str, float | None]
    aggregates: Mapping[str, dict[str, Any]]
    claims: Mapping[str, ClaimRow]
    now_s: float

    def booked(self, guest: GuestRow) -> Resources:
        """Returns what is booked for a guest: the flavor's amounts, unless its claim is of others."""
        claim = self.claims.get(guest.uuid)
        amounts = claim if claim is not None and claim.host == guest.host else guest
        return Resources(amounts.vcpus, amounts.memory_mib, amounts.disk_mib)


def read_fleet(ledger: Ledger, cloud: Cloud, *, now_s: float = 0.0) -> FleetNow:
    """Returns the fleet as the ledger has it now. Failed builds have faded as of `now_s`."""
    rows = {row.name: row for row in ledger.hosts()}
    by_host: dict[str, list[GuestRow]] = {name: [] for name in rows}
    special = []
    for guest in ledger.guests():
        by_host.setdefault(guest.host or "", []).append(guest)
        if books_otherwise(guest.plan):
            special.append(guest.uuid)
    claims = {claim.guest_uuid: claim for claim in ledger.claims_of(special)} if special else {}
    known = _Known(cloud.name, ledger.guest_uuids(), ledger.aggregates(), claims, now_s)
    hosts = tuple(_host(row, by_host[row.name], known) for row in rows.values())
    unbooked = {name: _unbooked(guests, known) for name, guests in by_host.items() if name in rows}
    return FleetNow(hosts, rows, unbooked)


def books_otherwise(plan: Mapping[str, Any]) -> bool:
    """Returns whether a guest may have booked something else than its flavor's amounts."""
    return bool(plan.get("extra_specs")) or "hw_cpu_policy" in (plan.get("properties") or {})


def _unbooked(guests: Sequence[GuestRow], known: _Known) -> Resources:
    pairs = [(guest, known.booked(guest)) for guest in guests]
    return Resources(
        sum(guest.vcpus - booked.vcpus for guest, booked in pairs),
        sum(guest.memory_mib - booked.memory_mib for guest, booked in pairs),
        sum(guest.disk_mib - booked.disk_mib for guest, booked in pairs),
    )


def _host(row: HostRow, guests: Sequence[GuestRow], known: _Known) -> Host:
    status = HostStatus(
        enabled=row.enabled and row.in_inventory,
        disabled_reason=row.disabled_reason if row.in_inventory else "it is not in the inventory any more",
        reachable=row.unreachable_message is None,
        unreachable_reason=row.unreachable_message or "",
        quarantined=row.quarantine,
    )
    usage = HostUsage(
        guests=tuple(_guest_on_host(guest, known.booked(guest)) for guest in guests),
        num_io_ops=sum(guest.task_state is not None for guest in guests),
        failed_builds=score_now(row.failure_score, row.failure_at, known.now_s),
    )
    mine = [
        Aggregate(name, {str(key): str(value) for key, value in data.items()})
        for name, data in known.aggregates.items()
        if name in row.groups
    ]
    facts = _facts_with_strangers(row.facts, known.cloud, known.uuids) if row.facts else None
    return host_from_facts(row.name, facts, variables=row.variables, aggregates=mine, usage=usage, status=status)


def _facts_with_strangers(facts: Mapping[str, Any], cloud: str, ours: Mapping[str, float | None]) -> dict[str, Any]:
    """Returns the facts with exactly the domains marked as strangers that use the host beside this ledger's guests.

    A guest of ours that was deleted since the refresh uses nothing any more; one whose domain was seen after its
    deletion does, as one of another cloud does, record or not.
    """
    domains = []
    for domain in facts.get("domains") or ():
        uuid, record = domain.get("uuid"), domain.get("record")
        if uuid in ours and not _was_left(ours[uuid], facts):
            domains.append({**domain, "record": record or {"cloud": cloud}})
        else:
            domains.append({**domain, "record": None, OTHER_CLOUDS: record is not None})
    return {**facts, "domains": domains}


def _was_left(deleted_at: float | None, facts: Mapping[str, Any]) -> bool:
    """Returns whether the facts are of after a guest's deletion."""
    seen_at = collected_s(facts)
    return deleted_at is not None and seen_at is not None and deleted_at < seen_at


def _guest_on_host(row: GuestRow, booked: Resources) -> GuestOnHost:
    return GuestOnHost(
        uuid=row.uuid,
        name=row.name,
        project=row.project,
        flavor=row.flavor,
        image=row.image,
        group=group_key(row.project, row.server_group) if row.server_group else None,
        state=row.power_state.value if row.task_state is None else row.task_state.value,
        vcpus=booked.vcpus,
        memory_mib=booked.memory_mib,
        disk_mib=booked.disk_mib,
        image_properties=row.plan.get("properties") or {},
        pins=Pins.from_dict(row.plan.get("pins")),
    )


def decide(
    ledger: Ledger,
    cloud: Cloud,
    requests: Sequence[GuestRequest],
    *,
    now_s: float,
    how: Choosing = AS_USUAL,
    fleet: FleetNow | None = None,
) -> tuple[Decision, FleetNow]:
    """Returns where the guests of one project go, and the fleet that was looked at.

    Raises InvalidInput with every mistake in the cloud's profiles, the flavors or the requests, NotFound for a profile
    there is not.
    """
    chosen = choose_profile(cloud, how.profile, requests[0].project)
    check_hints(requests, chosen)
    check_extra_specs(cloud, requests, chosen)
    fleet = fleet or read_fleet(ledger, cloud, now_s=now_s)
    return place(build_fleet(fleet.hosts), requests, chosen, now_s=now_s, seed=how.seed), fleet


def choose_profile(cloud: Cloud, name: str | None, project: str) -> Profile:
    """Returns the profile of that name, else the project's, else the cloud's default. Raises InvalidInput, NotFound."""
    return read_profiles(cloud).choose(name=name, project=project)


def claims_of(decision: Decision, fleet: FleetNow, ports: int) -> tuple[Claim, ...]:
    """Returns the claims to book for a decision that is ok."""
    return tuple(claim_on(placement, fleet, ports=ports) for placement in decision.placements)


def claim_on(placement: Placement, fleet: FleetNow, *, ports: int) -> Claim:
    """Returns one guest's claim on its host.

    It holds only while the host's claims are those that were looked at: then what the filters saw of them is true,
    pinned CPUs, pages and devices too.
    """
    needs, host = placement.request.needs, placement.host
    resources = Resources(needs.vcpus, needs.memory_mib, needs.disk_mib)
    generation = fleet.rows[host].generation
    return Claim(placement.request.uuid, host, resources, fleet.limits(host), ports=ports, generation=generation)


def with_pins(plan: Mapping[str, Any], placement: Placement, fleet: FleetNow) -> dict[str, Any]:
    """Returns the guest plan with what the guest is pinned to on the host it was placed on.

    `cpuset` are the host CPUs that a guest without cells floats over, where some are kept for pinned guests.
    """
    pins, host = placement.pins, next(host for host in fleet.hosts if host.name == placement.host)
    shared = sorted(cpu for cell in host.numa_cells for cpu in cell.shared_cpus)
    everything = {cpu for cell in host.numa_cells for core in cell.siblings for cpu in core}
    floats = shared if not pins.cells and shared and set(shared) != everything else None
    return {**plan, "pins": None if pins == NO_PINS else pins.to_dict(), "cpuset": floats}


def pinned(guests: Sequence[NewGuest], placements: Sequence[Placement], fleet: FleetNow) -> tuple[NewGuest, ...]:
    """Returns the guests to record, each with the pins of its placement in its plan."""
    by_uuid = {placement.request.uuid: placement for placement in placements}
    return tuple(replace(guest, plan=with_pins(guest.plan, by_uuid[guest.uuid], fleet)) for guest in guests)


def group_key(project: str, name: str) -> str:
    """Returns a server group's name among those of all projects."""
    return name if project == DEFAULT_PROJECT else f"{project}/{name}"


def server_group(ledger: Ledger, project: str, name: str) -> ServerGroup:
    """Returns a group of the ledger as placement takes it."""
    row = ledger.group(project, name)
    members = {member.guest_uuid: member.host for member in ledger.group_members(project, name)}
    return ServerGroup(group_key(project, name), Policy(row.policy.value), members, row.max_server_per_host)


def foreign_macs(fleet: FleetNow) -> frozenset[str]:
    """Returns the MACs of domains that the ledger does not know: they are never given out."""
    return frozenset(
        str(mac)
        for host in fleet.hosts
        for domain in host.facts.get("domains") or ()
        if domain.get("record") is None
        for mac in domain.get("macs") or ()
    )
