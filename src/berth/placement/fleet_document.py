# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet as a document, and back: what `berth simulate` reads and `berth host export` writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from berth.placement.devices import DEVICE_KINDS, NumaCell, PagePool, PciDevice, parse_cpus
from berth.placement.documents import (
    AMOUNT,
    ANY_MAP,
    BOOLEAN,
    COUNT,
    CPUS,
    NAME,
    NUMBER,
    NUMBERS,
    POSITIVE,
    TEXT,
    TEXTS,
    WHOLE,
    Kind,
    Reading,
    Where,
    dotted,
    list_of,
    map_of,
    nothing_or,
    one_of,
    record,
)
from berth.placement.fleet import Fleet, build_fleet, twice
from berth.placement.model import Aggregate, GuestOnHost, Host, Policy, ServerGroup
from berth.placement.naming import did_you_mean
from berth.placement.pinning import NO_PINS, Pins
from berth.placement.profile_schema import placement_schema
from berth.placement.profiles import Profiles, parse_profiles
from berth.placement.registry import BUILT_IN, Registry
from berth.units import format_cpus

_PAGES = record({"size_kib": COUNT, "total": WHOLE, "reserved": WHOLE}, "size_kib", "total")
_CELL = record(
    {
        "id": WHOLE,
        "memory_mib": WHOLE,
        "shared_cpus": CPUS,
        "dedicated_cpus": CPUS,
        "siblings": list_of(CPUS),
        "pages": list_of(_PAGES),
        "socket": nothing_or(WHOLE),
    },
    "id",
    "memory_mib",
)
_DEVICE = record(
    {
        "address": NAME,
        "vendor_id": NAME,
        "product_id": NAME,
        "numa_node": nothing_or(WHOLE),
        "kind": one_of(*DEVICE_KINDS),
        "physical_function": nothing_or(NAME),
    },
    "address",
    "vendor_id",
    "product_id",
)
_PINNED = Kind(
    "a map of guest CPUs to host CPUs",
    {
        "type": "object",
        "propertyNames": {"pattern": "^[0-9]+$"},
        "additionalProperties": {"type": "integer", "minimum": 0},
    },
    lambda value: (
        isinstance(value, Mapping)
        and all(str(guest).isdecimal() and type(host) is int and host >= 0 for guest, host in value.items())
    ),
)
_CELL_PINS = record(
    {
        "guest_cell": WHOLE,
        "host_cell": WHOLE,
        "memory_mib": WHOLE,
        "guest_cpus": list_of(WHOLE),
        "cpus": _PINNED,
        "cpuset": list_of(WHOLE),
        "page_size_kib": nothing_or(COUNT),
        "blocked": list_of(WHOLE),
    },
    "guest_cell",
    "host_cell",
    "memory_mib",
    "guest_cpus",
)
_PINS = record({"cells": list_of(_CELL_PINS), "pci_addresses": list_of(NAME), "emulator_cpus": list_of(WHOLE)})
_GUEST = record(
    {
        "uuid": NAME,
        "name": TEXT,
        "project": NAME,
        "flavor": TEXT,
        "image": TEXT,
        "group": nothing_or(NAME),
        "state": NAME,
        "vcpus": WHOLE,
        "memory_mib": WHOLE,
        "disk_mib": WHOLE,
        "image_properties": TEXTS,
        "pins": _PINS,
    },
    "uuid",
)
_HOST = record(
    {
        "name": NAME,
        "enabled": BOOLEAN,
        "disabled_reason": TEXT,
        "reachable": BOOLEAN,
        "unreachable_reason": TEXT,
        "quarantined": TEXT,
        "facts_at": nothing_or(NUMBER),
        "facts_problem": TEXT,
        **{f"{what}_{when}": WHOLE for what in ("vcpus", "memory_mib", "disk_mib") for when in ("total", "used")},
        "disk_free_mib_measured": nothing_or(WHOLE),
        **{f"{what}_allocation_ratio": POSITIVE for what in ("cpu", "ram", "disk")},
        **{f"reserved_host_{what}": WHOLE for what in ("cpus", "memory_mib", "disk_mib")},
        "availability_zone": nothing_or(NAME),
        "aggregates": list_of(NAME),
        "facts": ANY_MAP,
        "address": TEXT,
        "guests": list_of(_GUEST),
        "num_io_ops": WHOLE,
        "failed_builds": AMOUNT,
        "metrics": NUMBERS,
        "hypervisor_version": nothing_or(WHOLE),
        "supported_instances": list_of(list_of(NAME)),
        "traits": list_of(NAME),
        "numa_cells": list_of(_CELL),
        "pci_devices": list_of(_DEVICE),
    },
    "name",
)
_GROUP = record(
    {"policy": one_of(*Policy), "max_server_per_host": COUNT, "members": list_of(NAME)},
    "policy",
)
PLACEMENT = Kind("a map of keys", placement_schema(), lambda value: isinstance(value, Mapping))
FLEET: Kind = record(
    {
        "now": NUMBER,
        "hosts": list_of(_HOST),
        "aggregates": map_of(TEXTS),
        "groups": map_of(_GROUP),
        "placement": PLACEMENT,
    },
    "hosts",
)


