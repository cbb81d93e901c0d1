# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions about the live fleet that change nothing: as a document, how much more fits, what would even it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from berth.cloud import Cloud
from berth.errors import NotFound
from berth.ledger.rows import GuestRow
from berth.ledger.store import Ledger
from berth.placement import (
    FlavorCapacity,
    FleetDocument,
    GuestRequest,
    Host,
    Limits,
    Plan,
    Profile,
    Survival,
    capacity,
    rebalance,
    request_for,
    survival,
    write_fleet,
)
from berth.spec.catalog import Catalog
from berth.spec.explain import unknown_name
from berth.spec.load import load_catalog
from berth.spec.model import Flavor
from berth.units import MIB_PER_GIB
from berth.verbs import placing
from berth.verbs.flavor_check import check_extra_specs, extra_spec_problems
from berth.verbs.placement_profiles import read_placement_file, read_profiles

# What a host's facts say that placement has read already, and of other guests.
_READ_ALREADY = ("domains", "numa_cells", "pci_devices")


@dataclass(frozen=True)
class Capacity:
    """How many more of each flavor fit, and of which hosts the guests would find another host.

    `left_out` says which flavors of the catalog the profile cannot be asked about, and why.
    """

    flavors: tuple[FlavorCapacity, ...]
    survival: tuple[Survival, ...]
    left_out: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the answer as JSON-ready data."""
        return {
            "flavors": [flavor.to_dict() for flavor in self.flavors],
            "survival": [host.to_dict() for host in self.survival],
            "left_out": list(self.left_out),
        }


def live_fleet(ledger: Ledger, cloud: Cloud, *, now_s: float) -> FleetDocument:
    """Returns the hosts, server groups and profiles as placement would see them now."""
    hosts = placing.read_fleet(ledger, cloud, now_s=now_s).hosts
    groups = [placing.server_group(ledger, row.project, row.name) for row in ledger.groups()]
    return FleetDocument(now_s, hosts, {group.name: group for group in groups}, read_profiles(cloud))


def exported_fleet(ledger: Ledger, cloud: Cloud, *, now_s: float) -> dict[str, Any]:
    """Returns the live fleet as the document that `berth simulate` plays requests on."""
    fleet = live_fleet(ledger, cloud, now_s=now_s)
    hosts = tuple(replace(host, facts=_kept(host.facts)) for host in fleet.hosts)
    content = _with_age(read_placement_file(cloud).value, cloud.settings.facts_max_age_s)
    return write_fleet(replace(fleet, hosts=hosts), content)


def _kept(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key not in _READ_ALREADY}


def _with_age(content: Mapping[str, Any] | None, age_s: int) -> dict[str, Any]:
    """Returns the content of placement.yml with the cloud's age of facts where a profile says nothing."""
    content = dict(content or {})
    profiles = {}
    for name, given in (content.get("profiles") or {"default": None}).items():
        profile = dict(given or {})
        if "extends" not in profile:
            profile["options"] = {"facts_max_age_s": age_s, **(profile.get("options") or {})}
        profiles[name] = profile
    return {**content, "profiles": profiles}


def capacity_now(
    ledger: Ledger, cloud: Cloud, flavors: Sequence[str], *, now_s: float, project: str, profile: str | None = None
) -> Capacity:
    """Returns how many more guests of these flavors, or of each in the catalog, a project could boot; and N+1.

    Raises NotFound with every flavor that the catalog does not have.
    """
    catalog, fleet = load_catalog(cloud.catalog_path), live_fleet(ledger, cloud, now_s=now_s)
    chosen = fleet.profiles.choose(name=profile, project=project)
    asked = [_one_of(flavor, project) for flavor in _flavors(catalog, flavors)]
    left_out = [] if flavors else [one for one in asked if extra_spec_problems(cloud, [one], chosen)]
    check_extra_specs(cloud, asked if flavors else (), chosen)
    asked = [one for one in asked if one not in left_out]
    columns = fleet.fleet
    return Capacity(
        tuple(capacity(columns, asked, chosen, now_s=now_s)),
        tuple(survival(columns, fleet.groups, chosen, now_s=now_s, requests=_known_requests(ledger, fleet))),
        tuple(str(problem) for problem in extra_spec_problems(cloud, left_out, chosen)),
    )


def rebalance_plan(
    ledger: Ledger, cloud: Cloud, *, now_s: float, profile: str | None = None, limits: Limits | None = None
) -> Plan:
    """Returns the live migrations that would even out the fleet. Guests that are locked stay where they are."""
    fleet = live_fleet(ledger, cloud, now_s=now_s)
    chosen: Profile = fleet.profiles.choose(name=profile)
    locked = {row.uuid for row in ledger.guests() if row.locked_at is not None}
    hosts = [_without_moves_of(host, locked) for host in fleet.hosts]
    requests = _known_requests(ledger, fleet)
    return rebalance(hosts, fleet.groups, chosen, now_s=now_s, limits=limits, requests=requests)


def _without_moves_of(host: Host, uuids: set[str]) -> Host:
    """Returns the host with guests that must not move in a state in which none does."""
    guests = tuple(replace(guest, state="locked") if guest.uuid in uuids else guest for guest in host.guests)
    return replace(host, guests=guests)


def _flavors(catalog: Catalog, names: Sequence[str]) -> list[Flavor]:
    problems = [unknown_name("", "flavor", name, catalog.flavors) for name in names if name not in catalog.flavors]
    if problems:
        raise NotFound.from_problems("capacity", problems, hint="`berth flavor list` shows what there is")
    return [catalog.flavors[name] for name in names or catalog.flavors]


def _one_of(flavor: Flavor, project: str) -> GuestRequest:
    """Returns a request for one guest of a flavor, its image left open: a flavor without a disk needs none here."""
    return GuestRequest(
        uuid=f"flavor-{flavor.name}",
        name=flavor.name,
        flavor=flavor.name,
        project=project,
        vcpus=flavor.vcpus,
        memory_mib=flavor.memory_mib,
        disk_gib=flavor.disk_gib,
        extra_specs=flavor.extra_specs,
        image_properties=flavor.properties,
    )


def _known_requests(ledger: Ledger, fleet: FleetDocument) -> dict[str, GuestRequest]:
    """Returns what guests with extra specs asked for, by UUID: amounts alone would place them wrongly."""
    special = {row.uuid: row for row in ledger.guests() if placing.books_otherwise(row.plan)}
    return {
        guest.uuid: _asked_again(request_for(guest, host, {}), special[guest.uuid])
        for host in fleet.hosts
        for guest in host.guests
        if guest.uuid in special
    }


def _asked_again(request: GuestRequest, row: GuestRow) -> GuestRequest:
    return replace(
        request,
        vcpus=row.vcpus,
        memory_mib=row.memory_mib,
        disk_gib=-(-row.disk_mib // MIB_PER_GIB),
        extra_specs=row.plan.get("extra_specs") or {},
    )
