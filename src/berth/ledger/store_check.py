# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks whether everything holds that must hold in the ledger, and mends what is safe to mend."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from berth.errors import Conflict
from berth.ledger.columns import wrong_values
from berth.ledger.consistency import Finding, Kind, Snapshot, findings
from berth.ledger.model import Outcome
from berth.ledger.owner import Owner, proof_of_death
from berth.ledger.rows import ActionRow, AddressRow, ClaimRow, GuestRow, HostRow
from berth.ledger.store_base import Store
from berth.ledger.store_guests import release
from berth.ledger.tables import (
    actions,
    addresses,
    claims,
    guests,
    holds,
    hosts,
    metadata,
    ports,
    select_plain,
    select_rows,
    server_groups,
    steps,
)

_PUT_RIGHT = "`berth ledger export FILE`, put it right there, and `berth ledger import FILE` into a new ledger"


class CheckStore(Store):
    """The ledger's check of itself."""

    def check(self) -> list[Finding]:
        """Returns everything that does not hold: in the file (SQLite's own check), in rows, and between rows.

        The rules between rows are for rows that can be read: while a value does not hold they are not looked at.
        """
        with self._database.read() as connection:
            damages = [
                Finding(Kind.DAMAGED, self._database.label, line, "keep a copy, then `berth ledger rebuild`")
                for line in (_damages(connection) if self._database.is_sqlite else ())
            ]
            wrong = list(_wrong_values(connection))
            return damages + (wrong or findings(_snapshot(connection)))

    def repair(self) -> list[Finding]:
        """Mends what is safe and returns that: gives back what deleted guests hold, ends the actions of dead runs.

        Raises Conflict while a value does not hold: what is safe cannot be told then.
        """
        at = self._clock()
        with self._database.write() as connection:
            if wrong := list(_wrong_values(connection)):
                raise Conflict(
                    f"ledger {self._database.label}: nothing was mended, {len(wrong)} values do not hold",
                    details=tuple(finding.message for finding in wrong),
                    hint=wrong[0].hint,
                )
            safe = [finding for finding in findings(_snapshot(connection)) if finding.safe]
            gone = {finding.key for finding in safe if finding.kind is Kind.LEFT_BEHIND}
            release(connection, gone)
            connection.execute(addresses.delete().where(addresses.c.guest_uuid.in_(gone)))
            for finding in safe:
                if finding.kind is not Kind.LEFT_BEHIND:
                    _end(connection, finding, at)
        return safe


def _end(connection: Connection, finding: Finding, at: float) -> None:
    """Ends an action with all it held; one that has ended keeps its end."""
    still_open = (actions.c.id == finding.key) & actions.c.ended_at.is_(None)
    connection.execute(actions.update().where(still_open).values(ended_at=at, error=finding.message))
    held = (holds.c.action_id == finding.key) & holds.c.released_at.is_(None)
    connection.execute(holds.update().where(held).values(released_at=at))
    left = (steps.c.action_id == finding.key) & steps.c.ended_at.is_(None)
    values = {"ended_at": at, "outcome": Outcome.INTERRUPTED, "error": finding.message}
    connection.execute(steps.update().where(left).values(values))


def _wrong_values(connection: Connection) -> Iterator[Finding]:
    for table in metadata.sorted_tables:
        keys, names = [column.key for column in table.primary_key], table.c.keys()
        for values in connection.execute(select_plain(table)):
            row = dict(zip(names, values, strict=True))
            for mistake in wrong_values(table, row):
                key = "/".join(str(row[name]) for name in keys)
                yield Finding(Kind.WRONG_VALUE, key, f"table {table.name}, row {key}: {mistake}", _PUT_RIGHT)


def _snapshot(connection: Connection) -> Snapshot:
    known = {row.id: ActionRow(*row) for row in connection.execute(select_rows(actions, ActionRow))}
    proofs = {row.id: proof_of_death(Owner(**row.owner)) for row in known.values() if row.ended_at is None}
    open_holds = select(holds.c.action_id, holds.c.project, holds.c.name_key).where(holds.c.released_at.is_(None))
    open_steps = select(steps.c.action_id, steps.c.step).where(steps.c.ended_at.is_(None)).order_by(steps.c.id)
    groups = connection.execute(select(server_groups.c.project, server_groups.c.name))
    return Snapshot(
        hosts=[HostRow(*row) for row in connection.execute(select_rows(hosts, HostRow))],
        guests=[GuestRow(*row) for row in connection.execute(select_rows(guests, GuestRow))],
        claims=[ClaimRow(*row) for row in connection.execute(select_rows(claims, ClaimRow))],
        addresses=[AddressRow(*row) for row in connection.execute(select_rows(addresses, AddressRow))],
        ports=[(row.host, row.port, row.guest_uuid) for row in connection.execute(select(ports))],
        actions=known,
        holds=[(row.action_id, row.project, row.name_key) for row in connection.execute(open_holds)],
        open_steps=[(row.action_id, row.step) for row in connection.execute(open_steps)],
        groups=frozenset((row.project, row.name) for row in groups),
        dead={action: proof for action, proof in proofs.items() if proof},
    )


def _damages(connection: Connection) -> list[str]:
    """Returns what SQLite finds wrong with the file and with references between tables."""
    lines = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
    found = [line for line in lines if line != "ok"]
    for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        found.append(f"table {row[0]}, row {row[1]}: refers to a row of {row[2]} that is not there")
    return found
