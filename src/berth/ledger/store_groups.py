# SPDX-License-Identifier: GPL-3.0-or-later
"""Server groups: their policy and where their members are."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from berth.errors import Conflict
from berth.ledger.book_claims import members_of
from berth.ledger.model import GroupPolicy
from berth.ledger.quota import check
from berth.ledger.rows import GroupRow, Member, Quota, Usage
from berth.ledger.store_base import Store, not_found, values_of
from berth.ledger.tables import select_rows, server_groups


class GroupStore(Store):
    """The ledger's server groups."""

    def ensure_group(
        self,
        project: str,
        name: str,
        policy: GroupPolicy,
        max_server_per_host: int = 1,
        *,
        quota: Quota | None = None,
    ) -> GroupRow:
        """Returns the group, made if there was none. Raises Conflict when it has another policy, QuotaExceeded."""
        row = GroupRow(project, name, GroupPolicy(policy), max_server_per_host, self._clock())
        with self._database.write() as connection:
            if make_group(connection, row) and quota is not None:
                check(quota, project, Usage(), (), (count_groups(connection, project) - 1, 1))
        return self.group(project, name)

    def group(self, project: str, name: str) -> GroupRow:
        """Returns a group. Raises NotFound."""
        groups = {row.name: row for row in self.groups(project)}
        if name not in groups:
            raise not_found("server group", name, groups, hint="a boot with --group NAME --policy POLICY makes one")
        return groups[name]

    def groups(self, project: str | None = None) -> list[GroupRow]:
        """Returns the groups of a project, or all."""
        query = select_rows(server_groups, GroupRow).order_by(server_groups.c.project, server_groups.c.name)
        if project is not None:
            query = query.where(server_groups.c.project == project)
        with self._database.read() as connection:
            return [GroupRow(*row) for row in connection.execute(query)]

    def group_members(self, project: str, name: str) -> list[Member]:
        """Returns the guests of a group that hold a claim, and where. Empty for a group there is not."""
        with self._database.read() as connection:
            return members_of(connection, project, name)


def make_group(connection: Connection, wanted: GroupRow) -> bool:
    """Returns whether the group had to be made, within a transaction. Raises Conflict when it has another policy."""
    here = (server_groups.c.project == wanted.project) & (server_groups.c.name == wanted.name)
    found = connection.execute(select_rows(server_groups, GroupRow).where(here)).one_or_none()
    if found is None:
        connection.execute(server_groups.insert(), values_of(wanted))
        return True
    row = GroupRow(*found)
    if (row.policy, row.max_server_per_host) != (wanted.policy, wanted.max_server_per_host):
        raise Conflict(
            f"server group {row.name} of project {row.project}: has policy {row.policy} with "
            f"{row.max_server_per_host} per host, asked for: {wanted.policy} with {wanted.max_server_per_host}",
            hint="a group keeps its policy: use it as it is, or take another name",
        )
    return False


def count_groups(connection: Connection, project: str) -> int:
    """Returns how many server groups a project has, within a transaction."""
    mine = select(func.count()).select_from(server_groups).where(server_groups.c.project == project)
    return int(connection.execute(mine).scalar_one())
