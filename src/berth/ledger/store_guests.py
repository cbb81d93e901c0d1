# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests: who is there, and every change of their state as a compare-and-set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from berth.errors import Conflict
from berth.ledger.model import VmState, check_transition
from berth.ledger.rows import AddressRow, ClaimRow, GuestResult, GuestRow, Json, StateChange, Usage
from berth.ledger.store_actions import write_seen
from berth.ledger.store_base import Store, not_found
from berth.ledger.tables import addresses, claims, guests, hosts, ports, select_rows

_GUEST_HINT = "`berth list` shows the guests"


class GuestStore(Store):
    """The ledger's guests."""

    def guests(
        self,
        *,
        project: str | None = None,
        host: str | None = None,
        names: Collection[str] | None = None,
        states: Collection[VmState] | None = None,
        deleted: bool = False,
    ) -> list[GuestRow]:
        """Returns the guests that match everything given, by project and name; the gone ones only with `deleted`."""
        query = select_rows(guests, GuestRow).order_by(guests.c.project, guests.c.name, guests.c.created_at)
        if not deleted:
            query = query.where(guests.c.deleted_at.is_(None))
        if project is not None:
            query = query.where(guests.c.project == project)
        if host is not None:
            query = query.where(guests.c.host == host)
        if names is not None:
            query = query.where(guests.c.name_key.in_([name.casefold() for name in names]))
        if states is not None:
            query = query.where(guests.c.vm_state.in_(list(states)))
        with self._database.read() as connection:
            return [GuestRow(*row) for row in connection.execute(query)]

    def guest(self, project: str, name: str) -> GuestRow:
        """Returns the guest of that name that is not gone. Raises NotFound with the nearest name there is."""
        found = self.guests(project=project, names=[name])
        if not found:
            known = [row.name for row in self.guests(project=project)]
            raise not_found("guest", name, known, hint=_GUEST_HINT)
        return found[0]

    def guest_by_uuid(self, uuid: str) -> GuestRow:
        """Returns a guest, gone or not. Raises NotFound."""
        with self._database.read() as connection:
            return rows_by_uuid(connection, [uuid])[uuid]

    def guests_by_uuid(self, uuids: Collection[str]) -> list[GuestRow]:
        """Returns these guests in the order asked for, gone or not. Raises NotFound unless every one is recorded."""
        with self._database.read() as connection:
            rows = rows_by_uuid(connection, uuids)
        return [rows[uuid] for uuid in uuids]

    def guest_uuids(self) -> dict[str, float | None]:
        """Returns the UUIDs of every guest there ever was, and when it was deleted (None: it is there).

        A domain with another one is not of this ledger.
        """
        with self._database.read() as connection:
            return {row.uuid: row.deleted_at for row in connection.execute(select(guests.c.uuid, guests.c.deleted_at))}

    def project_usage(self, project: str) -> Usage:
        """Returns what the guests of a project use, by what they were booted with, wherever they are."""
        with self._database.read() as connection:
            return used_by_project(connection, project)

    def claims_of(self, uuids: Collection[str]) -> list[ClaimRow]:
        """Returns the claims of these guests."""
        query = select_rows(claims, ClaimRow).where(claims.c.guest_uuid.in_(uuids)).order_by(claims.c.created_at)
        with self._database.read() as connection:
            return [ClaimRow(*row) for row in connection.execute(query)]

    def addresses_of(self, uuids: Collection[str] | None = None) -> list[AddressRow]:
        """Returns the interfaces of these guests, or of all, by guest and position."""
        query = select_rows(addresses, AddressRow).order_by(addresses.c.guest_uuid, addresses.c.position)
        if uuids is not None:
            query = query.where(addresses.c.guest_uuid.in_(uuids))
        with self._database.read() as connection:
            return [AddressRow(*row) for row in connection.execute(query)]

    def ports_of(self, uuids: Collection[str]) -> dict[str, tuple[int, ...]]:
        """Returns guest uuid -> the ports of its host that are forwarded to it."""
        query = select(ports.c.guest_uuid, ports.c.port).where(ports.c.guest_uuid.in_(uuids)).order_by(ports.c.port)
        found: dict[str, tuple[int, ...]] = {}
        with self._database.read() as connection:
            for uuid, port in connection.execute(query):
                found[uuid] = (*found.get(uuid, ()), port)
        return found

    def set_states(self, uuids: Collection[str], change: StateChange) -> None:
        """Changes the state of all these guests, or of none. Raises Conflict: every guest that is not as expected."""
        with self._database.write() as connection:
            rows = rows_by_uuid(connection, uuids)
            _check_expected(rows.values(), change)
            values: dict[str, Any] = {
                "vm_state": change.vm_state,
                "task_state": change.task_state,
                "updated_at": self._clock() if change.at is None else change.at,
            }
            optional = {"power_state": change.power_state, "fault": change.fault}
            values.update({key: value for key, value in optional.items() if value is not None})
            connection.execute(guests.update().where(guests.c.uuid.in_(uuids)).values(values))
            for row in rows.values() if change.seen_on else ():
                new = change.vm_state if change.vm_state is not row.vm_state else change.power_state
                write_seen(connection, row, str(new), change.seen_on, self._clock())

    def finish_guests(self, results: Sequence[GuestResult]) -> None:
        """Records how work on guests ended; their task is over.

        Raises NotFound, and Conflict for a state that cannot follow; then nothing is recorded.
        """
        with self._database.write() as connection:
            rows = rows_by_uuid(connection, [result.uuid for result in results])
            for result in results:
                before = rows[result.uuid]
                check_transition(before.vm_state, result.vm_state, name=before.name)
                values = _result_values(result, self._clock())
                connection.execute(guests.update().where(guests.c.uuid == result.uuid).values(values))

    def store_plans(self, plans: Mapping[str, Json]) -> None:
        """Replaces the plans of guests: uuid -> guest plan."""
        with self._database.write() as connection:
            rows_by_uuid(connection, plans)
            for uuid, plan in plans.items():
                values = {"plan": plan, "updated_at": self._clock()}
                connection.execute(guests.update().where(guests.c.uuid == uuid).values(values))

    def record_image_digests(self, digests: Mapping[str, str]) -> None:
        """Writes down which image each of these guests is being made of: uuid -> digest."""
        with self._database.write() as connection:
            for uuid, digest in digests.items():
                values = {"image_digest": digest, "updated_at": self._clock()}
                connection.execute(guests.update().where(guests.c.uuid == uuid).values(values))

    def release_claims(self, uuids: Collection[str]) -> None:
        """Gives back the resources and ports of guests that use no host; their names and addresses stay theirs."""
        with self._database.write() as connection:
            release(connection, uuids)
            connection.execute(guests.update().where(guests.c.uuid.in_(uuids)).values(host=None))

    def lock_guests(self, uuids: Collection[str], *, by: str, reason: str) -> None:
        """Keeps verbs away from guests until they are unlocked; `by` is user@host. Replaces a lock. Raises NotFound."""
        with self._database.write() as connection:
            rows_by_uuid(connection, uuids)
            values = {"lock_reason": reason, "locked_by": by, "locked_at": self._clock()}
            connection.execute(guests.update().where(guests.c.uuid.in_(uuids)).values(values))

    def unlock_guests(self, uuids: Collection[str]) -> None:
        """Lets verbs work on guests again. Raises NotFound."""
        with self._database.write() as connection:
            rows_by_uuid(connection, uuids)
            values = {"lock_reason": None, "locked_by": None, "locked_at": None}
            connection.execute(guests.update().where(guests.c.uuid.in_(uuids)).values(values))

    def delete_guests(self, uuids: Collection[str]) -> None:
        """Records guests as gone: name, claims, addresses and ports are free, the row stays. Again is no error."""
        at = self._clock()
        with self._database.write() as connection:
            rows_by_uuid(connection, uuids)
            release(connection, uuids)
            connection.execute(addresses.delete().where(addresses.c.guest_uuid.in_(uuids)))
            gone = {"vm_state": VmState.DELETED, "task_state": None, "deleted_at": at, "updated_at": at}
            still_there = guests.c.uuid.in_(uuids) & guests.c.deleted_at.is_(None)
            connection.execute(guests.update().where(still_there).values(gone))


