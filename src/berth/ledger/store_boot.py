# SPDX-License-Identifier: GPL-3.0-or-later
"""What a boot books: guests, claims, addresses and ports, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select, tuple_

from berth.errors import BerthError, Conflict
from berth.ledger import quota
from berth.ledger.addressing import guest_mac, lowest_free, plain_address, plain_mac
from berth.ledger.claiming import ClaimRefused, GroupKey, refused_amounts, refused_hosts, refused_members
from berth.ledger.model import PowerState, TaskState, VmState
from berth.ledger.rows import (
    AddressRow,
    AddressWish,
    Booked,
    BootRecord,
    Claim,
    GroupRow,
    Member,
    NewGuest,
)
from berth.ledger.store_actions import open_action
from berth.ledger.store_base import Store, values_of
from berth.ledger.store_guests import release, rows_by_uuid, used_by_project
from berth.ledger.store_hosts import usage_by_host
from berth.ledger.tables import addresses, claims, guests, holds, hosts, ports, select_rows, server_groups

FIRST_PORT = 22000
LAST_PORT = 32000


class BootStore(Store):
    """Booking, and moving a booking to the next alternate."""

    def record_boot(self, action_id: str, boot: BootRecord) -> Booked:
        """Records new guests as BUILDING with all they need, or nothing of it. Returns what they were given.

        Raises Conflict when the action is over, does not hold the names, or a name, address or MAC is taken (every one
        that is); QuotaExceeded; ClaimRefused when claims do not hold.
        """
        with self._database.write() as connection:
            action = open_action(connection, action_id)
            _check_names(connection, action_id, boot.guests)
            _check_quota(connection, boot)
            at = self._clock()
            rows = [_guest_values(guest, action_id, action.request_id, at) for guest in boot.guests]
            if rows:
                connection.execute(guests.insert(), rows)
            given = _book_addresses(connection, boot)
            return Booked(given, _book_claims(connection, boot.claims, at))

    def move_claim(self, action_id: str, claim: Claim) -> tuple[int, ...]:
        """Gives up every claim of a guest for this one; returns its ports there. Raises ClaimRefused, nothing moved."""
        with self._database.write() as connection:
            open_action(connection, action_id)
            rows_by_uuid(connection, [claim.guest_uuid])
            release(connection, [claim.guest_uuid])
            return _book_claims(connection, [claim], self._clock()).get(claim.guest_uuid, ())


def _guest_values(guest: NewGuest, action_id: str, request_id: str, at: float) -> dict[str, object]:
    return {
        "uuid": guest.uuid,
        "project": guest.project,
        "name": guest.name,
        "name_key": guest.name.casefold(),
        "vm_state": VmState.BUILDING,
        "task_state": TaskState.SCHEDULING,
        "power_state": PowerState.NOSTATE,
        "flavor": guest.flavor,
        "image": guest.image,
        "vcpus": guest.resources.vcpus,
        "memory_mib": guest.resources.memory_mib,
        "disk_mib": guest.resources.disk_mib,
        "server_group": guest.server_group,
        "request_id": request_id,
        "action_id": action_id,
        "created_at": at,
        "updated_at": at,
        "metadata": dict(guest.metadata),
        "plan": dict(guest.plan),
    }


def _check_names(connection: Connection, action_id: str, new: Sequence[NewGuest]) -> None:
    """Raises Conflict for every name that the action does not hold or that a guest already has."""
    keys = [(guest.project, guest.name.casefold()) for guest in new]
    query = select(holds.c.project, holds.c.name_key).where(
        holds.c.action_id == action_id, holds.c.released_at.is_(None)
    )
    held = {tuple(key) for key in connection.execute(query)}
    lost = sorted(name for project, name in keys if (project, name) not in held)
    if lost:
        raise Conflict(f"action {action_id}: does not hold {', '.join(lost)}", hint="run the verb again")
    query = (
        select(guests.c.project, guests.c.name, guests.c.vm_state, guests.c.host)
        .where(tuple_(guests.c.project, guests.c.name_key).in_(keys), guests.c.deleted_at.is_(None))
        .order_by(guests.c.name)
    )
    lines = [
        f"guest {row.name} of project {row.project} is there already: {row.vm_state}, host {row.host or 'none'}"
        for row in connection.execute(query)
    ]
    lines += [
        f"guest {name} is asked for twice" for _project, name in sorted({key for key in keys if keys.count(key) > 1})
    ]
    if lines:
        raise _taken(lines, "take another name, or delete it first: `berth delete NAME`")


def _check_quota(connection: Connection, boot: BootRecord) -> None:
    """Raises QuotaExceeded when the guests would take their project past the boot's quota."""
    if boot.quota is None:
        return
    for project in sorted({guest.project for guest in boot.guests}):
        mine = [guest for guest in boot.guests if guest.project == project]
        quota.check(boot.quota, project, used_by_project(connection, project), mine)


