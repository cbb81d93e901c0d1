# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests as a document: what `berth simulate` reads beside the fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from berth.placement.documents import (
    COUNT,
    NAME,
    TEXT,
    TEXTS,
    WHOLE,
    Kind,
    Reading,
    Where,
    dotted,
    list_of,
    map_of,
    record,
)
from berth.placement.hints import zone_and_host
from berth.placement.model import GuestRequest, ServerGroup
from berth.placement.naming import did_you_mean
from berth.spec.query import QUERY_RULE


def _is_length(value: Any) -> bool:
    return type(value) in (str, int) and str(value).removeprefix("/").isdecimal()


_AMOUNTS: dict[str, Kind] = {
    "vcpus": COUNT,
    "memory_mib": COUNT,
    "disk_gib": WHOLE,
    "ephemeral_gib": WHOLE,
    "swap_mib": WHOLE,
}
_GUESTS = Kind(
    "a guest's name or UUID, or a list of them",
    {"anyOf": [dict(NAME.schema), dict(list_of(NAME).schema)]},
    lambda value: NAME.accepts(value) or (isinstance(value, (list, tuple)) and all(map(NAME.accepts, value))),
)
_QUERY = Kind(
    QUERY_RULE, {"type": ["array", "string"]}, lambda value: isinstance(value, (list, tuple, str)) and bool(value)
)
HINTS = record(
    {
        "different_host": _GUESTS,
        "same_host": _GUESTS,
        "build_near_host_ip": NAME,
        "cidr": Kind("a prefix length such as /24", {"type": ["string", "integer"]}, _is_length),
        "query": _QUERY,
    }
)
_FLAVOR = record({**_AMOUNTS, "extra_specs": TEXTS}, "vcpus", "memory_mib")
_REQUEST = record(
    {
        **_AMOUNTS,
        "name": NAME,
        "uuid": NAME,
        "count": COUNT,
        "project": NAME,
        "flavor": NAME,
        "image": TEXT,
        "image_properties": TEXTS,
        "extra_specs": TEXTS,
        "availability_zone": NAME,
        "group": NAME,
        "force_host": NAME,
        "force_node": NAME,
        "ignore_hosts": list_of(NAME),
        "tried_hosts": list_of(NAME),
        "destination": NAME,
        "current_host": NAME,
        "hints": HINTS,
        "profile": NAME,
    },
    "name",
)
REQUESTS: Kind = record({"flavors": map_of(_FLAVOR), "requests": list_of(_REQUEST)}, "requests")
_PLAIN = ("project", "image", "image_properties", "destination", "current_host", "hints")


@dataclass(frozen=True)
class RequestItem:
    """One entry of the document: its guests, placed all or nothing, and the profile it names."""

    name: str
    guests: tuple[GuestRequest, ...]
    profile: str | None = None


def read_requests(
    document: Any, groups: Mapping[str, ServerGroup], *, where: Where = dotted
) -> tuple[RequestItem, ...]:
    """Returns the requests of a parsed document; `count: 3` of `web` makes web-1, web-2, web-3.

    Raises InvalidInput with every mistake: unknown keys, values, flavors and groups, and names given twice.
    """
    reading = Reading("requests", where)
    reading.check(REQUESTS, document)
    reading.finish("`berth simulate --schema` prints what is allowed")
    flavors = document.get("flavors") or {}
    items = [_item(raw, ("requests", at), flavors, groups, reading) for at, raw in enumerate(document["requests"])]
    seen: set[str] = set()
    for item in items:
        for guest in item.guests:
            if guest.uuid in seen:
                reading.wrong(("requests",), f"{guest.uuid} is asked for twice; give one of them another name or uuid")
            seen.add(guest.uuid)
    reading.finish()
    return tuple(items)


def _item(
    raw: Mapping[str, Any],
    path: tuple[str | int, ...],
    flavors: Mapping[str, Any],
    groups: Mapping[str, ServerGroup],
    reading: Reading,
) -> RequestItem:
    name, flavor_name, group_name = raw["name"], raw.get("flavor", ""), raw.get("group")
    flavor = flavors.get(flavor_name, {})
    given = {key: raw.get(key, flavor.get(key)) for key in _AMOUNTS}
    if flavor_name and not flavor and given["vcpus"] is None:
        reading.wrong((*path, "flavor"), f"unknown flavor {flavor_name!r}; {did_you_mean(flavor_name, flavors)}")
    for key in ("vcpus", "memory_mib"):
        if given[key] is None:
            reading.wrong(path, f"{key} is missing: give it, or a flavor that has it")
    if group_name and group_name not in groups:
        reading.wrong((*path, "group"), f"unknown group {group_name!r}; {did_you_mean(group_name, groups)}")
    common: dict[str, Any] = {key: raw[key] for key in _PLAIN if key in raw}
    common |= {
        **{key: value or 0 for key, value in given.items()},
        "flavor": flavor_name,
        "extra_specs": {
            key: str(v) for key, v in {**flavor.get("extra_specs", {}), **raw.get("extra_specs", {})}.items()
        },
        "availability_zone": zone_and_host(raw.get("availability_zone", ""))[0],
        "force_host": _forced(raw, path, reading),
        "group": groups.get(group_name or ""),
        "ignore_hosts": tuple(raw.get("ignore_hosts", ())),
        "tried_hosts": tuple(raw.get("tried_hosts", ())),
    }
    count, uuid = raw.get("count", 1), raw.get("uuid", name)
    names = [(uuid, name)] if count == 1 else [(f"{uuid}-{n}", f"{name}-{n}") for n in range(1, count + 1)]
    guests = tuple(GuestRequest(uuid=each_uuid, name=each, **common) for each_uuid, each in names)
    return RequestItem(name, guests, raw.get("profile"))


def _forced(raw: Mapping[str, Any], path: tuple[str | int, ...], reading: Reading) -> str | None:
    """Returns the host that is forced, by the zone or by name. Notes every other host that is asked for as well."""
    hosts = {
        "availability_zone": zone_and_host(raw.get("availability_zone", ""))[1],
        **{key: raw.get(key) for key in ("force_host", "force_node", "destination")},
    }
    key, forced = next(((key, host) for key, host in hosts.items() if host and key != "destination"), ("", None))
    for other, host in hosts.items():
        if forced and host not in (None, forced):
            reading.wrong((*path, other), f"found {host!r}, allowed: {forced}, which {key} forces, or nothing")
    return forced