@dataclass(frozen=True)
class FleetDocument:
    """What a fleet document says: the time, the hosts, the groups by name, and the placement profiles."""

    now_s: float
    hosts: tuple[Host, ...]
    groups: Mapping[str, ServerGroup]
    profiles: Profiles

    @property
    def fleet(self) -> Fleet:
        """Returns the hosts as columns. Raises InvalidInput when they contradict each other."""
        return build_fleet(self.hosts)


def read_fleet(document: Any, *, registry: Registry = BUILT_IN, where: Where = dotted) -> FleetDocument:
    """Returns the fleet of a parsed document. Hosts without `facts_at` have facts of that moment.

    Used amounts that are not given are the sums of the host's guests. Raises InvalidInput with every mistake:
    unknown keys and values, aggregates and group members that nothing has, guests and devices that are there twice.
    """
    reading = Reading("fleet", where)
    reading.check(FLEET, document)
    reading.finish("`berth simulate --schema` prints what is allowed")
    now_s = float(document.get("now", 0.0))
    metadata = document.get("aggregates") or {}
    aggregates = {
        name: Aggregate(name, {key: str(value) for key, value in data.items()}) for name, data in metadata.items()
    }
    hosts = []
    for at, raw in enumerate(document["hosts"]):
        for index, name in enumerate(raw.get("aggregates", ())):
            if name not in aggregates:
                text = f"unknown aggregate {name!r}; {did_you_mean(name, aggregates)}"
                reading.wrong(("hosts", at, "aggregates", index), text)
        hosts.append(_host(raw, aggregates, now_s))
    for at, path, text in twice(hosts):
        reading.wrong(("hosts", at, *path), text)
    groups = _groups(document.get("groups") or {}, hosts, reading)
    reading.finish()
    profiles = parse_profiles(
        document.get("placement"), registry=registry, where=lambda path: where(("placement", *path))
    )
    return FleetDocument(now_s, tuple(hosts), groups, profiles)


def _host(raw: Mapping[str, Any], aggregates: Mapping[str, Aggregate], now_s: float) -> Host:
    given = dict(raw)
    given.setdefault("facts_at", now_s)
    guests = tuple(_guest(guest) for guest in given.pop("guests", ()))
    for what in ("vcpus", "memory_mib", "disk_mib"):
        given.setdefault(f"{what}_used", sum(getattr(guest, what) for guest in guests))
    names = given.pop("aggregates", ())
    given["aggregates"] = tuple(aggregates[name] for name in names if name in aggregates)
    given["supported_instances"] = tuple(tuple(kind) for kind in given.pop("supported_instances", ()))
    given["traits"] = frozenset(given.pop("traits", ()))
    given["numa_cells"] = tuple(_cell(cell) for cell in given.pop("numa_cells", ()))
    given["pci_devices"] = tuple(PciDevice(**device) for device in given.pop("pci_devices", ()))
    return Host(guests=guests, **given)


def _guest(raw: Mapping[str, Any]) -> GuestOnHost:
    given = dict(raw)
    return GuestOnHost(pins=Pins.from_dict(given.pop("pins", None)), **given)


def _cell(raw: Mapping[str, Any]) -> NumaCell:
    return NumaCell(
        id=raw["id"],
        memory_mib=raw["memory_mib"],
        shared_cpus=parse_cpus(str(raw.get("shared_cpus", ""))),
        dedicated_cpus=parse_cpus(str(raw.get("dedicated_cpus", ""))),
        siblings=tuple(parse_cpus(str(core)) for core in raw.get("siblings", ())),
        pages=tuple(PagePool(**pool) for pool in raw.get("pages", ())),
        socket=raw.get("socket"),
    )


