# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts: what a refresh learnt, what an operator decided, and how much of each is claimed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, func, select

from berth.errors import Conflict
from berth.ledger.build_failures import score_after
from berth.ledger.looks import collected_s
from berth.ledger.rows import HostRow, HostUpdate, Json, Usage
from berth.ledger.store_base import Store, not_found, put_rows, values_of
from berth.ledger.tables import aggregates, claims, hosts, notes, select_rows

INVENTORY_DIGEST = "inventory_digest"
REFRESHED_AT = "refreshed_at"
_HOST_HINT = "`berth host list` shows the hosts; `berth host refresh` learns new ones from the inventory"

# A claim that was decided on what was known before is refused: placement looks again.
_NEXT_GENERATION = {"generation": hosts.c.generation + 1}


@dataclass(frozen=True)
class Refresh:
    """What one refresh learnt at `at`. `updates` has every host of the inventory, asked or not: the others left it."""

    updates: Sequence[HostUpdate]
    aggregates: Mapping[str, Json]
    inventory_digest: str
    at: float


def learnt(before: HostRow | None, update: HostUpdate, at: float) -> HostRow:
    """Returns the host after a refresh. Pure.

    Without facts the old ones stay, and so they do when those of this refresh are older: it waited for other hosts
    while another one looked. Facts with another machine id than the known one quarantine the host until an operator
    accepts them; with the known one again the quarantine ends.
    """
    row = before or HostRow(update.name, True, "", True, "", None, None, None, None, None, (), {}, {})
    row = replace(row, in_inventory=True, groups=update.groups, variables=update.variables, access=update.access)
    if not update.asked or _is_older(update.facts, row.facts, at):
        return row
    if update.facts is None:
        since = row.unreachable_since if row.unreachable_since is not None else at
        message = update.unreachable_message or "it did not answer"
        return replace(row, unreachable_message=message, unreachable_since=since)
    found = update.facts.get("machine_id")
    changed = row.machine_id is not None and found != row.machine_id
    return replace(
        row,
        facts=update.facts,
        facts_at=at,
        unreachable_message=None,
        unreachable_since=None,
        machine_id=row.machine_id if changed else found,
        quarantine=f"machine id changed from {row.machine_id} to {found}" if changed else "",
    )


def _is_older(new: Json | None, known: Json | None, now_s: float) -> bool:
    """Returns whether facts were collected before the known ones of the same boot, by the controller's clock.

    Known ones from the future say nothing: that clock was set back.
    """
    if not new or not known or not known.get("boot_id"):
        return False
    if any(new.get(key) != known.get(key) for key in ("machine_id", "boot_id")):
        return False
    look, last = collected_s(new), collected_s(known)
    return look is not None and last is not None and look < last <= now_s