def _book_addresses(connection: Connection, boot: BootRecord) -> tuple[AddressRow, ...]:
    """Returns the interfaces, inserted. Certain addresses and MACs go first, so that nobody else is given them."""
    macs = set(connection.execute(select(addresses.c.mac)).scalars())
    macs |= {plain_mac(mac) for mac in boot.reserved_macs}
    networks = {wish.network for wish in boot.addresses}
    taken: dict[str, set[str]] = {network: set() for network in networks}
    query = select(addresses.c.network, addresses.c.address).where(addresses.c.network.in_(networks))
    for network, address in connection.execute(query):
        if address is not None:
            taken[network].add(address)
    given: list[AddressRow] = []
    mistakes: list[str] = []
    for wish in sorted(boot.addresses, key=lambda wish: (wish.address is None, wish.mac is None)):
        try:
            row = _given(wish, macs, taken[wish.network])
        except BerthError as error:
            mistakes.append(error.message)
            continue
        given.append(row)
        macs.add(row.mac)
        if row.address is not None:
            taken[wish.network].add(row.address)
    if mistakes:
        raise _taken(mistakes, "ask for others, widen the network's range, or delete guests that are not needed")
    if given:
        connection.execute(addresses.insert(), [values_of(row) for row in given])
    return tuple(given)


def _given(wish: AddressWish, macs: set[str], taken: set[str]) -> AddressRow:
    mac = guest_mac(wish.guest_uuid, wish.position, macs) if wish.mac is None else plain_mac(wish.mac)
    if mac in macs:
        raise Conflict(f"MAC {mac} is taken")
    address = None
    if wish.address is not None:
        address = plain_address(wish.address)
        if address in taken or address in {plain_address(reserved) for reserved in wish.reserved}:
            raise Conflict(f"address {address} of network {wish.network} is taken")
    elif wish.first is not None and wish.last is not None:
        reserved = {plain_address(reserved) for reserved in wish.reserved}
        address = lowest_free(wish.first, wish.last, taken | reserved)
        if address is None:
            raise Conflict(f"network {wish.network}: no address is free from {wish.first} to {wish.last}")
    return AddressRow(wish.guest_uuid, wish.position, wish.network, mac, address)


def _book_claims(connection: Connection, wanted: Sequence[Claim], at: float) -> dict[str, tuple[int, ...]]:
    """Returns guest uuid -> ports, the claims inserted. Raises ClaimRefused with every claim that does not hold."""
    groups, members = _groups_of(connection, [claim.guest_uuid for claim in wanted])
    names = {claim.host for claim in wanted}
    query = select(hosts.c.name, hosts.c.quarantine, hosts.c.generation).where(hosts.c.name.in_(names))
    known = {name: (quarantine, generation) for name, quarantine, generation in connection.execute(query)}
    refused = refused_hosts(known, wanted)
    refused += refused_amounts(usage_by_host(connection, names), wanted)
    refused += refused_members(groups, members, wanted)
    if refused:
        raise ClaimRefused.of(refused)
    given = {}
    for claim in wanted:
        amounts = {"vcpus": claim.resources.vcpus, "memory_mib": claim.resources.memory_mib}
        amounts["disk_mib"] = claim.resources.disk_mib
        row = {"guest_uuid": claim.guest_uuid, "host": claim.host, "created_at": at, **amounts}
        connection.execute(claims.insert(), row)
        connection.execute(guests.update().where(guests.c.uuid == claim.guest_uuid).values(host=claim.host))
        if claim.ports:
            given[claim.guest_uuid] = _book_ports(connection, claim)
    connection.execute(hosts.update().where(hosts.c.name.in_(names)).values(generation=hosts.c.generation + 1))
    return given


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


def _groups_of(
    connection: Connection, uuids: Sequence[str]
) -> tuple[dict[str, GroupRow], dict[GroupKey, list[Member]]]:
    """Returns guest uuid -> its group, and group -> claims of its members, for the groups of these guests."""
    rows = rows_by_uuid(connection, uuids).values()
    wanted = {(row.project, row.server_group) for row in rows if row.server_group}
    if not wanted:
        return {}, {}
    query = select_rows(server_groups, GroupRow).where(
        tuple_(server_groups.c.project, server_groups.c.name).in_(wanted)
    )
    known = {(row.project, row.name): GroupRow(*row) for row in connection.execute(query)}
    groups = {row.uuid: known[key] for row in rows if (key := (row.project, row.server_group or "")) in known}
    members = {key: members_of(connection, *key) for key in known}
    return groups, members


def members_of(connection: Connection, project: str, group: str) -> list[Member]:
    """Returns the claims that members of a group hold, within a transaction."""
    query = (
        select(claims.c.guest_uuid, claims.c.host)
        .join(guests, guests.c.uuid == claims.c.guest_uuid)
        .where(guests.c.project == project, guests.c.server_group == group, guests.c.deleted_at.is_(None))
        .order_by(claims.c.guest_uuid)
    )
    return [Member(*row) for row in connection.execute(query)]


def _taken(lines: Sequence[str], hint: str) -> Conflict:
    message = lines[0] if len(lines) == 1 else f"{len(lines)} things are taken"
    return Conflict(message, details=() if len(lines) == 1 else tuple(lines), hint=hint, data={"taken": list(lines)})