def _groups(raw: Mapping[str, Any], hosts: Iterable[Host], reading: Reading) -> dict[str, ServerGroup]:
    """Returns the groups; a member is a guest's UUID or name, and must live on some host."""
    home: dict[str, tuple[str, str]] = {}
    by_group: dict[str, dict[str, str]] = {}
    for host in hosts:
        for guest in host.guests:
            home[guest.uuid] = (guest.uuid, host.name)
            home.setdefault(guest.name, (guest.uuid, host.name))
            if guest.group:
                by_group.setdefault(guest.group, {})[guest.uuid] = host.name
    for name in by_group:
        if name not in raw:
            reading.wrong(
                ("groups",), f"guests are in group {name!r}, which is not described; {did_you_mean(name, raw)}"
            )
    groups = {}
    for name, data in raw.items():
        members = by_group.get(name, {})
        for at, member in enumerate(data.get("members", ())):
            if member in home:
                uuid, host_name = home[member]
                members[uuid] = host_name
            else:
                reading.wrong(
                    ("groups", name, "members", at), f"unknown guest {member!r}; {did_you_mean(member, home)}"
                )
        groups[name] = ServerGroup(name, Policy(data["policy"]), members, data.get("max_server_per_host", 1))
    return groups


def write_fleet(document: FleetDocument, placement: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns the document again: read_fleet() of it gives the same fleet. `placement` is placement.yml's content."""
    aggregates = {a.name: dict(a.metadata) for host in document.hosts for a in host.aggregates}
    return {
        "now": document.now_s,
        "aggregates": aggregates,
        "groups": {name: _written_group(group) for name, group in document.groups.items()},
        "placement": dict(placement or {}),
        "hosts": [_written_host(host) for host in document.hosts],
    }


def _written_group(group: ServerGroup) -> dict[str, Any]:
    return {
        "policy": str(group.policy),
        "max_server_per_host": group.max_server_per_host,
        "members": sorted(group.members),
    }


_SPECIAL: Mapping[str, Callable[[Host], Any]] = {
    "aggregates": lambda host: [aggregate.name for aggregate in host.aggregates],
    "guests": lambda host: [_written_guest(guest) for guest in host.guests],
    "supported_instances": lambda host: [list(kind) for kind in host.supported_instances],
    "traits": lambda host: sorted(host.traits),
    "numa_cells": lambda host: [_written_cell(cell) for cell in host.numa_cells],
    "pci_devices": lambda host: [_plain(device) for device in host.pci_devices],
    "metrics": lambda host: dict(host.metrics),
    "facts": lambda host: dict(host.facts),
}
_KEPT = ("name", "facts_at")
_DEFAULT = Host("")


def _written_host(host: Host) -> dict[str, Any]:
    """Returns the host's keys that differ from what is meant without them."""
    found = {}
    for entry in fields(Host):
        value = getattr(host, entry.name)
        used = entry.name.endswith("_used")
        if used or entry.name in _KEPT or value != getattr(_DEFAULT, entry.name):
            found[entry.name] = _SPECIAL[entry.name](host) if entry.name in _SPECIAL else value
    return found


def _written_guest(guest: GuestOnHost) -> dict[str, Any]:
    default = GuestOnHost("")
    found = {name: value for name, value in _plain(guest).items() if value != getattr(default, name)}
    if guest.pins != NO_PINS:
        found["pins"] = guest.pins.to_dict()
    if guest.image_properties:
        found["image_properties"] = dict(guest.image_properties)
    return found


def _written_cell(cell: NumaCell) -> dict[str, Any]:
    return {
        "id": cell.id,
        "memory_mib": cell.memory_mib,
        "shared_cpus": format_cpus(cell.shared_cpus),
        "dedicated_cpus": format_cpus(cell.dedicated_cpus),
        "siblings": [format_cpus(core) for core in cell.siblings],
        "pages": [_plain(pool) for pool in cell.pages],
        "socket": cell.socket,
    }


def _plain(value: Any) -> dict[str, Any]:
    return {entry.name: getattr(value, entry.name) for entry in fields(value)}
