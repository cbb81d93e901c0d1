# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests as a document: what `berth simulate` reads beside the fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from berth.placement.documents import (
    ANY_MAP,
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

_AMOUNTS: dict[str, Kind] = {
    "vcpus": COUNT,
    "memory_mib": COUNT,
    "disk_gib": WHOLE,
    "ephemeral_gib": WHOLE,
    "swap_mib": WHOLE,
}
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
        "ignore_hosts": list_of(NAME),
        "tried_hosts": list_of(NAME),
        "destination": NAME,
        "current_host": NAME,
        "hints": ANY_MAP,
        "profile": NAME,
    },
    "name",
)
REQUESTS: Kind = record({"flavors": map_of(_FLAVOR), "requests": list_of(_REQUEST)}, "requests")
_PLAIN = ("project", "image", "image_properties", "force_host", "destination", "current_host", "hints")


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
    zone, forced = zone_and_host(raw.get("availability_zone", ""))
    common: dict[str, Any] = {key: raw[key] for key in _PLAIN if key in raw}
    if forced:
        common.setdefault("force_host", forced)
    common |= {
        **{key: value or 0 for key, value in given.items()},
        "flavor": flavor_name,
        "extra_specs": {
            key: str(v) for key, v in {**flavor.get("extra_specs", {}), **raw.get("extra_specs", {})}.items()
        },
        "availability_zone": zone,
        "group": groups.get(group_name or ""),
        "ignore_hosts": tuple(raw.get("ignore_hosts", ())),
        "tried_hosts": tuple(raw.get("tried_hosts", ())),
    }
    count, uuid = raw.get("count", 1), raw.get("uuid", name)
    names = [(uuid, name)] if count == 1 else [(f"{uuid}-{n}", f"{name}-{n}") for n in range(1, count + 1)]
    guests = tuple(GuestRequest(uuid=each_uuid, name=each, **common) for each_uuid, each in names)
    return RequestItem(name, guests, raw.get("profile"))
