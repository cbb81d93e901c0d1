# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the guests of a lost ledger again from what the hosts' domains carry."""

from __future__ import annotations

from sqlalchemy import func, select

from berth.errors import Conflict
from berth.ledger.rebuilding import Rebuilt, rebuilt
from berth.ledger.rows import HostRow
from berth.ledger.store_base import Store, values_of
from berth.ledger.tables import addresses, claims, guests, hosts, ports, select_rows, server_groups


class RebuildStore(Store):
    """The ledger's rebuilding."""

    def rebuild(self, cloud: str) -> Rebuilt:
        """Records the guests of `cloud` that the hosts' stored facts show; returns them with what needs a person.

        First refresh the hosts into a new ledger. Raises Conflict when the ledger has guests already.
        """
        with self._database.write() as connection:
            count = connection.execute(select(func.count()).select_from(guests)).scalar_one()
            if count:
                raise Conflict(
                    f"ledger {self._database.label}: has {count} guests, deleted ones included; rebuilding needs none",
                    hint="move the ledger away, refresh the hosts into a new one, and rebuild there",
                )
            rows = [HostRow(*row) for row in connection.execute(select_rows(hosts, HostRow).order_by(hosts.c.name))]
            result = rebuilt(rows, cloud, self._clock())
            if result.guests:
                new = [{**values_of(row), "name_key": row.name.casefold()} for row in result.guests]
                connection.execute(guests.insert(), new)
                connection.execute(claims.insert(), [values_of(row) for row in result.claims])
            if result.addresses:
                connection.execute(addresses.insert(), [values_of(row) for row in result.addresses])
            if result.groups:
                connection.execute(server_groups.insert(), [values_of(row) for row in result.groups])
            if result.ports:
                names = ("host", "port", "guest_uuid")
                connection.execute(ports.insert(), [dict(zip(names, row, strict=True)) for row in result.ports])
        return result
