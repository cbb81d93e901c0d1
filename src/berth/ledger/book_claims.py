# SPDX-License-Identifier: GPL-3.0-or-later
"""Books claims and ports on hosts, within the transaction that checked them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from berth.errors import Conflict
from berth.ledger.claiming import ClaimRefused, GroupKey, refused_amounts, refused_hosts, refused_members
from berth.ledger.rows import Claim, GroupRow, Member
from berth.ledger.store_hosts import usage_by_host
from berth.ledger.tables import claims, guests, hosts, ports, select_rows, server_groups

FIRST_PORT = 22000
LAST_PORT = 32000


def check_claims(connection: Connection, wanted: Sequence[Claim], group_of: Mapping[str, GroupKey]) -> None:
    """Raises ClaimRefused with every claim that does not hold. `group_of` maps guests to their server groups."""
    names = {claim.host for claim in wanted}
    query = select(hosts.c.name, hosts.c.quarantine, hosts.c.generation).where(hosts.c.name.in_(names))
    known = {name: (quarantine, generation) for name, quarantine, generation in connection.execute(query)}
    refused = refused_hosts(known, wanted)
    refused += refused_amounts(usage_by_host(connection, names), wanted)
    if group_of:
        groups = _groups(connection, set(group_of.values()))
        members = {key: members_of(connection, *key) for key in groups}
        of_guest = {uuid: groups[key] for uuid, key in group_of.items() if key in groups}
        refused += refused_members(of_guest, members, wanted)
    if refused:
        raise ClaimRefused.of(refused)


def book_claims(connection: Connection, wanted: Sequence[Claim], at: float) -> dict[str, tuple[int, ...]]:
    """Returns guest uuid -> ports on its host, claims and ports inserted. The guests are recorded already."""
    if not wanted:
        return {}
    connection.execute(claims.insert(), [_values(claim, at) for claim in wanted])
    names = {claim.host for claim in wanted}
    connection.execute(hosts.update().where(hosts.c.name.in_(names)).values(generation=hosts.c.generation + 1))
    return {claim.guest_uuid: _book_ports(connection, claim) for claim in wanted if claim.ports}


def members_of(connection: Connection, project: str, group: str) -> list[Member]:
    """Returns the claims that members of a group hold, within a transaction."""
    query = (
        select(claims.c.guest_uuid, claims.c.host)
        .join(guests, guests.c.uuid == claims.c.guest_uuid)
        .where(guests.c.project == project, guests.c.server_group == group, guests.c.deleted_at.is_(None))
        .order_by(claims.c.guest_uuid)
    )
    return [Member(*row) for row in connection.execute(query)]


def _values(claim: Claim, at: float) -> dict[str, object]:
    return {
        "guest_uuid": claim.guest_uuid,
        "host": claim.host,
        "vcpus": claim.resources.vcpus,
        "memory_mib": claim.resources.memory_mib,
        "disk_mib": claim.resources.disk_mib,
        "created_at": at,
    }


def _groups(connection: Connection, keys: set[GroupKey]) -> dict[GroupKey, GroupRow]:
    here = server_groups.c.name.in_({name for _project, name in keys})
    found = connection.execute(select_rows(server_groups, GroupRow).where(here))
    return {key: GroupRow(*row) for row in found if (key := (row.project, row.name)) in keys}


def _book_ports(connection: Connection, claim: Claim) -> tuple[int, ...]:
    """Returns the lowest free ports of a host, inserted."""
    taken = set(connection.execute(select(ports.c.port).where(ports.c.host == claim.host)).scalars())
    free = [port for port in range(FIRST_PORT, LAST_PORT + 1) if port not in taken][: claim.ports]
    if len(free) < claim.ports:
        raise Conflict(
            f"host {claim.host}: no port is free from {FIRST_PORT} to {LAST_PORT}",
            hint="delete guests with user-mode networks there",
        )
    rows = [{"host": claim.host, "port": port, "guest_uuid": claim.guest_uuid} for port in free]
    connection.execute(ports.insert(), rows)
    return tuple(free)
