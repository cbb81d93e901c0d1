# SPDX-License-Identifier: GPL-3.0-or-later
"""What a boot books: guests, claims, addresses and ports, in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, select

from berth.errors import Conflict
from berth.ledger import quota
from berth.ledger.book_addresses import book_addresses
from berth.ledger.book_claims import book_claims, check_claims
from berth.ledger.model import PowerState, TaskState, VmState
from berth.ledger.rows import ActionRow, Booked, BootRecord, Claim, GuestRow, Json, NewGuest, Usage
from berth.ledger.store_actions import open_action, write_seen
from berth.ledger.store_base import Store
from berth.ledger.store_groups import count_groups, make_group
from berth.ledger.store_guests import release, rows_by_uuid, used_by_project
from berth.ledger.tables import claims, guests, holds, ports


class BootStore(Store):
    """Booking, and moving a booking to the next alternate."""

    def record_boot(self, action_id: str, boot: BootRecord) -> Booked:
        """Records new guests as BUILDING with all they need, or nothing of it. Returns what they were given.

        Raises Conflict when the action is over, does not hold the names, or a name, address or MAC is taken (every one
        that is); QuotaExceeded; ClaimRefused when claims do not hold.
        """
        with self._database.write() as connection:
            action = open_action(connection, action_id)
            _check_names(connection, action, boot.guests)
            group_is_new = boot.group is not None and make_group(connection, boot.group)
            used = used_by_project(connection, action.project)
            _check_quota(connection, action.project, boot, used, group_is_new=group_is_new)
            group_of = {row.uuid: (row.project, row.server_group) for row in boot.guests if row.server_group}
            check_claims(connection, boot.claims, group_of)
            at = self._clock()
            if boot.guests:
                place = {claim.guest_uuid: claim.host for claim in boot.claims}
                times = {"created_at": at, "updated_at": at}
                made = {"request_id": action.request_id, "action_id": action_id}
                rows = [_guest_values(guest) | made | times | {"host": place.get(guest.uuid)} for guest in boot.guests]
                connection.execute(guests.insert(), rows)
            given = book_addresses(connection, boot.addresses, boot.reserved_macs)
            booked = Booked(given, book_claims(connection, boot.claims, at))
            if boot.quota is not None:
                quota.check_booked(boot.quota, action.project, used, used_by_project(connection, action.project))
            return booked

    def move_claim(self, action_id: str, claim: Claim) -> tuple[int, ...]:
        """Gives up every claim of a guest for this one; returns its ports there. Raises ClaimRefused, nothing moved."""
        with self._database.write() as connection:
            open_action(connection, action_id)
            row = rows_by_uuid(connection, [claim.guest_uuid])[claim.guest_uuid]
            claim = _after_release(connection, claim)
            release(connection, [row.uuid])
            check_claims(connection, [claim], {row.uuid: (row.project, row.server_group)} if row.server_group else {})
            at = self._clock()
            moved = {"host": claim.host, "updated_at": at}
            connection.execute(guests.update().where(guests.c.uuid == row.uuid).values(moved))
            return book_claims(connection, [claim], at).get(row.uuid, ())

    def follow_guest(self, claim: Claim, *, expect_host: str | None, plan: Json) -> None:
        """Records a guest that was moved by hand where it is now: claim, ports and plan go along.

        Raises Conflict when a verb works on it or it is not where it was expected, ClaimRefused when it does not fit by
        the rules; then nothing is recorded.
        """
        with self._database.write() as connection:
            row = rows_by_uuid(connection, [claim.guest_uuid])[claim.guest_uuid]
            if (row.host, row.task_state, row.deleted_at, row.lock_reason) != (expect_host, None, None, None):
                raise Conflict(f"guest {row.name}: it changed meanwhile", hint="look again: `berth doctor`")
            _keep_ports(connection, row, claim.host)
            check_claims(connection, [claim], {row.uuid: (row.project, row.server_group)} if row.server_group else {})
            at = self._clock()
            moved = {"host": claim.host, "updated_at": at, "plan": plan}
            connection.execute(guests.update().where(guests.c.uuid == row.uuid).values(moved))
            book_claims(connection, [claim], at)
            write_seen(connection, row, "moved", claim.host, at)


def _keep_ports(connection: Connection, row: GuestRow, host: str) -> None:
    """Moves the ports of a guest to its new host: QEMU has their numbers. One that is taken there is a Conflict."""
    mine = list(connection.execute(select(ports.c.port).where(ports.c.guest_uuid == row.uuid)).scalars())
    release(connection, [row.uuid])
    if mine:
        moved = [{"host": host, "port": port, "guest_uuid": row.uuid} for port in mine]
        connection.execute(ports.insert(), moved)


def _after_release(connection: Connection, claim: Claim) -> Claim:
    """Returns the claim as it must be once the guest's claims are given back: that is a change of its host as well."""
    if claim.generation is None:
        return claim
    mine = (claims.c.guest_uuid == claim.guest_uuid) & (claims.c.host == claim.host)
    has_one = connection.execute(select(claims.c.host).where(mine)).first() is not None
    return replace(claim, generation=claim.generation + 1) if has_one else claim


def _guest_values(guest: NewGuest) -> dict[str, object]:
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
        "metadata": dict(guest.metadata),
        "plan": dict(guest.plan),
    }


def _check_names(connection: Connection, action: ActionRow, new: Sequence[NewGuest]) -> None:
    """Raises Conflict for every name that the action does not hold or that a guest already has."""
    names = Counter(guest.name.casefold() for guest in new)
    query = select(holds.c.name_key).where(
        holds.c.action_id == action.id, holds.c.name_key.in_(names), holds.c.released_at.is_(None)
    )
    held = set(connection.execute(query).scalars())
    lost = sorted(guest.name for guest in new if guest.project != action.project or guest.name.casefold() not in held)
    if lost:
        raise Conflict(f"action {action.id}: does not hold {', '.join(lost)}", hint="run the verb again")
    query = (
        select(guests.c.name, guests.c.vm_state, guests.c.host)
        .where(guests.c.project == action.project, guests.c.name_key.in_(names), guests.c.deleted_at.is_(None))
        .order_by(guests.c.name)
    )
    lines = [
        f"guest {row.name} of project {action.project} is there already: {row.vm_state}, host {row.host or 'none'}"
        for row in connection.execute(query)
    ]
    lines += [f"guest {name} is asked for twice" for name, count in sorted(names.items()) if count > 1]
    if lines:
        raise Conflict(
            lines[0] if len(lines) == 1 else f"{len(lines)} names are taken",
            details=() if len(lines) == 1 else tuple(lines),
            hint="take another name, or delete it first: `berth delete NAME`",
            data={"taken": lines},
        )


def _check_quota(connection: Connection, project: str, boot: BootRecord, used: Usage, *, group_is_new: bool) -> None:
    """Raises QuotaExceeded when the boot would take its project past the quota. A new group is made already."""
    if boot.quota is None:
        return
    more = int(group_is_new)
    groups = (count_groups(connection, project) - more, more) if more else (0, 0)
    quota.check(boot.quota, project, used, boot.guests, groups)