def release(connection: Connection, uuids: Collection[str]) -> None:
    """Removes the claims and ports of guests, within a transaction."""
    there = select(claims.c.host).where(claims.c.guest_uuid.in_(uuids))
    connection.execute(hosts.update().where(hosts.c.name.in_(there)).values(generation=hosts.c.generation + 1))
    connection.execute(claims.delete().where(claims.c.guest_uuid.in_(uuids)))
    connection.execute(ports.delete().where(ports.c.guest_uuid.in_(uuids)))


def used_by_project(connection: Connection, project: str) -> Usage:
    """Returns what the guests of a project use, within a transaction."""
    sums = [func.coalesce(func.sum(column), 0) for column in (guests.c.vcpus, guests.c.memory_mib, guests.c.disk_mib)]
    query = select(*sums, func.count()).where(guests.c.project == project, guests.c.deleted_at.is_(None))
    return Usage(*(int(value) for value in connection.execute(query).one()))


def rows_by_uuid(connection: Connection, uuids: Collection[str]) -> dict[str, GuestRow]:
    """Returns uuid -> guest, within a transaction. Raises NotFound unless every one is recorded."""
    query = select_rows(guests, GuestRow).where(guests.c.uuid.in_(uuids))
    rows = {row.uuid: GuestRow(*row) for row in connection.execute(query)}
    for uuid in uuids:
        if uuid not in rows:
            raise not_found("guest with UUID", uuid, (), hint=_GUEST_HINT)
    return rows


def _check_expected(rows: Collection[GuestRow], change: StateChange) -> None:
    wrong = []
    for row in rows:
        if row.vm_state not in change.expect_vm or (change.expect_task and row.task_state not in change.expect_task):
            wrong.append(f"guest {row.name}: found {row.vm_state}, task {row.task_state or 'none'}")
        else:
            check_transition(row.vm_state, change.vm_state, name=row.name)
    if wrong:
        tasks = sorted(task or "none" for task in change.expect_task) or ["any"]
        allowed = f"allowed: {', '.join(sorted(change.expect_vm))}; task: {', '.join(tasks)}"
        raise Conflict(
            f"{wrong[0]}; {allowed}" if len(wrong) == 1 else f"{len(wrong)} guests are not as expected; {allowed}",
            details=() if len(wrong) == 1 else tuple(wrong),
            hint="another run changed it; see `berth events NAME` and run again",
        )


def _result_values(result: GuestResult, at: float) -> dict[str, Any]:
    optional = {
        "host": result.host,
        "ssh_host_key": result.ssh_host_key,
        "image_digest": result.image_digest,
        "launched_at": result.launched_at,
        "fault": result.fault,
        "plan": result.plan,
    }
    return {
        "vm_state": result.vm_state,
        "task_state": None,
        "power_state": result.power_state,
        "updated_at": at,
        **{key: value for key, value in optional.items() if value is not None},
    }
