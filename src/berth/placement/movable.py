# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that already run, as requests: to ask where else they could go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from berth.placement.filters.availability_zone import zones_of
from berth.placement.model import GuestOnHost, GuestRequest, Host, ServerGroup
from berth.units import MIB_PER_GIB


def request_for(
    guest: GuestOnHost,
    host: Host,
    groups: Mapping[str, ServerGroup],
    requests: Mapping[str, GuestRequest] | None = None,
) -> GuestRequest:
    """Returns a request for a guest that runs, its group without itself.

    It stays in its host's availability zone. What is booked is asked for; a flavor's extra specs are not known
    here, so a caller who has them hands in a request of its own in `requests`, by UUID.
    """
    known = (requests or {}).get(guest.uuid)
    if known is not None:
        group = without(groups.get(guest.group or ""), guest.uuid) if guest.group else known.group
        return replace(known, group=group)
    zones = sorted(zones_of(host))
    return GuestRequest(
        uuid=guest.uuid,
        name=guest.name or guest.uuid,
        vcpus=max(1, guest.vcpus),
        memory_mib=max(1, guest.memory_mib),
        disk_gib=-(-guest.disk_mib // MIB_PER_GIB),
        project=guest.project,
        flavor=guest.flavor,
        image=guest.image,
        image_properties=guest.image_properties,
        availability_zone=zones[0] if zones else None,
        group=without(groups.get(guest.group or ""), guest.uuid),
    )


def without(group: ServerGroup | None, uuid: str) -> ServerGroup | None:
    """Returns the group as it is when the guest is gone from where it lives."""
    if group is None:
        return None
    members = {member: host for member, host in group.members.items() if member != uuid}
    return ServerGroup(group.name, group.policy, members, group.max_server_per_host)
