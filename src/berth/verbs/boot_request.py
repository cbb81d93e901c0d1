# SPDX-License-Identifier: GPL-3.0-or-later
"""A boot request, looked up: in the catalog, in the ledger, and as placement takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from berth.cloud import Cloud
from berth.errors import Conflict, InvalidInput, NotFound
from berth.ledger.model import TaskState, VmState
from berth.ledger.rows import AddressWish, GuestRow, Json
from berth.ledger.store import Ledger
from berth.placement import GuestRequest, Policy, ServerGroup
from berth.spec.load import load_catalog
from berth.spec.request import BootRequest, ResolvedRequest, guest_names, parse_boot_request, request_digest, resolve
from berth.units import bytes_to_gib_ceil
from berth.verbs import placing
from berth.verbs.boot_hints import placement_hints
from berth.verbs.guest_plan import wants_address

# A guest to make: its UUID and its name.
Identity = tuple[str, str]


@dataclass(frozen=True)
class Wanted:
    """A boot request with what its names mean, and which of its guests are there already."""

    resolved: ResolvedRequest
    names: tuple[str, ...]
    digest: str
    there: tuple[GuestRow, ...] = ()

    @property
    def project(self) -> str:
        """Returns the project of the guests."""
        return self.resolved.request.project

    @property
    def new_names(self) -> tuple[str, ...]:
        """Returns the names that no guest has yet."""
        known = {row.name.casefold() for row in self.there}
        return tuple(name for name in self.names if name.casefold() not in known)

    @property
    def least_new(self) -> int:
        """Returns how many new guests have to fit for the request to hold."""
        return max(0, self.resolved.request.least - len(self.there))

    @property
    def unfinished(self) -> list[GuestRow]:
        """Returns the guests that an earlier run of the same request began and did not finish."""
        return [row for row in self.there if row.vm_state is VmState.BUILDING]

    @property
    def finished(self) -> list[GuestRow]:
        """Returns the guests that need nothing of a boot any more."""
        return [row for row in self.there if row.vm_state is not VmState.BUILDING]

    def to_store(self) -> Json:
        """Returns the request for the journal. The user's own text may hold secrets: only the guest's plan has it."""
        return dict(self.resolved.request.model_dump(mode="json", exclude={"user_data"}))


def look_up(cloud: Cloud, ledger: Ledger, asked: Mapping[str, Any]) -> Wanted:
    """Returns the request with everything it names.

    Raises InvalidInput or NotFound with every mistake, Conflict for every name that something else has.
    """
    resolved = resolve_request(cloud, asked)
    names, digest = guest_names(resolved.request), request_digest(resolved)
    rows = ledger.guests(project=resolved.request.project, names=names)
    taken = [line for row in rows if (line := _why_taken(row, digest))]
    if taken:
        raise Conflict(
            taken[0] if len(taken) == 1 else f"{len(taken)} names are taken",
            details=() if len(taken) == 1 else tuple(taken),
            hint="take another name, or delete the guest first: `berth delete NAME`",
        )
    return Wanted(resolved, names, digest, tuple(rows))


def resolve_request(cloud: Cloud, asked: Mapping[str, Any]) -> ResolvedRequest:
    """Returns the request with the catalog's entries in place of their names. Raises with every mistake."""
    catalog = load_catalog(cloud.catalog_path)
    with_project = {"project": cloud.settings.default_project, **asked}
    return resolve(parse_boot_request(with_project, "request"), catalog)


def _why_taken(row: GuestRow, digest: str) -> str:
    """Returns why a guest of that name stands in the way, or nothing: it is the very guest that is asked for."""
    there = f"guest {row.name} is there already: {row.vm_state}, host {row.host or 'none'}, uuid {row.uuid}"
    if row.plan.get("request_digest") != digest:
        return f"{there}, booted from another request"
    if row.task_state is TaskState.DELETING:
        return f"{there}; it is being deleted"
    if row.vm_state is VmState.ERROR:
        return f"{there}; it failed: {row.fault}"
    return ""


def choosing(request: BootRequest) -> placing.Choosing:
    """Returns how the request wants its hosts chosen."""
    return placing.Choosing(request.profile, request.seed)


def placement_requests(ledger: Ledger, wanted: ResolvedRequest, guests: Sequence[Identity]) -> list[GuestRequest]:
    """Returns one request per guest as placement takes it.

    Raises NotFound for every host and guest that the hints name and nothing has, InvalidInput for other mistakes.
    """
    request, flavor = wanted.request, wanted.flavor
    common = GuestRequest(
        uuid="",
        name="",
        vcpus=flavor.vcpus,
        memory_mib=flavor.memory_mib,
        disk_gib=flavor.disk_gib or _image_size_gib(ledger, wanted),
        project=request.project,
        flavor=flavor.name,
        image=wanted.image.name,
        image_properties=wanted.properties,
        extra_specs=flavor.extra_specs,
        availability_zone=request.zone,
        group=_placement_group(ledger, wanted),
        force_host=request.forced_host,
        destination=request.hints.destination,
        ignore_hosts=request.hints.ignore_hosts,
        hints=placement_hints(ledger, request),
    )
    return [replace(common, uuid=uuid, name=name) for uuid, name in guests]


def _image_size_gib(ledger: Ledger, wanted: ResolvedRequest) -> int:
    """Returns the image's own size, for flavors that say 0. Raises InvalidInput when no host ever pulled it."""
    row = next((row for row in ledger.images() if row.name == wanted.image.name), None)
    if row is not None:
        return bytes_to_gib_ceil(row.virtual_size_bytes)
    if wanted.image.min_disk_gib:
        return wanted.image.min_disk_gib
    image, flavor = wanted.image.name, wanted.flavor.name
    raise InvalidInput(
        f"flavor {flavor}: disk_gib 0 means the image's own size, and that of {image} is unknown",
        hint=f"pull it once: `berth image pull {image}`, or choose a flavor with a disk",
    )


def address_wishes(wanted: ResolvedRequest, guests: Sequence[Identity]) -> tuple[AddressWish, ...]:
    """Returns what the ledger shall hand out: a MAC per interface, an address where the network is static."""
    wishes = []
    for uuid, _name in guests:
        for position, network in enumerate(wanted.networks):
            bounds = network.range if wants_address(network) else None
            reserved = tuple(address for address in (network.gateway, *(network.dns or ())) if address)
            first, last = (bounds.first, bounds.last) if bounds else (None, None)
            wishes.append(AddressWish(uuid, position, network.name, first=first, last=last, reserved=reserved))
    return tuple(wishes)


def _placement_group(ledger: Ledger, wanted: ResolvedRequest) -> ServerGroup | None:
    """Returns the request's group; one that does not exist yet as it would be made. Raises NotFound."""
    group = wanted.request.group
    if group is None:
        return None
    try:
        return placing.server_group(ledger, wanted.request.project, group.name)
    except NotFound:
        if group.policy is None:
            raise
        name = placing.group_key(wanted.request.project, group.name)
        return ServerGroup(name, Policy(group.policy.value), {}, group.max_server_per_host or 1)