class HostStore(Store):
    """The ledger's hosts."""

    def store_hosts(self, refresh: Refresh) -> list[HostRow]:
        """Records a refresh and returns the hosts that were asked, as they are now. No host is ever removed."""
        with self._database.write() as connection:
            before = {row.name: row for row in _rows(connection)}
            after = {update.name: _next(before.get(update.name), update, refresh.at) for update in refresh.updates}
            put_rows(connection, hosts, [values_of(row) for row in after.values() if row != before.get(row.name)])
            gone = set(before) - set(after)
            left = {"in_inventory": False, **_NEXT_GENERATION}
            connection.execute(hosts.update().where(hosts.c.name.in_(gone), hosts.c.in_inventory).values(left))
            connection.execute(aggregates.delete())
            put_rows(
                connection,
                aggregates,
                [{"name": name, "metadata": dict(data)} for name, data in refresh.aggregates.items()],
            )
            facts = {INVENTORY_DIGEST: refresh.inventory_digest, REFRESHED_AT: repr(refresh.at)}
            put_rows(connection, notes, [{"key": key, "value": value} for key, value in facts.items()])
        return [after[update.name] for update in refresh.updates if update.asked]

    def hosts(self) -> list[HostRow]:
        """Returns every host ever seen, by name."""
        with self._database.read() as connection:
            return _rows(connection)

    def host(self, name: str) -> HostRow:
        """Returns one host. Raises NotFound."""
        with self._database.read() as connection:
            return _host(connection, name)

    def silent_hosts(self) -> dict[str, str]:
        """Returns host -> why what is known of it is out of date: it did not answer, or is another machine now."""
        columns = (hosts.c.name, hosts.c.unreachable_message, hosts.c.quarantine)
        query = select(*columns).where(hosts.c.unreachable_message.is_not(None) | (hosts.c.quarantine != ""))
        with self._database.read() as connection:
            return {name: quarantine or message for name, message, quarantine in connection.execute(query)}

    def aggregates(self) -> dict[str, Json]:
        """Returns aggregate name -> its metadata. A host is in it when the name is among its groups."""
        with self._database.read() as connection:
            return {name: data for name, data in connection.execute(select(aggregates.c.name, aggregates.c.metadata))}

    def inventory_digest(self) -> str | None:
        """Returns the digest of the inventory that the hosts were last read from, None before the first refresh."""
        with self._database.read() as connection:
            found = connection.execute(select(notes.c.value).where(notes.c.key == INVENTORY_DIGEST))
            return found.scalar_one_or_none()

    def set_host_enabled(self, name: str, enabled: bool, reason: str = "") -> HostRow:
        """Lets new guests be placed on a host, or keeps them away. Guests there are left alone. Raises NotFound."""
        with self._database.write() as connection:
            _host(connection, name)
            values = {"enabled": enabled, "disabled_reason": "" if enabled else reason, **_NEXT_GENERATION}
            connection.execute(hosts.update().where(hosts.c.name == name).values(values))
            return _host(connection, name)

    def accept_host(self, name: str) -> HostRow:
        """Ends a host's quarantine: what it is now is what it should be. Raises NotFound, Conflict when it has none."""
        with self._database.write() as connection:
            row = _host(connection, name)
            if not row.quarantine or row.facts is None:
                raise Conflict(
                    f"host {name}: nothing to accept, it is in no quarantine", hint=f"`berth host show {name}`"
                )
            values = {"quarantine": "", "machine_id": row.facts.get("machine_id"), **_NEXT_GENERATION}
            connection.execute(hosts.update().where(hosts.c.name == name).values(values))
            return _host(connection, name)

    def count_build(self, name: str, *, ok: bool) -> HostRow:
        """Counts a build on a host: failures add up and fade (build_failures), a success forgives. Raises NotFound."""
        with self._database.write() as connection:
            row, now = _host(connection, name), self._clock()
            score = score_after(row.failure_score, row.failure_at, now, ok=ok)
            values = {"failure_score": score, "failure_at": None if ok else now}
            connection.execute(hosts.update().where(hosts.c.name == name).values(values))
            return _host(connection, name)

    def failing_hosts(self) -> set[str]:
        """Returns the hosts that failed builds are counted against."""
        with self._database.read() as connection:
            return set(connection.execute(select(hosts.c.name).where(hosts.c.failure_score > 0)).scalars())

    def usage(self) -> dict[str, Usage]:
        """Returns host -> what is claimed there; a host without claims is not in it."""
        with self._database.read() as connection:
            return usage_by_host(connection)


def usage_by_host(connection: Connection, names: Collection[str] | None = None) -> dict[str, Usage]:
    """Returns host -> what is claimed there, of all hosts or of these, within a transaction."""
    sums = [func.sum(column) for column in (claims.c.vcpus, claims.c.memory_mib, claims.c.disk_mib)]
    query = select(claims.c.host, *sums, func.count()).group_by(claims.c.host)
    if names is not None:
        query = query.where(claims.c.host.in_(names))
    return {host: Usage(*(int(value) for value in values)) for host, *values in connection.execute(query)}


def _next(before: HostRow | None, update: HostUpdate, at: float) -> HostRow:
    after = learnt(before, update, at)
    if before is None or (after == before and not update.asked):
        return after
    return replace(after, generation=before.generation + 1)


def _rows(connection: Connection) -> list[HostRow]:
    return [HostRow(*row) for row in connection.execute(select_rows(hosts, HostRow).order_by(hosts.c.name))]


def _host(connection: Connection, name: str) -> HostRow:
    row = connection.execute(select_rows(hosts, HostRow).where(hosts.c.name == name)).one_or_none()
    if row is None:
        raise not_found("host", name, connection.execute(select(hosts.c.name)).scalars(), hint=_HOST_HINT)
    return HostRow(*row)
