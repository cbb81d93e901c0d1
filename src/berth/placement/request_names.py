# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests that the requests of a document name, and are: looked up in the fleet and in the requests before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from berth.placement.documents import Path, Reading
from berth.placement.hints import GUEST_HINTS, KnownGuests, guests_in
from berth.placement.model import GuestRequest, Host
from berth.placement.request_document import RequestItem


def with_guests_found(hosts: Iterable[Host], items: Iterable[RequestItem], reading: Reading) -> tuple[RequestItem, ...]:
    """Returns the items with the guests of their hints as UUIDs.

    Notes every guest that nothing has, and every request for a guest that is there already. One whose
    `current_host` is where it lives is asked to move, and may be.
    """
    homes = {guest.uuid: host.name for host in hosts for guest in host.guests}
    there = [(guest.uuid, guest.name, guest.project) for host in hosts for guest in host.guests]
    found = []
    for at, item in enumerate(items):
        path: Path = ("requests", at)
        for text in _taken(item, homes, there):
            reading.wrong(path, text)
        known = KnownGuests(item.guests[0].project, there)
        hints = _looked_up(item.guests[0].hints, known, reading, (*path, "hints"))
        found.append(replace(item, guests=tuple(replace(guest, hints=hints) for guest in item.guests)))
        there += [(guest.uuid, guest.name, guest.project) for guest in item.guests]
    return tuple(found)


def _taken(item: RequestItem, homes: Mapping[str, str], there: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    names = {(name, project): uuid for uuid, name, project in there if uuid in homes}
    for guest in item.guests:
        uuid = guest.uuid if guest.uuid in homes else names.get((guest.name, guest.project))
        if uuid is None:
            continue
        what = f"guest {guest.name} is in the fleet, on {homes[uuid]}"
        if guest.current_host is None:
            yield f"{what}: give the new one another name or uuid, or say `current_host: {homes[uuid]}` to move it"
        elif (guest.uuid, guest.current_host) != (uuid, homes[uuid]):
            yield f"{what} with UUID {uuid}: to move it, give that `uuid` and `current_host: {homes[uuid]}`"


def _looked_up(hints: Mapping[str, Any], known: KnownGuests, reading: Reading, path: Path) -> dict[str, Any]:
    found = dict(hints)
    for key in GUEST_HINTS:
        names = guests_in(hints, key)
        uuids = {name: known.uuid_of(name) for name in names}
        for name in names:
            if uuids[name] is None:
                reading.wrong((*path, key), known.unknown(name))
        if names:
            found[key] = [uuid or name for name, uuid in uuids.items()]
    return found


def without_moved(hosts: Iterable[Host], requests: Iterable[GuestRequest]) -> Iterator[Host]:
    """Yields the hosts without the guests that these requests move, and without what those used."""
    moved = {(request.uuid, request.current_host) for request in requests if request.current_host}
    for host in hosts:
        gone = [guest for guest in host.guests if (guest.uuid, host.name) in moved]
        if not gone:
            yield host
            continue
        yield replace(
            host,
            guests=tuple(guest for guest in host.guests if guest not in gone),
            vcpus_used=max(0, host.vcpus_used - sum(guest.vcpus for guest in gone)),
            memory_mib_used=max(0, host.memory_mib_used - sum(guest.memory_mib for guest in gone)),
            disk_mib_used=max(0, host.disk_mib_used - sum(guest.disk_mib for guest in gone)),
        )
